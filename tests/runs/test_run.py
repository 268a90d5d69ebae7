"""Starting, logging and finishing a run, the same on both databases."""

from __future__ import annotations

import logging
import os
import struct
import threading
import warnings

import numpy as np
import pytest

import trackside
from trackside.db.errors import RunNotFoundError, StoreError, TracksideError, UsageError
from trackside.runs.journal import journal_folder


def only_run(url):
    with trackside.open_store(url) as store:
        (run,) = store.runs()
        return run


def values(url, metric, run=None):
    with trackside.open_store(url) as store:
        return store.series(run or store.runs()[0], metric)


def test_what_was_logged_is_in_the_store(store_url):
    with trackside.start_run(name="baseline", project="mnist", config={"lr": 1e-3}, store=store_url) as run:
        for step in range(50):
            run.log({"train/loss": 1 / (step + 1), "val/acc": step}, step=step, epoch=step // 10, samples=32 * step)
        run.describe("train/loss", unit="nats", reduction="batch")
        run.update(framework="torch", total_steps=50, environment={"host": "h"})
        run.fingerprint("init/weights", {"parameter_count": 7})
        run.event("notice", "half way", step=25)
    with trackside.open_store(store_url) as store:
        (found,) = store.runs()
        assert (found.name, found.project, found.state, found.last_step) == ("baseline", "mnist", "finished", 49)
        assert (found.framework, found.total_steps, found.config) == ("torch", 50, {"lr": 1e-3})
        assert found.ended >= found.started >= found.created
        series = store.series(found, "train/loss")
        np.testing.assert_array_equal(series.values, 1 / np.arange(1, 51))
        assert series.info.unit == "nats"
        assert (np.diff(series.times) >= 0).all()
        epochs, samples = store.axes(found).at(series.steps)
        np.testing.assert_array_equal(epochs, np.arange(50) // 10)
        np.testing.assert_array_equal(samples, 32 * np.arange(50))
        assert store.fingerprints(found) == {"init/weights": {"parameter_count": 7}}
        assert [event.message for event in store.events(found)] == ["half way"]
    assert list(journal_folder(run.store_url).glob("*")) == []


def test_long_series_are_merged_into_full_segments(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        for step in range(20_000):
            run.log({"x": step}, step=step)
    with trackside.open_store(sqlite_url) as store:
        np.testing.assert_array_equal(store.series(run.id, "x").values, np.arange(20_000.0))
        with store.read() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM segments").scalar_one()
        assert count <= 6


@pytest.mark.parametrize(
    ("raised", "state", "kept"),
    [
        (ValueError("boom"), "failed", "ValueError"),
        (KeyboardInterrupt(), "killed", "KeyboardInterrupt"),
        (SystemExit(3), "failed", "SystemExit"),
        (SystemExit(0), "finished", None),
    ],
)
def test_how_a_block_ends_is_how_the_run_ends(sqlite_url, raised, state, kept):
    with pytest.raises(type(raised)), trackside.start_run(store=sqlite_url) as run:
        run.log({"x": 1.0}, step=0)
        raise raised
    found = only_run(sqlite_url)
    assert found.state == state
    assert (found.error or {}).get("type") == kept
    if kept == "ValueError":
        assert "raise raised" in found.error["traceback"]


def test_numbers_of_every_kind(sqlite_url):
    import torch

    with trackside.start_run(store=sqlite_url) as run:
        run.log(
            {
                "int": 3,
                "bool": True,
                "numpy": np.float32(0.5),
                "array": np.array([0.25]),
                "tensor": torch.tensor(0.125, requires_grad=True),
                "nan": float("nan"),
                "huge": 10**300,
            },
            step=np.int64(4),
        )
    with trackside.open_store(sqlite_url) as store:
        found = {info.name: info.last for info in store.series_infos([run.id])}
        assert found.pop("nan") != found.get("nan")
        assert found == {"int": 3, "bool": 1, "numpy": 0.5, "array": 0.25, "tensor": 0.125, "huge": 1e300}
        assert {info.last_step for info in store.series_infos([run.id])} == {4}


def test_what_is_no_number_is_counted_and_the_rest_is_kept(sqlite_url, caplog):
    with caplog.at_level(logging.WARNING, "trackside"), trackside.start_run(store=sqlite_url) as run:
        for step in range(3):
            run.log({"good": step, "word": "nan", "none": None, "many": np.zeros(1000), "way": 10**400}, step=step)
        run.log("nonsense")  # type: ignore[arg-type]
        run.log({"good": 3}, step="three")  # type: ignore[arg-type]
        run.log({"good": 4}, step=2.5)  # type: ignore[arg-type]
    found = only_run(sqlite_url)
    assert [count for sentence, count in found.warnings.items() if "'word'" in sentence] == [3]
    assert any("1000 values" in sentence and "mean()" in sentence for sentence in found.warnings)
    np.testing.assert_array_equal(values(sqlite_url, "good").values, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(values(sqlite_url, "good").steps, [0, 1, 2, 3, 4])
    assert sum("'word'" in record.message for record in caplog.records) == 1


def test_steps_that_repeat_or_go_back_are_kept_and_counted(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        for step in (0, 1, 2, 1, 2, 3, 3):
            run.log({"x": step}, step=step)
    np.testing.assert_array_equal(values(sqlite_url, "x").steps, [0, 1, 2, 1, 2, 3, 3])
    (count,) = only_run(sqlite_url).warnings.values()
    assert count == 2
    with trackside.open_store(sqlite_url) as store:
        assert store.series_infos([run.id])[0].repeated_steps == 2


def test_a_gauge_may_be_read_twice_in_a_step(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        run.describe("power", unit="watts", reduction="sample")
        for step in (0, 0, 1):
            run.log({"power": 100.0}, step=step)
    assert only_run(sqlite_url).warnings == {}


def test_a_step_is_counted_where_none_is_given(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        run.log({"x": 0.0})
        run.log({"x": 1.0})
        run.log({"x": 7.0}, step=7)
        run.log({"x": 8.0})
    np.testing.assert_array_equal(values(sqlite_url, "x").steps, [0, 1, 7, 8])


def test_names_and_text_of_every_kind_arrive(store_url):
    odd = "\x00 <img src=x onerror=alert(1)> \ud800 \U0001f3af 'q' \"d\""
    with trackside.start_run(name=odd, store=store_url, config={odd: float("nan"), "deep": {1: {2, 3}}}) as run:
        run.log({odd: 1.0, "": 2.0, 3: 3.0}, step=0)  # type: ignore[dict-item]
    found = only_run(store_url)
    assert "<img src=x" in found.name
    assert found.config["deep"] == {"1": [2, 3]}
    with trackside.open_store(store_url) as store:
        assert len(store.series_infos([run.id])) == 3


def test_logging_from_many_threads_loses_nothing(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:

        def work(index):
            for step in range(500):
                run.log({f"thread{index}": step, "all": index}, step=step)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(values(sqlite_url, "all")) == 4000
    np.testing.assert_array_equal(values(sqlite_url, "thread5").values, np.arange(500.0))


def test_rows_record_what_log_does(store_url):
    with trackside.start_run(store=store_url) as run:
        row = run.rows(("x", "y"))
        run.log({"x": 0.5, "y": 1.5}, step=0, epoch=0.25, samples=8)
        row(1, 0.5, 16, (2.5, 3))
        with pytest.raises(struct.error):
            row(2, 0.75, 24, (1.0,))
        assert run.last_step == 1
    row(3, 1.0, 32, (1.0, 2.0))  # of a run that has ended: nothing
    np.testing.assert_array_equal(values(store_url, "x").values, [0.5, 2.5])
    np.testing.assert_array_equal(values(store_url, "y").values, [1.5, 3.0])
    with trackside.open_store(store_url) as store:
        axes = store.axes(only_run(store_url))
        np.testing.assert_array_equal(axes.epochs, [0.25, 0.5])
        np.testing.assert_array_equal(axes.samples, [8, 16])


def test_a_forked_child_leaves_the_run_alone(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        run.log({"x": 0.0}, step=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            run.log({"x": 99.0}, step=1)
            run.finish("failed")
            os._exit(0)
        os.waitpid(child, 0)
        run.log({"x": 1.0}, step=1)
    np.testing.assert_array_equal(values(sqlite_url, "x").values, [0.0, 1.0])
    assert only_run(sqlite_url).state == "finished"


def test_resuming_continues_the_same_run(store_url):
    with pytest.raises(RuntimeError), trackside.start_run(name="long", store=store_url) as run:
        for step in range(10):
            run.log({"x": step}, step=step)
        raise RuntimeError("preempted")
    with trackside.start_run(id=run.id, resume=True, store=store_url, config={"more": 1}) as again:
        assert (again.id, again.name, again.last_step) == (run.id, "long", 9)
        again.log({"x": 10.0})
    found = only_run(store_url)
    assert (found.state, found.error, found.config) == ("finished", None, {"more": 1})
    np.testing.assert_array_equal(values(store_url, "x").steps, np.arange(11))
    with trackside.open_store(store_url) as store:
        assert (np.diff(store.axes(found).process_seconds) > 0).all()
        assert [event.kind for event in store.events(found)] == ["exception", "resume"]


def test_ranks_write_one_run(store_url):
    first = trackside.start_run(name="job", id="job1", store=store_url)
    second = trackside.start_run(name="job", id="job1", store=store_url, rank=1)
    for step in range(5):
        first.log({"step/seconds": 0.1, "train/loss": 1.0}, step=step)
        second.log({"step/seconds": 0.2}, step=step)
    second.finish("failed")
    first.finish()
    assert only_run(store_url).state == "finished"
    with trackside.open_store(store_url) as store:
        assert {(info.name, info.rank) for info in store.series_infos(["job1"])} == {
            ("step/seconds", 0),
            ("step/seconds", 1),
            ("train/loss", 0),
        }
        assert store.series("job1", "step/seconds", rank=1).values[0] == 0.2


def test_finishing_twice_and_logging_afterwards_does_no_harm(sqlite_url):
    run = trackside.start_run(store=sqlite_url)
    run.log({"x": 1.0}, step=0)
    run.finish()
    run.finish("failed")
    run.log({"x": 2.0}, step=1)
    assert only_run(sqlite_url).state == "finished"
    assert len(values(sqlite_url, "x")) == 1


def test_bad_arguments_raise_at_once(sqlite_url, tmp_path):
    with pytest.raises(UsageError, match="mapping"):
        trackside.start_run(store=sqlite_url, config=["lr", 1])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="resume=True needs the id"):
        trackside.start_run(store=sqlite_url, resume=True)
    with pytest.raises(RunNotFoundError):
        trackside.start_run(store=sqlite_url, resume=True, id="nothing")
    with pytest.raises(UsageError, match="no property 'colour'"):
        trackside.start_run(store=sqlite_url, properties={"colour": "red"})
    with pytest.raises(TracksideError, match="sqlite:///path"):
        trackside.start_run(store="nonsense")
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(StoreError, match="not a trackside store"):
        trackside.start_run(store=f"sqlite:///{tmp_path}/text.db")


def test_describing_a_run_never_raises(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        run.update(colour="red")
        run.update(config="nonsense")
        run.event("notice", "x", step="three")  # type: ignore[arg-type]
        run.fingerprint("f", {"x": object()})
        run.describe("x", reduction="median")  # type: ignore[arg-type]
    assert len(only_run(sqlite_url).warnings) == 3
