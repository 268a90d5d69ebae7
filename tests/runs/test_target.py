"""When a run reached a value, and what it had cost by then."""

from __future__ import annotations

import math

import numpy as np
import pytest

import trackside
from trackside.runs.target import course, joules_until, reach


@pytest.fixture
def trained(sqlite_url):
    """A run whose loss falls by one each step from 10, with one lucky batch at step 1, and a GPU's counter."""
    with trackside.start_run(name="a", store=sqlite_url) as run:
        run.describe("val/acc", reduction="epoch_mean")
        for step in range(10):
            loss = -5.0 if step == 1 else 10.0 - step
            run.log({"train/loss": loss, "gpu0/energy_joules": 100.0 * step}, step=step, samples=32 * (step + 1))
            run.log({"val/loss": 10.0 - step, "val/acc": step / 10}, step=step)
    with trackside.open_store(sqlite_url) as store:
        yield store, store.run("a")


def info(store, run, name):
    (found,) = store.series_infos([run.id], [name])
    return found


def test_the_first_step_as_good_as_the_target_counts(trained):
    store, run = trained
    accuracy = course(store, run, info(store, run, "val/acc"))
    found = reach(store, run, accuracy, 0.5)
    assert (found.step, found.samples, accuracy.best) == (5, 192.0, 0.9)
    assert found.seconds > 0
    assert 0 <= found.joules <= 900


def test_a_target_never_reached_has_no_step_and_still_a_best(trained):
    store, run = trained
    accuracy = course(store, run, info(store, run, "val/acc"))
    found = reach(store, run, accuracy, 0.95)
    assert found.step is None
    assert math.isnan(found.samples)
    assert math.isnan(found.joules)
    assert accuracy.best == 0.9


def test_one_lucky_batch_reaches_nothing(sqlite_url):
    losses = np.linspace(2.0, 1.0, 2000)
    losses[100] = 0.0
    with trackside.start_run(name="b", store=sqlite_url) as run:
        for step, loss in enumerate(losses):
            run.log({"train/loss": float(loss)}, step=step)
    with trackside.open_store(sqlite_url) as store:
        run = store.run("b")
        found = reach(store, run, course(store, run, info(store, run, "train/loss")), 1.5)
    assert 1000 < found.step < 1060


def test_a_counter_that_begins_anew_adds_up(sqlite_url):
    with trackside.start_run(name="c", store=sqlite_url) as run:
        for joules in (10.0, 60.0, 5.0, 25.0):
            run.log({"gpu0/energy_joules": joules, "gpu1/energy_joules": 1.0})
    with trackside.open_store(sqlite_url) as store:
        assert joules_until(store, store.run("c")) == 60 + 25 + 1
        assert math.isnan(joules_until(store, store.run("c"), math.nan))


def test_without_a_gpu_energy_is_unknown(trained):
    store, _ = trained
    with trackside.start_run(name="d", store=str(store.url.render_as_string(hide_password=False))) as other:
        other.log({"train/loss": 1.0})
    assert math.isnan(joules_until(store, store.run("d")))
