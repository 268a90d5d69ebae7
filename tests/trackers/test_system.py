"""The sampling thread."""

from __future__ import annotations

import threading
import time

import psutil
import pytest

from trackside.trackers.guard import Guard
from trackside.trackers.system import SystemSampler


def wait_for(samples: list[dict[str, float]], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(samples) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(samples) >= count


def test_samples_arrive_at_an_interval_with_sensible_values() -> None:
    samples: list[dict[str, float]] = []
    sampler = SystemSampler(samples.append, interval=0.15)
    sampler.start()
    wait_for(samples, 3)
    sampler.stop()
    assert not any(thread.name == "trackside-system" for thread in threading.enumerate())
    for sample in samples[:-1]:
        assert sample.keys() == sampler.units.keys()
        assert 0.0 <= sample["cpu/percent"] <= 100.0
    own = psutil.Process().memory_info().rss
    assert samples[-1]["process/memory_bytes"] == pytest.approx(own, rel=0.3)


def test_a_short_run_still_has_one_sample() -> None:
    samples: list[dict[str, float]] = []
    sampler = SystemSampler(samples.append, interval=3600)
    sampler.start()
    sampler.stop()
    assert len(samples) == 1


def test_how_busy_the_processor_is_cannot_be_told_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("trackside.trackers.system.time.monotonic", lambda: now)
    sampler = SystemSampler(print)
    now = 0.05
    assert sampler.sample().keys() == {"process/memory_bytes"}
    now = 0.2
    assert sampler.sample().keys() == {"process/memory_bytes", "cpu/percent"}
    assert sampler.sample().keys() == {"process/memory_bytes"}


def test_a_failing_sample_is_counted_and_the_next_comes() -> None:
    samples: list[dict[str, float]] = []
    guard = Guard()

    def log(sample: dict[str, float]) -> None:
        samples.append(sample)
        if len(samples) == 1:
            raise OSError("disk gone")

    sampler = SystemSampler(log, interval=0.05, guard=guard)
    sampler.start()
    wait_for(samples, 2)
    sampler.stop()
    assert guard.failures == {"sample the machine": 1}


def test_stop_without_start_is_harmless() -> None:
    SystemSampler(print).stop()
