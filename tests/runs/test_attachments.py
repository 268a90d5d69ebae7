"""Files of a training process reach the store once, whenever the process dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

import trackside
from trackside.db import artifacts
from trackside.db.engine import resolve_url
from trackside.runs.journal import journal_folder
from trackside.runs.recovery import recover

from .conftest import CHOOSE_WAY, WAYS


def left(url):
    """Files that lie beside the store's journals, journals included."""
    folder = journal_folder(resolve_url(url))
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def test_a_file_reaches_the_store_while_training_goes_on(store_url, tmp_path):
    file = tmp_path / "steps.json"
    file.write_bytes(b"[1]" * 100_000)
    with trackside.start_run(store=store_url) as run:
        assert run.attach(file, kind="trace/chrome", step=7, detail={"framework": "torch", "loss": float("nan")})
        file.write_text("changed since")
        with trackside.open_store(store_url) as store:
            end = time.monotonic() + 30
            while not (found := store.artifacts(run.id) if store.runs() else []) and time.monotonic() < end:
                time.sleep(0.1)
            assert store.artifact_bytes(found[0].id) == b"[1]" * 100_000
        run.log({"x": 1.0}, step=8)
    assert file.exists()
    with trackside.open_store(store_url) as store:
        (info,) = store.artifacts(run.id)
        assert (info.name, info.kind, info.step, info.rank) == ("steps.json", "trace/chrome", 7, 0)
        assert info.detail == {"framework": "torch", "loss": "NaN"}
        assert len(store.series(run.id, "x")) == 1
    assert left(store_url) == []


def test_a_moved_file_is_gone_and_one_that_never_was_is_one_warning(sqlite_url, tmp_path, caplog):
    file = tmp_path / "dump"
    file.write_bytes(b"dump")
    with trackside.start_run(store=sqlite_url) as run:
        assert run.attach(file, kind="tfdbg", name="the dump", move=True)
        assert not file.exists()
        assert not run.attach(tmp_path / "nothing", kind="tfdbg")
        assert not run.attach(tmp_path, kind="tfdbg")  # a folder
    assert not run.attach(file, kind="tfdbg")
    with trackside.open_store(sqlite_url) as store:
        (info,) = store.artifacts(run.id)
        assert (info.name, store.artifact_bytes(info.id)) == ("the dump", b"dump")
        assert len(store.run(run.id).warnings) == 2
    assert left(sqlite_url) == []
    assert "nothing was not attached (No such file or directory)" in caplog.text


ATTACH = f"""{CHOOSE_WAY}
import os, pathlib, signal, time, trackside
from trackside.db.store import Store
from trackside.runs import attachments, ingester
from trackside.runs.journal import JournalWriter, Kind

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

moment, commit, append = sys.argv[2], Store.commit, JournalWriter.append
if moment == "before the record":
    JournalWriter.append = lambda self, kind, body: die() if kind == Kind.ARTIFACT else append(self, kind, body)
elif moment == "while compressing":
    attachments.artifacts.compress_file = lambda source, target: (target.write_bytes(b"half"), die())
elif moment == "before the commit":
    Store.commit = lambda self, change: die() if change.artifacts else commit(self, change)
elif moment == "after the commit":
    attachments.remove = lambda files: die() if files else None
file = pathlib.Path(sys.argv[3])
file.write_bytes(b"trace" * 1000)
run = trackside.start_run(name="victim", store=sys.argv[1])
run.log({{"x": 1.0}}, step=0)
run.attach(file, kind="trace/chrome", move=True)
run.log({{"x": 2.0}}, step=1)
if moment == "at once":
    die()
time.sleep(60)
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "moment", ["before the record", "at once", "while compressing", "before the commit", "after the commit"]
)
def test_a_killed_process_delivers_a_file_once_and_leaves_nothing(store_url, tmp_path, moment, way):
    command = [sys.executable, "-c", ATTACH, store_url, moment, str(tmp_path / "trace"), way]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert len(left(store_url)) >= 1
    with trackside.open_store(store_url) as store:
        recover(store)
        expected = [] if moment == "before the record" else [b"trace" * 1000]
        assert [store.artifact_bytes(one.id) for one in store.artifacts("victim")] == expected
        assert len(store.series("victim", "x")) == (1 if moment == "before the record" else 2)
        recover(store)
        assert len(store.artifacts("victim")) == len(expected)
    assert left(store_url) == []


def test_a_file_that_vanished_costs_one_warning_and_no_point(store_url, tmp_path):
    command = [sys.executable, "-c", ATTACH, store_url, "at once", str(tmp_path / "trace"), "mapped"]
    subprocess.run(command, timeout=60)
    for path in journal_folder(resolve_url(store_url)).glob("*.artifact*"):
        path.unlink()
    with trackside.open_store(store_url) as store:
        recover(store)
        assert store.artifacts("victim") == []
        assert store.run("victim").warnings == {"the file of trace vanished before it reached the store": 1}
        assert len(store.series("victim", "x")) == 2


@pytest.mark.parametrize("limit", ["LARGEST_BYTES", "LARGEST_PAYLOAD"])
@pytest.mark.parametrize("move", [False, True])
def test_a_file_too_large_stays_on_disk_and_the_store_knows_where(sqlite_url, tmp_path, monkeypatch, limit, move):
    monkeypatch.setattr(artifacts, limit, 4)
    file = tmp_path / "huge"
    file.write_bytes(b"huge!")
    with trackside.start_run(store=sqlite_url) as run:
        run.attach(file, kind="trace/chrome", step=3, move=move)
    with trackside.open_store(sqlite_url) as store:
        (info,) = store.artifacts(run.id)
        assert info.path is not None
        assert (info.path == str(file)) == (limit == "LARGEST_BYTES" and not move)
        assert file.exists() is not move
        assert store.artifact_bytes(info.id) == b"huge!"
        (event,) = store.events(run.id)
        assert (event.kind, event.step) == ("notice", 3)
        assert "too large for the store" in event.message


def test_a_file_given_while_a_server_is_away_arrives_later(postgresql_server, tmp_path):
    file = tmp_path / "trace"
    file.write_bytes(b"trace")
    url = postgresql_server.url()
    with trackside.start_run(store=url) as run:
        postgresql_server.stop()
        run.attach(file, kind="trace/chrome")
        time.sleep(1.5)
        postgresql_server.start()
        time.sleep(0.5)
    with trackside.open_store(url) as store:
        recover(store)
        (info,) = store.artifacts(run.id)
        assert store.artifact_bytes(info.id) == b"trace"
