"""Read a series of the store onto an axis, and no more of it than is to be shown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..db.records import Axes, RunInfo, SeriesInfo
from .align import TIME_AXES, Aligned, Axis, align, place
from .starts import from_start, moved, shift
from .tokens import with_tokens

if TYPE_CHECKING:
    from ..db.store import Store

# A series that is not longer is read whole: finding out what to leave out would cost more.
_SHORT = 20_000


def resolve_runs(store: Store, runs: Iterable[RunInfo | str]) -> list[RunInfo]:
    """The runs; those given as an id, a beginning of an id or a name are looked up.

    Raises:
        RunNotFoundError: there is no such run, or more than one.
    """
    return [run if isinstance(run, RunInfo) else store.run(run) for run in runs]


def read_aligned(
    store: Store,
    run: RunInfo,
    info: SeriesInfo,
    axis: Axis,
    x_range: tuple[float, float] | None = None,
    start: int | None = None,
) -> Aligned:
    """A series on an axis.

    Args:
        store: where the run is.
        run: the run.
        info: which of its series.
        axis: what x is.
        x_range: of interest. Stored segments that have no point in it are not read; points outside may
            still be in the result.
        start: the step that the run begins with, see `starts`; its first by default.
    """
    return read_from(store, run, info, axis, x_range, start)[0]


def read_from(
    store: Store,
    run: RunInfo,
    info: SeriesInfo,
    axis: Axis,
    x_range: tuple[float, float] | None,
    start: int | None,
) -> tuple[Aligned, float]:
    """As `read_aligned`, and what was taken off x because of where the run begins; NaN where that is unknown."""
    axes, length = None, None
    if axis != "step":
        if info.count <= _SHORT:
            x_range = None
        if axis != "wall" or x_range is not None:
            axes = store.axes(run, info.rank)
            axes = with_tokens(store, run, axes, info.rank) if axis == "tokens" else axes
        length = _first_epoch_steps(store, run, axes) if axes is not None and axis == "epoch" else None
    taken_off = 0.0 if start is None else shift(axes, axis, start, steps_per_epoch=length)
    moved_back = 0.0 if math.isnan(taken_off) else taken_off
    steps = None if x_range is None else (x_range[0] + moved_back, x_range[1] + moved_back)
    if steps is not None and axes is not None:
        steps = _steps_around(axes, axis, steps, length)
    series = store.series(run, info.name, info.rank, steps=steps, times=axis in TIME_AXES)
    if start is not None:
        series = from_start(series, start)
    return moved(align(series, axis, axes, steps_per_epoch=length), taken_off), taken_off


def _steps_around(
    axes: Axes, axis: Axis, x_range: tuple[float, float], steps_per_epoch: float | None
) -> tuple[float, float] | None:
    """First and last step that may have a point in `x_range`; None if that cannot be told."""
    x = place(axes, axis, axes.steps, axes.times, steps_per_epoch=steps_per_epoch)
    known = np.isfinite(x)
    order = np.argsort(x[known], kind="stable")
    x, steps = x[known][order], axes.steps[known][order]
    if not len(x):
        return None
    # One record more on either side: a gauge read between two steps carries the earlier one's number.
    first = max(int(np.searchsorted(x, x_range[0], side="left")) - 1, 0)
    last = int(np.searchsorted(x, x_range[1], side="right")) + 1
    return float(steps[first:last].min()), float(steps[first:last].max())


def _first_epoch_steps(store: Store, run: RunInfo, axes: Axes) -> float | None:
    """How many steps the first epoch will have, for a run that is still in it; None where unknown."""
    epochs = axes.epochs[np.isfinite(axes.epochs)]
    if len(epochs) and epochs.max() > 0:
        return None
    total = store.fingerprints(run).get("data/batches", {}).get("samples_per_epoch")
    seen = np.flatnonzero(axes.samples > 0)
    if not isinstance(total, int | float) or not len(seen):
        return None
    samples_per_step = float(axes.samples[seen[-1]]) / (int(axes.steps[seen[-1]]) + 1)
    return float(math.ceil(total / samples_per_step))
