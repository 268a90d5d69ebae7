"""Step times: warm-up kept apart, percentiles, throughput, and histograms that clip nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trackside
from trackside.db.errors import UsageError
from trackside.runs.step_times import histogram, histogram_edges, statistics, step_times_view, throughput, warm_up_steps


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], 0),
        ([2.0], 1),
        ([2.0, 0.01], 1),
        ([0.01] * 50, 1),
        ([9.0] + [0.01] * 50, 1),
        ([9.0, 4.0, 0.5] + [0.01] * 50, 3),
        ([9.0, 0.01, 4.0] + [0.01] * 50, 1),
        ([9.0] * 30 + [0.01] * 500, 10),
        ([9.0] * 8 + [math.nan] * 3 + [0.01] * 50, 10),
    ],
)
def test_leading_slow_steps_are_warm_up(seconds, expected):
    assert warm_up_steps(np.array(seconds)) == expected


def test_statistics_leave_out_what_is_not_finite():
    found = statistics(np.array([*range(1, 101), math.nan, math.inf], dtype=float))
    assert found["median"] == 50.5
    assert found["mean"] == 50.5
    assert found["p95"] == pytest.approx(95.05)
    assert found["p99"] == pytest.approx(99.01)
    assert all(math.isnan(value) for value in statistics(np.array([math.nan])).values())


def test_throughput_weighs_a_slow_step_by_its_time():
    assert throughput(np.array([1.0, 3.0]), np.array([40.0, 40.0])) == 20.0
    assert throughput(np.array([1.0, math.nan]), np.array([40.0, 40.0])) == 40.0
    assert math.isnan(throughput(np.array([]), np.array([])))


durations = st.lists(st.floats(min_value=0, max_value=1e4), max_size=60)


@given(st.lists(durations, max_size=4), st.integers(1, 60))
def test_no_step_falls_out_of_the_histogram(runs, bins):
    arrays = [np.array(run, dtype=np.float64) for run in runs]
    edges = histogram_edges(arrays, bins)
    assert len(edges) == bins + 1
    assert np.all(np.diff(edges) > 0)
    for run in arrays:
        assert histogram(run, edges).sum() == len(run)


def test_bins_are_logarithmic_where_the_range_is_wide():
    narrow = histogram_edges([np.array([0.010, 0.012])], 10)
    assert np.allclose(np.diff(narrow), np.diff(narrow)[0])
    wide = histogram_edges([np.array([0.001, 1.0])], 10)
    assert np.allclose(wide[1:] / wide[:-1], 10**0.3)


def test_no_bins_are_refused():
    with pytest.raises(UsageError, match="at least 1"):
        histogram_edges([], 0)


def test_the_first_step_is_what_the_tracker_kept_apart(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        run.log({"step/first_seconds": 5.0}, step=0)
        for step in range(1, 20):
            run.log({"step/seconds": 0.01}, step=step)
    with trackside.open_store(sqlite_url) as store:
        (row,) = step_times_view(store, [run.id]).rows
    assert row.first_seconds == 5.0
    assert row.median == 0.01
