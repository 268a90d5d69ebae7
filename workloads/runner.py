"""Runs a workload: every training in its own process, one after the other, with live progress."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from ..db.records import State
from ..db.store import Store, open_store
from .plan import Job, plan_jobs
from .process import Interrupts, TrainingProcess
from .progress import Display, job_labels, open_display
from .watch import RunWatch

POLL_SECONDS = 0.25  # a poll is two small queries; more often would take the core from the training
SHUTDOWN_SECONDS = 30.0  # how long an interrupted training may take to record its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one training.

    Attributes:
        job: what was asked for.
        state: `finished`, `failed`, `killed`; `lost` where the process vanished without a word.
        run_id: the run it recorded; None where it never came to one.
        exit_code: of the process, negative for a signal; None where it was never started.
        steps: optimizer updates done.
        seconds: of the process, imports included.
        metrics: last value of `train/loss`, `val/loss`, `val/acc` and `step/seconds`.
        last_lines: the end of what the process printed, where it failed.
    """

    job: Job
    state: State
    run_id: str | None = None
    exit_code: int | None = None
    steps: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    last_lines: tuple[str, ...] = ()


def run_workload(
    name: str,
    *,
    framework: str = "both",
    mode: str | None = None,
    precision: str = "float32",
    optimizer: str = "exact",
    devices: int = 1,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    threads: int = 1,
    repeat: int = 1,
    store: str | None = None,
    project: str | None = None,
    group: str | None = None,
    tensorboard: str | None = None,
    console: Console,
) -> list[Outcome]:
    """Train a workload in one framework or both and record the runs.

    The trainings never overlap: they would compete for the same cores, and no step time would mean anything. One that
    fails leaves the others as they are. Ctrl-C ends the one that runs, records it as killed and starts no other.

    Args:
        name: the workload.
        framework: `torch`, `tensorflow` or `both`.
        mode: execution mode; None is each framework's own default.
        precision: `float32` or `float64`.
        optimizer: `exact` computes PyTorch's formulas in both frameworks, `stock` uses Keras' own in Keras.
        devices: how many devices to train on.
        steps: optimizer updates; None is the workload's default.
        epochs: passes over the data, instead of `steps`.
        batch_size: samples in a batch; None is the workload's default.
        seed: of the initial weights and the order of the batches; each repeat adds one.
        threads: CPU threads for the arithmetic.
        repeat: how often to train everything.
        store: URL of the store; None for `TRACKSIDE_STORE` or the default.
        project: project of the runs; None is the workload's name.
        group: shared by all runs of this call; None makes up a new one.
        tensorboard: folder for TensorBoard event files as well.
        console: where progress and failures are shown.

    Returns:
        One outcome a training, in the order run. `exit_code` says what a command should exit with.

    Raises:
        UsageError: the request cannot be met; nothing was started.
        StoreError: the store cannot be used; nothing was started.
    """
    jobs = plan_jobs(
        name,
        framework=framework,
        mode=mode,
        precision=precision,
        optimizer=optimizer,
        devices=devices,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        threads=threads,
        repeat=repeat,
        store=store,
        project=project,
        group=group,
        tensorboard=tensorboard,
    )
    outcomes: list[Outcome] = []
    with open_store(store) as opened, Interrupts().watched() as interrupts, open_display(console, jobs) as display:
        for index, job in enumerate(jobs):
            if interrupts.received is not None:
                outcomes.append(Outcome(job=job, state="killed"))
            else:
                outcomes.append(_train(index, job, opened, display, interrupts))
    _show_failures(console, outcomes)
    return outcomes


def _train(index: int, job: Job, store: Store, display: Display, interrupts: Interrupts) -> Outcome:
    """Run one training to its end."""
    watch = RunWatch(store, job)
    began = time.monotonic()
    display.started(index)
    process = TrainingProcess(job)
    interrupts.attach(process)
    interrupted_at = None
    try:
        while (exit_code := process.wait(POLL_SECONDS)) is None:
            display.advanced(index, watch.read())
            if interrupts.received is not None:
                interrupted_at = interrupted_at or time.monotonic()
                if time.monotonic() - interrupted_at > SHUTDOWN_SECONDS:
                    process.stop(signal.SIGKILL)
        standing = watch.read()
        state = _state(standing.run.state if standing.run else None, exit_code, interrupts.received is not None)
        display.ended(index, standing, state)
        return Outcome(
            job=job,
            state=state,
            run_id=standing.run.id if standing.run else None,
            exit_code=exit_code,
            steps=standing.steps,
            seconds=time.monotonic() - began,
            metrics=standing.metrics,
            last_lines=tuple(process.last_lines()) if state in ("failed", "lost") else (),
        )
    finally:
        interrupts.attach(None)
        process.close()


def _state(recorded: State | None, exit_code: int, interrupted: bool) -> State:
    """How a training ended, from what its run says and how its process exited."""
    if recorded is not None and recorded != "running":
        return "failed" if recorded == "finished" and exit_code != 0 and not interrupted else recorded
    if exit_code == 0:
        return "finished"  # the store did not answer; the journal holds what it lacks
    if interrupted:
        return "killed"
    return "lost" if recorded == "running" else "failed"


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when every training finished, 1 otherwise."""
    return 0 if all(outcome.state == "finished" for outcome in outcomes) else 1


def _show_failures(console: Console, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.state in ("failed", "lost"):
            code = outcome.exit_code
            how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
            console.print(f"\n{outcome.job.label} {outcome.state} ({how}). Its last lines:", style="bold red")
            for line in outcome.last_lines or ("(it printed nothing)",):
                console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def print_summary(console: Console, outcomes: Sequence[Outcome]) -> None:
    """A table of the trainings, and how to compare them."""
    table = Table(box=None, pad_edge=False)
    for column in ("run", "training", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("steps", "val/loss", "val/acc", "seconds"):
        table.add_column(column, justify="right")
    labels = job_labels([outcome.job for outcome in outcomes])
    for outcome, label in zip(outcomes, labels, strict=True):
        values = [outcome.metrics.get(key) for key in ("val/loss", "val/acc")]
        table.add_row(
            outcome.run_id or "–",
            label,
            outcome.state,
            str(outcome.steps),
            *("–" if value is None else f"{value:.4f}" for value in values),
            f"{outcome.seconds:.1f}",
        )
    console.print(table)
    recorded = [outcome.run_id for outcome in outcomes if outcome.run_id is not None]
    if len(recorded) > 1:
        console.print(f"Compare them: trackside compare {' '.join(recorded)}", highlight=False, soft_wrap=True)
    if recorded:
        console.print("Look at them: trackside dashboard", highlight=False)
