"""Columns that are added to the run table."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

import trackside
from trackside.dashboard.columns import Column, available, cells, columns_of, parse_columns, setting
from trackside.dashboard.rows import run_row, run_rows
from trackside.db.records import RunInfo, SeriesInfo


def a_run(**config: object) -> RunInfo:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return RunInfo(id="a", name="a", project="p", state="finished", created=now, config=config)


def a_series(name: str, **numbers: float | int) -> SeriesInfo:
    return SeriesInfo(id=1, run_id="a", name=name, **numbers)  # type: ignore[arg-type]


def test_an_address_names_columns_and_what_is_no_column_is_left_out() -> None:
    search = (
        "?q=x&column=max:val/accuracy&column=config:optimizer.lr&column=max:val/accuracy&column=mean:a&column=last:"
    )
    assert columns_of(search) == (Column("max", "val/accuracy"), Column("config", "optimizer.lr"))
    assert columns_of("") == columns_of(None) == parse_columns(None) == ()
    assert parse_columns([column.key for column in columns_of(search)]) == columns_of(search)


def test_a_metric_may_have_a_colon_in_its_name() -> None:
    assert parse_columns(["last:gpu:0/power"]) == (Column("last", "gpu:0/power"),)


def test_the_best_is_the_largest_accuracy_and_the_smallest_loss() -> None:
    numbers = {"count": 3, "last": 2.0, "minimum": 1.0, "maximum": 3.0}
    series = {name: a_series(name, **numbers) for name in ("val/loss", "val/accuracy")}
    keys = ["best:val/loss", "best:val/accuracy", "last:val/loss", "min:val/loss", "max:val/loss", "last:absent"]
    found = cells(parse_columns(keys), a_run(), series)
    assert found == dict(zip(keys, [1.0, 3.0, 2.0, 1.0, 3.0, None], strict=True))


def test_values_that_are_not_finite_have_names_and_a_series_without_finite_ones_has_no_best() -> None:
    series = {"loss": a_series("loss", count=1, nan_count=1, last=math.nan)}
    assert cells(parse_columns(["last:loss", "best:loss"]), a_run(), series) == {"last:loss": "NaN", "best:loss": None}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((3, 3), (3e-4, 3e-4), (True, "true"), ("adam", "adam"), (None, None), ([1, 2], "[1,2]"), ({}, "{}")),
        *((2**60, str(2**60)), (math.inf, "Infinity")),
    ],
)
def test_numbers_of_a_configuration_stay_numbers_and_the_rest_is_text(value: object, shown: object) -> None:
    found = setting(value)
    assert found == shown
    assert type(found) is type(shown)


def test_columns_on_offer_are_the_settings_and_the_summaries_of_metrics_but_not_of_noise() -> None:
    offered = available([a_run(optimizer={"lr": 1}), a_run(seed=2)], ["train/loss", "noise/train/loss"])
    assert [column.key for column in offered] == [
        *("config:optimizer.lr", "config:seed"),
        *("last:train/loss", "best:train/loss", "min:train/loss", "max:train/loss"),
    ]


def test_an_added_metric_does_not_change_where_the_first_nan_is_said_to_be() -> None:
    infos = [
        a_series("train/loss", count=1, nan_count=1, first_nan_step=5),
        a_series("other", count=1, nan_count=1, first_nan_step=1),
    ]
    row = run_row(a_run(), infos, datetime.now(UTC), parse_columns(["last:other"]))
    assert row["non_finite"] == "First NaN in train/loss at step 5"
    assert row["last:other"] == "NaN"


def test_rows_of_a_store_have_the_added_columns_and_trashed_runs_offer_none(sqlite_url: str) -> None:
    for name in ("kept", "gone"):
        with trackside.start_run(name=name, config={"lr": 0.5}, store=sqlite_url) as run:
            run.log({f"{name}/metric": 1.0}, step=0)
            run.log({f"{name}/metric": 4.0}, step=1)
    with trackside.open_store(sqlite_url) as store:
        store.delete("gone")
        assert store.metric_names() == ["kept/metric"]
        (row,) = run_rows(store, parse_columns(["max:kept/metric", "min:kept/metric", "config:lr", "config:none"]))
    assert (row["max:kept/metric"], row["min:kept/metric"], row["config:lr"]) == (4.0, 1.0, 0.5)
    assert row["config:none"] is None
