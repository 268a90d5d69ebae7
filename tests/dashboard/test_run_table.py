"""The kept rows of the run table: what changed shows, and nothing else is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

import trackside
from trackside.dashboard import run_table
from trackside.dashboard.columns import parse_columns
from trackside.dashboard.rows import run_rows
from trackside.dashboard.run_table import RunTable
from trackside.dashboard.source import StoreSource
from trackside.db.models import Run
from trackside.db.store import Store

TrainOn = Callable[..., str]
Reads = list[list[str]]


@pytest.fixture
def source(store_url: str) -> Iterator[StoreSource]:
    opened = StoreSource(store_url)
    yield opened
    opened.close()


@pytest.fixture
def table(source: StoreSource) -> RunTable:
    return RunTable(source)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Grows by the ids of the runs whose series are read, at every reading of runs."""
    found: Reads = []
    series, runs = Store.series_infos, Store.runs

    def reading_series(self: Store, ids: Any, names: Any = None) -> Any:
        found[-1] += list(ids)
        return series(self, ids, names)

    def reading_runs(self: Store, *arguments: Any, **options: Any) -> Any:
        found.append([])
        return runs(self, *arguments, **options)

    monkeypatch.setattr(Store, "series_infos", reading_series)
    monkeypatch.setattr(Store, "runs", reading_runs)
    return found


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on when they were read."""
    return [{key: value for key, value in row.items() if key != "duration"} for row in rows]


def test_rows_are_those_of_a_fresh_reading_after_every_change(
    store_url: str, source: StoreSource, table: RunTable, train_on: TrainOn
) -> None:
    columns = parse_columns(["max:train/loss", "config:lr"])

    def check() -> list[dict[str, Any]]:
        now = table.read(columns)
        fresh = run_rows(source(), columns)
        assert lasting(now.rows) == lasting(fresh)
        assert list(now.digests) == [row["id"] for row in now.rows] == [run.id for run in now.runs]
        return now.rows

    assert check() == []
    one, two = train_on(store_url, "one"), train_on(store_url, "two")
    assert [row["name"] for row in check()] == ["two", "one"]
    source().rename(one, "renamed")
    source().tag(two, "good")
    assert [(row["name"], row["tags"]) for row in check()] == [("two", ["good"]), ("renamed", [])]
    with trackside.start_run(id=one, resume=True, store=store_url) as run:
        run.log({"train/loss": 99.0}, step=60)
    assert [row["max:train/loss"] for row in check()][1] == 99.0
    source().delete(two)
    assert [row["id"] for row in check()] == [one]
    source().restore(two)
    assert len(check()) == 2
    source().delete(two)
    source().purge(two)
    assert [row["id"] for row in check()] == [one]
    three = train_on(store_url, "three")
    assert [row["id"] for row in check()] == [three, one]


def test_nothing_is_read_while_nothing_changes(
    store_url: str, table: RunTable, train_on: TrainOn, reads: Reads
) -> None:
    one, two = train_on(store_url, "one"), train_on(store_url, "two")
    del reads[:]
    first = table.read()
    assert reads == [[two, one]]
    assert table.read() is first
    assert reads == [[two, one]]


def test_only_runs_that_got_points_have_their_series_read(
    store_url: str, source: StoreSource, table: RunTable, train_on: TrainOn, reads: Reads
) -> None:
    one, two = train_on(store_url, "one"), train_on(store_url, "two")
    table.read()
    with trackside.start_run(id=two, resume=True, store=store_url) as run:
        run.log({"train/loss": 5.0}, step=60)
    del reads[:]
    assert table.read().rows[0]["train_last"] == 5.0
    assert reads == [[two]]
    source().rename(one, "another")
    del reads[:]
    assert table.read().rows[1]["name"] == "another"
    assert reads == [[]]


def test_tables_with_other_columns_are_kept_beside_each_other_but_not_for_ever(
    store_url: str, source: StoreSource, table: RunTable, train_on: TrainOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_table, "MOST_TABLES", 2)
    run = train_on(store_url, "one")
    kinds = [parse_columns(keys) for keys in ([], ["config:lr"], ["min:val/loss"])]
    tables = [table.read(columns) for columns in kinds]
    assert [sorted(set(made.rows[0]) & {"config:lr", "min:val/loss"}) for made in tables] == [
        [],
        ["config:lr"],
        ["min:val/loss"],
    ]
    source().rename(run, "another")
    assert [table.read(columns).rows[0]["name"] for columns in kinds] == ["another"] * 3
    assert len(table._known) == 2


def test_a_run_that_stops_reporting_is_lost_although_nothing_was_committed(
    store_url: str, source: StoreSource, table: RunTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_table, "CLOCK_SECONDS", 0.0)
    with trackside.start_run(name="one", store=store_url) as run:
        run.log({"train/loss": 1.0}, step=0)
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    with source().write() as connection:
        connection.execute(update(Run).values(state="running", ended_at=None, heartbeat_due_at=soon))
    assert table.read().rows[0]["state"] == "running"
    while datetime.now(UTC) < soon + timedelta(seconds=0.05):
        pass
    assert table.read().rows[0]["state"] == "lost"


def test_metrics_to_choose_from_follow_the_store(store_url: str, table: RunTable, train_on: TrainOn) -> None:
    assert table.metric_names() == []
    assert not table.has_rows
    run = train_on(store_url, "one")
    assert "train/loss" in table.metric_names()
    with trackside.start_run(id=run, resume=True, store=store_url) as resumed:
        resumed.log({"val/f1": 1.0}, step=0)
    assert "val/f1" in table.metric_names()
    assert table.has_rows
