"""The numbers behind a printed figure: exactly the points it draws, as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..db.records import Float64Array, RunInfo
from ..runs.legend import legend_labels
from ..runs.resample import resample
from ..runs.views import Curve, CurvesView, DifferenceView, StepTimesView

Width = Literal["single", "double", "slide"]

View = CurvesView | StepTimesView | DifferenceView | tuple[CurvesView, ...]
"""What a figure is drawn from; several curve panels stand above each other."""

COLUMNS = ("run", "run_id", "metric", "axis", "x", "minimum", "maximum", "last", "smoothed", "kind", "noise")
GROUP_COLUMNS = ("run", "run_id", "metric", "axis", "x", "mean", "low", "high", "n", "kind")
DIFFERENCE_COLUMNS = (*COLUMNS, "tolerance")
START_COLUMN = "start"
"""Behind the others, of curves of which one begins at another step than its run's first."""
STEP_TIME_COLUMNS = ("run", "run_id", "metric", "kind", "lower_seconds", "upper_seconds", "value")

MINUS = "\N{MINUS SIGN}"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_DIFFERENCE_BUCKETS = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Difference:
    """A difference view as it is drawn.

    Attributes:
        curve: A − B, bucketed as any other curve.
        tolerance: (n,) float64, at each of the curve's points.
        parted_at: first step from which the runs are apart, or None.
        metric: the metric's key.
    """

    curve: Curve
    tolerance: Float64Array
    parted_at: int | None
    metric: str


def drawn_difference(view: DifferenceView, runs: Sequence[RunInfo] | None = None) -> Difference:
    """A difference bucketed so that a million steps can be drawn: extremes are kept, NaN and infinities are marks.

    Args:
        view: the difference.
        runs: the runs compared, for their labels; without them their ids stand for the two.
    """
    labels = legend_labels(runs or ())
    a, b = (labels.get(run_id, run_id) for run_id in (view.a, view.b))
    buckets = resample(view.x, view.difference, buckets=_DIFFERENCE_BUCKETS)
    curve = Curve(
        run_id=f"{view.a} {MINUS} {view.b}",
        label=f"{a} {MINUS} {b}",
        framework=None,
        metric=view.metric,
        rank=0,
        reduction="batch",
        unit=None,
        x=buckets.x,
        minimum=buckets.minimum,
        maximum=buckets.maximum,
        last=buckets.last,
        smoothed=None,
        nan_x=buckets.nan_x,
        positive_infinity_x=buckets.positive_infinity_x,
        negative_infinity_x=buckets.negative_infinity_x,
        point_count=len(view.x),
        exact=bool((buckets.counts == 1).all()),
    )
    return Difference(
        curve=curve,
        tolerance=view.tolerance[buckets.last_index],
        parted_at=view.parted_at,
        metric=view.metric,
    )


def figure_csv(view: View, runs: Sequence[RunInfo] | None = None) -> bytes:
    """The points that a figure of `view` draws, as UTF-8 CSV in the store's own units.

    Numbers read back as the same float64. Curves have a row a point, or a bucket of points: `x` is the position
    of its `last`. A value that is not finite has a row of its own with `kind` nan, +inf or -inf. Step times have a
    row a bin and a row a statistic. A difference has its run and run_id as `A − B` and the tolerance behind. `noise` is
    how far rounding may have carried the value, where that was measured. Means of several runs have `mean`, the ends of
    its interval and the number of runs instead. `start` is the step that a run begins with, where
    one does not begin with its first.

    Args:
        view: what is drawn.
        runs: the runs compared, for the labels of a difference.
    """
    if isinstance(view, StepTimesView):
        return _csv(STEP_TIME_COLUMNS, _step_time_rows(view))
    if isinstance(view, DifferenceView):
        difference = drawn_difference(view, runs)
        rows = _curve_rows(difference.curve, view.axis, difference.tolerance)
        return _csv(DIFFERENCE_COLUMNS, rows)
    views = (view,) if isinstance(view, CurvesView) else view
    curves = [(curve, panel.axis) for panel in views for curve in panel.curves]
    grouped = any(curve.count is not None for curve, _ in curves)
    columns: tuple[str, ...] = GROUP_COLUMNS if grouped else COLUMNS
    moved = any(curve.start is not None for curve, _ in curves)

    def rows_of(curve: Curve, axis: str) -> Iterator[Row]:
        rows = _group_rows(curve, axis) if grouped else _curve_rows(curve, axis)
        behind: Row = ["" if curve.start is None else curve.start] if moved else []
        return ([*row, *behind] for row in rows)

    return _csv((*columns, *([START_COLUMN] if moved else [])), (row for one in curves for row in rows_of(*one)))


