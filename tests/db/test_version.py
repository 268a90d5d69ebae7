"""The number that says whether anything was committed, and what may be kept for as long as it stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

import trackside
from trackside.db.models import Run
from trackside.db.store import Store, open_store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_store(store_url) as opened:
        yield opened


def train(store: Store, name: str = "one", *, steps: range = range(3)) -> str:
    url = store.url.render_as_string(hide_password=False)
    with trackside.start_run(name=name, store=url) as run:
        for step in steps:
            run.log({"train/loss": float(step)}, step=step)
    return run.id


def test_it_stays_while_nothing_is_committed(store: Store) -> None:
    train(store)
    before = store.version()
    store.runs()
    store.series_infos([run.id for run in store.runs()])
    assert store.version() == before
    assert before is not None


def test_every_commit_moves_it_whoever_made_it(store: Store, store_url: str) -> None:
    seen = [store.version()]
    run = train(store)
    seen.append(store.version())
    store.rename(run, "another")  # by the same store, which also asks
    seen.append(store.version())
    with open_store(store_url) as other:
        other.tag(run, "good")
    seen.append(store.version())
    store.delete(run)
    seen.append(store.version())
    store.purge(run)
    seen.append(store.version())
    assert len(set(seen)) == len(seen)


def test_what_is_not_committed_yet_does_not_count_and_then_does(store: Store) -> None:
    run = train(store)
    with store.write() as connection:
        connection.execute(text("update runs set name = 'later' where id = :id"), {"id": run})
        during = store.version()
        assert store.run(run).name == "one"
    assert store.version() != during


def test_another_file_in_the_place_of_the_store_is_another_version(tmp_path: Path) -> None:
    here, there = tmp_path / "here.db", tmp_path / "there.db"
    for path in (here, there):
        with open_store(f"sqlite:///{path}") as made:
            train(made)
    with open_store(f"sqlite:///{here}") as store:
        before = store.version()
        there.replace(here)
        for ending in ("-wal", "-shm"):
            here.with_name(here.name + ending).unlink(missing_ok=True)
        assert store.version() != before


def test_a_read_sees_one_state_whatever_is_committed_meanwhile(store: Store) -> None:
    train(store)
    with store.read() as connection:
        count = select(func.count()).select_from(Run)
        assert connection.execute(count).scalar_one() == 1
        train(store, "two")
        assert connection.execute(count).scalar_one() == 1
    assert len(store.runs()) == 2


def test_marks_move_with_points_and_not_with_names(store: Store) -> None:
    one, two = train(store, "one"), train(store, "two")
    before = store.journal_marks()
    store.rename(one, "another")
    assert store.journal_marks() == before
    url = store.url.render_as_string(hide_password=False)
    with trackside.start_run(id=one, resume=True, store=url) as run:
        run.log({"train/loss": 1.0}, step=5)
    after = store.journal_marks()
    assert after[one] != before[one]
    assert after[two] == before[two]


def test_a_brief_list_leaves_out_what_is_large(store: Store) -> None:
    url = store.url.render_as_string(hide_password=False)
    with trackside.start_run(name="one", store=url, config={"lr": 0.1}) as run:
        run.update(model={"parameters": 7})
    (whole,), (brief,) = store.runs(), store.runs(brief=True)
    assert whole.model == {"parameters": 7}
    assert (brief.model, brief.environment) == ({}, {})
    assert (brief.config, brief.name, brief.created, brief.state) == (
        whole.config,
        whole.name,
        whole.created,
        whole.state,
    )
