"""Curves of repeats as one: the mean of runs that differ only in their seed, and the 95 % interval of that mean.

Runs need not have logged at the same places: the grid is every place at which any of them has a point, and a run's
value between two of its own points lies on the line between them. A run counts from its first point to its last, and
not where it was not finite: so n, the number of runs behind a mean, may change along the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..db.errors import UsageError
from ..db.records import Float64Array, Int64Array, RunInfo
from .curves import Curve, CurvesView
from .repeats import form_key, form_labels

GROUPS = ("seed",)
"""What runs may be grouped over."""

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom (any table of the distribution, such as NIST's).
_STUDENT = np.array(
    [
        *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
        *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
        *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
    ]
)
_NORMAL = 1.959963984540054  # what Student's t comes to with ever more degrees of freedom


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interval:
    """Mean of several runs at each place, and the 95 % confidence interval of the mean.

    Attributes:
        x: (n,) float64, places at which at least one run has a value, increasing.
        mean: (n,) float64.
        low: (n,) float64, lower end; NaN where a single run is left.
        high: (n,) float64, upper end; NaN where a single run is left.
        count: (n,) int64, runs behind the mean.
    """

    x: Float64Array
    mean: Float64Array
    low: Float64Array
    high: Float64Array
    count: Int64Array


def student(freedom: Int64Array) -> Float64Array:
    """The factor of Student's t for a two-sided 95 % interval.

    Args:
        freedom: (n,) int64 degrees of freedom.

    Returns:
        (n,) float64, to four digits; NaN where there is no degree of freedom.
    """
    z, v = _NORMAL, np.maximum(freedom, 1).astype(np.float64)
    # Fisher's expansion about the normal distribution: right to four digits past the table's end.
    many = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    many += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    few = _STUDENT[np.clip(freedom, 1, len(_STUDENT)) - 1]
    return np.where(freedom < 1, np.nan, np.where(freedom <= len(_STUDENT), few, many))


def interval(runs: Sequence[tuple[Float64Array, Float64Array]]) -> Interval:
    """The mean of several runs and its 95 % interval, on the places of all of them.

    Args:
        runs: of each its places, (n,) float64, finite and increasing, and its values there, (n,) float64.
            A value that is not finite breaks the run: it does not count there, nor between there and its neighbours.
    """
    places = [x[np.isfinite(values)] for x, values in runs]
    x = np.unique(np.concatenate(places)) if places else np.empty(0)
    rows = [_on(x, *run) for run in runs]
    table = np.stack(rows) if rows else np.empty((0, 0))
    known = np.isfinite(table)
    count = known.sum(axis=0)
    divisor = np.maximum(count, 1)
    mean = np.where(known, table, 0.0).sum(axis=0) / divisor
    squares = (np.where(known, table - mean, 0.0) ** 2).sum(axis=0)
    half = student(count - 1) * np.sqrt(squares / np.maximum(count - 1, 1) / divisor)
    return Interval(x=x, mean=mean, low=mean - half, high=mean + half, count=count)


def _on(grid: Float64Array, x: Float64Array, values: Float64Array) -> Float64Array:
    """Values of a run on the grid, (n,) float64: NaN outside of the run and beside what is not finite."""
    if not len(x):
        return np.full(len(grid), np.nan)
    # An infinity would make a NaN of its neighbours with a warning; it breaks the run just as a NaN does.
    return np.interp(grid, x, np.where(np.isfinite(values), values, np.nan), left=np.nan, right=np.nan)


def grouped(view: CurvesView, runs: Sequence[RunInfo], by: str = "seed") -> CurvesView:
    """The view with one curve for each group of repeats, in the order in which the groups first appear.

    Where the view is smoothed each run is smoothed by itself, and mean and interval are those of the smoothed runs.

    Args:
        view: curves of runs.
        runs: those runs.
        by: one of `GROUPS`.

    Raises:
        UsageError: `by` is none of `GROUPS`.
    """
    if by not in GROUPS:
        raise UsageError(f"Runs cannot be grouped by {by!r}: choose one of {', '.join(GROUPS)}.")
    keys = {run.id: form_key(run) for run in runs}
    labels = form_labels(list({keys[run.id]: run for run in reversed(runs)}.values()))
    named = {keys[run_id]: label for run_id, label in labels.items()}
    found: dict[tuple[str, int], list[Curve]] = {}
    for curve in view.curves:
        found.setdefault((keys[curve.run_id], curve.rank), []).append(curve)
    several = len({rank for _, rank in found}) > 1
    return replace(
        view,
        curves=tuple(
            _group(curves, f"{named[key]}, rank {rank}" if several else named[key])
            for (key, rank), curves in found.items()
        ),
    )


def _group(curves: Sequence[Curve], label: str) -> Curve:
    """One curve of several: its line is the mean, its extremes are the interval."""
    found = interval([_points(curve) for curve in curves])
    alone = found.count < 2
    fewest, most = (int(found.count.min()), int(found.count.max())) if len(found.x) else (0, 0)
    number = f"n = {most}" if fewest == most else f"n = {fewest}–{most}"
    return replace(
        curves[0],
        label=f"{label} ({number}{', no interval' if most < 2 else ''})",
        x=found.x,
        minimum=np.where(alone, found.mean, found.low),
        maximum=np.where(alone, found.mean, found.high),
        last=found.mean,
        smoothed=None,
        nan_x=np.sort(np.concatenate([curve.nan_x for curve in curves])),
        positive_infinity_x=np.sort(np.concatenate([curve.positive_infinity_x for curve in curves])),
        negative_infinity_x=np.sort(np.concatenate([curve.negative_infinity_x for curve in curves])),
        point_count=sum(curve.point_count for curve in curves),
        exact=bool(alone.all()),
        noise=None,
        count=found.count,
        members=tuple(curve.run_id for curve in curves),
    )


def _points(curve: Curve) -> tuple[Float64Array, Float64Array]:
    """Places and values of a curve, with a NaN wherever it was not finite and no finite value is drawn."""
    values = curve.last if curve.smoothed is None else curve.smoothed
    broken = np.unique(np.concatenate([curve.nan_x, curve.positive_infinity_x, curve.negative_infinity_x]))
    broken = broken[~np.isin(broken, curve.x)]
    x = np.concatenate([curve.x, broken])
    order = np.argsort(x, kind="stable")
    return x[order], np.concatenate([values, np.full(len(broken), np.nan)])[order]
