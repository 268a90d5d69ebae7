"""Sentences that a reader of a TensorFlow profile must know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .keras_names import family_of_scope, plain
from .records import TraceContext
from .trace import Labels, Lane, Trace

SUBSTANTIAL = 0.01
"""Share of all operators' time from which something is worth a sentence."""


def notes(
    trace: Trace, labels: Sequence[Labels], context: TraceContext, *, steps_per_execution: int, ranges: bool
) -> tuple[str, ...]:
    """What is fused, guessed, divided or missing in a trace.

    Args:
        trace: read.
        labels: of its lanes.
        context: what the tracker knew.
        steps_per_execution: how many updates Keras ran in one execution.
        ranges: whether the tracker marked layers in an eager trace.
    """
    found = [*_fused(trace, labels)]
    compute = sum(1 for lane in trace.lanes if lane.kind == "compute" and _has_operators(lane))
    eager = any(one and "eager" in one for lane in trace.lanes if lane.kind == "training" for one in lane.details)
    if compute:
        found.append(
            "TensorFlow trains on its own threads while Python waits: each moment of a step counts as the operator "
            "that runs, the earlier stage where several do, and between two operators as the one before."
        )
    if eager and not ranges and not compute:
        found.append(
            "Eager operators carry no layer, and nothing marked the layers when this trace was recorded: elementwise "
            "operators of normalisations count as other. KerasTracker(profile=True) marks them."
        )
    if eager and ranges:
        found.append(
            "Backward operators of an eager step carry no layer: they are laid along the forward ones in reverse, "
            "and so inferred."
        )
    if steps_per_execution > 1:
        found.append(
            f"Keras ran {steps_per_execution} steps in one execution: each is given an equal part of its time."
        )
    if not context.layers:
        found.append(
            "The trace came without the model's layers: families of layers are guessed from their names, "
            "and so inferred."
        )
    return tuple(found)


def _has_operators(lane: Lane) -> bool:
    return any(one and "path" in one for one in lane.details)


def _fused(trace: Trace, labels: Sequence[Labels]) -> Iterator[str]:
    """Which fusions move time from one family to another."""
    whole, bias, activated, mixed = 0, 0, 0, 0
    names: set[str] = set()
    for lane, label in zip(trace.lanes, labels, strict=True):
        if lane.kind == "background":
            continue
        for name, details, family, duration in zip(
            lane.names, lane.details, label.family, lane.duration.tolist(), strict=True
        ):
            if family is None:
                continue
            whole += duration
            path = str((details or {}).get("path", ""))
            if "Fused" in name and plain(name) in ("Conv2D", "DepthwiseConv2dNative", "MatMul", "Conv3D"):
                names.add(name)
                if family_of_scope(path) == "activation" or family_of_scope(path + "/") == "activation":
                    activated += duration
                else:
                    bias += duration
            fused = (details or {}).get("fused") or ()
            if len({one.rpartition("/")[0] for one in fused}) > 1:
                mixed += duration
    if not whole:
        return
    listed = " and ".join(sorted(names))
    if activated > SUBSTANTIAL * whole:
        yield (
            f"TensorFlow computed a product, its bias and its activation in one operator ({listed}): "
            "the activation's time is in convolution and matmul."
        )
    elif bias > SUBSTANTIAL * whole:
        yield (
            f"TensorFlow added the bias in the product's own operator ({listed}): "
            "its time is in convolution and matmul."
        )
    if mixed > SUBSTANTIAL * whole:
        share = np.round(100 * mixed / whole)
        yield (
            f"XLA fused operators of several layers or stages into one ({share:.0f} % of the time of all operators): "
            "a fusion counts whole as the operator that its result is of."
        )
