"""What the terminal shows while trainings run: bars where it can draw, plain lines where it cannot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .plan import Job
from .watch import Standing

PLAIN_SECONDS = 5.0  # between two lines of one training


class Display(Protocol):
    """Shows the trainings of one command; a job goes by its place in the list."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def started(self, index: int) -> None:
        """The process was started and imports its framework."""

    def advanced(self, index: int, standing: Standing) -> None:
        """There is news of a training."""

    def ended(self, index: int, standing: Standing, state: str) -> None:
        """The process ended."""


def open_display(console: Console, jobs: Sequence[Job]) -> Display:
    """The display that this console can show."""
    return BarDisplay(console, jobs) if console.is_terminal else LineDisplay(console, jobs)


def job_labels(jobs: Sequence[Job]) -> list[str]:
    """A label each; the seed (#1) is part of it where there are several."""
    several = len({job.settings.seed for job in jobs}) > 1
    return [f"{job.label} #{job.settings.seed}" if several else job.label for job in jobs]


def describe_metrics(job: Job, standing: Standing) -> str:
    """The last loss and the workload's first metric in a few words; empty before the first."""
    shown = [("train/loss", "loss"), *((name, name) for name in job.workload.metrics[:1])]
    return "  ".join(f"{word} {standing.metrics[name]:.4f}" for name, word in shown if name in standing.metrics)


class BarDisplay:
    """One progress bar a training, all of them visible from the start."""

    def __init__(self, console: Console, jobs: Sequence[Job]) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )
        self.jobs = jobs
        self.tasks: list[TaskID] = [
            self.progress.add_task(label, total=job.settings.steps, start=False, note="waiting")
            for label, job in zip(job_labels(jobs), jobs, strict=True)
        ]

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.progress.stop()

    def started(self, index: int) -> None:
        self.progress.update(self.tasks[index], note="loading the framework")

    def advanced(self, index: int, standing: Standing) -> None:
        task = self.tasks[index]
        if standing.run is not None:
            self.progress.start_task(task)  # the time left is of training alone, without the imports
            note = describe_metrics(self.jobs[index], standing) or "first step"
            self.progress.update(task, completed=standing.steps, note=note)

    def ended(self, index: int, standing: Standing, state: str) -> None:
        task = self.tasks[index]
        note = describe_metrics(self.jobs[index], standing)
        if state != "finished":  # a full bar says that much
            note = f"{note}  {state}".strip()
        self.progress.update(task, completed=standing.steps, note=note)
        self.progress.stop_task(task)


class LineDisplay:
    """A line when a training starts, every few seconds, and when it ends."""

    def __init__(self, console: Console, jobs: Sequence[Job]) -> None:
        self.console = console
        self.labels = job_labels(jobs)
        self.jobs = jobs
        self._printed = (0.0, -1)  # when, and at which step

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def _line(self, index: int, text: str) -> None:
        self.console.print(f"{self.labels[index]}: {text}", markup=False, highlight=False, soft_wrap=True)

    def started(self, index: int) -> None:
        self._line(index, "loading the framework")
        self._printed = (time.monotonic(), 0)

    def advanced(self, index: int, standing: Standing) -> None:
        when, step = self._printed
        if standing.steps > step and time.monotonic() - when >= PLAIN_SECONDS:
            self._line(index, f"step {self._where(index, standing)}")
            self._printed = (time.monotonic(), standing.steps)

    def ended(self, index: int, standing: Standing, state: str) -> None:
        where, _, metrics = self._where(index, standing).partition("  ")
        self._line(index, f"{state} after {where} steps  {metrics}".rstrip())

    def _where(self, index: int, standing: Standing) -> str:
        job = self.jobs[index]
        return f"{standing.steps}/{job.settings.steps}  {describe_metrics(job, standing)}".rstrip()
