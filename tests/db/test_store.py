"""The contract of the store, the same on both databases."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import trackside
from trackside.db.errors import RunNotFoundError, SeriesNotFoundError, UsageError
from trackside.db.ingest import Commit, JournalMovedError, SeriesChange, Stretch
from trackside.db.store import Store, open_store
from trackside.runs.tail import SeriesTail


def make_commit(run_id="r1", name="first", **changes):
    now = datetime.now(UTC)
    created = {"name": name, "project": "p", "state": "running", "created_at": now, "started_at": now}
    return Commit(
        **{
            "run_id": run_id,
            "run_created": created,
            "journal_id": f"{run_id}-j",
            "rank": 0,
            "host": "h",
            "process_id": 1,
            "position_before": 0,
            "position_after": 10,
            **changes,
        }
    )


def series_change(name, steps, values):
    steps = np.asarray(steps, np.int64)
    change, _ = SeriesTail.new(name, None, "batch").extend(steps, steps * 1_000_000, np.asarray(values, np.float64))
    return change


@pytest.fixture
def store(store_url):
    with open_store(store_url) as opened:
        yield opened


def test_values_come_back_exactly(store):
    values = [0.1, np.nan, np.inf, -np.inf, 1.7976931348623157e308, 5e-324, -0.0, 2.0**-1074]
    store.commit(make_commit(series=[series_change("train/loss", range(8), values)]))
    series = store.series("r1", "train/loss")
    assert series.values.tobytes() == np.array(values).tobytes()
    np.testing.assert_array_equal(series.steps, np.arange(8))
    np.testing.assert_array_equal(series.times, np.arange(8.0))


def test_summaries_need_no_point(store):
    store.commit(make_commit(series=[series_change("x", [3, 4, 5, 6], [np.nan, 2.0, -np.inf, -1.0])]))
    (info,) = store.series_infos(["r1"])
    assert (info.count, info.first_step, info.last_step, info.finite_count) == (4, 3, 6, 2)
    assert (info.minimum, info.maximum, info.last, info.mean) == (-1.0, 2.0, -1.0, 0.5)
    assert (info.nan_count, info.first_nan_step) == (1, 3)
    assert (info.negative_infinity_count, info.first_negative_infinity_step) == (1, 5)
    assert np.isnan(info.first)


def test_a_window_of_steps_reads_only_what_overlaps(store):
    change = series_change("x", range(100), np.arange(100.0))
    whole = change.stretches[0]
    change.stretches = [
        Stretch(start, tuple(column[start : start + 10] for column in whole.columns)) for start in range(0, 100, 10)
    ]
    store.commit(make_commit(series=[change]))
    series = store.series("r1", "x", steps=(25, 31))
    np.testing.assert_array_equal(series.steps, np.arange(25, 32))


def test_unicode_and_markup_are_only_text(store):
    name = "проба <script>alert(1)</script> 🎯 'quoted\" %s {0}"
    store.commit(make_commit(name=name, series=[series_change(name, [1], [2.0])]))
    assert store.run(name).name == name
    assert store.series("r1", name).values[0] == 2.0


def test_ten_thousand_metrics_in_one_run(store):
    changes = [series_change(f"layer{index}/norm", [0], [float(index)]) for index in range(10_000)]
    store.commit(make_commit(series=changes))
    infos = store.series_infos(["r1"])
    assert len(infos) == 10_000
    assert store.series("r1", "layer9999/norm").values[0] == 9999.0


def test_a_commit_is_applied_once(store):
    store.commit(make_commit(series=[series_change("x", [0], [1.0])]))
    with pytest.raises(JournalMovedError) as caught:
        store.commit(make_commit(series=[series_change("x", [0], [1.0])]))
    assert caught.value.position == 10
    assert len(store.series("r1", "x")) == 1


def test_a_failed_commit_leaves_nothing(store):
    broken = series_change("x", [0], [1.0])
    broken.stretches.append(Stretch(1, (np.arange(2), np.arange(3))))
    with pytest.raises(ValueError, match="one-dimensional"):
        store.commit(make_commit(series=[broken]))
    assert store.runs() == []
    assert store.journal_position("r1-j") is None


def test_small_segments_are_replaced_by_larger_ones(store):
    change = series_change("x", [0], [1.0])
    store.commit(make_commit(series=[change]))
    small = change.stretches[0]
    merged = Stretch(0, tuple(np.concatenate((column, column)) for column in small.columns), replaces=[small.id])
    change.summary["count"] = 2
    store.commit(make_commit(position_before=10, position_after=20, series=[SeriesChange(change.summary, [merged])]))
    assert len(store.series("r1", "x")) == 2


def test_runs_are_found_by_id_beginning_and_name(store):
    for run_id, name in (("abc1", "one"), ("abd2", "two"), ("x9", "one")):
        store.commit(make_commit(run_id, name))
    assert store.run("abc1").id == "abc1"
    assert store.run("abd").id == "abd2"
    assert store.run("one").id == "x9"
    with pytest.raises(RunNotFoundError, match="abc1.*abd2|abd2.*abc1"):
        store.run("ab")
    with pytest.raises(RunNotFoundError, match="trackside runs"):
        store.run("nothing")
    with pytest.raises(RunNotFoundError):
        store.run("%")
    with pytest.raises(RunNotFoundError):
        store.run("")


def test_an_unknown_metric_names_those_there_are(store):
    store.commit(make_commit(series=[series_change("train/loss", [0], [1.0])]))
    with pytest.raises(SeriesNotFoundError, match="it logged train/loss"):
        store.series("r1", "val/loss")


def test_a_run_without_a_sign_of_life_is_lost(store):
    store.commit(make_commit("alive", heartbeat_seconds=60))
    store.commit(make_commit("silent", heartbeat_seconds=-1))
    store.commit(make_commit("over", heartbeat_seconds=-1, run_changes={"state": "finished"}))
    assert {run.id: run.state for run in store.runs()} == {"alive": "running", "silent": "lost", "over": "finished"}
    assert [run.id for run in store.runs(state="lost")] == ["silent"]
    store.commit(make_commit("silent", position_before=10, position_after=20, heartbeat_seconds=60))
    assert store.run("silent").state == "running"


def test_configuration_is_merged_and_warnings_are_counted(store):
    store.commit(make_commit(run_changes={"config": {"lr": 0.1, "deep": {"a": 1}}}, warnings={"odd": 2}))
    change = {"config": {"lr": 0.2, "steps": 5}, "environment": {"host": "h"}}
    store.commit(make_commit(position_before=10, position_after=20, run_changes=change, warnings={"odd": 1, "even": 1}))
    run = store.run("r1")
    assert run.config == {"lr": 0.2, "deep": {"a": 1}, "steps": 5}
    assert run.environment == {"host": "h"}
    assert run.warnings == {"odd": 3, "even": 1}


def test_the_last_step_never_goes_back(store):
    store.commit(make_commit(last_step=100))
    store.commit(make_commit(position_before=10, position_after=20, last_step=40))
    assert store.run("r1").last_step == 100


def test_axes_of_steps(store):
    columns = (
        np.array([0, 1, 1, 5]),
        np.array([0.0, 0.5, 0.6, np.nan]),
        np.array([32.0, 64.0, 65.0, np.nan]),
        np.arange(4) * 1_000_000,
        np.arange(4.0),
    )
    store.commit(make_commit(axes=[Stretch(0, columns)]))
    epochs, samples = store.axes("r1").at(np.array([1, 0, 5, 7]))
    np.testing.assert_array_equal(epochs, [0.6, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(samples, [65.0, 32.0, np.nan, np.nan])


def test_a_run_without_points(store):
    store.commit(make_commit())
    axes = store.axes("r1")
    assert len(axes) == 0
    assert np.isnan(axes.at(np.array([1]))[0]).all()
    assert store.series_infos(["r1"]) == []
    assert list(store.frame(["r1"]).columns) == ["run", "metric", "step", "epoch", "samples", "time", "value"]


def test_frame_joins_points_and_axes(store):
    columns = (np.arange(3), np.zeros(3), np.array([8.0, 16.0, 24.0]), np.arange(3) * 1_000_000, np.arange(3.0))
    store.commit(make_commit(series=[series_change("train/loss", [0, 1, 2], [3, 2, 1])], axes=[Stretch(0, columns)]))
    frame = store.frame(["r1"], ["train/loss"])
    assert list(frame["samples"]) == [8.0, 16.0, 24.0]
    assert list(frame["value"]) == [3.0, 2.0, 1.0]
    assert str(frame["time"].dt.tz) == "UTC"


def test_tags_notes_baseline_and_trash(store):
    store.commit(make_commit(series=[series_change("x", [0], [1.0])]))
    store.tag("r1", "paper", "é")
    store.untag("r1", "é")
    store.annotate("r1", "good one")
    store.set_baseline("r1")
    run = store.run("r1")
    assert (run.tags, run.notes, run.baseline) == (("paper",), "good one", True)
    with pytest.raises(UsageError, match="not in the trash"):
        store.purge("r1")
    store.delete("r1")
    assert store.runs() == []
    assert [run.id for run in store.runs(deleted=True)] == ["r1"]
    with pytest.raises(UsageError, match="still training"):
        store.purge("r1")
    store.restore("r1")
    store.mark("r1", "lost", datetime.now(UTC))
    store.delete("r1")
    store.purge("r1")
    with pytest.raises(RunNotFoundError):
        store.run("r1")
    assert store.series_infos(["r1"]) == []


def test_times_are_aware_utc(store):
    before = datetime.now(UTC) - timedelta(seconds=1)
    store.commit(make_commit())
    created = store.run("r1").created
    assert created.utcoffset() == timedelta(0)
    assert before < created < datetime.now(UTC) + timedelta(seconds=1)


WRITE_MUCH = """
import sys, trackside
with trackside.start_run(name=sys.argv[2], store=sys.argv[1]) as run:
    for step in range(400):
        run.log({"x": step}, step=step)
"""


def test_many_processes_write_and_read_at_once(store_url):
    with open_store(store_url) as store:
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITE_MUCH, store_url, f"w{index}"], stderr=subprocess.PIPE)
            for index in range(4)
        ]
        deadline = time.monotonic() + 60
        while any(writer.poll() is None for writer in writers) and time.monotonic() < deadline:
            for run in store.runs():
                store.series_infos([run.id])
                store.tag(run, "seen")
        for writer in writers:
            _, errors = writer.communicate(timeout=30)
            assert writer.returncode == 0
            assert errors == b""
        runs = store.runs()
        assert {run.name for run in runs} == {"w0", "w1", "w2", "w3"}
        assert {run.state for run in runs} == {"finished"}
        assert all(len(store.series(run, "x")) == 400 for run in runs)


def test_two_stores_side_by_side(tmp_path):
    first, second = (f"sqlite:///{tmp_path}/{name}.db" for name in "ab")
    with trackside.start_run(name="in a", store=first):
        pass
    with Store(second) as store:
        store.prepare()
        assert store.runs() == []
