"""A TensorFlow trace from its bytes to what is added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np

from .interpreted import Interpreted
from .keras_eager import EagerLabeller
from .keras_labels import Labeller
from .keras_notes import notes
from .keras_phases import phases
from .records import TraceContext
from .trace import Trace
from .xplane import read


def interpret(raw: bytes, context: TraceContext) -> Interpreted:
    """Read an XPlane file and say what each of its events is for.

    Raises:
        TraceError: it is no XPlane file, it is cut short, it holds no training step, or protobuf is missing.
    """
    trace, executions = _in_steps(read(raw), context)
    labeller = Labeller(trace, context)
    eager = EagerLabeller(labeller, trace.step_edges)
    labels = [labeller.labels(lane, eager) for lane in trace.lanes]
    said = notes(trace, labels, context, steps_per_execution=executions, ranges=eager.had_ranges)
    return Interpreted(trace, labels, phases(trace, labels), said)


def _in_steps(trace: Trace, context: TraceContext) -> tuple[Trace, int]:
    """The trace with as many steps as updates, and how many updates Keras ran in one execution.

    With `steps_per_execution=n` TensorFlow marks an execution, not its steps: each is given an equal part of it.
    """
    executions = len(trace.step_edges) - 1
    if context.first_step is None or context.last_step is None:
        return trace, 1
    each, rest = divmod(context.last_step - context.first_step + 1, executions)
    if each < 2 or rest:
        return trace, 1
    edges = trace.step_edges
    parts: Sequence[list[int]] = [
        np.linspace(a, b, each, endpoint=False).astype(np.int64).tolist() for a, b in pairwise(edges.tolist())
    ]
    return replace(trace, step_edges=np.array([*chain(*parts), edges[-1]], np.int64)), each
