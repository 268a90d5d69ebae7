"""Series computed afterwards: the run keeps its state, its end and everything it logged."""

import numpy as np
import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.db.store import open_store
from trackside.runs.derived import add_series


@pytest.fixture
def store(store_url):
    with open_store(store_url) as opened:
        yield opened


def train(store):
    with trackside.start_run(name="one", store=store.url.render_as_string(hide_password=False)) as run:
        for step in range(5000):
            run.log({"train/loss": 1.0 / (step + 1)}, step=step)
    return store.run(run.id)


def test_a_series_is_added_and_nothing_else_changes(store):
    run = train(store)
    loss = store.series(run, "train/loss")
    values = np.where(loss.steps == 7, np.nan, loss.values / 2)
    add_series(store, run, "noise/train/loss", loss.steps, loss.times, values, unit="nats")
    assert store.run(run.id) == run
    added = store.series(run, "noise/train/loss")
    np.testing.assert_array_equal(added.values, values)
    np.testing.assert_array_equal(added.steps, loss.steps)
    np.testing.assert_allclose(added.times, loss.times, atol=1e-5)
    (info,) = store.series_infos([run.id], ["noise/train/loss"])
    assert (info.unit, info.nan_count, info.first_nan_step) == ("nats", 1, 7)
    np.testing.assert_array_equal(store.series(run, "train/loss").values, loss.values)


def test_the_run_can_be_continued_afterwards(store):
    run = train(store)
    add_series(store, run, "noise/train/loss", np.arange(3), np.arange(3.0), np.ones(3))
    with trackside.start_run(id=run.id, resume=True, store=store.url.render_as_string(hide_password=False)) as more:
        more.log({"train/loss": 0.5}, step=5000)
    assert len(store.series(run, "train/loss")) == 5001


def test_a_name_that_is_taken_or_no_points_are_refused(store):
    run = train(store)
    with pytest.raises(UsageError, match="has a series 'train/loss' already"):
        add_series(store, run, "train/loss", np.arange(2), np.arange(2.0), np.ones(2))
    with pytest.raises(UsageError, match="has no point"):
        add_series(store, run, "other", np.empty(0), np.empty(0), np.empty(0))
