"""What accompanies a run while someone trains, without any framework."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.db.records import RunInfo
from trackside.db.store import Store
from trackside.runs.metric_names import metric_key
from trackside.runs.script import script_of
from trackside.trackers.guard import Guard, guarded
from trackside.trackers.session import TrackerOptions, TrackerSession, epochs_done, numbered
from trackside.trackers.step_clock import StepTime


def only_run(store: Store) -> RunInfo:
    (run,) = store.runs()
    return run


def test_one_update_is_one_record(sqlite_url: str) -> None:
    guard = Guard()
    session = TrackerSession.start(
        TrackerOptions(name="a", store=sqlite_url, config={"lr": 0.1, "password": "x"}, tags=["t"], system=0.05),
        guard,
        properties={"framework": "torch"},
    )
    session.samples = 32
    session.log_step(0, {"train/loss": 2.0}, StepTime(9.0, 1.0, 8.0, 32, True), epoch=0.5)
    session.samples = 64
    session.log_step(1, {"train/loss": 1.0}, StepTime(2.0, 0.5, 1.5, 32, False), epoch=1.0)
    session.log_epoch(1, {"val/loss": 1.5}, epoch=1.0)
    session.notice("no norm")
    session.notice("no norm")
    session.finish()
    session.finish("failed")  # only the first counts
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert (run.name, run.state, run.framework, run.tags) == ("a", "finished", "torch", ("t",))
        assert run.config == {"lr": 0.1, "password": "***"}
        assert run.environment["packages"]["numpy"]
        assert store.series(run, "train/loss").values.tolist() == [2.0, 1.0]
        assert store.series(run, "step/first_seconds").values.tolist() == [9.0]
        seconds = store.series(run, "step/seconds")
        assert (seconds.steps.tolist(), seconds.values.tolist()) == ([1], [2.0])
        assert store.series(run, "step/samples_per_second").values.tolist() == [16.0]
        infos = {info.name: info for info in store.series_infos([run.id])}
        assert infos["val/loss"].reduction == "epoch_mean"
        assert (infos["step/seconds"].unit, infos["step/seconds"].reduction) == ("seconds", "batch")
        memory = infos["process/memory_bytes"]
        assert (memory.unit, memory.reduction) == ("bytes", "sample")
        axes = store.axes(run)
        latest = {int(step): (e, s) for step, e, s in zip(axes.steps, axes.epochs, axes.samples, strict=True)}
        assert latest == {0: (0.5, 32), 1: (1.0, 64)}
        assert [event.message for event in store.events(run) if event.kind == "notice"] == ["no norm"]
    assert guard.failures == {}


def test_event_files_say_the_same(sqlite_url: str, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    guard = Guard()
    options = TrackerOptions(name="../up/é", store=sqlite_url, tensorboard=tmp_path / "events", system=False)
    session = TrackerSession.start(options, guard)
    for step in range(3):
        session.log_step(step, {"train/loss": 1.0 / (step + 1), "train/inf": float("inf")})
    session.finish()
    (folder,) = (tmp_path / "events").iterdir()
    with trackside.open_store(sqlite_url) as store:
        assert only_run(store).log_directory == str(folder)
    (file,) = folder.iterdir()
    values = {
        (value.tag, event.step): value.tensor.float_val[0] if value.tensor.float_val else value.simple_value
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    }
    assert values["train/loss", 2] == pytest.approx(1 / 3)
    assert values["train/inf", 0] == float("inf")
    assert guard.failures == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"store": "mysql://host/db"}, "SQLite or PostgreSQL"),
        ({"name": ""}, "non-empty"),
        ({"project": 3}, "project"),
        ({"config": [1]}, "dictionary"),
        ({"tags": "one"}, "list of strings"),
        ({"log_every": 0}, "1 or more"),
        ({"log_every": True}, "1 or more"),
        ({"system": 0}, "seconds"),
        ({"system": -1.0}, "seconds"),
        ({"tensorboard": 5}, "directory"),
        ({"profile": object()}, "profile is .*give True, False or ProfileSchedule"),
        ({"profile": 5}, "profile is 5"),
        ({"debug": "yes"}, "debug is .yes.; give True"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TrackerOptions(**arguments)


def test_guard_counts_and_says_once(caplog: pytest.LogCaptureFixture) -> None:
    class Tracker:
        def __init__(self) -> None:
            self.guard = Guard()

        @guarded("count to three")
        def hook(self, error: BaseException) -> int:
            raise error

    tracker = Tracker()
    with caplog.at_level(logging.WARNING, "trackside"):
        assert tracker.hook(ValueError("two")) is None
        assert tracker.hook(KeyError("four")) is None
        with tracker.guard("read on"):
            raise OSError("gone")
    assert tracker.guard.failures == {"count to three": 2, "read on": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "trackside: could not count to three (ValueError: two); training goes on without it.",
        "trackside: could not read on (OSError: gone); training goes on without it.",
    ]
    with pytest.raises(KeyboardInterrupt):
        tracker.hook(KeyboardInterrupt())
    with pytest.raises(SystemExit), tracker.guard("leave"):
        raise SystemExit(3)


def test_exceptions_end_in_their_states(sqlite_url: str) -> None:
    for error, state in ((ValueError("x"), "failed"), (KeyboardInterrupt(), "killed"), (SystemExit(1), "killed")):
        session = TrackerSession.start(TrackerOptions(store=sqlite_url, system=False), Guard())
        session.finish(session.state_after(error), error)
        with trackside.open_store(sqlite_url) as store:
            assert store.run(session.run.id).state == state


PROGRAM = """
    import os, signal, sys, time
    from trackside.trackers.guard import Guard
    from trackside.trackers.session import TrackerOptions, TrackerSession
    {before}
    session = TrackerSession.start(TrackerOptions(store={url!r}, system=False), Guard())
    session.log_step(7, {{"train/loss": 1.0}})
    os.kill(os.getpid(), signal.SIGTERM)
    {after}
