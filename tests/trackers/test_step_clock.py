"""The split of a step's period into waiting for data and computing, on a clock that the test turns."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.trackers.step_clock import TIMES, StepClock, StepTime


class Hands:
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def clock(hands: Hands) -> StepClock:
    clock = StepClock(hands)
    clock.start()
    return clock


def batch(clock: StepClock, hands: Hands, data: float, compute: float, samples: int = 0) -> None:
    hands.pass_(data)
    clock.begin_batch()
    hands.pass_(compute)
    clock.end_batch(samples)


def times(step: StepTime) -> Any:
    return pytest.approx((step.seconds, step.data_seconds, step.compute_seconds))


def test_period_is_end_to_end_and_the_sum_of_its_parts(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 1.0, 2.0)
    clock.end_step()
    batch(clock, hands, 0.5, 0.25, samples=32)
    step = clock.end_step()
    assert times(step) == (0.75, 0.5, 0.25)
    assert step.metrics()["step/samples_per_second"] == pytest.approx(32 / 0.75)


def test_first_step_after_a_start_is_kept_apart(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 1.0, 20.0, samples=8)
    first = clock.end_step()
    assert first.first
    assert first.metrics() == {"step/first_seconds": pytest.approx(21.0)}
    batch(clock, hands, 1.0, 2.0)
    assert "step/first_seconds" not in clock.end_step().metrics()
    clock.start()
    batch(clock, hands, 1.0, 2.0)
    assert clock.end_step().first


def test_several_batches_make_one_update(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 1.0, 1.0)
    clock.end_step()
    batch(clock, hands, 0.1, 1.0, samples=4)
    batch(clock, hands, 0.2, 2.0, samples=4)
    step = clock.end_step()
    assert times(step) == (3.3, 0.3, 3.0)
    assert step.samples == 8


def test_several_updates_reported_at_once_share_the_time(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 0.0, 1.0)
    clock.end_step()
    batch(clock, hands, 1.0, 4.0, samples=80)
    step = clock.end_step(updates=5)
    assert times(step) == (1.0, 0.2, 0.8)
    assert step.samples == 16


def test_validation_between_batches_is_neither_data_nor_compute(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 0.0, 1.0)
    clock.end_step()
    hands.pass_(0.1)
    clock.pause()
    hands.pass_(50.0)
    clock.resume()
    batch(clock, hands, 0.2, 1.0)
    assert times(clock.end_step()) == (1.3, 0.3, 1.0)


def test_gap_with_a_checkpoint_is_left_out(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 0.0, 1.0)
    clock.end_step()
    hands.pass_(30.0)
    clock.discard_gap()
    batch(clock, hands, 0.2, 1.0)
    assert times(clock.end_step()) == (1.0, 0.0, 1.0)
    batch(clock, hands, 0.2, 1.0)
    assert times(clock.end_step()) == (1.2, 0.2, 1.0)


def test_data_fetched_inside_the_step_moves_from_compute_to_data(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 0.0, 1.0)
    clock.end_step()
    clock.begin_batch()
    hands.pass_(1.0)
    clock.end_batch(data_seconds=0.7)
    assert times(clock.end_step()) == (1.0, 0.7, 0.3)
    clock.begin_batch()
    hands.pass_(1.0)
    clock.end_batch(data_seconds=9.0)  # more than passed: a caller's clock ran differently
    assert times(clock.end_step()) == (1.0, 1.0, 0.0)


def test_batch_that_never_began_counts_no_compute(hands: Hands) -> None:
    clock = StepClock(hands)
    hands.pass_(5.0)
    clock.end_batch(samples=3)
    assert clock.end_step() == StepTime(0.0, 0.0, 0.0, 3.0, True)


def test_no_throughput_where_samples_are_unknown(clock: StepClock, hands: Hands) -> None:
    batch(clock, hands, 0.0, 1.0)
    clock.end_step()
    batch(clock, hands, 0.0, 1.0)
    assert "step/samples_per_second" not in clock.end_step().metrics()


def test_the_short_way_gives_what_the_long_one_does(hands: Hands) -> None:
    long, short = StepClock(hands), StepClock(hands)
    for clock in (long, short):
        clock.start()
        clock.begin_batch()
    hands.pass_(1.0)
    assert short.end_batch_and_step(5) is None  # the first is another matter
    for clock in (long, short):
        clock.end_batch(5)
        clock.end_step()
    for data, compute in ((0.25, 0.5), (0.0, 2.0), (1.0, 0.125)):
        hands.pass_(data)
        for clock in (long, short):
            clock.begin_batch()
        hands.pass_(compute)
        long.end_batch(8, data_seconds=compute / 4)
        expected = long.end_step().metrics()
        assert tuple(expected) == TIMES
        assert short.end_batch_and_step(8, compute / 4) == tuple(expected.values())
    hands.pass_(0.5)
    for clock in (long, short):
        clock.begin_batch()
        hands.pass_(0.5)
        clock.end_batch(3)  # of two that make the update
        clock.begin_batch()
    hands.pass_(0.5)
    assert short.end_batch_and_step(4) is None
    short.end_batch(4)
    assert short.end_step().samples == 7
