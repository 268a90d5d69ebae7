"""Put a series on an axis: where each of its points lies in steps, epochs, samples or time.

Nothing is logged for this: a run stores once a step which epoch, how many samples and what time it was, and
every series is placed by looking that up.

Conventions:

- `step`: optimizer updates from 0. `relative`: seconds since the run's first recorded step. `process`:
  seconds its processes were up, pauses between resumes left out. `wall`: seconds since 1970 (UTC).
- On the time axes a point lies where it was logged, so gauges read between two steps do not pile up on the
  first.
- `epoch` is fractional. A run that logs whole epochs has its steps spread evenly within them: step k (from
  0) of the n steps of epoch e is done at e + (k + 1) / n, so that what is logged at the end of the first
  epoch is at 1.
- A run resumed from a checkpoint repeats steps. On `step`, `epoch` and `samples` the point logged later
  counts, on the time axes both happened. Readings of a gauge (`reduction` is "sample") are all kept:
  several a step is what they are.
- `tokens`: where a run said how many it had seen; see `tokens.py`.
- A run may begin at a later step than its first; see `starts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..db.errors import UsageError
from ..db.records import Axes, Float64Array, Int64Array, Series

Axis = Literal["step", "epoch", "samples", "tokens", "relative", "process", "wall"]
AXES: tuple[Axis, ...] = get_args(Axis)
TIME_AXES: tuple[Axis, ...] = ("relative", "process", "wall")


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """A series on an axis, in the order of the axis.

    Attributes:
        x: (n,) float64, finite, not decreasing.
        values: (n,) float64, may hold NaN and infinities.
        steps: (n,) int64, the step of each point.
        missing: how many points have no known place on the axis and are not in `x`.
    """

    x: Float64Array
    values: Float64Array
    steps: Int64Array
    missing: int = 0


def align(series: Series, axis: Axis, axes: Axes | None = None, *, steps_per_epoch: float | None = None) -> Aligned:
    """Place `series` on `axis`.

    Args:
        series: the points in the order they were logged.
        axis: one of `AXES`.
        axes: of the same run and rank; needed for every axis but `step` and `wall`.
        steps_per_epoch: how long an epoch is, where it is known from elsewhere. It matters for the first
            epoch alone, whose length cannot be seen before it is over.

    Raises:
        UsageError: `axis` is none of `AXES`, or needs `axes`.
    """
    if axis not in AXES:
        raise UsageError(f"There is no axis {axis!r}: choose one of {', '.join(AXES)}.")
    if axis == "wall":
        return _in_order(series.times, series.values, series.steps)
    if axis != "step" and axes is None:
        raise UsageError(f"The axis {axis!r} needs what the run knew at each step: pass axes=store.axes(run).")
    steps, values, times = series.steps, series.values, series.times
    single = axis not in TIME_AXES and series.info.reduction != "sample"
    if single and not bool(np.all(steps[1:] > steps[:-1])):
        keep = last_of_each_step(steps)
        steps, values, times = steps[keep], values[keep], times[keep]
    if axis == "step" or axes is None:
        return _in_order(steps.astype(np.float64), values, steps)
    x = place(axes, axis, steps, times, steps_per_epoch=steps_per_epoch)
    known = np.isfinite(x)
    if known.all():
        return _in_order(x, values, steps)
    return _in_order(x[known], values[known], steps[known], missing=int(len(x) - known.sum()))


def place(
    axes: Axes,
    axis: Axis,
    steps: Int64Array,
    times: Float64Array | None,
    *,
    steps_per_epoch: float | None = None,
) -> Float64Array:
    """Where points of a run lie on `axis`, NaN where that is unknown.

    Args:
        axes: of the run.
        axis: one of `AXES`.
        steps: (n,) int64 of the points.
        times: (n,) float64 of the points; needed on the time axes only.
        steps_per_epoch: as for `align`.

    Returns:
        (n,) float64.
    """
    if axis in TIME_AXES:
        if times is None:
            raise UsageError(f"The axis {axis!r} needs the times of the points: pass times.")
        if axis == "wall":
            return times
        return times - origin(axes, times) if axis == "relative" else process_seconds(axes, times)
    if axis == "epoch":
        return look_up(*fractional_epochs(axes, steps_per_epoch), steps)
    if axis in ("samples", "tokens"):
        return look_up(axes.steps, seen(axes, axis), steps)
    return steps.astype(np.float64)


def seen(axes: Axes, axis: Axis) -> Float64Array:
    """How many samples, or tokens, had been seen at each record: (n,) float64, NaN where that is unknown."""
    if axis == "samples":
        return axes.samples
    return axes.tokens if axes.tokens is not None else np.full(len(axes), np.nan)


def last_of_each_step(steps: Int64Array) -> Int64Array:
    """Indices of the points that count where steps repeat: of each step the last, in order of steps.

    Args:
        steps: (n,) int64 in the order logged.

    Returns:
        (m,) int64; `steps[result]` increases strictly.
    """
    if bool(np.all(steps[1:] > steps[:-1])):
        return np.arange(len(steps), dtype=np.int64)
    order = np.argsort(steps, kind="stable")
    in_order = steps[order]
    return order[np.append(in_order[1:] != in_order[:-1], True)] if len(order) else order


def last_known(steps: Int64Array, values: Float64Array) -> tuple[Int64Array, Float64Array]:
    """The finite values that count where steps repeat: of each step the last, in order of steps.

    Args:
        steps: (n,) int64 in the order logged.
        values: (n,) float64.

    Returns:
        steps: (m,) int64, increasing strictly.
        values: (m,) float64, finite.
    """
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    kept = last_of_each_step(steps)
    return steps[kept], values[kept]


def origin(axes: Axes, times: Float64Array) -> float:
    """The moment relative time counts from: the run's first recorded step; without any, the first point."""
    recorded = axes.times if len(axes) else times
    return float(recorded.min()) if len(recorded) else 0.0


