"""What dead processes left is brought in while the dashboard runs, without another command."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trackside.dashboard.recovery import Recovery
from trackside.dashboard.source import StoreSource
from trackside.db.store import open_store

KILLED = """
import os, signal, sys
from trackside import start_run

run = start_run(name="killed", store=sys.argv[1])
for step in range(500):
    run.log({"train/loss": float(step)}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""

SERVE = "import sys; from trackside.dashboard.serve import serve; serve(sys.argv[1], port=int(sys.argv[2]))"


def wait_for(happened: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def die(store: str) -> None:
    """Leaves the journal of a run whose process was killed."""
    process = subprocess.run([sys.executable, "-c", KILLED, store], check=False, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_serving_brings_in_a_killed_run_and_stops_cleanly(sqlite_url: str) -> None:
    die(sqlite_url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, sqlite_url, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with open_store(sqlite_url) as store:
            wait_for(lambda: [run.state for run in store.runs()] == ["lost"])
            run = store.runs()[0]
            assert run.name == "killed"
            assert store.series(run, "train/loss").values.tolist() == list(map(float, range(500)))
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=20)
        assert server.returncode == 0
        assert "Traceback" not in said
    finally:
        server.kill()
        server.communicate()


def test_journals_left_later_are_brought_in_too(sqlite_url: str) -> None:
    source = StoreSource(sqlite_url)
    recovery = Recovery(source, seconds=0.1)
    recovery.start()
    try:
        wait_for(lambda: source().runs() == [])
        die(sqlite_url)
        wait_for(lambda: [run.state for run in source().runs()] == ["lost"])
    finally:
        recovery.stop()
        source.close()


def test_a_store_that_cannot_be_read_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "notes.db"
    path.write_text("this is no database, but a text that is long enough to be read as a header of one, surely")
    looks = 0

    class Counted(StoreSource):
        def __call__(self):
            nonlocal looks
            looks += 1
            return super().__call__()

    recovery = Recovery(Counted(f"sqlite:///{path}"), seconds=0.01)
    with caplog.at_level(logging.WARNING, "trackside.dashboard"):
        recovery.start()
        wait_for(lambda: looks >= 5)
        recovery.stop()
    assert len(caplog.messages) == 1
    assert str(path) in caplog.messages[0]
