"""Steps of a PyTorch trace, and what the training thread did when.

With trackside's markers both are read off. Without, steps are those of the user's own profiler schedule
(`ProfilerStep#`) or calls of the optimizer, and phases follow from the operators: what autograd runs is backward, what
it keeps track of is forward. In Lightning both lie inside the optimizer's step, which calls them as a closure, so that
only what comes after them in there is the optimizer's work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...db.records import Int64Array
from .coded import Coded, coded
from .records import PARTS, Part
from .summary import Phase
from .torch_events import AUTOGRAD, communicates, is_operator
from .trace import Lane

MARKER = "trackside::"
STEP = re.compile(r"trackside::step#(\d+)$")
BEGINS: dict[str, Part] = {
    "step": "forward", "forward": "forward", "zero_grad": "optimizer", "backward": "backward",
    "after_backward": "other", "optimizer": "optimizer", "step_end": "data", "end": "other",
}  # fmt: skip
"""What begins at a marker."""
DATA = re.compile(r"DataLoader.*__next__|train_dataloader_next")
SYNCHRONISES = re.compile(r"(cuda|hip)(Stream|Device|Event)Synchronize|(cuda|hip)Memcpy$")

LAST_STEP_SHORT = "The last step ends with its last hook: waiting for the batch after it was not recorded."
NO_STEPS = "The trace does not say where steps begin: all of it counts as one step."
BY_OPTIMIZER = "Steps are counted by calls of the optimizer; the first one begins where the recording does."
PHASES_INFERRED = (
    "Forward, backward and optimizer time are taken from the operators: Python between them counts as other."
)
WAIT_BETWEEN = "Between two batches everything counts as waiting for data: the trace does not name the data loader."


def steps(training: Lane) -> tuple[Int64Array, list[str]]:
    """(n_steps + 1,) nanoseconds at which steps begin, and where the last one ends; and what a reader must know."""
    ends = training.start + training.duration
    begins: dict[int, int] = {}
    end: int | None = None
    batch_end: int | None = None  # the last
    names = coded(training.names)
    for name, start in _marks(training):
        if found := STEP.match(name):
            begins.setdefault(int(found[1]), start)  # with gradient accumulation a step has several batches
        elif name == "trackside::step_end":
            batch_end = start
        elif name == "trackside::end":
            end = start
    if begins:
        moments = list(begins.values())
        if batch_end is not None and batch_end < moments[-1] and len(moments) > 1:
            return _edges(moments), []  # recording ended within a step, which is left out
        waits = [begin for begin in _ranges(training, DATA.search)[0].tolist() if begin >= moments[0]]
        short = bool(waits) and batch_end is not None and waits[-1] < batch_end
        return _edges([*moments, end or int(ends.max())]), [LAST_STEP_SHORT] if short else []
    own = names.places(lambda name: name.startswith("ProfilerStep#"))
    if own:
        return _edges([*training.start[own].tolist(), int(ends[own].max())]), []
    calls = names.places(lambda name: name.startswith("Optimizer.step#"))
    if calls:
        return _edges([int(training.start[0]), *ends[calls].tolist()]), [BY_OPTIMIZER]
    return _edges([int(training.start.min()), int(ends.max())]), [NO_STEPS]


def phases(lanes: Sequence[Lane]) -> tuple[list[Phase], list[str]]:
    """What the training thread, the first of the lanes, did when; and what a reader must know."""
    training = lanes[0]
    marks = [
        (start, kind) for name, start in _marks(training) if (kind := name[len(MARKER) :].partition("#")[0]) in BEGINS
    ]
    waits = _phases(_ranges(training, DATA.search), "data")
    if any(kind in ("backward", "optimizer") for _, kind in marks):
        found, notes = _between(marks, named_waits=bool(waits)), []
        if not waits and any(kind == "step_end" for _, kind in marks):
            notes.append(WAIT_BETWEEN)
    else:
        found, notes = _from_operators(lanes), [PHASES_INFERRED]
    return [*found, *waits], notes


def waiting_for_device(training: Lane) -> list[Phase]:
    """When the training thread did nothing but wait for an accelerator: that time is the accelerator's."""
    return _phases(_ranges(training, SYNCHRONISES.match), "other")


def waiting_for_others(lanes: Sequence[Lane]) -> list[Phase]:
    """When the training thread, the first of the lanes, exchanged data with other processes, or waited for that.

    Without an accelerator a communication runs on a thread of its own, and no event says that the training thread waits
    for it. It does where it runs no operator until the communication ends. An accelerator's communication is an event
    of the accelerator, and nothing is found here.
    """
    training, others = lanes[0], lanes[1:]
    if any(lane.kind == "device" for lane in others):
        return []
    found = [_bounds(lane, communicates(lane)) for lane in lanes]
    start, end = np.concatenate([np.zeros((2, 0), np.int64), *found[1:]], axis=1)
    operators = coded(training.details, id).where(is_operator)
    reached = np.maximum.accumulate((training.start + training.duration)[operators])
    begun = training.start[operators]
    waits = []
    if len(begun):
        idle = begun[1:] > reached[:-1]
        since, until = reached[:-1][idle], begun[1:][idle]
        place = np.searchsorted(since, end, side="right") - 1
        for at, begin, done in zip(place.tolist(), start.tolist(), end.tolist(), strict=True):
            if at >= 0 and done <= until[at]:
                waits.append(Phase(max(begin, int(since[at])), done, "communication"))
    return [*waits, *_phases(found[0], "communication")]


