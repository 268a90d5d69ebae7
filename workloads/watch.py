"""How far a training is, as its store shows it: the runner sees what the dashboard sees."""

from __future__ import annotations

from dataclasses import dataclass

from ..db.errors import StoreError
from ..db.records import RunInfo
from ..db.store import Store
from .plan import Job

SHOWN = ("train/loss", "val/loss", "step/seconds")
"""Read of every training, beside the workload's own metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a training stands: updates done, the last value of each metric shown, and the run once there is one."""

    steps: int
    metrics: dict[str, float]
    run: RunInfo | None


class RunWatch:
    """Finds the run that a training process starts and reads how far it is.

    Args:
        store: where the run will appear.
        job: the training. Runs of its group and name that exist already are not it.
    """

    def __init__(self, store: Store, job: Job) -> None:
        self.store = store
        self.job = job
        self.standing = Standing(steps=0, metrics={}, run=None)
        self._earlier = {run.id for run in self._candidates()}

    def read(self) -> Standing:
        """The standing now; the one before while the store does not answer, for training goes on without it."""
        try:
            run = self._current()
            if run is not None:
                infos = self.store.series_infos([run.id], [*SHOWN, *self.job.workload.metrics])
                self.standing = Standing(
                    steps=0 if run.last_step is None else run.last_step + 1,
                    metrics={info.name: info.last for info in infos if info.rank == 0},
                    run=run,
                )
        except StoreError:
            pass
        return self.standing

    def _current(self) -> RunInfo | None:
        if self.standing.run is None:
            return next((run for run in self._candidates() if run.id not in self._earlier), None)
        return next(iter(self.store.runs(ids=[self.standing.run.id])), self.standing.run)

    def _candidates(self) -> list[RunInfo]:
        settings = self.job.settings
        runs = self.store.runs(project=settings.project)
        return [run for run in runs if run.group == settings.group and run.name == settings.name]
