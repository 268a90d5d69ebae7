"""A workload's own noise: how far single precision carries a training from itself, and the frameworks from each other.

In float32 two trainings of one network part even within a framework, once its initial weights move by one unit in
the last place or its sums are split over another number of threads. A difference between frameworks means something
only beyond that. So each framework is trained against itself, the largest such difference up to each step is the
envelope, and the difference between the frameworks is judged against it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console

from ..db.errors import TracksideError
from ..db.records import Float64Array
from ..db.store import open_store
from ..runs.derived import add_series
from ..runs.noise import POINTWISE, TEN_STEPS
from .plan import Request, plan_jobs
from .runner import Outcome, run_jobs
from .workload import Workload

LOSS = "train/loss"
SERIES = f"noise/{LOSS}"
"""Where a run keeps its envelope; charts draw it as a band around the loss."""

PERTURBATIONS = 2
FLOOR = 1e-6
"""Of the loss: float32 tells no smaller difference from none."""


class NoiseError(TracksideError):
    """A training that the envelope needs did not finish."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseReport:
    """What was found.

    Attributes:
        workload: what was trained.
        run_ids: of the pair that is judged, by framework.
        cross: (steps,) |PyTorch - TensorFlow| of the losses.
        envelope: (steps,) the largest difference of either framework from itself up to each step, floor included.
        cross_means: (steps // 10,) the same of means of ten losses.
        envelope_means: (steps // 10,) likewise.
    """

    workload: Workload
    run_ids: Mapping[str, str]
    cross: Float64Array
    envelope: Float64Array
    cross_means: Float64Array
    envelope_means: Float64Array

    @property
    def pointwise(self) -> float:
        """How many times the envelope the frameworks are apart at most."""
        return float(np.max(self.cross / self.envelope))

    @property
    def ten_steps(self) -> float:
        """The same of means of ten; 0 for fewer than ten steps."""
        return float(np.max(self.cross_means / self.envelope_means, initial=0.0))

    @property
    def within(self) -> bool:
        """Whether the difference is the frameworks' own noise."""
        return self.pointwise <= POINTWISE and self.ten_steps <= TEN_STEPS

    def to_json(self) -> dict[str, Any]:
        """The report as `trackside parity --noise --json` prints it."""
        return {
            "within": self.within,
            "pointwise": {"ratio": self.pointwise, "allowed": POINTWISE},
            "ten_steps": {"ratio": self.ten_steps, "allowed": TEN_STEPS},
            "largest_difference": float(self.cross.max()),
            "largest_noise": float(self.envelope.max()),
            "runs": dict(self.run_ids),
        }


def measure_noise(request: Request, console: Console) -> NoiseReport:
    """Train the pair and each framework against itself, and keep the envelope with the pair.

    Args:
        request: what to train, in both frameworks; the pair is recorded in its store, the rest is not kept.
        console: where progress is shown.

    Raises:
        UsageError: the request cannot be met.
        NoiseError: a training did not finish.
    """
    base = replace(request, framework="both", repeat=1, tags=(*request.tags, "noise"))
    pair = run_jobs(plan_jobs(base), request.store, console)
    _finished(pair)
    with tempfile.TemporaryDirectory(prefix="trackside-noise-") as folder:
        url = f"sqlite:///{folder}/noise.db"
        others = [
            replace(base, store=url, perturb=seed + 1, tensorboard=None, profile=False, debug=False)
            for seed in range(PERTURBATIONS)
        ]
        others.append(
            replace(
                base, store=url, threads=2 if request.threads == 1 else 1, tensorboard=None, profile=False, debug=False
            )
        )
        outcomes = run_jobs([job for other in others for job in plan_jobs(other)], url, console)
        _finished(outcomes)
        losses = {outcome.job.framework: _losses(outcome, request.store) for outcome in pair}
        selves = [(losses[outcome.job.framework], _losses(outcome, url)) for outcome in outcomes]
    first, second = losses.values()
    report = judge(pair[0].job.workload, {o.job.framework: o.run_id or "" for o in pair}, first, second, selves)
    for outcome in pair:
        _keep(outcome, report.envelope, request.store)
    return report


def judge(
    workload: Workload,
    run_ids: Mapping[str, str],
    first: Float64Array,
    second: Float64Array,
    selves: Sequence[tuple[Float64Array, Float64Array]],
) -> NoiseReport:
    """Compare the difference of two losses with those of each framework from itself.

    Args:
        workload: what was trained.
        run_ids: of the two, by framework.
        first: (steps,) losses of the one.
        second: (steps,) losses of the other.
        selves: pairs of (steps,) losses of one framework, which differ by noise alone.
    """
    floor = FLOOR * np.abs(first)
    apart = [np.abs(one - other) for one, other in selves]
    envelope = np.maximum(np.maximum.accumulate(np.max(apart, axis=0)), floor)
    means = [np.abs(_ten(one) - _ten(other)) for one, other in selves]
    of_means = np.maximum.accumulate(np.max(means, axis=0)) if len(means[0]) else np.empty(0)
    return NoiseReport(
        workload=workload,
        run_ids=run_ids,
        cross=np.abs(first - second),
        envelope=envelope,
        cross_means=np.abs(_ten(first) - _ten(second)),
        envelope_means=np.maximum(of_means, FLOOR * np.abs(_ten(first))),
    )


def _ten(losses: Float64Array) -> Float64Array:
    whole = len(losses) // 10 * 10
    means: Float64Array = losses[:whole].reshape(-1, 10).mean(axis=1)
    return means


def _finished(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.state != "finished":
            raise NoiseError(
                f"The training {outcome.job.settings.name} {outcome.state}, so the noise cannot be told: "
                "its last lines stand above; run it alone with trackside run."
            )


def _losses(outcome: Outcome, url: str | None) -> Float64Array:
    with open_store(url) as store:
        return store.series(outcome.run_id or "", LOSS).values


def _keep(outcome: Outcome, envelope: Float64Array, url: str | None) -> None:
    with open_store(url) as store:
        run = store.run(outcome.run_id or "")
        losses = store.series(run, LOSS)
        add_series(store, run, SERIES, losses.steps, losses.times, envelope)
