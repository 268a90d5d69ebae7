"""Steps of a PyTorch trace, and what the training thread did when.

With trackside's markers both are read off. Without, steps are those of the user's own profiler schedule
(`ProfilerStep#`) or calls of the optimizer, and phases follow from the operators: what autograd runs is backward, what
it keeps track of is forward. In Lightning both lie inside the optimizer's step, which calls them as a closure, so that
only what comes after them in there is the optimizer's work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise

import numpy as np

from ...db.records import Int64Array
from .chrome import AUTOGRAD
from .records import PARTS, Part
from .summary import Phase
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
    for name, start in zip(training.names, training.start.tolist(), strict=True):
        if name.startswith(MARKER):
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
        waits = [begin for begin, _ in _ranges(training, DATA.search) if begin >= moments[0]]
        short = bool(waits) and batch_end is not None and waits[-1] < batch_end
        return _edges([*moments, end or int(ends.max())]), [LAST_STEP_SHORT] if short else []
    own = [i for i, name in enumerate(training.names) if name.startswith("ProfilerStep#")]
    if own:
        return _edges([*training.start[own].tolist(), int(ends[own].max())]), []
    calls = [i for i, name in enumerate(training.names) if name.startswith("Optimizer.step#")]
    if calls:
        return _edges([int(training.start[0]), *ends[calls].tolist()]), [BY_OPTIMIZER]
    return _edges([int(training.start.min()), int(ends.max())]), [NO_STEPS]


def phases(lanes: Sequence[Lane]) -> tuple[list[Phase], list[str]]:
    """What the training thread, the first of the lanes, did when; and what a reader must know."""
    training = lanes[0]
    marks = [
        (start, kind)
        for name, start in zip(training.names, training.start.tolist(), strict=True)
        if name.startswith(MARKER) and (kind := name[len(MARKER) :].partition("#")[0]) in BEGINS
    ]
    waits = _ranges(training, DATA.search)
    if any(kind in ("backward", "optimizer") for _, kind in marks):
        found, notes = _between(marks, named_waits=bool(waits)), []
        if not waits and any(kind == "step_end" for _, kind in marks):
            notes.append(WAIT_BETWEEN)
    else:
        found, notes = list(_from_operators(lanes, waits)), [PHASES_INFERRED]
    return [*found, *(Phase(*one, "data") for one in waits)], notes


def waiting_for_device(training: Lane) -> list[Phase]:
    """When the training thread did nothing but wait for an accelerator: that time is the accelerator's."""
    return [Phase(*one, "other") for one in _ranges(training, SYNCHRONISES.match)]


def parts_at(phases: Sequence[Phase], moments: Int64Array) -> list[Part]:
    """The part that each moment belongs to, by the last phase that covers it."""
    bounds = np.array([[one.start, one.end] for one in phases], np.int64).reshape(-1, 2)
    points = np.unique(bounds)
    codes = np.full(len(points) + 1, PARTS.index("other"))
    for phase, (first, last) in zip(phases, (np.searchsorted(points, bounds) + 1).tolist(), strict=True):
        codes[first:last] = PARTS.index(phase.part)
    return [PARTS[code] for code in codes[np.searchsorted(points, moments, side="right")].tolist()]


def _edges(moments: Sequence[int]) -> Int64Array:
    return np.unique(np.array(moments, np.int64))


def _between(marks: Sequence[tuple[int, str]], *, named_waits: bool) -> list[Phase]:
    """From each marker to the next. Between batches is the loop's own time where the wait for data is known apart."""
    found = []
    for (start, kind), (end, _) in pairwise(marks):
        part = "other" if kind == "step_end" and named_waits else BEGINS[kind]
        found.append(Phase(start, end, part))
    return found


def _from_operators(lanes: Sequence[Lane], waits: Sequence[tuple[int, int]]) -> Iterator[Phase]:
    training = lanes[0]
    backward = [
        one for lane in lanes if lane.kind != "device" for one in _ranges(lane, lambda n: n.startswith(AUTOGRAD))
    ]
    forward = [
        (start, start + duration)
        for start, duration, detail in zip(
            training.start.tolist(), training.duration.tolist(), training.details, strict=True
        )
        if detail and "sequence" in detail and not detail["backward"]
    ]
    last_ends = np.sort(np.array([end for _, end in backward], np.int64))
    optimizer = []
    for start, end in _ranges(training, lambda name: name.startswith("Optimizer.step#")):
        inside = last_ends[(last_ends > start) & (last_ends <= end)]
        optimizer.append((int(inside[-1]) if len(inside) else start, end))
    optimizer += _ranges(training, lambda name: name.startswith("Optimizer.zero_grad#"))
    hints: list[tuple[int, int, Part]] = [
        *((*one, "backward") for one in backward),
        *((*one, "forward") for one in forward),
    ]
    hints += [(*one, "optimizer") for one in optimizer] + [(*one, "data") for one in waits]
    for part, stretch in groupby(sorted(_outermost(hints)), key=lambda hint: hint[2]):
        together = list(stretch)
        if part in ("forward", "backward"):
            yield Phase(together[0][0], max(end for _, end, _ in together), part)
    yield from (Phase(*one, "optimizer") for one in optimizer)


def _outermost(hints: Sequence[tuple[int, int, Part]]) -> Iterator[tuple[int, int, Part]]:
    """Without those that lie in another: data that autograd keeps track of, what a gradient calls."""
    reached = -1
    for hint in sorted(hints, key=lambda one: (one[0], -one[1])):
        if hint[1] > reached:
            reached = hint[1]
            yield hint


def _ranges(lane: Lane, matches: Callable[[str], object]) -> list[tuple[int, int]]:
    """Start and end of the events whose name matches."""
    known: dict[str, bool] = {}
    found = []
    for name, start, duration in zip(lane.names, lane.start.tolist(), lane.duration.tolist(), strict=True):
        if name not in known:
            known[name] = bool(matches(name))
        if known[name]:
            found.append((start, start + duration))
    return found
