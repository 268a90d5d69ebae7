"""From the labelled lanes of a trace to a `Profile`: self times, operators, and a wall clock that adds up.

Both readers end here, so that a PyTorch trace and a TensorFlow one are added up by the same rules:

- An operator's self time is its time without the operators inside it on its lane. Events that are no operators (family
  None: Python, bookkeeping, launches) are no rows; their time inside an operator is that operator's.
- What begins before the first step or after the last one is not counted.
- Each nanosecond of a step belongs to one part: to the last of the phases that cover it; if none does, or only `other`,
  to what an accelerator did meanwhile, a kernel before a copy before communication; else to `other`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...db.errors import TraceError
from ...db.records import Float64Array, Int64Array
from .coded import Coded, coded
from .records import PARTS, Family, Format, Operator, Part, Profile, TraceContext
from .trace import Labels, Lane, Trace, nesting, self_time

NANO = 1e-9
DEVICE_PARTS: tuple[Part, ...] = ("kernel", "copy", "communication")
"""In the order in which they claim time that no phase covers: communication behind a kernel costs nothing."""
COPY = re.compile(r"mem(cpy|set)", re.IGNORECASE)
OTHER = PARTS.index("other")


class Phase(NamedTuple):
    """A stretch of the training thread's time and what it was spent on, in nanoseconds of the trace's clock."""

    start: int
    end: int
    part: Part


def summarise(
    trace: Trace,
    labels: Sequence[Labels],
    context: TraceContext,
    format: Format,
    *,
    phases: Sequence[Phase] = (),
    notes: Sequence[str] = (),
) -> Profile:
    """Where the time of the trace's steps went.

    Args:
        trace: its lanes and steps.
        labels: one for each lane, in the lanes' order. Of a lane's `details` these are read, where there: `shapes`
            (str) and `flops` (float) of the event itself.
        context: what the tracker knew.
        format: of the raw trace.
        phases: what the training thread did when. They may overlap, and stick out of the steps: a later one covers an
            earlier one, so that a range inside another is given after it. `other` uncovers.
        notes: sentences that a reader of the numbers must know.

    Raises:
        TraceError: the trace has no step.
    """
    if len(trace.step_edges) < 2:
        raise TraceError(
            "The trace holds no whole training step: record at least one, from its first to its last hook."
        )
    parts = split_of_steps(trace, labels, phases)
    has_device = any(lane.kind == "device" for lane in trace.lanes)
    mean = parts.sum(axis=0) * NANO / len(parts)
    operators = _operators(trace, labels)
    # Where an accelerator does the work, what the processor does is launching it.
    device = "gpu" if any(one.device == "gpu" for one in operators) else "cpu"
    counted = [one for one in operators if one.device == device and not one.background]
    in_all = sum(one.self_seconds for one in counted)
    named = sum(one.self_seconds for one in counted if one.family != "other")
    return Profile(
        format=format,
        context=context,
        step_seconds=tuple((np.diff(trace.step_edges) * NANO).tolist()),
        split={
            part: float(mean[i]) for i, part in enumerate(PARTS) if has_device or mean[i] or part not in DEVICE_PARTS
        },
        operators=tuple(operators),
        classified_fraction=named / in_all if in_all else float("nan"),
        notes=tuple(notes),
    )


def split_of_steps(trace: Trace, labels: Sequence[Labels], phases: Sequence[Phase]) -> Int64Array:
    """Nanoseconds of each part in each step: (n_steps, n_parts) in the order of `PARTS`; rows add up to the step."""
    edges = trace.step_edges
    busy = {part: _device_intervals(trace, labels, part) for part in DEVICE_PARTS}
    inside = [one for one in phases if one.end > edges[0] and one.start < edges[-1] and one.end > one.start]
    marks = [edges, np.array([[one.start, one.end] for one in inside], np.int64).reshape(-1), *busy.values()]
    points = np.unique(np.clip(np.concatenate([one.reshape(-1) for one in marks]), edges[0], edges[-1]))
    part = np.full(len(points) - 1, OTHER)
    for phase, (first, last) in zip(inside, _places(points, inside), strict=True):
        part[first:last] = PARTS.index(phase.part)
    for name in DEVICE_PARTS:
        changes = np.zeros(len(points), np.int64)
        start, end = np.searchsorted(points, np.clip(busy[name], edges[0], edges[-1]))
        np.add.at(changes, start, 1)
        np.subtract.at(changes, end, 1)
        part[(part == OTHER) & (np.cumsum(changes)[:-1] > 0)] = PARTS.index(name)
    step = np.searchsorted(edges, points[:-1], side="right") - 1
    split = np.zeros((len(edges) - 1, len(PARTS)), np.int64)
    np.add.at(split, (step, part), np.diff(points))
    return split


def device_part(name: str, family: Family | None) -> Part:
    """Which part of a step an accelerator's event is."""
    if family == "communication":
        return "communication"
    return "copy" if COPY.match(name) else "kernel"