"""


def run_program(url: str, before: str, after: str) -> int:
    program = textwrap.dedent(PROGRAM).format(url=url, before=before, after=after)
    return subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode


@pytest.mark.parametrize(
    ("before", "after", "code", "state", "signals"),
    [
        ("", "time.sleep(60)", -signal.SIGTERM, "killed", 1),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))", "time.sleep(60)", 5, "killed", 1),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "session.finish()", 0, "finished", 0),
        (
            "signal.signal(signal.SIGTERM, lambda *_: print('saw it'))",
            "session.finish('killed' if session.terminated else 'finished')",
            0,
            "killed",
            1,
        ),
    ],
    ids=["default", "exits", "ignored", "goes on"],
)
def test_sigterm_keeps_its_effect_and_is_recorded(
    sqlite_url: str, before: str, after: str, code: int, state: str, signals: int
) -> None:
    assert run_program(sqlite_url, before, after) == code
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == state
        assert [(e.detail["signal"], e.step) for e in store.events(run) if e.kind == "signal"] == [
            ("SIGTERM", 7)
        ] * signals


def test_handler_is_put_back(sqlite_url: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    session = TrackerSession.start(TrackerOptions(store=sqlite_url, system=False), Guard())
    assert signal.getsignal(signal.SIGTERM) != before
    session.finish()
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_handler_outside_the_main_thread(sqlite_url: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    handlers: list[Any] = []

    def train() -> None:
        session = TrackerSession.start(TrackerOptions(store=sqlite_url, system=False), Guard())
        handlers.append(signal.getsignal(signal.SIGTERM))
        session.finish()

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_a_tracker_keeps_the_script_and_starts_without_it_where_it_is_gone(sqlite_url: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("lr = 0.1\n")
    options = TrackerOptions(store=sqlite_url, system=False, source=str(script))
    runs = []
    for _ in range(2):
        session = TrackerSession.start(options, Guard())
        session.finish()
        runs.append(session.run.id)
        script.unlink(missing_ok=True)
    with trackside.open_store(sqlite_url) as store:
        kept, gone = (script_of(store, run) for run in runs)
    assert kept is not None
    assert (kept.name, kept.path, kept.text) == ("train.py", str(script), "lr = 0.1\n")
    assert gone is None
    with pytest.raises(UsageError, match="no such file"):
        TrackerOptions(store=sqlite_url, source=str(script))


def test_reopened_run_takes_an_evaluation(sqlite_url: str) -> None:
    options = TrackerOptions(store=sqlite_url, system=False)
    session = TrackerSession.start(options, Guard())
    session.log_step(4, {"train/loss": 1.0})
    session.finish()
    with TrackerSession.reopened(options, Guard(), session.run.id) as again:
        again.log_epoch(again.step, {"val/loss": 0.5})
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "finished"
        assert store.series(run, "val/loss").steps.tolist() == [4]


def test_epochs_done() -> None:
    assert epochs_done(0, 4, 10) == 0.5
    assert epochs_done(2, 9, 10) == 3.0
    assert epochs_done(1, 12, 10) == 2.0  # the loader gave more than it promised
    assert epochs_done(3, 5, None) == 3.0
    assert epochs_done(3, 5, float("inf")) == 3.0


def test_names_of_repeated_fits() -> None:
    assert [numbered("a", fit) for fit in (1, 2, 3)] == ["a", "a-2", "a-3"]
    assert numbered(None, 2) is None


@pytest.mark.parametrize(
    ("name", "split", "key"),
    [
        ("loss", "train", "train/loss"),
        ("train_loss", "train", "train/loss"),
        ("train/loss", "train", "train/loss"),
        ("training.loss", "train", "train/loss"),
        ("train_loss_step", "train", "train/loss"),
        ("train_acc_epoch", "train", "train/acc"),
        ("Train/F1", "train", "train/F1"),
        ("val_loss", "val", "val/loss"),
        ("valid/acc", "val", "val/acc"),
        ("val_accuracy", "val", "val/acc"),
        ("balanced_accuracy", "val", "val/balanced_accuracy"),
        ("validation_top_5", "val", "val/top_5"),
        ("val_loss/dataloader_idx_1", "val", "val/loss_dataloader1"),
        ("test_acc", "test", "test/acc"),
        ("trainable", "train", "train/trainable"),
        ("step", "train", "train/step"),
        ("value", "val", "val/value"),
        ("train_", "train", "train/train_"),
        ("gan/d_loss", "train", "train/gan/d_loss"),
    ],
)
def test_one_key_for_every_spelling(name: str, split: str, key: str) -> None:
    assert metric_key(name, split) == key


def test_a_forked_child_leaves_the_run_alone(sqlite_url: str) -> None:
    program = f"""
        import os
        from trackside.trackers.guard import Guard
        from trackside.trackers.session import TrackerOptions, TrackerSession
        session = TrackerSession.start(TrackerOptions(store={sqlite_url!r}, system=0.05), Guard())
        session.log_step(0, {{"train/loss": 1.0}})
        if (child := os.fork()) == 0:
            session.finish("failed")
            os._exit(0)
        os.waitpid(child, 0)
        session.log_step(1, {{"train/loss": 2.0}})
        session.finish()
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)], check=True, timeout=120)
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "finished"
        assert store.series(run, "train/loss").values.tolist() == [1.0, 2.0]


def test_an_interrupt_that_a_framework_wrapped_is_one_all_the_same(sqlite_url: str) -> None:
    for wrapped in (RuntimeError("UnknownError: KeyboardInterrupt: in a kernel"), RuntimeError("stopped")):
        session = TrackerSession.start(TrackerOptions(store=sqlite_url, system=False), Guard())
        if "stopped" in str(wrapped):
            wrapped.__context__ = KeyboardInterrupt()
        session.finish(session.state_after(wrapped), wrapped)
    with trackside.open_store(sqlite_url) as store:
        assert [run.state for run in store.runs()] == ["killed", "killed"]
