"""The proof that a workload is the same in both frameworks: what it computes in double precision, compared.

In double precision rounding is a billion times smaller than anything a wrong convention would do. So if outputs,
gradients and the losses of the first updates agree to the gate's tolerance, the two trainings are the same experiment;
where they do not, the first thing that differs says where to look: outputs (the network), the loss, the gradients of
one layer, or only the later losses (the optimizer).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..db.errors import TracksideError
from ..db.records import Float64Array
from ..db.store import open_store
from .plan import Job, Request, plan_jobs
from .process import child_environment
from .workload import Workload

FORWARD_TOLERANCE = 1e-11
"""Relative, for outputs, loss and gradients of the first batch: measured 1e-13 or less where conventions match."""


class GateError(TracksideError):
    """A side of the gate did not get as far as a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing compared: its name, how far the frameworks are apart, and how far they may be."""

    name: str
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether it is within the tolerance; NaN never is."""
        return self.difference <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateReport:
    """What the gate found.

    Attributes:
        workload: what was compared.
        settings: of both sides, as far as they are the same.
        parts: outputs, loss, gradients by tensor, and losses of the updates, in that order.
        differences: by metric, (steps,) relative differences of the recorded losses.
    """

    workload: Workload
    settings: Mapping[str, Any]
    parts: tuple[Part, ...]
    differences: Mapping[str, Float64Array]

    @property
    def passed(self) -> bool:
        """Whether everything agrees."""
        return all(part.agrees for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """The report as `trackside parity --json` prints it."""
        return {
            "workload": self.workload.name,
            "passed": self.passed,
            "settings": dict(self.settings),
            "parts": [
                {"name": part.name, "difference": part.difference, "tolerance": part.tolerance, "agrees": part.agrees}
                for part in self.parts
            ],
            "differences": {name: values.tolist() for name, values in self.differences.items()},
        }


def run_gate(request: Request) -> GateReport:
    """Train both sides for a few updates in double precision, each in its own process, and compare.

    Args:
        request: what to compare; precision, framework and store are the gate's own affair, and `steps` defaults to
            the workload's.

    Raises:
        UsageError: the request cannot be met.
        GateError: a side ended before it had a result.
    """
    with tempfile.TemporaryDirectory(prefix="trackside-gate-") as folder:
        url = f"sqlite:///{folder}/gate.db"
        own = replace(
            request,
            framework="both",
            precision="float64",
            store=url,
            repeat=1,
            tensorboard=None,
            profile=False,
            debug=False,
        )
        jobs = plan_jobs(own)
        if request.steps is None:
            steps = jobs[0].workload.gate.steps
            jobs = [replace(job, settings=replace(job.settings, steps=steps)) for job in jobs]
        probes = [_run_side(job, Path(folder)) for job in jobs]
        with open_store(url) as store:
            names = [
                {info.name for info in store.series_infos([store.run(job.settings.name or "").id])} for job in jobs
            ]
            losses = sorted(name for name in names[0] & names[1] if name.startswith("train/") and "loss" in name)
            values = [{name: store.series(job.settings.name or "", name).values for name in losses} for job in jobs]
    return compare_sides(jobs, probes, values)


def _run_side(job: Job, folder: Path) -> dict[str, NDArray[Any]]:
    """Probe and train one side in its own process; returns what the probe found."""
    output = folder / f"{job.framework}.npz"
    command = [
        *(sys.executable, "-m", f"{__package__}.gate_side", job.workload.package, job.framework, str(output)),
        *replace(job.settings, store=None).to_arguments(),
    ]
    done = subprocess.run(command, env=child_environment(job), capture_output=True, text=True, check=False)
    if done.returncode or not output.is_file():
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise GateError(
            f"The {job.framework} half of {job.workload.name} ended without a result ({reason[:300]}): run "
            f"trackside run {job.workload.reference} --framework {job.framework} --precision float64 to see it alone."
        )
    with np.load(output) as file:
        return dict(file)


def compare_sides(
    jobs: Sequence[Job],
    probes: Sequence[Mapping[str, NDArray[Any]]],
    losses: Sequence[Mapping[str, Float64Array]],
) -> GateReport:
    """Compare what the two sides computed.

    Args:
        jobs: of PyTorch and of TensorFlow.
        probes: of each, as `probe` in `torch_training` and `keras_training` returns it.
        losses: of each, the recorded losses by metric: (steps,) float64.
    """
    workload, settings = jobs[0].workload, jobs[0].settings
    one, other = probes
    parts = [
        Part(name=name, difference=relative_difference(one[name], other[name]), tolerance=FORWARD_TOLERANCE)
        for name in ("outputs", "loss")
        if name in one or name in other
    ]
    gradients = sorted(name for name in {*one, *other} if name.startswith("gradient/"))
    # A bias that normalisation takes out again has a gradient of pure rounding: measured against the largest.
    floor = max((float(np.linalg.norm(one[name])) for name in gradients if name in one), default=0.0)
    for name in gradients:
        if name in one and name in other:
            difference = relative_difference(one[name], other[name], floor=1e-6 * floor)
        else:
            difference = float("nan")  # one side has no such tensor
        parts.append(Part(name=name, difference=difference, tolerance=FORWARD_TOLERANCE))
    differences = {}
    for name in losses[0]:
        first, second = losses[0][name], losses[1][name]
        count = min(len(first), len(second))
        with np.errstate(divide="ignore", invalid="ignore"):
            differences[name] = np.abs(first[:count] - second[:count]) / np.maximum(np.abs(first[:count]), 1e-12)
        complete = count >= settings.steps and len(first) == len(second)
        worst = float(np.max(differences[name])) if complete else float("nan")
        parts.append(Part(name=f"{name} of {count} updates", difference=worst, tolerance=workload.gate.tolerance))
    if not losses[0]:
        parts.append(Part(name="train/loss", difference=float("nan"), tolerance=workload.gate.tolerance))
    shown = ("steps", "batch_size", "size", "seed", "optimizer", "precision")
    return GateReport(
        workload=workload,
        settings={name: getattr(settings, name) for name in shown},
        parts=tuple(parts),
        differences=differences,
    )


def relative_difference(one: NDArray[Any], other: NDArray[Any], floor: float = 0.0) -> float:
    """2-norm of the difference over that of `one`, or over `floor` where that is larger; NaN for unlike shapes."""
    if one.shape != other.shape:
        return float("nan")
    size = max(float(np.linalg.norm(one)), floor, np.finfo(np.float64).tiny)
    return float(np.linalg.norm(np.asarray(one, np.float64) - np.asarray(other, np.float64))) / size
