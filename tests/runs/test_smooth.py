"""The moving average: by distance, without bias at the start, and not poisoned by what is not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.db.errors import UsageError
from trackside.runs.smooth import length_scale, smooth

gaps = st.floats(min_value=0.0, max_value=100.0)
values = st.floats(min_value=-1e6, max_value=1e6)
points = st.lists(st.tuples(gaps, st.one_of(values, st.just(math.nan), st.just(math.inf))), min_size=1, max_size=80)


def slow(x, y, scale):
    """The definition, point by point."""
    result = []
    for i in range(len(x)):
        if not math.isfinite(y[i]):
            result.append(y[i])
            continue
        weights = [math.exp(-(x[i] - x[j]) / scale) if math.isfinite(y[j]) else 0.0 for j in range(i + 1)]
        total = math.fsum(w * y[j] for j, w in enumerate(weights) if w)
        result.append(total / math.fsum(weights))
    return np.array(result)


@given(points, st.floats(min_value=0.01, max_value=1000.0))
def test_it_is_the_average_weighted_by_distance(pairs, scale):
    gap, y = np.array(pairs, dtype=np.float64).T
    x = np.cumsum(gap)
    assert np.allclose(smooth(x, y, scale), slow(x, y, scale), rtol=1e-9, atol=1e-6, equal_nan=True)


@given(points, st.floats(min_value=0.01, max_value=1000.0))
def test_it_stays_between_the_extremes(pairs, scale):
    gap, y = np.array(pairs, dtype=np.float64).T
    finite = np.isfinite(y)
    averaged = smooth(np.cumsum(gap), y, scale)
    assert np.array_equal(np.isfinite(averaged), finite)
    if finite.any():
        slack = 1e-9 * np.abs(y[finite]).max() + 1e-300
        assert averaged[finite].min() >= y[finite].min() - slack
        assert averaged[finite].max() <= y[finite].max() + slack


def test_runs_that_log_at_different_rates_come_out_equally_smooth():
    scale = length_scale(0.97, 1000.0)
    dense = np.arange(2000, dtype=np.float64) / 2
    sparse = np.arange(200, dtype=np.float64) * 5
    every = smooth(dense, np.sin(dense / 60), scale)
    tenth = smooth(sparse, np.sin(sparse / 60), scale)
    shared = np.isin(dense, sparse)
    assert np.abs(every[shared] - tenth).max() < 0.05
    by_point_count = smooth(dense * 10, np.sin(dense / 60), scale)[shared]
    assert np.abs(by_point_count - tenth).max() > 0.2


def test_a_constant_stays_exactly_that_constant():
    for constant in (0.1, 1e300, -5e-324):
        assert (smooth(np.arange(5000.0), np.full(5000, constant), 7.0) == constant).all()


def test_the_first_point_is_its_own_average():
    assert smooth(np.array([3.0, 4.0]), np.array([5.0, 6.0]), 10.0)[0] == 5.0


def test_nan_and_infinity_stay_at_their_place_and_change_nothing_else():
    x, y = np.arange(100.0), np.linspace(1, 2, 100)
    broken = y.copy()
    broken[[10, 50]] = math.nan, math.inf
    averaged = smooth(x, broken, 5.0)
    assert math.isnan(averaged[10])
    assert averaged[50] == math.inf
    keep = np.isfinite(broken)
    assert np.array_equal(averaged[keep], smooth(x[keep], y[keep], 5.0))


def test_no_smoothing_returns_the_values():
    y = np.array([1.0, math.nan, 3.0])
    assert np.array_equal(smooth(np.arange(3.0), y, length_scale(0.0, 10.0)), y, equal_nan=True)


def test_a_gap_of_many_length_scales_starts_afresh():
    averaged = smooth(np.array([0.0, 1.0, 1e9]), np.array([1.0, 1.0, 7.0]), 1.0)
    assert averaged[2] == 7.0


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 1.5, math.nan])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(UsageError, match="below 1"):
        length_scale(smoothing, 10.0)
