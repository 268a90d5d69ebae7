"""Judging a difference by the frameworks' own noise."""

import io

import numpy as np
import pytest
from rich.console import Console

from trackside.db.store import open_store
from trackside.workloads import noise
from trackside.workloads.noise import SERIES, judge, measure_noise
from trackside.workloads.plan import Request
from trackside.workloads.registry import find_workload

STEPS = 100


def losses(largest: float, seed: int) -> np.ndarray:
    """A falling loss with noise that grows from 1e-7 to `largest`."""
    generator = np.random.default_rng(seed)
    size = np.geomspace(1e-7, largest, STEPS)
    return np.exp(-np.arange(STEPS) / 50) + size * generator.standard_normal(STEPS)


def report(difference: float):
    base = losses(1e-3, 0)
    selves = [(base, losses(1e-3, seed)) for seed in range(1, 9)]
    return judge(find_workload("digits-cnn"), {}, base, losses(difference, 9), selves)


def test_a_difference_of_the_size_of_the_noise_is_within_it():
    found = report(1e-3)
    assert found.within
    assert found.pointwise < 5
    assert found.ten_steps < 3
    assert found.to_json()["within"] is True


def test_a_difference_of_another_size_is_beyond_it():
    assert not report(0.1).within


def test_a_bias_too_small_for_one_step_shows_over_ten():
    base = losses(1e-6, 0)
    selves = [(base, base + 1e-3 * np.where(np.arange(STEPS) % 2, 1, -1))]  # averages out
    found = judge(find_workload("digits-cnn"), {}, base, base + 1e-3, selves)
    assert found.pointwise < 1.1
    assert found.ten_steps > 100
    assert not found.within


def test_equal_losses_are_judged_by_what_float32_can_tell():
    base = losses(1e-6, 0)
    found = judge(find_workload("digits-cnn"), {}, base, base, [(base, base)])
    assert found.pointwise == 0
    assert found.within


def test_fewer_than_ten_steps_have_no_means():
    base = losses(1e-6, 0)[:5]
    assert judge(find_workload("digits-cnn"), {}, base, base, [(base, base)]).ten_steps == 0


@pytest.mark.framework
@pytest.mark.parametrize("workload", ["digits-cnn", "tabular"])
def test_the_envelope_is_kept_with_both_runs(workload, sqlite_url, monkeypatch):
    monkeypatch.setattr(noise, "PERTURBATIONS", 1)
    request = Request(workload=workload, steps=20, store=sqlite_url)
    found = measure_noise(request, Console(file=io.StringIO()))
    assert found.within
    assert 0 < found.envelope[-1] < 1e-2
    with open_store(sqlite_url) as store:
        runs = store.runs()
        assert {run.framework for run in runs} == {"torch", "tensorflow"}
        assert set(found.run_ids.values()) == {run.id for run in runs}
        for run in runs:
            assert run.state == "finished"
            assert "noise" in run.tags
            np.testing.assert_array_equal(store.series(run, SERIES).values, found.envelope)
