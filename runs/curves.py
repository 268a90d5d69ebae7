"""Curves to draw: one metric of several runs on one axis, bucketed on one grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..db.errors import UsageError
from ..db.records import Float64Array, Int64Array, Reduction, RunInfo, SeriesInfo
from .align import AXES, Aligned, Axis
from .labels import metric_label, run_labels
from .legend import legend_labels
from .resample import Grid, bucket_grid, resample
from .series import read_aligned, read_from, resolve_runs
from .smooth import length_scale, smooth
from .starts import FROM_THE_FIRST, Starts, axis_note, sentence, signed
from .tokens import lacking

if TYPE_CHECKING:
    from ..db.store import Store

AXIS_LABELS: dict[Axis, str] = {
    "step": "Step (optimizer updates)",
    "epoch": "Epoch",
    "samples": "Training samples seen",
    "tokens": "Training tokens seen",
    "relative": "Time since the first step (seconds)",
    "process": "Process time (seconds)",
    "wall": "Time (UTC)",
}

NOISE = "noise/"
"""Before a metric's key: the envelope of its noise, a series that is drawn around the metric and not by itself."""

# Points this many length scales before a zoomed range still weigh on its first smoothed value: e**-10.
_SMOOTHING_MARGIN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One metric of one run, bucketed on the grid that all curves of the panel share.

    Attributes:
        run_id: id of the run.
        label: for a legend: what sets the run apart, distinct within the view (`legend`).
        framework: "torch", "tensorflow" or None.
        metric: the metric's key.
        rank: which process of the run logged it.
        reduction: what one value stands for.
        unit: "seconds", "bytes", … or None.
        x: (n,) float64, position of the last finite point of every non-empty bucket, increasing.
        minimum: (n,) float64, smallest finite value in the bucket.
        maximum: (n,) float64, largest finite value in the bucket.
        last: (n,) float64, the bucket's last finite value.
        smoothed: (n,) float64, the moving average at `x`; None where no smoothing was asked for.
        nan_x: (m,) float64, where a NaN was logged.
        positive_infinity_x: (m,) float64, where +Inf was logged.
        negative_infinity_x: (m,) float64, where -Inf was logged.
        point_count: how many points were read into the view, those that are not finite included.
        exact: every bucket holds one point: what is drawn is what was logged.
        noise: (n,) float64, how far rounding alone may have carried the value by then; None where it was not measured.
        count: (n,) int64, of a mean over several runs: how many are behind it at `x`; `last` is then the mean, and
            `minimum` and `maximum` are the ends of its 95 % interval, which is none where a single run is left.
        members: ids of the runs behind such a mean, the one of `run_id` first.
        start: the step that the run begins with, where that is not its first.
    """

    run_id: str
    label: str
    framework: str | None
    metric: str
    rank: int
    reduction: Reduction
    unit: str | None
    x: Float64Array
    minimum: Float64Array
    maximum: Float64Array
    last: Float64Array
    smoothed: Float64Array | None
    nan_x: Float64Array
    positive_infinity_x: Float64Array
    negative_infinity_x: Float64Array
    point_count: int
    exact: bool
    noise: Float64Array | None = None
    count: Int64Array | None = None
    members: tuple[str, ...] = ()
    start: int | None = None

    @property
    def split(self) -> str:
        """The first part of the metric's key: "train", "val", "step", "gpu0"."""
        return self.metric.partition("/")[0]

    @property
    def band(self) -> tuple[Float64Array, Float64Array] | None:
        """Lower and upper edge of what lies around the line: the extremes of each bucket, and the noise beyond them.

        Each (n,) float64; None where every bucket holds one point and no noise was measured.
        """
        if self.exact and self.noise is None:
            return None
        noise = 0.0 if self.noise is None else self.noise
        return self.minimum - noise, self.maximum + noise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CurvesView:
    """One metric of several runs on one axis.

    Attributes:
        metric: the metric's key.
        axis: what x is.
        x_label: for the axis, with its unit.
        y_label: for the axis, with its unit.
        unit: the unit all curves share; None where there is none or they differ.
        curves: in the order of the runs asked for; a run without the metric has none.
        x_range: the range asked for, else the range of the points; None where there is nothing to draw.
        missing: (run id, reason) of what could not be drawn, whole runs and single points.
        x_note: what the title of the x axis says besides; "" where every run begins with its first step.
        begun: a sentence for each run that does not.
        target: the value that the runs are timed to, where somebody chose one and this is its metric.
        splits: which the curves are of, where the panel has several of one quantity (`splits.joined`).
    """

    metric: str
    axis: Axis
    x_label: str
    y_label: str
    unit: str | None
    curves: tuple[Curve, ...]
    x_range: tuple[float, float] | None
    missing: tuple[tuple[str, str], ...]
    x_note: str = ""
    begun: tuple[str, ...] = ()
    target: float | None = None
    splits: tuple[str, ...] = ()