def parts_at(phases: Sequence[Phase], moments: Int64Array) -> Coded[Part]:
    """The part that each moment belongs to, by the last phase that covers it."""
    bounds = np.array([[one.start, one.end] for one in phases], np.int64).reshape(-1, 2)
    points = np.unique(bounds)
    codes = np.full(len(points) + 1, PARTS.index("other"), np.int32)
    for phase, (first, last) in zip(phases, (np.searchsorted(points, bounds) + 1).tolist(), strict=True):
        codes[first:last] = PARTS.index(phase.part)
    return Coded(PARTS, codes[np.searchsorted(points, moments, side="right")])


def _edges(moments: Sequence[int]) -> Int64Array:
    return np.unique(np.array(moments, np.int64))


def _between(marks: Sequence[tuple[int, str]], *, named_waits: bool) -> list[Phase]:
    """From each marker to the next. Between batches is the loop's own time where the wait for data is known apart."""
    found = []
    for (start, kind), (end, _) in pairwise(marks):
        part = "other" if kind == "step_end" and named_waits else BEGINS[kind]
        found.append(Phase(start, end, part))
    return found


def _from_operators(lanes: Sequence[Lane]) -> list[Phase]:
    training = lanes[0]
    ranges = [_ranges(lane, lambda name: name.startswith(AUTOGRAD)) for lane in lanes if lane.kind != "device"]
    backward = np.concatenate(ranges, axis=1)
    forward = np.zeros((2, 0), np.int64)
    if training.links is not None:
        forward = _bounds(training, (training.links.sequence >= 0) & ~training.links.backward)
    # In the optimizer's step, what comes after the last gradient is its own work.
    optimizer = _ranges(training, lambda name: name.startswith("Optimizer.step#"))
    last_ends = np.append(-1, np.sort(backward[1]))
    last = last_ends[np.searchsorted(last_ends, optimizer[1], side="right") - 1]
    optimizer[0] = np.where(last > optimizer[0], last, optimizer[0])
    zeroing = _ranges(training, lambda name: name.startswith("Optimizer.zero_grad#"))
    optimizer = np.concatenate([optimizer, zeroing], axis=1)
    waits = _ranges(training, DATA.search)
    hints = _together([(backward, "backward"), (forward, "forward"), (optimizer, "optimizer"), (waits, "data")])
    return [*(one for one in hints if one.part in ("forward", "backward")), *_phases(optimizer, "optimizer")]


def _together(hints: Sequence[tuple[Int64Array, Part]]) -> list[Phase]:
    """Stretches of one part after the other, without what lies in another hint.

    Left out are data that autograd keeps track of, and what a gradient calls.

    Args:
        hints: (2, n) starts and ends of what says that the thread works on a part.
    """
    start, end = np.concatenate([one for one, _ in hints], axis=1)
    part = np.repeat([PARTS.index(name) for _, name in hints], [one.shape[1] for one, _ in hints])
    order = np.lexsort((-end, start))
    start, end, part = start[order], end[order], part[order]
    reached = np.maximum.accumulate(np.append(-1, end))[:-1]
    outermost = end > reached
    start, end, part = start[outermost], end[outermost], part[outermost]
    if not len(start):
        return []
    first = np.flatnonzero(np.append(True, part[1:] != part[:-1]))
    columns = start[first].tolist(), np.maximum.reduceat(end, first).tolist(), part[first].tolist()
    return [Phase(begin, until, PARTS[code]) for begin, until, code in zip(*columns, strict=True)]


def _marks(lane: Lane) -> list[tuple[str, int]]:
    """The tracker's marks and when they were set."""
    places = coded(lane.names).places(lambda name: name.startswith(MARKER))
    return [(lane.names[place], int(lane.start[place])) for place in places]


def _ranges(lane: Lane, matches: Callable[[str], object]) -> Int64Array:
    """(2, n) starts and ends of the events whose name matches."""
    return _bounds(lane, coded(lane.names).where(matches))


def _bounds(lane: Lane, chosen: NDArray[np.bool_]) -> Int64Array:
    """(2, n) starts and ends of the chosen events."""
    return np.stack([lane.start[chosen], (lane.start + lane.duration)[chosen]])


def _phases(ranges: Int64Array, part: Part) -> list[Phase]:
    return [Phase(start, end, part) for start, end in ranges.T.tolist()]
