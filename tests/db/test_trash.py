"""The trash of a store: the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import trackside
from trackside.db.store import open_store
from trackside.db.trash import Trash

from .test_store import make_commit


@pytest.fixture
def store(store_url):
    with open_store(store_url) as opened:
        yield opened


def finished(url, name):
    with trackside.start_run(name=name, store=url) as run:
        run.log({"train/loss": 1.0}, step=0)
    return run.id


def ids(runs):
    return [run.id for run in runs]


def test_many_runs_go_and_come_back(store, store_url):
    made = [finished(store_url, f"run {number}") for number in range(3)]
    trash = Trash(store)
    assert set(ids(trash.put([*made[:2], made[0], "nobody"]))) == set(made[:2])
    assert ids(store.runs()) == [made[2]]
    assert set(ids(trash.runs())) == set(made[:2])
    assert trash.put(made[:2]) == []  # they are there: when they were deleted stays as it was
    assert ids(trash.restore([made[1], made[2]])) == [made[1]]
    assert ids(trash.runs()) == [made[0]]


def test_the_last_deleted_stands_first(store, store_url):
    made = [finished(store_url, f"run {number}") for number in range(3)]
    trash = Trash(store)
    for run_id in (made[2], made[0], made[1]):
        trash.put([run_id])
    assert ids(trash.runs()) == [made[1], made[0], made[2]]
    deleted = trash.runs()[0].deleted
    assert deleted is not None
    assert datetime.now(UTC) - deleted < timedelta(minutes=1)


def test_purge_takes_what_is_in_the_trash_with_its_points_and_nothing_else(store, store_url):
    kept, thrown = finished(store_url, "kept"), finished(store_url, "thrown")
    trash = Trash(store)
    trash.put([thrown])
    purged = trash.purge([kept, thrown, "nobody"])
    assert (purged.removed, purged.training) == ((thrown,), ())
    assert ids(store.runs()) == [kept]
    assert trash.runs() == []
    assert store.series_infos([kept, thrown])[0].run_id == kept
    assert len(store.series_infos([thrown])) == 0


def test_a_run_that_trains_is_not_purged(store, store_url):
    trash = Trash(store)
    store.commit(make_commit(run_id="busy"))
    other = finished(store_url, "other")
    assert set(ids(trash.put(["busy", other]))) == {"busy", other}
    purged = trash.purge(["busy", other])
    assert purged.removed == (other,)
    assert ids(purged.training) == ["busy"]
    assert ids(trash.runs()) == ["busy"]
    store.mark("busy", "lost", datetime.now(UTC))
    assert trash.purge(["busy"]).removed == ("busy",)
    assert trash.runs() == []


def test_more_runs_than_a_transaction_takes(store):
    every = [f"r{number}" for number in range(230)]
    for run_id in every:
        store.commit(make_commit(run_id=run_id))
        store.mark(run_id, "finished", datetime.now(UTC))
    trash = Trash(store)
    assert len(trash.put(every)) == 230
    assert len(trash.restore(every[:1])) == 1
    assert len(trash.purge(every).removed) == 229
    assert ids(store.runs()) == ["r0"]
