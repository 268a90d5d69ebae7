"""One step of a trace as bars on lanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...db.errors import UsageError
from .coded import taken
from .records import Slice
from .summary import NANO
from .trace import Labels, Trace, nesting

PREFIX = "trackside::"


def slices(trace: Trace, labels: Sequence[Labels], step_index: int) -> list[Slice]:
    """Everything that took time in one step, lane by lane, by start; cut where it sticks out of the step.

    Args:
        trace: its lanes and steps.
        labels: one for each lane, in the lanes' order.
        step_index: counted from the first recorded step.

    Raises:
        UsageError: the trace has no such step.
    """
    steps = len(trace.step_edges) - 1
    if not 0 <= step_index < steps:
        raise UsageError(f"The trace has no step {step_index}: choose one from 0 to {steps - 1}.")
    begin, end = trace.step_edges[step_index : step_index + 2].tolist()
    found = []
    for lane, label in zip(trace.lanes, labels, strict=True):
        ends = lane.start + lane.duration
        here = np.flatnonzero((lane.start < end) & (ends > begin) & (lane.duration > 0))
        start = np.maximum(lane.start[here], begin)
        duration = np.minimum(ends[here], end) - start
        _, depth = nesting(start, duration)
        columns = [lane.names, label.family, label.direction, label.layer]
        rows = zip(
            *(taken(one, here) for one in columns),
            (start - begin).tolist(),
            duration.tolist(),
            depth.tolist(),
            strict=True,
        )
        found += [
            Slice(
                name=name.removeprefix(PREFIX),
                family=family,
                direction=direction,
                layer=layer,
                start=offset * NANO,
                duration=length * NANO,
                lane=lane.name,
                depth=deep,
            )
            for name, family, direction, layer, offset, length, deep in rows
        ]
    return found
