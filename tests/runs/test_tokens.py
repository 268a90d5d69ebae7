"""The axis of tokens: three ways to say them, and what is said of runs that do not."""

from __future__ import annotations

import numpy as np
import pytest

import trackside
from trackside.runs.tokens import lacking
from trackside.runs.views import curves_view


@pytest.fixture
def store(sqlite_url):
    with trackside.open_store(sqlite_url) as opened:
        yield opened


def train(url, name, config=None, each=None, samples=True):
    """Ten steps; `each` gives what a step logs besides, as metrics and as arguments of `log`."""
    with trackside.start_run(name=name, config=config, store=url) as run:
        for step in range(10):
            metrics, arguments = each(step) if each else ({}, {})
            seen = {"samples": 8 * (step + 1)} if samples else {}
            run.log({"train/loss": 1.0 / (step + 1), **metrics}, step=step, **seen, **arguments)
    return run.id


def places(store, run_id):
    (curve,) = curves_view(store, [run_id], "train/loss", axis="tokens").curves
    return curve.x.tolist()


def test_tokens_of_a_step_are_logged_with_it(store, sqlite_url):
    run = train(sqlite_url, "a", each=lambda step: ({}, {"tokens": 100 * (step + 1)}))
    assert places(store, run) == [100.0 * (step + 1) for step in range(10)]
    assert store.series(run, "tokens").values[-1] == 1000.0


def test_a_metric_counts_and_between_two_points_comes_at_an_even_pace(store, sqlite_url):
    run = train(sqlite_url, "a", each=lambda step: ({"num_input_tokens_seen": 50 * step} if step % 3 == 0 else {}, {}))
    assert places(store, run) == [50.0 * step for step in range(10)]


def test_every_sample_has_as_many(store, sqlite_url):
    run = train(sqlite_url, "a", config={"tokens_per_sample": 64})
    assert places(store, run) == [64.0 * 8 * (step + 1) for step in range(10)]


def test_before_the_first_count_the_place_is_unknown(store, sqlite_url):
    run = train(sqlite_url, "a", each=lambda step: ({"tokens": 10 * step} if step >= 4 else {}, {}))
    view = curves_view(store, [run], "train/loss", axis="tokens")
    assert view.curves[0].x.tolist() == [10.0 * step for step in range(4, 10)]
    assert view.missing == ((run, "4 of 10 points have no known tokens."),)


@pytest.mark.parametrize("tokens", [True, -1, "many", float("nan")])
def test_runs_without_say_so_in_one_sentence(store, sqlite_url, tokens):
    one = train(sqlite_url, "one", config={"tokens_per_sample": 64})
    other = train(sqlite_url, "other", config={"tokens_per_sample": tokens})
    view = curves_view(store, [one, other], "train/loss", axis="tokens")
    assert [curve.run_id for curve in view.curves] == [one]
    reason = "other logged no tokens: log how many it has seen so far as 'tokens'."
    assert view.missing == ((other, reason),)


def test_tokens_of_a_batch_are_no_count(store, sqlite_url):
    run = train(sqlite_url, "a", each=lambda step: ({"tokens": 2048}, {}))
    assert lacking(store, [store.run(run)])[run].startswith("logged 'tokens' that do not grow")
    view = curves_view(store, [run], "train/loss", axis="tokens")
    assert view.curves == ()
    falling = train(sqlite_url, "b", each=lambda step: ({"tokens": [5, 3, 9][step % 3] + step}, {}))
    view = curves_view(store, [falling], "train/loss", axis="tokens")
    assert view.missing[0][1] == "10 of 10 points have no known tokens."


def test_a_run_that_says_no_samples_has_no_tokens_per_sample(store, sqlite_url):
    run = train(sqlite_url, "a", config={"tokens_per_sample": 64}, samples=False)
    view = curves_view(store, [run], "train/loss", axis="tokens")
    assert view.missing == ((run, "10 of 10 points have no known tokens."),)
    assert np.isnan(store.axes(run).samples).all()
