"""Which run is better, and when nobody may say so."""

from __future__ import annotations

import json
import math

import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.runs.verdict import verdict_view


def train(url, framework, seed, *, step_seconds, loss, steps=40):
    with trackside.start_run(
        name=f"{framework}-{seed}",
        store=url,
        config={"seed": seed, "lr": 0.1},
        properties={"framework": framework, "device": "cpu", "mode": "eager"},
    ) as run:
        run.describe("val/loss", reduction="epoch_mean")
        for step in range(steps):
            run.log({"train/loss": 5.0, "step/seconds": step_seconds}, step=step, samples=32 * (step + 1))
            run.log({"val/loss": 5.0 - step * (5.0 - loss) / (steps - 1)}, step=step)
    return run.id


@pytest.fixture
def store(store_url):
    with trackside.open_store(store_url) as opened:
        yield opened


def by_name(view):
    return {quantity.name: quantity for quantity in view.quantities}


def test_a_difference_larger_than_the_spread_of_repeats_has_a_winner(store_url, store):
    ids = [
        train(store_url, framework, seed, step_seconds=seconds + seed * 0.001, loss=loss + seed * 0.2)
        for framework, seconds, loss in (("torch", 0.010, 1.0), ("tensorflow", 0.020, 1.1))
        for seed in (0, 1)
    ]
    runs = [store.run(ids[0]), store.run(ids[2])]
    view = verdict_view(store, runs, "green")
    table = by_name(view)
    assert view.repeats == {ids[0]: 2, ids[2]: 2}
    assert table["step_seconds"].best == ids[0]
    assert table["step_seconds"].ratios[ids[2]] == pytest.approx(2.0)
    assert table["step_seconds"].apart == {ids[2]: True}
    assert table["final val/loss"].apart == {ids[2]: False}  # 0.1 apart, and repeats are 0.2 apart
    assert table["final val/loss"].best is None
    assert view.target == ("val/loss", pytest.approx(1.1))
    assert table["target_steps"].values[ids[2]] == 40


def test_without_repeats_nobody_knows_whether_it_is_noise(store_url, store):
    one = train(store_url, "torch", 0, step_seconds=0.01, loss=1.0)
    two = train(store_url, "tensorflow", 0, step_seconds=0.02, loss=1.0)
    table = by_name(verdict_view(store, [store.run(one), store.run(two)], "amber", base=two))
    assert table["step_seconds"].apart == {one: None}
    assert table["step_seconds"].best == one
    assert table["step_seconds"].ratios == {one: pytest.approx(0.5), two: 1.0}
    assert table["final val/loss"].best is None  # equal


def test_no_winner_is_named_where_parity_is_red(store_url, store):
    one = train(store_url, "torch", 0, step_seconds=0.01, loss=1.0)
    two = train(store_url, "tensorflow", 0, step_seconds=0.02, loss=2.0)
    view = verdict_view(store, [store.run(one), store.run(two)], "red")
    assert "not the same experiment" in view.reason
    assert {quantity.best for quantity in view.quantities} == {None}


def test_what_a_run_lacks_is_unknown_and_nan_is_not(store_url, store):
    one = train(store_url, "torch", 0, step_seconds=0.01, loss=1.0)
    with trackside.start_run(name="bare", store=store_url) as run:
        run.log({"train/loss": math.nan}, step=0)
    view = verdict_view(store, [store.run(one), store.run(run.id)], "amber")
    table = by_name(view)
    assert table["step_seconds"].values[run.id] is None
    assert math.isnan(table["final train/loss"].values[run.id])
    assert view.target is None
    json.dumps(trackside.compare(store, [one, run.id]).to_json(), allow_nan=False)


def test_the_baseline_is_the_base_and_a_target_can_be_set(store_url, store):
    one = train(store_url, "torch", 0, step_seconds=0.01, loss=1.0)
    two = train(store_url, "tensorflow", 0, step_seconds=0.02, loss=2.0)
    store.set_baseline(two)
    found = trackside.compare(store, [one, two], target=3.0)
    assert found.verdict.base == two
    assert found.verdict.target == ("val/loss", 3.0)
    assert by_name(found.verdict)["target_steps"].best == one
    with pytest.raises(UsageError, match="none of those compared"):
        three = train(store_url, "torch", 3, step_seconds=0.01, loss=1.0)
        trackside.compare(store, [one, two], base=three)
