"""A training that was killed goes on from its checkpoint as if nothing had happened, in both frameworks."""

import io
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from trackside.db.store import open_store
from trackside.runs.align import last_of_each_step
from trackside.runs.recovery import recover
from trackside.workloads.plan import Job, Request, plan_jobs
from trackside.workloads.process import child_environment
from trackside.workloads.runner import run_jobs

pytestmark = pytest.mark.framework

STEPS = 44 * 25


def kill_after(job: Job, step: int, url: str) -> None:
    """Start a training and kill it with SIGKILL once it has come that far."""
    command = [sys.executable, "-m", job.workload.script(job.framework), *job.settings.to_arguments()]
    child = subprocess.Popen(command, env=child_environment(job), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        with open_store(url) as store:
            while time.monotonic() < end and child.poll() is None:
                if any((run.last_step or 0) >= step for run in store.runs()):
                    break
                time.sleep(0.02)
        assert child.poll() is None, "the training was over before it could be killed"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_losses_go_on_as_without_the_interruption(framework, tmp_path):
    whole_url, cut_url = (f"sqlite:///{tmp_path}/{name}.db" for name in ("whole", "cut"))
    request = Request(workload="digits-cnn", framework=framework, steps=STEPS, batch_size=32, store=whole_url)
    console = Console(file=io.StringIO())
    (whole,) = run_jobs(plan_jobs(request), whole_url, console)
    assert whole.state == "finished", whole.last_lines

    (job,) = plan_jobs(replace(request, store=cut_url, checkpoints=str(tmp_path / "state")))
    kill_after(job, 300, cut_url)
    with open_store(cut_url) as store:
        recover(store)
        (killed,) = store.runs()
    assert killed.state == "lost"
    (resumed,) = run_jobs([replace(job, settings=replace(job.settings, resume=True))], cut_url, console)
    assert resumed.state == "finished", resumed.last_lines

    with open_store(cut_url) as store, open_store(whole_url) as reference:
        (run,) = store.runs()
        assert run.id == killed.id
        series, expected = store.series(run, "train/loss"), reference.series(whole.run_id or "", "train/loss")
        # Steps after the last checkpoint were made twice; the second time is what charts show.
        assert len(series) > STEPS
        last = last_of_each_step(series.steps)
        np.testing.assert_array_equal(series.steps[last], np.arange(STEPS))
        np.testing.assert_array_equal(series.values[last], expected.values)
        assert run.last_step == STEPS - 1
