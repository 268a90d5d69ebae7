"""What the wall clock of a TensorFlow step was spent on.

TensorFlow trains on several threads at once while Python waits for them, so no thread of its own shows the phases.
Each moment of a step counts as what an operator, or a range of the tracker, says of it; where several run at once, the
earlier stage counts, since the step waits for it: forward before backward before optimizer, and each before the
communication between devices and the wait for data. A moment
between two operators, in which Python or TensorFlow's executor looks for the next, counts as what came before it,
and after the wait for a batch as what follows. Before the first operator of a step and after its last one the time is
Python's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...db.records import Int64Array
from .records import Direction, Family, Part
from .summary import Phase
from .trace import Labels, Trace

STAGES: tuple[Part, ...] = ("data", "communication", "optimizer", "backward", "forward")
"""A later one covers an earlier one."""
RANGES: dict[str, Part] = {
    "trackside::loss": "forward", "trackside::backward": "backward", "trackside::optimizer": "optimizer",
}  # fmt: skip
LAYER = "trackside::layer::"
NOTHING = -1


def phases(trace: Trace, labels: Sequence[Labels]) -> list[Phase]:
    """The phases of all steps, in order, none over another."""
    stages = _signs(trace, labels)
    edges = trace.step_edges
    points = np.unique(np.clip(np.concatenate([edges, *(one.reshape(-1) for one in stages)]), edges[0], edges[-1]))
    if len(points) < 2:
        return []
    stage = np.full(len(points) - 1, NOTHING)
    for number, intervals in enumerate(stages):
        changes = np.zeros(len(points), np.int64)
        start, end = np.searchsorted(points, np.clip(intervals, edges[0], edges[-1]))
        np.add.at(changes, start, 1)
        np.subtract.at(changes, end, 1)
        stage[np.cumsum(changes)[:-1] > 0] = number
    step = np.searchsorted(edges, points[:-1], side="right")
    stage = _without_gaps(stage, step)
    found = []
    turns = np.flatnonzero(np.diff(stage) != 0) + 1
    for first, last in zip([0, *turns.tolist()], [*turns.tolist(), len(stage)], strict=True):
        if stage[first] != NOTHING:
            found.append(Phase(int(points[first]), int(points[last]), STAGES[int(stage[first])]))
    return found


def part_of(family: Family | None, direction: Direction) -> Part | None:
    """The part of a step that an operator is a sign of, or None."""
    if family in ("data", "optimizer", "communication"):
        return "data" if family == "data" else "optimizer" if family == "optimizer" else "communication"
    if family is None or direction == "none":
        return None
    return "backward" if direction == "backward" else "forward"


def _signs(trace: Trace, labels: Sequence[Labels]) -> list[Int64Array]:
    """For each stage (2, n) starts and ends of all events that are a sign of it."""
    found: list[list[Int64Array]] = [[np.zeros((2, 0), np.int64)] for _ in STAGES]
    # An accelerator's communication is an event of its own; what the host does for it is launching.
    silent = {"communication"} if any(lane.kind == "device" for lane in trace.lanes) else set()
    for lane, label in zip(trace.lanes, labels, strict=True):
        if lane.kind in ("device", "background"):
            continue
        keys = list(zip(label.family, label.direction, strict=True))
        meanings = {key: NOTHING if key[0] in silent else _number(part_of(*key)) for key in set(keys)}
        signs = np.array([meanings[key] for key in keys], np.int8)
        if lane.kind == "training":
            ranges = {name: number for name in set(lane.names) if (number := _number(_range(name))) != NOTHING}
            signs = np.maximum(signs, np.array([ranges.get(name, NOTHING) for name in lane.names], np.int8))
        ends = lane.start + lane.duration
        for number, of_stage in enumerate(found):
            chosen = signs == number
            of_stage.append(np.stack([lane.start[chosen], ends[chosen]]))
    return [np.concatenate(one, axis=1) for one in found]


def _number(part: Part | None) -> int:
    return NOTHING if part is None else STAGES.index(part)


def _range(name: str) -> Part | None:
    return "forward" if name.startswith(LAYER) else RANGES.get(name)


def _without_gaps(stage: Int64Array, step: Int64Array) -> Int64Array:
    """Give each stretch between two signs of one step to the one before it, or to the one after a wait for data."""
    index = np.arange(len(stage))
    known = stage != NOTHING
    before = np.maximum.accumulate(np.where(known, index, -1))
    after = np.minimum.accumulate(np.where(known, index, len(stage))[::-1])[::-1]
    gap = np.flatnonzero(~known & (before >= 0) & (after < len(stage)))
    gap = gap[(step[before[gap]] == step[gap]) & (step[after[gap]] == step[gap])]
    filled = stage.copy()
    waited = stage[before[gap]] == STAGES.index("data")
    filled[gap] = np.where(waited, stage[after[gap]], stage[before[gap]])
    return filled