def curves_view(
    store: Store,
    runs: Sequence[RunInfo | str],
    metric: str,
    *,
    axis: Axis = "step",
    x_range: tuple[float, float] | None = None,
    buckets: int = 1000,
    smoothing: float = 0.0,
    starts: Starts = FROM_THE_FIRST,
) -> CurvesView:
    """One metric of several runs, ready to draw: a curve a run and rank, all on one grid of buckets.

    Args:
        store: where the runs are.
        runs: runs, or what `Store.run` understands.
        metric: the metric's key.
        axis: what x is.
        x_range: show only this part, in full detail; only what it needs is read.
        buckets: at most this many points a curve.
        smoothing: 0 (none) to below 1; see `smooth.VIEWPORT`.
        starts: where runs begin that do not begin with their first step.

    Raises:
        UsageError: an argument is out of range, or a run is unknown.
    """
    if axis not in AXES:
        raise UsageError(f"There is no axis {axis!r}: choose one of {', '.join(AXES)}.")
    if x_range is not None and not (all(map(math.isfinite, x_range)) and x_range[0] < x_range[1]):
        raise UsageError(f"The range {x_range} is empty: give two finite numbers, the smaller first.")
    infos = resolve_runs(store, runs)
    labels, entries = run_labels(infos), legend_labels(infos)
    margin = 0.0 if x_range is None else _SMOOTHING_MARGIN * length_scale(smoothing, x_range[1] - x_range[0])
    wanted = None if x_range is None else (x_range[0] - margin, x_range[1])
    found = store.series_infos(list(labels), [metric, f"{NOISE}{metric}"])
    known = [info for info in found if info.name == metric]
    noisy = {(info.run_id, info.rank): info for info in found if info.name != metric}

    placed: list[tuple[RunInfo, SeriesInfo, Aligned, slice]] = []
    missing: list[tuple[str, str]] = []
    begun: dict[str, str] = {}
    unplaced = lacking(store, infos) if axis == "tokens" else {}
    for run in infos:
        of_run = [info for info in known if info.run_id == run.id]
        if not of_run:
            missing.append((run.id, f"{labels[run.id]} logged no {metric}."))
        elif run.id in unplaced:
            missing.append((run.id, f"{labels[run.id]} {unplaced[run.id]}."))
            continue
        start = starts.get(run.id)
        for info in of_run:
            points, taken_off = read_from(store, run, info, axis, wanted, start)
            if start is not None and run.id not in begun:
                begun[run.id] = sentence(entries[run.id], axis, start, taken_off)
            if points.missing:
                total = points.missing + len(points.x)
                missing.append((run.id, f"{points.missing:,} of {total:,} points have no known {axis}."))
            elif start is not None and info.count and not len(points.x) and wanted is None:
                missing.append((run.id, f"{labels[run.id]} logged no {metric} from its step {signed(start)} on."))
            if len(points.x) or not points.missing:
                placed.append((run, info, points, _inside(points.x, x_range)))

    ends = [
        points.x[end] for _, _, points, part in placed if part.start < part.stop for end in (part.start, part.stop - 1)
    ]
    shown = x_range or ((float(min(ends)), float(max(ends))) if ends else None)
    grid = bucket_grid(*(shown or (0.0, 1.0)), buckets)
    scale = length_scale(smoothing, shown[1] - shown[0]) if shown else 0.0
    curves = tuple(
        _curve(
            run,
            info,
            points,
            part,
            grid,
            scale if smoothing else None,
            _rank_label(entries, info, known),
            _noise(store, run, noisy.get((run.id, info.rank)), axis, wanted, starts.get(run.id)),
            starts.get(run.id),
        )
        for run, info, points, part in placed
    )
    units = {curve.unit for curve in curves}
    unit = units.pop() if len(units) == 1 else None
    return CurvesView(
        metric=metric,
        axis=axis,
        x_label=AXIS_LABELS[axis],
        y_label=metric_label(metric, unit),
        unit=unit,
        curves=curves,
        x_range=shown,
        missing=tuple(missing),
        x_note=axis_note(entries, {run_id: starts[run_id] for run_id in begun}),
        begun=tuple(begun.values()),
    )


def _noise(
    store: Store,
    run: RunInfo,
    info: SeriesInfo | None,
    axis: Axis,
    wanted: tuple[float, float] | None,
    start: int | None,
) -> Aligned | None:
    """The envelope of a metric's noise on the axis; None where none was measured."""
    if info is None:
        return None
    points = read_aligned(store, run, info, axis, wanted, start)
    return points if len(points.x) else None


def _curve(
    run: RunInfo,
    info: SeriesInfo,
    points: Aligned,
    part: slice,
    grid: Grid,
    scale: float | None,
    label: str,
    noise: Aligned | None,
    start: int | None,
) -> Curve:
    bucketed = resample(points.x[part], points.values[part], grid=grid)
    # Smoothed before it is bucketed and from before the part shown: neither may change the average.
    average = None if scale is None else smooth(points.x, points.values, scale)[part][bucketed.last_index]
    return Curve(
        run_id=run.id,
        label=label,
        framework=run.framework,
        metric=info.name,
        rank=info.rank,
        reduction=info.reduction,
        unit=info.unit,
        x=bucketed.x,
        minimum=bucketed.minimum,
        maximum=bucketed.maximum,
        last=bucketed.last,
        smoothed=average,
        nan_x=bucketed.nan_x,
        positive_infinity_x=bucketed.positive_infinity_x,
        negative_infinity_x=bucketed.negative_infinity_x,
        point_count=part.stop - part.start,
        exact=bool((bucketed.counts == 1).all()),
        noise=None if noise is None else np.interp(bucketed.x, noise.x, noise.values),
        start=start,
    )


def _rank_label(labels: dict[str, str], info: SeriesInfo, known: Sequence[SeriesInfo]) -> str:
    several = sum(other.run_id == info.run_id for other in known) > 1
    return f"{labels[info.run_id]}, rank {info.rank}" if several else labels[info.run_id]


def _inside(x: Float64Array, x_range: tuple[float, float] | None) -> slice:
    if x_range is None:
        return slice(0, len(x))
    return slice(int(np.searchsorted(x, x_range[0], "left")), int(np.searchsorted(x, x_range[1], "right")))
