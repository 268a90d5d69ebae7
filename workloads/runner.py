"""Runs a workload: every training in its own process, one after the other, with live progress."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from ..db.records import State
from ..db.store import Store, open_store
from ..runs.repeats import contrast, repeats
from .plan import Job, Request, plan_jobs
from .process import Interrupts, Shutdown, TrainingProcess
from .progress import Display, job_labels, open_display
from .watch import RunWatch

POLL_SECONDS = 0.25  # a poll is two small queries; more often would take the core from the training


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
        metrics: last value of `train/loss`, `val/loss`, the workload's metrics and `step/seconds`.
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


def run_workload(request: Request, console: Console) -> list[Outcome]:
    """Train a workload in one framework or both and record the runs.

    The trainings never overlap: they would compete for the same cores, and no step time would mean anything. One that
    fails leaves the others as they are. Ctrl-C ends the one that runs, records it as killed and starts no other.

    Args:
        request: what to train.
        console: where progress and failures are shown.

    Returns:
        One outcome a training, in the order run. `exit_code` says what a command should exit with.

    Raises:
        UsageError: the request cannot be met; nothing was started.
        StoreError: the store cannot be used; nothing was started.
    """
    return run_jobs(plan_jobs(request), request.store, console)


def run_jobs(
    jobs: Sequence[Job],
    store: str | None,
    console: Console,
    ended: Callable[[int, Outcome], None] | None = None,
) -> list[Outcome]:
    """Run trainings one after the other; see `run_workload`.

    Args:
        jobs: the trainings.
        store: where they are recorded.
        console: where progress and failures are shown.
        ended: called after each training with its place in the list, before the next begins.
    """
    outcomes: list[Outcome] = []
    with open_store(store) as opened, Interrupts().watched() as interrupts, open_display(console, jobs) as display:
        for index, job in enumerate(jobs):
            if interrupts.received is not None:
                outcomes.append(Outcome(job=job, state="killed"))
                continue
            outcomes.append(_train(index, job, opened, display, interrupts))
            if ended is not None:
                ended(index, outcomes[-1])
    _show_failures(console, outcomes)
    return outcomes


def _train(index: int, job: Job, store: Store, display: Display, interrupts: Interrupts) -> Outcome:
    """Run one training to its end."""
    watch = RunWatch(store, job)
    began = time.monotonic()
    display.started(index)
    process = TrainingProcess(job)
    interrupts.attach(process)
    shutdown = Shutdown(process.stop)
    try:
        while (exit_code := process.wait(POLL_SECONDS)) is None:
            standing = watch.read()
            display.advanced(index, standing)
            if interrupts.received is not None:
                shutdown.watch(interrupts.received, standing.steps, time.monotonic())
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
    metrics = list(dict.fromkeys(["val/loss", *(name for o in outcomes for name in o.job.workload.metrics)]))
    for column in ("steps", *metrics, "seconds"):
        table.add_column(column, justify="right")
    labels = job_labels([outcome.job for outcome in outcomes])
    for outcome, label in zip(outcomes, labels, strict=True):
        values = [outcome.metrics.get(name) for name in metrics]
        table.add_row(
            outcome.run_id or "–",
            label,
            outcome.state,
            str(outcome.steps),
            *("–" if value is None else f"{value:.4f}" for value in values),
            f"{outcome.seconds:.1f}",
        )
    console.print(table)
    if any(outcome.job.settings.seed != outcomes[0].job.settings.seed for outcome in outcomes):
        _print_repeats(console, outcomes)
    recorded = [outcome.run_id for outcome in outcomes if outcome.run_id is not None]
    if len(recorded) > 1:
        console.print(f"Compare them: trackside compare {' '.join(recorded)}", highlight=False, soft_wrap=True)
    if len({o.job.framework for o in outcomes}) > 1 and any(o.job.settings.optimizer == "stock" for o in outcomes):
        console.print(
            "Each framework used its own optimizer, whose formulas differ: docs/optimizers.md says by what.",
            highlight=False,
            soft_wrap=True,
        )
    if recorded:
        console.print("Look at them: trackside dashboard", highlight=False)


SHOWN = ("step_seconds", "samples_per_second", "first_step_seconds", "seconds_to_first_step", "peak_memory_bytes")


def _print_repeats(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Medians over the repeats with the smallest and the largest, and whether two forms differ by more than that."""
    with open_store(outcomes[0].job.settings.store) as store:
        runs = [store.run(outcome.run_id) for outcome in outcomes if outcome.run_id and outcome.state == "finished"]
        forms = repeats(store, runs)
    table = Table(
        box=None, pad_edge=False, title="Over the repeats: median (smallest to largest)", title_justify="left"
    )
    table.add_column("")
    for form in forms:
        table.add_column(f"{form.label}, n = {len(form.runs)}", justify="right")
    if len(forms) == 2:
        table.add_column("ratio", justify="right")
    metrics = ("val/loss", *outcomes[0].job.workload.metrics)
    for quantity in (*SHOWN, *metrics):
        spreads = [form.quantities.get(quantity) for form in forms]
        if not any(spreads):
            continue
        cells = ["–" if s is None else f"{s.median:.4g} ({s.low:.4g} to {s.high:.4g})" for s in spreads]
        found = contrast(forms[0], forms[1], quantity) if len(forms) == 2 else None
        if found is not None:
            word = {True: "tie", None: "once only", False: ""}[found.tie]
            cells.append(f"{found.ratio:.3g} {word}".rstrip())
        elif len(forms) == 2:
            cells.append("–")
        table.add_row(quantity.replace("_", " "), *cells)
    console.print(table)
