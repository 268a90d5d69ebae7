"""A raw trace in columns: lanes of events that lie in one another, as both frameworks' profilers record them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...db.records import Float64Array, Int64Array
from .coded import taken
from .records import Direction, Family

Int32Array = NDArray[np.int32]

LaneKind = Literal["training", "compute", "background", "device"]
"""`training`: the thread that runs the training loop. `compute`: threads that it waits for (TensorFlow's executor,
PyTorch's backward thread). `background`: threads that it does not wait for (input pipeline). `device`: an accelerator's
stream."""


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """What ties the events of a lane to others, in PyTorch's traces.

    Attributes:
        sequence: (n,) int64, the number that an operator shares with its gradient's; negative where there is none.
        backward: (n,) bool, whether it is the gradient's.
        external: (n,) the number that a kernel shares with the operator that launched it, or None.
        correlation: (n,) the number that a kernel shares with the call that launched it, or None.
    """

    sequence: Int64Array
    backward: NDArray[np.bool_]
    external: Sequence[int | None]
    correlation: Sequence[int | None]

    def take(self, places: Int64Array) -> Links:
        """Those of the events at these places, in their order."""
        tied = taken(self.external, places), taken(self.correlation, places)
        return Links(self.sequence[places], self.backward[places], *tied)


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """Events of one thread or stream, sorted by start and, where they start together, the longest first.

    Attributes:
        name: of the thread or stream.
        kind: what it does for the training.
        names: (n,) the events' names; strings that occur often are one object.
        start: (n,) int64, nanoseconds on the clock that all lanes of the trace share.
        duration: (n,) int64, nanoseconds; 0 for a marker.
        details: (n,) what else the profiler said of each event, or None for those of which it said nothing. Events
            of which it said the same share an object.
        memory: (n,) float64, bytes that each event allocated less those that it freed, NaN where it did neither; None
            where memory was not recorded.
        links: what ties the events to others, or None.
    """

    name: str
    kind: LaneKind
    names: Sequence[str]
    start: Int64Array
    duration: Int64Array
    details: Sequence[Mapping[str, Any] | None]
    memory: Float64Array | None = None
    links: Links | None = None

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def of(
        cls,
        name: str,
        kind: LaneKind,
        names: Sequence[str],
        start: Int64Array,
        duration: Int64Array,
        details: Sequence[Mapping[str, Any] | None],
        links: Links | None = None,
    ) -> Lane:
        """A lane of events in any order."""
        later = np.diff(start)
        if not np.all((later > 0) | ((later == 0) & (np.diff(duration) <= 0))):
            order = np.lexsort((-duration, start))
            names, details = taken(names, order), taken(details, order)
            start, duration = start[order], duration[order]
            links = None if links is None else links.take(order)
        return cls(name, kind, names, start, duration, details, links=links)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What each event of one lane is for: (n,) each, in the lane's order.

    Attributes:
        family: None for what is no operator: Python, the framework's own bookkeeping, ranges around several operators.
        direction: of the operator.
        layer: path of the layer it worked for, or None.
        inferred: family or direction is a guess.
    """

    family: Sequence[Family | None]
    direction: Sequence[Direction]
    layer: Sequence[str | None]
    inferred: Sequence[bool]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """All lanes of a trace, and the steps it covers.

    Attributes:
        lanes: at least the training thread's, where the trace has one.
        step_edges: (n_steps + 1,) int64 nanoseconds: where each step begins, and where the last one ends.
        wall_clock: seconds since the epoch (UTC) of nanosecond 0, or None where the trace does not say.
    """

    lanes: tuple[Lane, ...]
    step_edges: Int64Array
    wall_clock: float | None = None


def nesting(start: Int64Array, duration: Int64Array) -> tuple[Int32Array, Int32Array]:
    """Which event each event of a lane lies in, and how deep.

    An event that begins inside another and ends after it (ranges opened in one hook and closed in another) counts as
    lying in it.

    Args:
        start: (n,) int64, sorted as in `Lane`.
        duration: (n,) int64.

    Returns:
        parent: (n,) int32, the index of the innermost event around it, -1 where there is none.
        depth: (n,) int32, 0 where there is none.
    """
    starts, ends = start.tolist(), (start + duration).tolist()
    parents, depths = [-1] * len(starts), [0] * len(starts)
    open_events: list[int] = []
    for index, begin in enumerate(starts):
        while open_events and ends[open_events[-1]] <= begin:
            open_events.pop()
        if open_events:
            parents[index] = open_events[-1]
        depths[index] = len(open_events)
        if ends[index] > begin:  # nothing lies in a marker
            open_events.append(index)
    return np.array(parents, np.int32), np.array(depths, np.int32)


def self_time(start: Int64Array, duration: Int64Array, parent: Int32Array) -> Int64Array:
    """Nanoseconds of each event that none of the events directly in it covers.

    Args:
        start: (n,) int64, sorted as in `Lane`.
        duration: (n,) int64.
        parent: (n,) as from `nesting`.
    """
    inside = parent >= 0
    within = parent[inside]
    end = start + duration
    covered = np.minimum(end[inside], end[within]) - start[inside]
    rest = duration.copy()
    np.subtract.at(rest, within, covered)
    return np.maximum(rest, 0)
