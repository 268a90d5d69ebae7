"""Bucketing: no extreme is lost, nothing that is not finite is drawn as a value, buckets stay where they were."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trackside.db.errors import UsageError
from trackside.runs.resample import Buckets, bucket_grid, resample

positions = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)
values = st.floats(allow_nan=True, allow_infinity=True)
points = st.lists(st.tuples(positions, values), min_size=1, max_size=200)


def columns(pairs):
    x, y = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return x, y


def same(one: Buckets, other: Buckets) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
        for name in ("x", "minimum", "maximum", "last", "counts", "nan_x")
    )


@given(points, st.integers(2, 60))
def test_no_point_is_lost_and_none_is_made_up(pairs, count):
    x, y = columns(pairs)
    found = resample(x, y, buckets=count)
    finite = np.isfinite(y)
    assert len(found.x) <= count
    assert found.counts.sum() == finite.sum()
    assert np.all(np.diff(found.x) > 0)
    assert sorted(found.nan_x) == sorted(x[np.isnan(y)])
    assert sorted(found.positive_infinity_x) == sorted(x[y == np.inf])
    assert sorted(found.negative_infinity_x) == sorted(x[y == -np.inf])
    if finite.any():
        assert found.minimum.min() == y[finite].min()
        assert found.maximum.max() == y[finite].max()
    assert np.isin(found.minimum, y).all()
    assert np.isin(found.maximum, y).all()


@given(points, st.integers(2, 60))
def test_each_bucket_equals_what_a_loop_finds_in_it(pairs, count):
    x, y = columns(pairs)
    grid = bucket_grid(x.min(), x.max(), count)
    found = resample(x, y, grid=grid)
    order = sorted(range(len(x)), key=lambda i: x[i])  # stable
    expected: dict[int, list[int]] = {}
    for i in order:
        if math.isfinite(y[i]):
            expected.setdefault(math.floor(Fraction(x[i]) / Fraction(grid.width)), []).append(i)
    assert len(found.x) == len(expected)
    for at, key in enumerate(sorted(expected)):
        inside = expected[key]
        assert grid.first <= key < grid.first + grid.count
        assert found.counts[at] == len(inside)
        assert found.minimum[at] == min(y[i] for i in inside)
        assert found.maximum[at] == max(y[i] for i in inside)
        assert found.last_index[at] == inside[-1]
        assert found.last[at] == y[inside[-1]]
        assert found.x[at] == x[inside[-1]]


@given(points, points)
def test_appending_leaves_old_buckets_alone_while_the_width_holds(pairs, more):
    x, y = columns(pairs)
    later = x.max() + np.abs(columns(more)[0]) + 1.0
    grid = bucket_grid(x.min(), later.max(), 50)
    before = resample(x, y, grid=grid)
    after = resample(np.append(x, later), np.append(y, columns(more)[1]), grid=grid)
    closed = np.floor(before.x / grid.width) < math.floor(x.max() / grid.width)
    for name in ("x", "minimum", "maximum", "last"):
        assert np.array_equal(getattr(before, name)[closed], getattr(after, name)[: closed.sum()])


def test_edges_of_a_growing_run_move_only_when_the_range_doubles():
    widths = [bucket_grid(0, last, 1000).width for last in range(1, 20_000)]
    changes = np.flatnonzero(np.diff(widths))
    assert len(changes) <= 15
    assert np.all(np.diff(widths) >= 0)
    for last in (1500, 6000, 19_000):
        grid = bucket_grid(0, last, 1000)
        assert 500 <= grid.count <= 1000
        assert grid.edges[0] == 0


@given(positions, positions, st.integers(2, 2000))
@example(0.0, -5e-324, 2)
def test_a_grid_covers_its_range_with_no_more_buckets_than_asked(one, other, count):
    low, high = sorted((one, other))
    grid = bucket_grid(low, high, count)
    assert grid.count <= count
    assert grid.edges[0] <= low
    assert high < grid.edges[-1]
    assert math.frexp(grid.width)[0] == 0.5  # a power of two


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (1.7e9, 1.7e9 + 1e-6), (-1e300, 1e300), (5e-324, 1e-300)])
def test_extreme_ranges_have_a_grid(low, high):
    grid = bucket_grid(low, high, 100)
    assert grid.count <= 100
    assert math.isfinite(grid.width)
    found = resample([low, high], [1.0, 2.0], grid=grid)
    assert found.maximum.max() == 2.0


def test_unsorted_positions_are_sorted_stably():
    found = resample([2.0, 1.0, 2.0, 0.0], [10.0, 20.0, 30.0, 40.0], buckets=4)
    assert found.x.tolist() == [0, 1, 2]
    assert found.last.tolist() == [40, 20, 30]
    assert found.last_index.tolist() == [3, 1, 2]


def test_every_point_has_its_own_bucket_where_there_is_room():
    found = resample(np.arange(500), np.arange(500), buckets=1000)
    assert len(found.x) == 500
    assert (found.counts == 1).all()


def test_a_bucket_that_ends_in_nan_shows_its_last_finite_value():
    found = resample([0.0, 0.25, 0.5, 0.75, 8.0], [1.0, 2.0, math.nan, math.inf, 5.0], buckets=9)
    assert found.x.tolist() == [0.25, 8.0]
    assert found.last.tolist() == [2.0, 5.0]
    assert found.nan_x.tolist() == [0.5]
    assert found.positive_infinity_x.tolist() == [0.75]


def test_a_series_of_nan_alone_has_marks_and_no_buckets():
    found = resample([0.0, 1.0], [math.nan, -math.inf])
    assert len(found.x) == len(found.minimum) == 0
    assert found.nan_x.tolist() == [0.0]
    assert found.negative_infinity_x.tolist() == [1.0]


def test_an_empty_series_has_nothing():
    found = resample([], [])
    assert len(found.x) == len(found.nan_x) == 0


def test_the_same_points_give_the_same_bytes():
    generator = np.random.default_rng(0)
    x, y = generator.uniform(0, 1e6, 10_000), generator.normal(size=10_000)
    assert same(resample(x, y), resample(x.copy(), y.copy()))


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        ([[0.0]], [[1.0]], "2 dimensions"),
        ([0.0, 1.0], [1.0], "one position for every value"),
        (["a"], [1.0], "real numbers"),
        ([0.0], [1j], "real numbers"),
        ([math.nan], [1.0], "whose place on the axis is unknown"),
    ],
)
def test_what_cannot_be_bucketed_is_refused_with_the_cure(x, y, sentence):
    with pytest.raises(UsageError, match=sentence):
        resample(x, y)


def test_a_grid_that_does_not_cover_the_points_is_refused():
    with pytest.raises(UsageError, match="outside the buckets"):
        resample([0.0, 100.0], [1.0, 2.0], grid=bucket_grid(0, 10, 4))
    with pytest.raises(UsageError, match="at least 2"):
        bucket_grid(0, 10, 1)
    with pytest.raises(UsageError, match="smaller first"):
        bucket_grid(10, 0, 10)
