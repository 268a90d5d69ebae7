"""Reduce a long series to a few buckets without losing an extreme.

A bucket keeps the exact minimum, maximum and last of its finite values; NaN and infinities come back as
marks at their exact place. Bucket edges are multiples of a power of two, so they depend on the points only
through their
range: points appended to a run that is still training leave the buckets before them as they were, until the
    range
has doubled and two neighbours become one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..db.errors import UsageError
from ..db.records import Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class Grid:
    """Buckets `[k * width, (k + 1) * width)` for `k` in `first, …, first + count - 1`.

    Attributes:
        width: a power of two, so that multiples of it are exact in float64.
        first: index of the leftmost bucket.
        count: number of buckets.
    """

    width: float
    first: int
    count: int

    @property
    def edges(self) -> Float64Array:
        """(count + 1,) float64, increasing."""
        return (self.first + np.arange(self.count + 1, dtype=np.float64)) * self.width


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """The non-empty buckets of one series, and what could not be bucketed.

    Attributes:
        x: (n,) float64, position of the bucket's last finite point, increasing.
        minimum: (n,) float64.
        maximum: (n,) float64.
        last: (n,) float64, value at `x`.
        last_index: (n,) int64, where in the input that point stood.
        counts: (n,) int64, finite points in the bucket; their sum is the number of finite input points.
        nan_x: (m,) float64, positions of NaN, in order.
        positive_infinity_x: (m,) float64.
        negative_infinity_x: (m,) float64.
    """

    x: Float64Array
    minimum: Float64Array
    maximum: Float64Array
    last: Float64Array
    last_index: Int64Array
    counts: Int64Array
    nan_x: Float64Array
    positive_infinity_x: Float64Array
    negative_infinity_x: Float64Array


def bucket_grid(low: float, high: float, buckets: int) -> Grid:
    """The finest grid that covers `low` to `high`, both included, with at most `buckets` buckets.

    Args:
        low: smallest position, finite.
        high: largest position, finite, not below `low`.
        buckets: at least 2.

    Raises:
        UsageError: the range is not finite or upside down, or there are too few buckets.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(
            f"A range from {low} to {high} cannot be bucketed: give two finite numbers, the smaller first."
        )
    if buckets < 2:
        raise UsageError(f"{buckets} buckets are too few to draw: ask for at least 2.")
    # Not finer than float64 resolves at this distance from zero: quotients stay below 2**53 and exact.
    finest = max(math.frexp(math.ulp(max(abs(low), abs(high))))[1] - 1, -1020)
    # Divided before the subtraction: the range of extreme floats would overflow.
    span = high / buckets - low / buckets
    exponent = max(math.frexp(span)[1] - 2 if span > 0 else 0, finest)
    while _bucket_count(low, high, math.ldexp(1.0, exponent)) > buckets:
        exponent += 1
    width = math.ldexp(1.0, exponent)
    return Grid(width, _bucket(low, width), _bucket_count(low, high, width))


def _bucket_count(low: float, high: float, width: float) -> int:
    return math.floor(high / width) - _bucket(low, width) + 1


def _bucket(position: float, width: float) -> int:
    """Index of the bucket that a position lies in."""
    index = math.floor(position / width)
    return index - 1 if index * width > position else index  # the quotient of a tiny negative number is -0.0


def resample(x: ArrayLike, values: ArrayLike, *, grid: Grid | None = None, buckets: int = 1000) -> Buckets:
    """Bucket a series on `grid`, or on the finest grid of at most `buckets` that covers it.

    Args:
        x: (n,) finite positions; sorted here, stably, where they are not.
        values: (n,) numbers, may hold NaN and infinities.
        grid: must cover `x`; give the same one for all series that are drawn together.
        buckets: for a grid of its own.

    Raises:
        UsageError: the arrays do not have one dimension and one length, are no real numbers, a position is
            not finite, or a point lies outside the grid.
    """
    positions, numbers = _as_float64(x, "x"), _as_float64(values, "values")
    if positions.shape != numbers.shape:
        raise UsageError(
            f"x has {len(positions)} entries and values {len(numbers)}: give one position for every value."
        )
    if not len(positions):
        empty, none = np.empty(0), np.empty(0, np.int64)
        return Buckets(empty, empty, empty, empty, none, none, empty, empty, empty)
    low, high = float(positions.min()), float(positions.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError("A position is NaN or infinite: leave points out whose place on the axis is unknown.")
    if grid is None:
        grid = bucket_grid(low, high, buckets)
    elif _bucket(low, grid.width) < grid.first or math.floor(high / grid.width) >= grid.first + grid.count:
        raise UsageError(f"Points from {low} to {high} lie outside the buckets: make the grid over all of the points.")
    return _resample(positions, numbers, grid)


def _as_float64(array: ArrayLike, name: str) -> Float64Array:
    array = np.asarray(array)
    if array.ndim != 1:
        raise UsageError(f"{name} has {array.ndim} dimensions: give a flat array.")
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{name} holds {array.dtype}: give real numbers.")
    return array.astype(np.float64, copy=False)


def _resample(x: Float64Array, values: Float64Array, grid: Grid) -> Buckets:
    """`resample` for valid arrays that hold at least one point."""
    order: Int64Array | None = None  # None: the input's own
    if not bool(np.all(x[1:] >= x[:-1])):
        order = np.argsort(x, kind="stable")
        x, values = x[order], values[order]

    # Edges into points, not points into buckets: a binary search an edge instead of a division a point.
    starts = np.concatenate(([0], np.searchsorted(x, grid.edges[1:-1], side="left"))).astype(np.int64)
    counts = np.diff(starts, append=len(x))
    starts, counts = starts[counts > 0], counts[counts > 0]
    last = starts + counts - 1

    # What is not finite is overwritten where it stands: cutting it out would copy every other point.
    bad = np.flatnonzero(~np.isfinite(values))
    marks = values[bad]
    minimum = np.minimum.reduceat(_overwritten(values, bad, np.inf), starts)
    maximum = np.maximum.reduceat(_overwritten(values, bad, -np.inf), starts)
    if len(bad):
        counts -= np.bincount(np.searchsorted(starts, bad, side="right") - 1, minlength=len(starts))
        last = _finite_before(last, bad)
        kept = counts > 0
        minimum, maximum, last, counts = minimum[kept], maximum[kept], last[kept], counts[kept]
    return Buckets(
        x=x[last],
        minimum=minimum,
        maximum=maximum,
        last=values[last],
        last_index=last if order is None else order[last],
        counts=counts,
        nan_x=x[bad[np.isnan(marks)]],
        positive_infinity_x=x[bad[marks == np.inf]],
        negative_infinity_x=x[bad[marks == -np.inf]],
    )


def _overwritten(values: Float64Array, at: Int64Array, value: float) -> Float64Array:
    if len(at):
        values = values.copy()
        values[at] = value
    return values


def _finite_before(indices: Int64Array, bad: Int64Array) -> Int64Array:
    """Each index, or the one before the unbroken stretch of bad ones it is the end of."""
    begins = np.append(True, np.diff(bad) > 1)
    stretch = bad[np.maximum.accumulate(np.where(begins, np.arange(len(bad)), 0))]
    at = np.minimum(np.searchsorted(bad, indices), len(bad) - 1)
    return np.where(bad[at] == indices, stretch[at] - 1, indices)
