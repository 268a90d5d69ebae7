"""What was logged survives: SIGKILL at any moment, a server that goes away, two recoveries at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import trackside
from trackside.db.engine import resolve_url
from trackside.runs.journal import journal_folder
from trackside.runs.recovery import recover

from .conftest import CHOOSE_WAY, WAYS

LOG_UNTIL_KILLED = f"""{CHOOSE_WAY}
import os, trackside
run = trackside.start_run(name="victim", store=sys.argv[1])
for step in range(10**9):
    run.log({{"x": step, "y": -step}}, step=step)
    os.write(1, step.to_bytes(8, "little"))  # says that this log has returned
"""


def kill_while_logging(url, way, seconds):
    """Run a logging process, kill it some time after its first record; the last step whose log had returned."""
    process = subprocess.Popen([sys.executable, "-c", LOG_UNTIL_KILLED, url, way], stdout=subprocess.PIPE)
    told = process.stdout.read(8)
    rest = bytearray()
    reader = threading.Thread(target=lambda: rest.extend(process.stdout.read()))
    reader.start()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reader.join()
    process.stdout.close()
    told += rest
    return int.from_bytes(told[-(len(told) % 8) - 8 :][:8], "little")


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_process_loses_no_record_whose_log_had_returned(store_url, way):
    for seconds in (0.0, 0.05, 0.4, 1.3):
        last = kill_while_logging(store_url, way, seconds)
        with trackside.open_store(store_url) as store:
            recover(store)
            run = store.runs()[0]
            assert run.state == "lost"
            series = store.series(run, "x")
            assert len(series) > last
            np.testing.assert_array_equal(series.values, np.arange(len(series)))
            np.testing.assert_array_equal(store.series(run, "y").values, -np.arange(len(series)))
    assert list(journal_folder(resolve_url(store_url)).glob("*")) == []


def test_without_a_recovery_the_run_is_lost_once_its_heartbeat_is_overdue(sqlite_url, monkeypatch):
    monkeypatch.setattr("trackside.runs.writer.DUE_SECONDS", 0.3)
    monkeypatch.setattr("trackside.runs.writer.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("trackside.runs.writer.INTERVAL_SECONDS", 0.05)
    run = trackside.start_run(store=sqlite_url)
    with trackside.open_store(sqlite_url) as store:
        time.sleep(0.6)
        assert store.run(run.id).state == "running"
        run._writer._store.commit = lambda change: None  # it lives, but its signs of life no longer arrive
        time.sleep(0.6)
        assert store.run(run.id).state == "lost"
        del run._writer._store.commit
    run._recorder.journal.path.unlink()
    run.finish()


def test_two_recoveries_at_once_bring_every_point_once(store_url):
    last = kill_while_logging(store_url, "mapped", 0.2)
    code = "import sys, trackside; from trackside.runs.recovery import recover\n"
    code += "with trackside.open_store(sys.argv[1]) as store: recover(store)"
    processes = [subprocess.Popen([sys.executable, "-c", code, store_url]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with trackside.open_store(store_url) as store:
        series = store.series(store.runs()[0], "x")
        np.testing.assert_array_equal(series.values, np.arange(len(series)))
        assert len(series) > last


def test_a_server_stopped_in_mid_training_costs_nothing(postgresql_server):
    url = postgresql_server.url()
    run = trackside.start_run(name="long", store=url)
    longest, step = 0.0, 0

    def train(seconds):
        nonlocal longest, step
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.monotonic()
            run.log({"x": step}, step=step)
            longest = max(longest, time.monotonic() - before)
            step += 1
            time.sleep(0.002)

    train(1.5)
    postgresql_server.stop()
    train(3)
    postgresql_server.start()
    train(1)
    run.finish()
    with trackside.open_store(url) as store:
        found = store.run(run.id)
        series = store.series(found, "x")
        np.testing.assert_array_equal(series.values, np.arange(step))
        assert found.state == "finished"
    # Not a speed claim: a log that had waited for the server would have taken as long as it was away.
    assert longest < 2
    assert not run._recorder.journal.path.exists()


def test_a_server_that_is_down_from_start_to_end_gets_everything_by_sync(postgresql_server, monkeypatch):
    monkeypatch.setattr("trackside.runs.run.FINISH_SECONDS", 2.0)
    url = postgresql_server.url()
    postgresql_server.stop()
    with trackside.start_run(name="offline", store=url) as run:
        run.log({"x": 1.0}, step=0)
    assert run._recorder.journal.path.exists()
    postgresql_server.start()
    command = [sys.executable, "-m", "trackside.cli", "sync", "--store", url]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert run.id in told.stdout
    with trackside.open_store(url) as store:
        assert store.run("offline").state == "finished"
        assert len(store.series("offline", "x")) == 1
    assert not run._recorder.journal.path.exists()


@pytest.mark.parametrize("content", [b"", bytes(1000)])  # and one that had room reserved
def test_a_journal_that_holds_nothing_is_swept_away(sqlite_url, content):
    folder = journal_folder(resolve_url(sqlite_url))
    folder.mkdir(parents=True)
    (folder / "0-empty.journal").write_bytes(content)
    with trackside.open_store(sqlite_url) as store:
        assert recover(store) == []
    assert list(folder.iterdir()) == []


def test_a_long_training_does_not_fill_the_disk_with_its_journal(sqlite_url, way, monkeypatch):
    monkeypatch.setattr("trackside.runs.recorder.JOURNAL_BYTES", 20_000)
    monkeypatch.setattr("trackside.runs.writer.INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("trackside.runs.writer.SLOWEST_SECONDS", 0.02)
    monkeypatch.setattr("trackside.runs.writer.STRAGGLER_SECONDS", 0.1)
    folder = journal_folder(resolve_url(sqlite_url))
    sizes, names = [], set()
    with trackside.start_run(store=sqlite_url) as run:
        run.describe("x", unit="seconds", reduction="sample")
        for step in range(3000):
            run.log({"x": step}, step=step, epoch=step / 100)
            if step % 100 == 0:
                time.sleep(0.05)
                files = list(folder.glob("*.journal"))
                names |= {path.name for path in files}
                sizes.append(sum(path.stat().st_size for path in files if path.exists()))
    assert len(names) > 2
    assert max(sizes) < 150_000  # 3,000 records of 60 bytes and more
    with trackside.open_store(sqlite_url) as store:
        (found,) = store.runs()
        assert (found.state, found.last_step) == ("finished", 2999)
        series = store.series(found, "x")
        np.testing.assert_array_equal(series.values, np.arange(3000.0))
        assert (series.info.unit, series.info.reduction) == ("seconds", "sample")
        np.testing.assert_array_equal(store.axes(found).epochs, np.arange(3000) / 100)
    assert list(folder.iterdir()) == []


TERMINATED = """
import os, signal, sys, time, trackside
with trackside.start_run(name="polite", store=sys.argv[1]) as run:
    run.log({"x": 1.0}, step=0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
"""


def test_a_terminated_process_still_says_how_it_ended(sqlite_url):
    process = subprocess.run([sys.executable, "-c", TERMINATED, sqlite_url])
    assert process.returncode == -signal.SIGTERM
    with trackside.open_store(sqlite_url) as store:
        (run,) = store.runs()
        assert run.state == "killed"
        assert [event.kind for event in store.events(run)] == ["signal"]
        assert len(store.series(run, "x")) == 1
