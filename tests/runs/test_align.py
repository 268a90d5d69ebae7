"""Where a point lies: on steps, epochs, samples and three kinds of time, also after a resume."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.db.errors import UsageError
from trackside.db.records import Axes, Series, SeriesInfo
from trackside.runs.align import AXES, align, fractional_epochs, last_of_each_step

START = 1.7e9


def a_series(steps, values=None, times=None, reduction="batch"):
    steps = np.asarray(steps, dtype=np.int64)
    values = np.arange(len(steps), dtype=np.float64) if values is None else np.asarray(values, dtype=np.float64)
    times = START + np.arange(len(steps), dtype=np.float64) if times is None else np.asarray(times, dtype=np.float64)
    return Series(SeriesInfo(id=1, run_id="r", name="train/loss", reduction=reduction), steps, values, times)


def some_axes(steps, epochs=None, samples=None, times=None, process=None):
    steps = np.asarray(steps, dtype=np.int64)
    unknown = np.full(len(steps), np.nan)
    times = START + np.arange(len(steps), dtype=np.float64) if times is None else np.asarray(times, dtype=np.float64)
    return Axes(
        steps,
        unknown if epochs is None else np.asarray(epochs, dtype=np.float64),
        unknown if samples is None else np.asarray(samples, dtype=np.float64),
        times,
        times - START if process is None else np.asarray(process, dtype=np.float64),
    )


def test_steps_are_taken_as_they_are():
    aligned = align(a_series([0, 1, 5]), "step")
    assert aligned.x.tolist() == [0, 1, 5]
    assert aligned.missing == 0


@given(st.lists(st.integers(-5, 30), max_size=60))
def test_of_a_repeated_step_the_point_logged_last_counts(steps):
    aligned = align(a_series(steps), "step")
    expected = {step: index for index, step in enumerate(steps)}
    assert aligned.x.tolist() == sorted(expected)
    assert aligned.values.tolist() == [expected[step] for step in sorted(expected)]
    assert aligned.steps.tolist() == sorted(expected)


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(0, 3))
def test_every_axis_is_in_order_and_loses_no_point_unseen(steps, shift):
    series = a_series(steps)
    known = sorted(set(steps))[shift:]
    axes = some_axes(known, epochs=[s // 10 for s in known], samples=[(s + 1) * 8 for s in known])
    for axis in AXES:
        aligned = align(series, axis, axes)
        assert np.all(np.diff(aligned.x) >= 0)
        assert np.isfinite(aligned.x).all()
        counted = len(steps) if axis in ("relative", "process", "wall") else len(set(steps))
        assert len(aligned.x) + aligned.missing == counted
    assert align(series, "samples", axes).missing == len(set(steps)) - len(known)


def test_all_readings_of_a_gauge_are_kept_where_they_share_a_step():
    aligned = align(a_series([3, 3, 3, 4], reduction="sample"), "step")
    assert aligned.x.tolist() == [3, 3, 3, 4]


def test_readings_between_two_steps_spread_over_time():
    axes = some_axes([0, 1], times=[START, START + 10])
    series = a_series([0, 0, 0, 1], times=START + np.array([0.5, 4.0, 8.0, 12.0]), reduction="sample")
    assert align(series, "relative", axes).x.tolist() == [0.5, 4.0, 8.0, 12.0]
    assert align(series, "process", axes).x.tolist() == [0.5, 4.0, 8.0, 12.0]
    assert align(series, "wall", axes).x.tolist() == series.times.tolist()


def test_relative_time_counts_from_the_first_recorded_step_of_the_run():
    axes = some_axes([0, 1, 2])
    later = a_series([2], times=[START + 2])
    assert align(later, "relative", axes).x.tolist() == [2.0]


def test_a_pause_between_resumes_takes_no_process_time_and_its_steps_keep_theirs():
    # Steps 0-3, a crash, an hour's pause, and again from step 2.
    times = START + np.array([0, 1, 2, 3, 3600, 3601, 3602])
    axes = some_axes([0, 1, 2, 3, 2, 3, 4], times=times, process=[1, 2, 3, 4, 5, 6, 7])
    series = a_series([0, 1, 2, 3, 2, 3, 4], times=times)
    assert align(series, "process", axes).x.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert align(series, "relative", axes).x[-1] == 3602
    assert align(series, "step", axes).values.tolist() == [0, 1, 4, 5, 6]
    gauge = a_series([3, 3], times=[START + 3.5, START + 1800], reduction="sample")
    assert align(gauge, "process", axes).x.tolist() == [4.5, 5.0]


def test_samples_and_epochs_are_looked_up_by_step_and_what_is_unknown_is_counted():
    axes = some_axes([0, 1, 2, 4], samples=[32, 64, np.nan, 160])
    aligned = align(a_series([0, 1, 2, 3, 4]), "samples", axes)
    assert aligned.x.tolist() == [32, 64, 160]
    assert aligned.values.tolist() == [0, 1, 4]
    assert aligned.missing == 2


def test_a_later_record_without_samples_does_not_hide_an_earlier_one():
    axes = some_axes([0, 0], samples=[32, np.nan])
    assert align(a_series([0]), "samples", axes).x.tolist() == [32]


def test_whole_epochs_are_filled_in_evenly():
    axes = some_axes(range(8), epochs=[0, 0, 0, 0, 1, 1, 1, 1])
    assert align(a_series(range(8)), "epoch", axes).x.tolist() == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]


@given(st.integers(1, 50), st.integers(2, 12), st.integers(1, 20))
def test_the_end_of_an_epoch_is_its_number_plus_one_however_sparsely_it_is_logged(length, epochs, every):
    last = length * epochs
    # Every so-manyth step, and as validation is: at the last step of each epoch.
    steps = sorted({*range(0, last, every), *range(length - 1, last, length)})
    found, positions = fractional_epochs(some_axes(steps, epochs=[s // length for s in steps]))
    assert np.allclose(positions, (np.array(found) + 1) / length)


def test_epochs_of_different_lengths_reach_from_one_start_to_the_next():
    epochs = [0] * 4 + [1] * 2 + [2] * 3
    _, positions = fractional_epochs(some_axes(range(9), epochs=epochs))
    assert np.allclose(positions, [0.25, 0.5, 0.75, 1, 1.5, 2, 2.25, 2.5, 2.75])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 3))
def test_a_position_lies_in_its_epoch(lengths, first):
    epochs = [first + e for e, length in enumerate(lengths) for _ in range(length)]
    _, positions = fractional_epochs(some_axes(range(len(epochs)), epochs=epochs))
    assert np.all(positions > np.array(epochs))
    assert np.all(positions <= np.array(epochs) + 1 + 1e-12)
    assert np.all(np.diff(positions) > 0)


def test_the_length_of_an_epoch_that_is_not_over_may_be_given():
    axes = some_axes(range(5), epochs=[0] * 5)
    assert fractional_epochs(axes)[1][-1] == 1.0
    assert fractional_epochs(axes, steps_per_epoch=20)[1][-1] == 0.25


def test_fractional_epochs_are_left_alone():
    assert fractional_epochs(some_axes([0, 1], epochs=[0.1, 0.4]))[1].tolist() == [0.1, 0.4]


def test_a_resumed_run_keeps_the_later_epoch_of_a_repeated_step():
    axes = some_axes([0, 1, 2, 3, 2, 3], epochs=[0, 0, 1, 1, 1, 1])
    assert fractional_epochs(axes)[0].tolist() == [0, 1, 2, 3]


def test_last_of_each_step_of_nothing_is_nothing():
    assert len(last_of_each_step(np.empty(0, np.int64))) == 0
    for axis in AXES:
        assert len(align(a_series([]), axis, some_axes([])).x) == 0


def test_a_run_without_epochs_reports_all_its_points_as_missing():
    aligned = align(a_series([0, 1]), "epoch", some_axes([0, 1]))
    assert len(aligned.x) == 0
    assert aligned.missing == 2


def test_values_that_are_not_finite_are_placed_like_any_other():
    aligned = align(a_series([0, 1, 2], values=[math.nan, math.inf, 1]), "step")
    assert math.isnan(aligned.values[0])
    assert aligned.values[1] == math.inf


def test_wrong_requests_are_refused_with_the_cure():
    with pytest.raises(UsageError, match="choose one of step, epoch"):
        align(a_series([0]), "batches")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"store\.axes"):
        align(a_series([0]), "epoch")
