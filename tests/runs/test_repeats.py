"""Repeats: which runs are repeats of each other, what they come to, and when a difference is a tie."""

import numpy as np
import pytest

import trackside
from trackside.db.store import open_store
from trackside.runs.repeats import Form, Spread, contrast, measure, repeats

STARTED = 1_700_000_000.0


@pytest.fixture
def store(store_url):
    with open_store(store_url) as opened:
        yield opened


def train(store, framework: str, step_seconds: float, *, seed: int = 0, loss: float = 0.5, **config):
    properties = {"framework": framework, "mode": "eager", "precision": "float32", "device": "cpu"}
    with trackside.start_run(
        name=f"{framework}-{seed}",
        store=store.url.render_as_string(hide_password=False),
        config={"seed": seed, **config},
        properties=properties,
    ) as run:
        run.update(environment={"process_started": STARTED, "peak_memory_bytes": 10**9})
        for step in range(30):
            run.log(
                {"train/loss": 1.0, "step/seconds": step_seconds, "step/samples_per_second": 32 / step_seconds},
                step=step,
            )
        run.log({"val/loss": loss}, step=29)
    return store.run(run.id)


def form(*values: float) -> Form:
    return Form(label="", runs=(), quantities={"step_seconds": Spread(values=np.array(values))})


def test_runs_of_other_seeds_are_repeats_and_of_other_settings_are_not(store):
    runs = [
        train(store, "torch", 0.010, seed=0),
        train(store, "tensorflow", 0.020, seed=0),
        train(store, "tensorflow", 0.022, seed=1),
        train(store, "torch", 0.012, seed=1),
        train(store, "torch", 0.030, seed=0, learning_rate=1.0),
    ]
    forms = repeats(store, runs)
    assert [len(form.runs) for form in forms] == [2, 2, 1]
    assert len({form.label for form in forms}) == 3
    torch, tensorflow, other = forms
    assert torch.quantities["step_seconds"].median == pytest.approx(0.011)
    assert (tensorflow.quantities["step_seconds"].low, tensorflow.quantities["step_seconds"].high) == (0.020, 0.022)
    assert other.quantities["val/loss"].median == 0.5
    assert [run.name for run in torch.runs] == ["torch-0", "torch-1"]


def test_a_run_comes_to_what_it_logged(store):
    run = train(store, "torch", 0.010)
    found = measure(store, [run])[run.id]
    assert found["step_seconds"] == pytest.approx(0.010)
    assert found["samples_per_second"] == pytest.approx(3200)
    assert found["peak_memory_bytes"] == 1e9
    first = store.series(run, "train/loss").times[0]
    assert found["seconds_to_first_step"] == pytest.approx(first - STARTED)
    assert "seconds_to_100_steps" not in found  # it made thirty


def test_a_difference_within_the_repeats_is_a_tie():
    found = contrast(form(1.0, 1.2, 1.1), form(1.15, 1.25, 1.3), "step_seconds")
    assert found is not None
    assert found.tie is True
    assert found.ratio == pytest.approx(1.1 / 1.25)


def test_one_beyond_them_is_none():
    found = contrast(form(1.0, 1.1), form(2.0, 2.1), "step_seconds")
    assert found is not None
    assert found.tie is False


def test_a_single_run_cannot_say():
    found = contrast(form(1.0), form(2.0, 2.1), "step_seconds")
    assert found is not None
    assert found.tie is None


def test_a_quantity_that_one_lacks_is_not_compared():
    assert contrast(form(1.0), form(2.0), "val/loss") is None
