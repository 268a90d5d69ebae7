"""Which points two runs share, what rounding explains of their difference, and where they part."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trackside.runs.align import Aligned
from trackside.runs.difference import default_tolerance, first_parting, pair_by_position, pair_by_step


def aligned(x, values):
    x = np.asarray(x, dtype=np.float64)
    return Aligned(x, np.asarray(values, dtype=np.float64), x.astype(np.int64))


def loss_pair(noise):
    """Two losses that fall from 2.3 and differ by `noise(step)`."""
    steps = np.arange(300)
    loss = 0.05 + 2.25 * np.exp(-steps / 40)
    return pair_by_step(aligned(steps, loss), aligned(steps, loss + noise(steps)))


def test_only_steps_that_both_have_are_compared():
    pair = pair_by_step(aligned([0, 2, 4, 6], [1, 2, 3, 4]), aligned([2, 3, 4], [1, 1, 1]))
    assert pair.x.tolist() == [2, 4]
    assert pair.difference().tolist() == [1, 2]


def test_elsewhere_the_denser_run_is_interpolated_inside_the_overlap():
    pair = pair_by_position(aligned([0, 1, 2, 3, 4], [0, 10, 20, 30, 40]), aligned([0.5, 3.0, 9.0], [5, 31, 0]))
    assert pair.x.tolist() == [0.5, 3.0]
    assert pair.difference().tolist() == [0, -1]


def test_interpolation_does_not_reach_across_nan():
    pair = pair_by_position(aligned([0, 1, 2, 3, 4], [0, 1, math.nan, 3, 4]), aligned([0, 1.5, 2.5, 4.0], [0.5] * 4))
    assert np.isnan(pair.a).tolist() == [False, True, True, False]
    assert pair.a[3] == 4


def test_series_that_do_not_overlap_share_nothing():
    assert len(pair_by_position(aligned([0, 1], [0, 0]), aligned([5, 6], [0, 0])).x) == 0
    assert len(pair_by_position(aligned([], []), aligned([5, 6], [0, 0])).x) == 0


@pytest.mark.parametrize(
    ("a", "b", "parted"),
    [(math.nan, 1.0, True), (1.0, math.inf, True), (math.inf, -math.inf, True), (math.nan, math.nan, False),
     (math.inf, math.inf, False), (1.0, 1.0, False)],
)  # fmt: skip
def test_not_finite_on_one_side_is_parting_and_on_both_is_not(a, b, parted):
    pair = pair_by_step(aligned([0, 1], [1.0, a]), aligned([0, 1], [1.0, b]))
    for sustained in (True, False):
        assert first_parting(pair, np.full(2, 1e9), sustained=sustained) == (1 if parted else None)


def test_what_float32_does_to_a_convolutional_network_is_no_parting():
    # The sizes measured between two identical runs: 1e-6 at step 5, 1e-4 at 10, 4e-3 at 50, 1e-2 from 100 on.
    generator = np.random.default_rng(0)
    pair = loss_pair(
        lambda s: np.interp(s, [0, 5, 10, 50, 100], [2e-7, 1e-6, 1e-4, 4e-3, 1e-2]) * generator.choice([-1, 1], len(s))
    )
    assert first_parting(pair, default_tolerance(pair, "float32"), sustained=True) is None


def test_another_optimizer_is_found_within_its_first_steps():
    # Stock Keras Adam against PyTorch's, as measured on an LSTM: 1e-3 at step 2, 8e-2 at step 10.
    pair = loss_pair(lambda s: np.interp(s, [0, 2, 10, 20], [0, 1e-3, 8e-2, 2e-2]))
    at = first_parting(pair, default_tolerance(pair, "float32"), sustained=True)
    assert at is not None
    assert at <= 2


def test_what_float32_allows_is_no_rounding_in_float64():
    pair = loss_pair(lambda s: np.full(len(s), 1e-6))
    assert first_parting(pair, default_tolerance(pair, "float32"), sustained=True) is None
    assert first_parting(pair, default_tolerance(pair, "float64"), sustained=True) == 0
    assert (
        first_parting(loss_pair(lambda s: 1e-3 * (s > 3)), default_tolerance(pair, "bf16-mixed"), sustained=True)
        is None
    )


def test_runs_part_where_they_leave_the_tolerance_for_good():
    pair = loss_pair(lambda s: 0.3 * (s >= 120))
    assert first_parting(pair, default_tolerance(pair, None), sustained=True) == 120


def test_one_point_a_little_out_is_forgiven_by_an_estimate_and_not_by_a_bound():
    pair = loss_pair(lambda s: 0.002 * (s == 120))
    tolerance = np.full(len(pair.x), 0.001)
    assert first_parting(pair, tolerance, sustained=True) is None
    assert first_parting(pair, tolerance, sustained=False) == 120


def test_one_point_far_out_counts():
    pair = loss_pair(lambda s: 0.5 * (s == 120))
    assert first_parting(pair, np.full(len(pair.x), 0.001), sustained=True) == 120


def test_points_appended_do_not_move_an_earlier_parting():
    whole = loss_pair(lambda s: 0.3 * (s >= 50))
    part = pair_by_step(aligned(whole.x[:150], whole.a[:150]), aligned(whole.x[:150], whole.b[:150]))
    for pair in (part, whole):
        assert first_parting(pair, default_tolerance(pair, None), sustained=True) == 50


def test_values_at_the_limits_of_float64_raise_nothing():
    pair = pair_by_step(aligned([0], [1e308]), aligned([0], [-1e308]))
    assert pair.difference()[0] == math.inf
    assert first_parting(pair, default_tolerance(pair, None), sustained=True) == 0