def process_seconds(axes: Axes, times: Float64Array) -> Float64Array:
    """How long the run's processes had been up at `times`.

    Between two recorded steps the clock runs with wall time and halts at the later one's reading, so that a
    pause between a crash and the resume takes no time.

    Args:
        axes: of the run.
        times: (n,) float64 seconds since the epoch (UTC).

    Returns:
        (n,) float64, NaN where the run recorded no step.
    """
    if not len(axes):
        return np.full(len(times), np.nan)
    order = np.argsort(axes.times, kind="stable")
    recorded, up = axes.times[order], axes.process_seconds[order]
    before = np.searchsorted(recorded, times, side="right") - 1
    following = np.append(up[1:], np.inf)
    running = np.minimum(up[before] + (times - recorded[before]), following[before])
    result: Float64Array = np.where(before >= 0, running, np.maximum(up[0] - (recorded[0] - times), 0.0))
    return result


def fractional_epochs(axes: Axes, steps_per_epoch: float | None = None) -> tuple[Int64Array, Float64Array]:
    """The epoch that had been reached when each step was done.

    Epochs that a run already logged with a fraction are taken as they are. Whole ones are filled in. Where
    one length of epoch, counted from step 0, explains every record, that length is used: then a run that
    logs every 50th step comes out right too. Otherwise an epoch lasts from its first recorded step to the
    next one's.

    Args:
        axes: of the run.
        steps_per_epoch: length of an epoch, used only where the records do not tell it.

    Returns:
        steps: (n,) int64, increasing.
        epochs: (n,) float64, finite.
    """
    steps, epochs = last_known(axes.steps, axes.epochs)
    if not len(steps) or bool(np.any(epochs != np.floor(epochs))):
        return steps, epochs
    length = _even_length(steps, epochs)
    if length is not None:
        return steps, np.asarray((steps + 1) / length)

    starts = np.flatnonzero(np.append(True, epochs[1:] != epochs[:-1]))
    number = np.cumsum(np.append(True, epochs[1:] != epochs[:-1])) - 1  # which of `starts` a step belongs to
    lengths = np.diff(steps[starts]).astype(np.float64)
    # The last epoch is still open: as long as the longest before it, or as it has already become.
    so_far = float(steps[-1] - steps[starts[-1]] + 1)
    lengths = np.append(lengths, max(so_far, lengths.max() if len(lengths) else steps_per_epoch or 0.0))
    return steps, epochs + (steps - steps[starts][number] + 1) / lengths[number]


def _even_length(steps: Int64Array, epochs: Float64Array) -> float | None:
    """The one length of epoch that puts every step into its epoch, or None if there is none.

    Step s lies in epoch e when e * n <= s < (e + 1) * n, which bounds n from both sides.
    """
    later = epochs > 0
    if not later.any():
        return None
    shortest = float(np.ceil(np.max((steps + 1) / (epochs + 1))))
    longest = float(np.floor(np.min(steps[later] / epochs[later])))
    # Of the lengths that fit, the shortest: validation is recorded at the last step of an epoch.
    return shortest if shortest <= longest else None


def look_up(known_steps: Int64Array, known: Float64Array, steps: Int64Array) -> Float64Array:
    """`known` at `steps`: the finite value recorded last where a step repeats, NaN for a step without one.

    Args:
        known_steps: (n,) int64 in the order logged.
        known: (n,) float64.
        steps: (m,) int64.

    Returns:
        (m,) float64.
    """
    known_steps, known = last_known(known_steps, known)
    if not len(known_steps):
        return np.full(len(steps), np.nan)
    at = np.minimum(np.searchsorted(known_steps, steps), len(known_steps) - 1)
    return np.where(known_steps[at] == steps, known[at], np.nan)


def _in_order(x: Float64Array, values: Float64Array, steps: Int64Array, missing: int = 0) -> Aligned:
    if not bool(np.all(x[1:] >= x[:-1])):
        order = np.argsort(x, kind="stable")
        x, values, steps = x[order], values[order], steps[order]
    return Aligned(x, values, steps, missing)