def _places(points: Int64Array, phases: Sequence[Phase]) -> list[list[int]]:
    """Where the phases begin and end among the points between which nothing changes."""
    bounds = np.array([[one.start, one.end] for one in phases], np.int64).reshape(-1, 2)
    places: list[list[int]] = np.searchsorted(points, np.clip(bounds, points[0], points[-1])).tolist()
    return places


def _device_intervals(trace: Trace, labels: Sequence[Labels], part: Part) -> Int64Array:
    """(2, n) starts and ends of all accelerators' events of one part."""
    found = [np.zeros((2, 0), np.int64)]
    for lane, label in zip(trace.lanes, labels, strict=True):
        if lane.kind == "device":
            names, families = coded(lane.names), coded(label.family)
            chosen = np.array(
                [[device_part(name, family) == part for family in families.values] for name in names.values], bool
            )[names.codes, families.codes]
            found.append(np.stack([lane.start[chosen], (lane.start + lane.duration)[chosen]]))
    return np.concatenate(found, axis=1)


def _operators(trace: Trace, labels: Sequence[Labels]) -> list[Operator]:
    """All calls of one kind as one row, the longest self time first."""
    groups: dict[tuple[Any, ...], int] = {}
    columns: list[tuple[NDArray[np.int64], Float64Array]] = []
    for lane, label in zip(trace.lanes, labels, strict=True):
        columns.append(_grouped(trace, lane, label, groups))
    if not groups:
        return []
    group = np.concatenate([one for one, _ in columns])
    values = np.concatenate([one for _, one in columns], axis=1)
    calls = np.bincount(group, minlength=len(groups))
    own, total = (np.bincount(group, weights=one, minlength=len(groups)) * NANO for one in values[:2])
    memory, flops = (_sums_where_known(group, one, len(groups)) for one in values[2:])
    rows = [
        Operator(
            name=name,
            family=family,
            direction=direction,
            layer=layer,
            inferred=inferred,
            shapes=shapes,
            device="gpu" if kind == "device" else "cpu",
            background=kind == "background",
            calls=int(calls[i]),
            self_seconds=float(own[i]),
            total_seconds=float(total[i]),
            memory_bytes=None if np.isnan(memory[i]) else int(memory[i]),
            flops=None if np.isnan(flops[i]) else float(flops[i]),
        )
        for i, (name, family, direction, layer, inferred, shapes, kind) in enumerate(groups)
    ]
    return sorted(rows, key=lambda row: -row.self_seconds)


def _grouped(
    trace: Trace, lane: Lane, label: Labels, groups: dict[tuple[Any, ...], int]
) -> tuple[NDArray[np.int64], Float64Array]:
    """The group of each operator event of a lane within the steps, and its numbers.

    `groups` says which number what makes a row has; new rows are added to it.

    Returns:
        group: (n_events,).
        values: (4, n_events) self and total nanoseconds, memory in bytes and FLOPs, NaN where unknown.
    """
    family, details = coded(label.family), coded(lane.details, id)
    operators = np.flatnonzero(family.where(lambda one: one is not None))
    start, duration = lane.start[operators], lane.duration[operators]
    parent, _ = nesting(start, duration)
    own = self_time(start, duration, parent)
    inside = (start >= trace.step_edges[0]) & (start < trace.step_edges[-1])
    said = [one or {} for one in details.values]
    # A thread's part in a row: a stream's kernels, or the pipeline's operators, never share one with the training's.
    kind = lane.kind if lane.kind in ("device", "background") else "cpu"
    shapes = Coded([one.get("shapes", "") for one in said], details.codes)
    columns = coded(lane.names), family, coded(label.direction), coded(label.layer), coded(label.inferred), shapes
    counted = operators[inside]
    group = np.full(len(operators), -1, np.int64)
    place, first = _alike([one.codes[counted] for one in columns])
    rows = zip(*(one.take(counted[first]) for one in columns), strict=True)
    group[inside] = np.array([groups.setdefault((*row, kind), len(groups)) for row in rows], np.int64)[place]
    # An operator that calls itself is in its own total already.
    total = np.where((parent >= 0) & (group[parent] == group), 0, duration) if len(group) else duration
    memory = np.full(len(operators), np.nan) if lane.memory is None else lane.memory[operators]
    flops = np.array([one.get("flops", np.nan) for one in said], np.float64)[details.codes[operators]]
    values = np.array([own, total, memory, flops], np.float64)
    return group[inside], values[:, inside]


def _alike(columns: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int64], Int64Array]:
    """Which rows of columns of codes are the same: the number of each row's kind, and each kind's first row.

    Kinds are numbered in the order in which they first occur.
    """
    kinds = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        # Renumbered after each column, so that the product of two stays small.
        _, kinds = np.unique(kinds * (int(column.max(initial=0)) + 1) + column, return_inverse=True)
    _, first, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[kinds], first[order]


def _sums_where_known(group: NDArray[np.int64], values: Float64Array, size: int) -> Float64Array:
    """Sum of each group's values that are numbers; NaN where it has none."""
    known = ~np.isnan(values)
    sums = np.bincount(group[known], weights=values[known], minlength=size)
    return np.where(np.bincount(group[known], minlength=size) > 0, sums, np.nan)
