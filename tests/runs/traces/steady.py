"""A measure of how much of a recorded trace was classified that a busy machine does not move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from trackside.runs.traces.trace import Labels, Trace, nesting, self_time


def steady_share(trace: Trace, labels: Sequence[Labels]) -> float:
    """The share of operators' time with a family, every call taken to last as its kind does in the middle.

    A call during which another process had the core would count for as much as all the others.
    """
    times: dict[tuple[str, str], list[int]] = defaultdict(list)
    for lane, label in zip(trace.lanes, labels, strict=True):
        if lane.kind == "background":
            continue
        parent, _ = nesting(lane.start, lane.duration)
        own = self_time(lane.start, lane.duration, parent).tolist()
        for name, family, time in zip(lane.names, label.family, own, strict=True):
            if family is not None:
                times[name, family].append(time)
    steady = {kind: len(every) * median(every) for kind, every in times.items()}
    return sum(time for (_, family), time in steady.items() if family != "other") / sum(steady.values())
