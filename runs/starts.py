"""Where runs begin: the step of a run that is the beginning of its x axis, whichever axis that is.

A run may be set to begin at a later step than its first: after its warm-up, or where a delayed training really starts.
What came before is left out, and the rest moves towards zero:

- on `step` that step lies at 0;
- on `epoch`, `samples`, `tokens` and `process` what had been seen, or had passed, before that step is taken off: it
  then lies where the first step of a run lies that is not shifted;
- on `relative` it lies at 0, as a run's first recorded step does;
- `wall` is a clock and stays as it is.

A step below 0 moves a run the other way: one that continues another under a new name may begin at −1,000 and be drawn
behind it. How long it would have taken to get there nobody knows: such a run keeps its place on the time axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from ..db.errors import UsageError
from ..db.records import Axes, Float64Array, Int64Array, RunInfo, Series
from .align import TIME_AXES, Aligned, Axis, fractional_epochs, last_known, origin, seen

if TYPE_CHECKING:
    from ..db.store import Store

Starts = Mapping[str, int]
"""By run id, the step that a run begins with; one that is not in it begins with its first."""
FROM_THE_FIRST: Final[Starts] = MappingProxyType({})
"""Every run begins with its first step."""

LONGEST_NOTE = 64  # characters under the title of an axis: as many as a column of a page has room for

_UNITS: Mapping[Axis, tuple[str, str]] = {
    "step": ("step", "steps"),
    "epoch": ("epoch", "epochs"),
    "samples": ("sample", "samples"),
    "tokens": ("token", "tokens"),
    "relative": ("second", "seconds"),
    "process": ("second", "seconds"),
}


def shift(axes: Axes | None, axis: Axis, start: int, *, steps_per_epoch: float | None = None) -> float:
    """What is taken off the x of a run that begins at step `start`; NaN where that cannot be known.

    Args:
        axes: of the run; needed for every axis but `step` and `wall`.
        axis: what x is.
        start: the step that the run begins with.
        steps_per_epoch: as for `align.align`.
    """
    if axis in ("step", "wall"):
        return float(start) if axis == "step" else 0.0
    if axes is None:
        raise UsageError(f"The axis {axis!r} needs what the run knew at each step: pass axes=store.axes(run).")
    if axis in TIME_AXES:
        if not len(axes) or start < 0:
            return math.nan
        at, before = moments(axes, start)
        if axis == "relative":
            return 0.0 if at is None else at - origin(axes, axes.times)
        return before[1]
    if axis == "epoch":
        return _before(*fractional_epochs(axes, steps_per_epoch), start)
    return _before(axes.steps, seen(axes, axis), start)


def moments(axes: Axes, start: int) -> tuple[float | None, tuple[float, float]]:
    """When a run came to a step, and the last record before that.

    Where the run was resumed and made the step twice, the first time counts.

    Returns:
        Seconds since the epoch (UTC) of the step's first record, None where the run never came so far; then time and
        process seconds of the record before it, minus infinity and 0 where there is none.
    """
    later = np.flatnonzero(axes.steps >= start)
    first = int(later[0]) if len(later) else len(axes)
    before = (float(axes.times[first - 1]), float(axes.process_seconds[first - 1])) if first else (-math.inf, 0.0)
    return (float(axes.times[first]) if len(later) else None), before


def from_start(series: Series, start: int) -> Series:
    """The points of a series from a step on."""
    kept = series.steps >= start
    if bool(kept.all()):
        return series
    return Series(series.info, series.steps[kept], series.values[kept], series.times[kept])


def moved(points: Aligned, taken_off: float) -> Aligned:
    """Points with something taken off their x, which `shift` returned; its NaN leaves them where they are."""
    if math.isnan(taken_off) or not taken_off:
        return points
    return replace(points, x=points.x - taken_off)


def _before(steps: Int64Array, total: Float64Array, start: int) -> float:
    """What had been seen before a step; between two records, and before the first, at an even pace."""
    steps, total = last_known(steps, total)
    if not len(steps):
        return math.nan
    if start > steps[0]:
        return float(np.interp(start - 1, steps, total))
    if len(steps) > 1:
        pace = (total[1] - total[0]) / (steps[1] - steps[0])
    else:
        pace = total[0] / (steps[0] + 1) if steps[0] >= 0 else 0.0
    return float(total[0] - pace * (steps[0] - start + 1))


def chosen_starts(store: Store, runs: Sequence[RunInfo], given: Sequence[str]) -> dict[str, int]:
    """Where runs begin, as somebody wrote it on a command line.

    Args:
        store: where the runs are.
        runs: among which they must be.
        given: `RUN:STEP` each; a run is an id, a unique beginning of one, or a name.

    Raises:
        UsageError: one of them is not like that, or its run is none of them.
    """
    found: dict[str, int] = {}
    ids = {run.id for run in runs}
    for text in given:
        reference, _, written = text.rpartition(":")
        step = start_step(written)
        if not reference or step is None:
            raise UsageError(f"{text!r} does not say where a run begins: write RUN:STEP, such as {runs[0].name}:100.")
        run = store.run(reference)
        if run.id not in ids:
            raise UsageError(f"The run {run.id} that is to begin at step {step} is none of these: name one of them.")
        found[run.id] = step
    return found


def start_step(text: str) -> int | None:
    """A step as it is written in an address or on a command line; None where that is no step."""
    try:
        step = int(text)
    except ValueError:
        return None
    return step if abs(step) < 2**53 else None  # as far as a browser counts


def sentence(label: str, axis: Axis, start: int, taken_off: float) -> str:
    """What a caption says of a run that does not begin with its first step.

    Args:
        label: of the run.
        axis: what x is.
        start: the step it begins with.
        taken_off: what `shift` returned.
    """
    begins = f"{label} begins at its step {signed(start)}"
    if axis == "wall":
        return f"{begins}; a clock is not shifted."
    if math.isnan(taken_off):
        return f"{begins}, whose place on this axis is not known: it is not shifted."
    one, several = _UNITS[axis]
    amount = abs(taken_off)
    written = f"{amount:,.0f}" if amount == round(amount) else f"{amount:,.4g}"
    what = f"{written} {one if written == '1' else several}"
    verb = "is" if written == "1" else "are"
    return f"{begins}: {what} {verb} {'added to' if taken_off < 0 else 'taken off'} its x."


def axis_note(labels: Mapping[str, str], starts: Starts) -> str:
    """What stands under the title of the axis; "" where every run begins with its first step.

    Args:
        labels: of all runs shown, by id.
        starts: where they begin.
    """
    begun = {run_id: starts[run_id] for run_id in labels if run_id in starts}
    if not begun:
        return ""
    if len(begun) > 1 and len(begun) == len(labels) and len(set(begun.values())) == 1:
        return f"each run from its step {signed(next(iter(begun.values())))}"
    named = ", ".join(f"{labels[run_id]} from its step {signed(step)}" for run_id, step in begun.items())
    if len(named) <= LONGEST_NOTE:
        return named
    return f"{len(begun)} of {len(labels)} runs from another step than their first"


def signed(step: int) -> str:
    """A step with a proper minus sign."""
    return f"{step:,}".replace("-", "\N{MINUS SIGN}")