Row = list[str | float]


def _curve_rows(curve: Curve, axis: str, tolerance: Float64Array | None = None) -> Iterator[Row]:
    """Points and marks of one curve in the order of x."""
    head: Row = [inert(curve.label), inert(curve.run_id), inert(curve.metric), axis]
    columns = [curve.x, curve.minimum, curve.maximum, curve.last]
    smoothed = ["" for _ in curve.x] if curve.smoothed is None else curve.smoothed.tolist()
    noise = ["" for _ in curve.x] if curve.noise is None else curve.noise.tolist()
    behind = [[value] for value in noise]
    if tolerance is not None:
        behind = [[*before, value] for before, value in zip(behind, tolerance.tolist(), strict=True)]
    points: list[tuple[float, Row]] = [
        (values[0], [*head, *values, smooth, "point", *rest])
        for *values, smooth, rest in zip(*(column.tolist() for column in columns), smoothed, behind, strict=True)
    ]
    marks = ((curve.nan_x, "nan"), (curve.positive_infinity_x, "+inf"), (curve.negative_infinity_x, "-inf"))
    for positions, kind in marks:
        points += [
            (x, [*head, x, "", "", "", "", kind, "", *([] if tolerance is None else [""])]) for x in positions.tolist()
        ]
    points.sort(key=lambda point: point[0])
    return (row for _, row in points)


def _group_rows(curve: Curve, axis: str) -> Iterator[Row]:
    """Points and marks of a mean over runs in the order of x; no ends where a single run is left."""
    head: Row = [inert(curve.label), " ".join(curve.members), inert(curve.metric), axis]
    counts = [] if curve.count is None else curve.count.tolist()
    columns = (column.tolist() for column in (curve.x, curve.last, curve.minimum, curve.maximum))
    points: list[tuple[float, Row]] = [
        (x, [*head, x, mean, *((low, high) if count > 1 else ("", "")), count, "point"])
        for x, mean, low, high, count in zip(*columns, counts, strict=True)
    ]
    marks = ((curve.nan_x, "nan"), (curve.positive_infinity_x, "+inf"), (curve.negative_infinity_x, "-inf"))
    for positions, kind in marks:
        points += [(x, [*head, x, "", "", "", "", kind]) for x in positions.tolist()]
    points.sort(key=lambda point: point[0])
    return (row for _, row in points)


def _step_time_rows(view: StepTimesView) -> Iterator[Row]:
    edges = view.edges.tolist()
    for row in view.rows:
        head: Row = [inert(row.label), inert(row.run_id), "step/seconds"]
        for lower, upper, count in zip(edges, edges[1:], row.counts.tolist(), strict=False):
            yield [*head, "count", lower, upper, count]
        statistics = {
            "total_count": float(row.count),
            "median": row.median,
            "p95": row.p95,
            "p99": row.p99,
            "mean": row.mean,
            "first": row.first_seconds,
            "data_median": row.data_median,
            "compute_median": row.compute_median,
            "samples_per_second": row.samples_per_second,
        }
        yield from ([*head, kind, "", "", value] for kind, value in statistics.items() if not math.isnan(value))


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # csv writes a float as repr() does: the shortest text that reads back as the same number.
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def inert(name: str) -> str:
    """A name that no spreadsheet takes for a formula: one that begins like one gets an apostrophe in front."""
    return f"'{name}" if name.lstrip(" ").startswith(_FORMULA_STARTS) else name


def has_points(view: View) -> bool:
    """Whether there is anything to draw, marks of values that are not finite included."""
    if isinstance(view, StepTimesView):
        return any(row.count for row in view.rows)
    if isinstance(view, DifferenceView):
        return len(view.x) > 0
    views = (view,) if isinstance(view, CurvesView) else view
    return any(curve.point_count for panel in views for curve in panel.curves)


def cropped(view: DifferenceView, x_range: tuple[float, float] | None) -> DifferenceView:
    """The part of a difference inside of a range of x, both ends included."""
    if x_range is None:
        return view
    inside = np.flatnonzero((view.x >= x_range[0]) & (view.x <= x_range[1]))
    return replace(
        view,
        x=view.x[inside],
        difference=view.difference[inside],
        tolerance=view.tolerance[inside],
    )
