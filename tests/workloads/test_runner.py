"""Running workloads: what is refused, what the children are told, and what happens when one of them ends badly."""

import importlib.util
import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest
from rich.console import Console

from trackside.db.errors import UsageError
from trackside.db.store import open_store
from trackside.runs.run import start_run
from trackside.workloads.plan import Request, plan_jobs
from trackside.workloads.process import Shutdown, child_environment
from trackside.workloads.progress import open_display
from trackside.workloads.registry import find_workload, list_workloads
from trackside.workloads.runner import Outcome, exit_code, print_summary, run_workload
from trackside.workloads.settings import parse_settings
from trackside.workloads.watch import Standing


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# What is refused


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"framework": "jax"}, "choose torch, tensorflow or both"),
        ({"mode": "fast"}, "choose eager, graph, xla or compile"),
        ({"mode": "xla"}, "add --framework tensorflow"),
        ({"mode": "compile"}, "add --framework torch"),
        ({"mode": "graph", "framework": "torch"}, "choose eager or compile"),
        ({"precision": "fp16-mixed"}, "needs a GPU, and there is none here"),
        ({"precision": "int8"}, "choose float32, float64, bf16-mixed or fp16-mixed"),
        ({"optimizer": "adam"}, "choose exact or stock"),
        ({"devices": 1000, "batch_size": 1000}, "CPU cores here: pass fewer"),
        ({"devices": 2, "batch_size": 31}, "pass a --batch-size that 2 divides"),
        ({"devices": 2, "mode": "xla", "framework": "tensorflow"}, "pass --mode graph or --devices 1"),
        ({"devices": 0}, "pass 1 or more"),
        ({"size": 0}, "--size is 0 channels of the first convolution"),
        ({"samples": 5000}, "digits-cnn has 1437"),
        ({"samples": 20}, "larger than the 20 training samples"),
        ({"resume": True}, "pass --checkpoints FOLDER"),
        ({"steps": 0}, "--steps is 0"),
        ({"epochs": -1}, "--epochs is -1"),
        ({"steps": 10, "epochs": 1}, "pass one of them"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"batch_size": 1438}, "larger than the 1437 training samples"),
        ({"threads": 0}, "--threads is 0"),
        ({"repeat": 0}, "--repeat is 0"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_before_anything_starts(options, sentence, url, tmp_path, console):
    with pytest.raises(UsageError) as caught:
        run_workload(Request(workload="digits-cnn", store=url, **options), console)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert printed(console) == ""


def test_an_unknown_workload_names_those_there_are(console):
    with pytest.raises(UsageError, match="digits-cnn"):
        run_workload(Request(workload="mnist"), console)


@pytest.mark.parametrize(
    ("workload", "options", "sentence"),
    [
        ("yolo", {"size": 60}, "--size is 60 pixels a side, which cells of 8 do not fill: pass a multiple of 8."),
        ("gan", {"size": 24}, "which doubling 8 never gives: pass 8, 16, 32 or 64."),
        ("gpt", {"size": 400}, "pass a multiple of 64"),
        ("resnet50", {"size": 31}, "too small for resnet50: pass 32 or more."),
        ("resnet50", {"size": 32, "batch_size": 1}, "pass a larger --batch-size"),
        ("resnet50", {"size": 32, "batch_size": 2, "devices": 2}, "pass a larger --batch-size"),
    ],
)
def test_what_a_workload_cannot_be_run_with_is_refused_before_anything_starts(
    workload, options, sentence, url, tmp_path, console, monkeypatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(UsageError) as caught:
        run_workload(Request(workload=workload, store=url, **options), console)
    assert sentence in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert printed(console) == ""


@pytest.mark.parametrize(
    ("workload", "options"),
    [("yolo", {"size": 56}), ("gan", {"size": 8}), ("resnet50", {"size": 33, "batch_size": 1}), ("gpt", {"size": 36})],
)
def test_what_it_can_be_run_with_is_planned(workload, options):
    assert {job.settings.size for job in plan_jobs(Request(workload=workload, **options))} == {options["size"]}


def test_a_script_started_by_itself_refuses_the_same(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_settings(find_workload("yolo"), "torch", arguments=["--size", "60"])
    assert caught.value.code == 2
    assert "pass a multiple of 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "framework", "command"),
    [
        ("lightning", "both", r"pip install 'trackside\[lightning,workloads\]'"),
        ("tensorflow", "tensorflow", r"pip install 'trackside\[keras,workloads\]'"),
        ("sklearn", "torch", r"pip install scikit-learn"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(missing, framework, command, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(UsageError, match=command):
        plan_jobs(Request(workload="digits-cnn", framework=framework))


def test_compile_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match="needs a C\\+\\+ compiler"):
        plan_jobs(Request(workload="digits-cnn", framework="torch", mode="compile"))


# What the children are told


def test_repeats_alternate_and_add_one_to_the_seed_of_both():
    jobs = plan_jobs(Request(workload="digits-cnn", repeat=2, seed=5, precision="float64", optimizer="stock"))
    assert [(job.framework, job.settings.seed) for job in jobs] == [
        ("torch", 5),
        ("tensorflow", 5),
        ("tensorflow", 6),
        ("torch", 6),
    ]
    assert len({job.settings.group for job in jobs}) == 1
    assert jobs[1].settings.name == "digits-cnn-tensorflow-float64-stock-seed5"
    assert plan_jobs(Request(workload="digits-cnn"))[0].settings.group != jobs[0].settings.group


def test_epochs_become_whole_batches():
    assert plan_jobs(Request(workload="digits-cnn", epochs=3, batch_size=100))[0].settings.steps == 3 * 14


def test_a_command_line_carries_the_settings_but_never_the_store():
    job = plan_jobs(
        Request(
            workload="digits-cnn",
            framework="tensorflow",
            mode="xla",
            threads=3,
            store="postgresql://user:secret@host/runs",
            group="g h",
            tags=("a", "b c"),
        )
    )[0]
    environment = child_environment(job)
    assert environment["TRACKSIDE_STORE"] == "postgresql://user:secret@host/runs"
    assert {environment[name] for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")} == {"3"}
    settings = replace(job.settings, store=None)
    assert not any("secret" in argument for argument in settings.to_arguments())
    assert parse_settings(job.workload, "tensorflow", arguments=settings.to_arguments()) == settings


def test_every_entry_of_the_registry_says_what_the_command_prints():
    for workload in list_workloads():
        entry = workload.to_json()
        assert entry.keys() >= {"name", "frameworks", "modes", "precisions", "data", "seconds"}
        assert find_workload(entry["name"]) is workload
        assert set(workload.modes) >= set(workload.frameworks)
        assert entry["seconds"] > 0


# How it looks


def test_bars_show_every_training_with_its_last_values(url):
    jobs = plan_jobs(Request(workload="digits-cnn", steps=40, repeat=2))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={})
    with open_store(url) as store, open_display(terminal, jobs) as display:
        with start_run("made-up", store=url) as run:
            run.log({"train/loss": 0.25}, step=19)
        info = store.run(run.id)
        standing = Standing(steps=20, metrics={"train/loss": 0.25, "val/acc": 0.875}, run=info)
        display.started(0)
        display.advanced(0, standing)
        display.ended(0, standing, "killed")
    text = printed(terminal)
    assert "torch eager #0" in text
    assert "tensorflow graph #1" in text
    assert "20/40" in text
    assert "loss 0.2500  val/acc 0.8750  killed" in text
    assert "waiting" in text


@pytest.mark.parametrize(("optimizer", "said"), [("stock", True), ("exact", False)])
def test_a_pair_with_stock_optimizers_is_told_that_they_differ(optimizer, said, console):
    jobs = plan_jobs(Request(workload="digits-cnn", optimizer=optimizer))
    print_summary(console, [Outcome(job=job, state="finished") for job in jobs])
    assert ("docs/optimizers.md" in printed(console)) is said


# Real trainings


@pytest.mark.framework
class TestShutdown:
    def test_a_training_that_did_not_hear_the_signal_is_asked_again(self):
        sent: list[int] = []
        shutdown = Shutdown(sent.append)
        for second in range(13):
            shutdown.watch(signal.SIGINT, steps=100 * second, now=1000.0 + second)
        assert sent == [signal.SIGINT]

    def test_one_that_ends_in_order_is_left_in_peace_and_killed_only_if_it_never_does(self):
        sent: list[int] = []
        shutdown = Shutdown(sent.append)
        # What was done before the signal may reach the store some seconds after it.
        for second in range(30):
            shutdown.watch(signal.SIGTERM, steps=100 + 50 * min(second, 4), now=1000.0 + second)
        assert sent == []
        shutdown.watch(signal.SIGTERM, steps=300, now=1031.0)
        assert sent == [signal.SIGKILL]


class TestTrainings:
    def test_both_are_recorded_one_after_the_other_in_one_group(self, url, console):
        outcomes = run_workload(
            Request(workload="digits-cnn", steps=30, batch_size=64, store=url, group="pair"), console
        )
        assert [outcome.state for outcome in outcomes] == ["finished", "finished"]
        assert exit_code(outcomes) == 0
        with open_store(url) as store:
            torch, tensorflow = (store.run(outcome.run_id or "") for outcome in outcomes)
        assert (torch.framework, tensorflow.framework) == ("torch", "tensorflow")
        assert (torch.group, tensorflow.group) == ("pair", "pair")
        assert (torch.project, torch.workload) == ("digits-cnn", "digits-cnn")
        assert (torch.state, tensorflow.state) == ("finished", "finished")
        assert (torch.last_step, tensorflow.last_step) == (29, 29)
        assert torch.ended is not None
        assert tensorflow.started is not None
        assert torch.ended <= tensorflow.started
        assert torch.environment["threads"]["torch_intraop"] == 1
        for outcome in outcomes:
            assert outcome.steps == 30
            assert outcome.metrics["val/acc"] > 0.5
        lines = printed(console).splitlines()
        assert lines[0] == "torch eager: loading the framework"
        assert any(line.startswith("tensorflow graph: finished after 30/30 steps  loss 0.") for line in lines)

        print_summary(console, outcomes)
        assert f"trackside compare {torch.id} {tensorflow.id}" in printed(console)

    def test_one_that_fails_leaves_the_other_and_shows_why(self, url, console, tmp_path, monkeypatch):
        (tmp_path / "tensorflow.py").write_text("raise ImportError('this installation is broken')\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        outcomes = run_workload(Request(workload="digits-cnn", steps=5, store=url), console)
        assert [outcome.state for outcome in outcomes] == ["finished", "failed"]
        assert exit_code(outcomes) == 1
        assert outcomes[1].run_id is None
        assert "tensorflow graph failed (exit code 1)" in printed(console)
        assert "this installation is broken" in printed(console)
        with open_store(url) as store:
            assert [run.framework for run in store.runs()] == ["torch"]
        print_summary(console, outcomes)
        assert "–" in printed(console)

    @pytest.mark.parametrize(
        ("framework", "signum"),
        [("torch", signal.SIGINT), ("tensorflow", signal.SIGINT), ("tensorflow", signal.SIGTERM)],
    )
    def test_a_signal_ends_the_run_as_killed_and_starts_no_other(self, framework, signum, url):
        runner = start_runner(url, framework)
        try:
            wait_for_steps(url, 5)
            runner.send_signal(signum)
            output, _ = runner.communicate(timeout=60)
        finally:
            runner.kill()
            runner.wait()
        assert "states killed killed" in output
        with open_store(url) as store:
            (run,) = store.runs()
            assert run.state == "killed"
            assert run.last_step is not None
            assert_no_gap(store, run)

    def test_a_training_ends_with_the_runner_that_vanished(self, url):
        runner = start_runner(url, "torch")
        try:
            wait_for_steps(url, 5)
            (training,) = psutil.Process(runner.pid).children()
        finally:
            runner.kill()
            runner.communicate()
        assert psutil.wait_procs([training], timeout=60)[1] == []
        with open_store(url) as store:
            (run,) = store.runs()
            assert run.state == "killed"
            assert_no_gap(store, run)

    def test_a_training_that_vanishes_is_lost(self, url, console):
        def kill_the_child() -> None:
            wait_for_steps(url, 5)
            (child,) = psutil.Process().children()
            child.kill()

        with ThreadPoolExecutor() as pool:
            killing = pool.submit(kill_the_child)
            request = Request(workload="digits-cnn", framework="torch", steps=100_000, store=url)
            (outcome,) = run_workload(request, console)
            killing.result()
        assert (outcome.state, outcome.exit_code) == ("lost", -signal.SIGKILL)
        assert outcome.steps > 5
        assert exit_code([outcome]) == 1
        assert "torch eager lost (signal SIGKILL)" in printed(console)


RUNNER = """
import sys
from rich.console import Console
from trackside.workloads.plan import Request
from trackside.workloads.runner import run_workload
request = Request(workload="digits-cnn", framework=sys.argv[2], repeat=2, steps=100_000, store=sys.argv[1])
outcomes = run_workload(request, Console(stderr=True))
print("states", *(outcome.state for outcome in outcomes))
"""


def assert_no_gap(store, run) -> None:
    """Every loss up to the end is there; the signal may have come just before the last update's was logged."""
    steps = store.series(run, "train/loss").steps.tolist()
    assert steps == list(range(len(steps)))
    assert run.last_step - steps[-1] in (0, 1)


def start_runner(url: str, framework: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, url, framework],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )


def wait_for_steps(url: str, steps: int, seconds: float = 90.0) -> None:
    """Wait until the one run of the store has come that far."""
    end = time.monotonic() + seconds
    with open_store(url) as store:
        while time.monotonic() < end:
            if any((run.last_step or 0) >= steps for run in store.runs()):
                return
            time.sleep(0.1)
    pytest.fail(f"no run came to step {steps} in {seconds:.0f} s")
