"""The store is taken away, filled up or written by two at once while a run is open."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import trackside
from trackside.db.engine import resolve_url
from trackside.db.errors import StoreError
from trackside.runs import journal
from trackside.runs.journal import Kind, journal_folder
from trackside.runs.recovery import recover

RESUME = """
import sys, time, trackside
run = trackside.start_run(store=sys.argv[1], id=sys.argv[2], resume=True)
for _ in range(60):
    run.log({"x": 1.0, sys.argv[3]: 2.0}, epoch=0.0)
    time.sleep(0.05)
run.finish()
"""


def test_a_run_resumed_twice_at_once_keeps_every_point(store_url):
    with trackside.start_run(store=store_url) as run:
        run.log({"x": 0.0}, step=0)
    command = [sys.executable, "-c", RESUME, store_url, run.id]
    writers = [subprocess.Popen([*command, metric]) for metric in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with trackside.open_store(store_url) as store:
        for metric, count in (("x", 121), ("a", 60), ("b", 60)):
            series = store.series(run.id, metric)
            assert (len(series), series.info.count) == (count, count)
        assert len(store.axes(run.id)) == 121


@pytest.mark.parametrize("taken", ["the file", "the folder"])
def test_a_store_deleted_under_a_run_is_made_anew_with_all_of_it(tmp_path, taken):
    url = f"sqlite:///{tmp_path}/store/runs.db"
    with trackside.start_run(store=url) as run:
        run.log({"x": 0.0}, step=0)
        wait_for_point(url, run.id)
        if taken == "the folder":
            shutil.rmtree(tmp_path / "store")
        else:
            for path in (tmp_path / "store").glob("runs.db*"):
                if path.is_file():
                    path.unlink()
        run.log({"x": 1.0}, step=1)
        time.sleep(2.5)  # noticed once, made anew by the next attempt a second later
    with trackside.open_store(url) as store:
        assert store.run(run.id).state == "finished"
        np.testing.assert_array_equal(store.series(run.id, "x").values, [0.0, 1.0])


@pytest.mark.parametrize("way", ["appended"], indirect=True)
def test_records_that_never_found_room_are_named_lost(sqlite_url, way, caplog, monkeypatch):
    run = trackside.start_run(store=sqlite_url)
    write = journal.os.write
    monkeypatch.setattr(journal.os, "write", lambda fd, data: no_room() if data[:2] == b"Ts" else write(fd, data))
    monkeypatch.setattr("trackside.runs.run.FINISH_SECONDS", 0.5)
    assert journal.MAGIC.to_bytes(2, "little") == b"Ts"
    run.log({"x": 1.0})
    run.log({"x": 2.0})
    run.finish()
    assert "4 records" in caplog.text  # the two points, what they are called, and the end


@pytest.mark.parametrize("way", ["mapped"], indirect=True)
def test_records_that_no_block_could_be_had_for_are_named_lost(sqlite_url, way, caplog, monkeypatch):
    monkeypatch.setattr("trackside.runs.mapped_file.MappedFile.prepare", lambda self: None)
    run = trackside.start_run(store=sqlite_url)
    monkeypatch.setattr("trackside.runs.mapped_file._reserve", lambda *arguments: no_room())
    monkeypatch.setattr("trackside.runs.run.FINISH_SECONDS", 0.5)
    run.update(notes="x" * 4000)  # does not fit, and from then on all wait
    run.log({"x": 1.0})
    run.finish()
    assert "4 records" in caplog.text  # the notes, the point, what it is called, and the end


def test_points_whose_names_found_no_room_do_not_hold_up_the_others(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        run.log({"x": 1.0}, step=0)
        layout = run._recorder.layout(("x",))
        run._recorder.append(Kind.POINTS, layout.pack(99, 1, time.time_ns(), 0.0, 0.0, 0.0, 2.0))
        run.log({"x": 3.0}, step=2)
    with trackside.open_store(sqlite_url) as store:
        np.testing.assert_array_equal(store.series(run.id, "x").values, [1.0, 3.0])
        assert any("names" in sentence for sentence in store.run(run.id).warnings)


def test_a_journal_that_cannot_be_taken_does_not_keep_the_others_waiting(sqlite_url):
    code = "import os, sys, trackside; r = trackside.start_run(store=sys.argv[1]); r.log({'x': 1.0}); os._exit(0)"
    with trackside.open_store(sqlite_url):
        pass
    folder = journal_folder(resolve_url(sqlite_url))
    folder.mkdir(parents=True, exist_ok=True)
    damaged = folder / "00000000000000000000-damaged-0-00000000.journal"
    damaged.write_bytes(b"nothing")
    subprocess.run([sys.executable, "-c", code, sqlite_url], check=True)
    with trackside.open_store(sqlite_url) as store:
        with pytest.raises(StoreError, match="damaged"):
            recover(store)
        (run,) = store.runs()
        assert len(store.series(run, "x")) == 1
    assert list(folder.glob("*.journal")) == [damaged]


def test_a_server_that_does_not_answer_is_one_sentence(caplog):
    run = trackside.start_run(store="postgresql://u@127.0.0.1:1/x")
    run.log({"x": 1.0})
    time.sleep(1.5)
    assert len([record for record in caplog.records if "does not answer" in record.getMessage()]) == 1
    run.finish()


def no_room():
    raise OSError(28, "No space left on device")


def wait_for_point(url, run_id):
    deadline = time.monotonic() + 20
    with trackside.open_store(url) as store:
        while not store.series_infos([run_id]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert store.series_infos([run_id]), Path(str(resolve_url(url).database))


def test_a_writer_that_is_stuck_at_the_end_says_where(sqlite_url, monkeypatch, caplog):
    monkeypatch.setattr("trackside.runs.run.FINISH_SECONDS", 0.5)
    run = trackside.start_run(store=sqlite_url)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        run.log({"loss": 1.0}, step=0)
        run.finish()
        holder.execute("ROLLBACK")
    assert "did not take the end" in caplog.text
    assert "the writer is at " in caplog.text
    assert "engine.py:" in caplog.text
