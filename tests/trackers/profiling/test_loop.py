"""The profiler of a plain loop where there is no framework, and what a killed process leaves."""

from __future__ import annotations

import signal
import subprocess
import sys

import trackside
from trackside.db.engine import resolve_url
from trackside.runs.journal import journal_folder
from trackside.runs.recovery import recover

NO_FRAMEWORK = """
import sys, trackside
with trackside.start_run(name="plain", store=sys.argv[1]) as run, run.profile() as profiler:
    for step in range(20):
        run.log({"x": 1.0}, step=step)
        profiler.step()
assert not {"torch", "tensorflow", "keras"} & set(sys.modules)
"""


def test_without_a_framework_a_loop_goes_on_with_one_warning(sqlite_url):
    subprocess.run([sys.executable, "-c", NO_FRAMEWORK, sqlite_url], check=True, capture_output=True, timeout=60)
    with trackside.open_store(sqlite_url) as store:
        run = store.run("plain")
        assert len(store.series(run, "x")) == 20
        ((sentence, count),) = run.warnings.items()
        assert (sentence.startswith("nothing was profiled"), count) == (True, 1)


KILLED = """
import os, signal, sys, pathlib, trackside
run = trackside.start_run(name="killed", store=sys.argv[1])
run.log({"x": 1.0}, step=0)
file, folder = run.scratch(".profile"), run.scratch(".profile")
file.write_text("half a trace")
(folder / "plugins").mkdir(parents=True)
(folder / "plugins" / "trace").write_text("another half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_no_half_written_trace(sqlite_url):
    process = subprocess.run([sys.executable, "-c", KILLED, sqlite_url], timeout=60)
    assert process.returncode == -signal.SIGKILL
    with trackside.open_store(sqlite_url) as store:
        recover(store)
        assert len(store.series("killed", "x")) == 1
    assert list(journal_folder(resolve_url(sqlite_url)).iterdir()) == []
