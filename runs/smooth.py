"""Exponential moving average over distance on the axis, not over a number of points."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ..db.errors import UsageError
from ..db.records import Float64Array

VIEWPORT = 1000.0
"""`smoothing` is the weight that a point keeps after a 1/1000 of the x-range, about a pixel of a panel.

So 0.6 averages over 0.2 % of the range, 0.9 over 1 %, 0.99 over 10 %, 0.999 over all of it.
"""

# exp() of more than this many length scales would lose the small weights' digits to rounding or overflow.
_BLOCK = 30.0


def length_scale(smoothing: float, x_range: float) -> float:
    """Distance on the axis over which a point's weight falls to 1/e; 0.0 for no smoothing.

    Args:
        smoothing: 0 (none) up to, not including, 1.
        x_range: width of the whole panel, in units of the axis.

    Raises:
        UsageError: `smoothing` is outside [0, 1).
    """
    if not 0.0 <= smoothing < 1.0:
        raise UsageError(f"Smoothing {smoothing} is out of range: give a number from 0 (none) to below 1, such as 0.9.")
    if smoothing == 0.0 or not x_range > 0.0:
        return 0.0
    return x_range / VIEWPORT / -math.log(smoothing)


def smooth(x: Float64Array, values: Float64Array, scale: float) -> Float64Array:
    """The average of all values up to each point, weighted by `exp(-distance / scale)`.

    Dividing by the sum of the weights takes the bias towards zero out of the first points. The weight
    depends on distance only, so that a run that logs every step and one that logs every tenth come out
    equally smooth.

    Args:
        x: (n,) float64, finite, not decreasing.
        values: (n,) float64. What is not finite stays as it is at its place and weighs nothing after it.
        scale: from `length_scale`; 0 returns the values.

    Returns:
        (n,) float64.
    """
    if scale <= 0.0 or not len(values):
        return values.copy()
    finite = np.isfinite(values)
    if finite.all():
        return _smooth(x, values, scale)
    result = values.copy()
    result[finite] = _smooth(x[finite], values[finite], scale)
    return result


def _smooth(x: Float64Array, values: Float64Array, scale: float) -> Float64Array:
    """`smooth` for finite values.

    Within a block of a few length scales the recursion is a cumulative sum; from block to block only the
    sum of the weights and the weighted sum are carried. The average is taken about the block's own level,
    so that a constant stays that constant and values near the limits of float64 do not overflow in the
    sums.
    """
    result = np.empty_like(values)
    level = weight = 0.0  # average and sum of weights at position `at`
    at = float(x[0]) if len(x) else 0.0
    for start, stop in _blocks(x, scale):
        distance = (x[start:stop] - x[start]) / scale
        growth = np.exp(distance)
        weight *= math.exp(max((at - float(x[start])) / scale, -700.0))
        centre = float(values[start])
        weights = weight + np.cumsum(growth)
        sums = weight * (level - centre) + np.cumsum(growth * (values[start:stop] - centre))
        result[start:stop] = centre + sums / weights
        level, weight, at = float(result[stop - 1]), float(weights[-1] / growth[-1]), float(x[stop - 1])
    return result


def _blocks(x: Float64Array, scale: float) -> list[tuple[int, int]]:
    """Ranges of points that span at most `_BLOCK` length scales each."""
    if not len(x):
        return []
    length = scale * _BLOCK
    edges = x[0] + length * np.arange(1, int((x[-1] - x[0]) / length) + 1)
    bounds = np.unique(np.concatenate(([0], np.searchsorted(x, edges, side="left"), [len(x)]))).tolist()
    return list(pairwise(bounds))
