"""Repeats of a training: what each measured quantity comes to, and whether two trainings differ or only seem to.

One run is one sample: the machine's mood, the seed and the order of the runs all move it. Runs of one form (framework,
mode, precision, devices, optimizer, settings other than the seed) are repeats; a difference between two forms that is
smaller than the spread within them is a tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..db.records import Float64Array, RunInfo
from .labels import flatten, run_labels
from .step_times import StepTimesView, step_times_view

if TYPE_CHECKING:
    from ..db.store import Store

UNITS: Mapping[str, str | None] = {
    "step_seconds": "seconds",
    "samples_per_second": "samples/s",
    "first_step_seconds": "seconds",
    "seconds_to_first_step": "seconds",
    "seconds_to_100_steps": "seconds",
    "peak_memory_bytes": "bytes",
    "cpu_percent": "percent",
}
"""Quantities of every run with their units; the final values of validation metrics join them by their own keys."""

NOT_OF_THE_FORM = frozenset({"seed", "perturbation"})
"""Settings that repeats may differ in."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """One quantity over the repeats of a form.

    Attributes:
        values: (repeats,) float64, finite.
    """

    values: Float64Array

    @property
    def median(self) -> float:
        """The middle of the repeats."""
        return float(np.median(self.values))

    @property
    def low(self) -> float:
        """The smallest."""
        return float(self.values.min())

    @property
    def high(self) -> float:
        """The largest."""
        return float(self.values.max())

    @property
    def width(self) -> float:
        """From the smallest to the largest; NaN for a single run, which tells nothing of its spread."""
        return self.high - self.low if len(self.values) > 1 else math.nan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Form:
    """Runs that are repeats of each other.

    Attributes:
        label: what tells the form from the others.
        runs: the repeats, oldest first.
        quantities: by name, as far as any repeat has it.
    """

    label: str
    runs: tuple[RunInfo, ...]
    quantities: Mapping[str, Spread]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One quantity of a form against that of another.

    Attributes:
        quantity: its name.
        ratio: of the medians, the form's over the other's.
        tie: the medians are no further apart than the repeats of either; None where a form was run only once.
    """

    quantity: str
    ratio: float
    tie: bool | None


def repeats(store: Store, runs: Sequence[RunInfo]) -> tuple[Form, ...]:
    """Sort runs into forms and measure each, in the order in which the forms first appear.

    Args:
        store: where the runs are.
        runs: finished or not; a run without a quantity does not count for it.
    """
    forms: dict[str, list[RunInfo]] = {}
    for run in runs:
        forms.setdefault(form_key(run), []).append(run)
    firsts = [some[0] for some in forms.values()]
    labels = form_labels(firsts)
    measured = measure(store, runs)
    return tuple(
        Form(
            label=labels[some[0].id],
            runs=tuple(sorted(some, key=lambda run: run.created)),
            quantities=spreads([measured[run.id] for run in some]),
        )
        for some in forms.values()
    )


def siblings(store: Store, runs: Sequence[RunInfo], *, most: int) -> dict[str, tuple[RunInfo, ...]]:
    """The repeats of each run among the finished runs of its project, by run id; the newest of them, without itself.

    Args:
        store: where the runs are.
        runs: the runs asked about.
        most: how many of each to give.
    """
    forms: dict[str, list[RunInfo]] = {}
    for project in {run.project for run in runs}:
        for run in store.runs(project=project, state="finished"):
            forms.setdefault(form_key(run), []).append(run)
    return {run.id: tuple(one for one in forms.get(form_key(run), ()) if one.id != run.id)[:most] for run in runs}


def contrast(form: Form, other: Form, quantity: str) -> Contrast | None:
    """Compare a quantity of two forms; None where one lacks it."""
    one, two = form.quantities.get(quantity), other.quantities.get(quantity)
    if one is None or two is None:
        return None
    differ = apart(one, two)
    tie = None if differ is None else not differ
    ratio = one.median / two.median if two.median else math.nan
    return Contrast(quantity=quantity, ratio=ratio, tie=tie)


def apart(one: Spread, other: Spread) -> bool | None:
    """Whether two medians are further apart than the repeats of either; None where either has no repeats."""
    if math.isnan(one.width) or math.isnan(other.width):
        return None
    return abs(one.median - other.median) > max(one.width, other.width)


def measure(store: Store, runs: Sequence[RunInfo], times: StepTimesView | None = None) -> dict[str, dict[str, float]]:
    """What each run comes to, by run id: the quantities of `UNITS`, and its last validation metrics.

    Args:
        store: where the runs are.
        runs: the runs to measure.
        times: their step times, if they were read already.
    """
    found: dict[str, dict[str, float]] = {run.id: {} for run in runs}
    for row in (times or step_times_view(store, runs)).rows:
        found[row.run_id] |= {
            "step_seconds": row.median,
            "samples_per_second": row.samples_per_second,
            "first_step_seconds": row.first_seconds,
        }
    for info in store.series_infos(list(found)):
        if info.rank:
            continue
        if info.name == "process/memory_bytes":
            found[info.run_id].setdefault("peak_memory_bytes", info.maximum)
        elif info.name == "cpu/percent" and info.finite_count:
            found[info.run_id]["cpu_percent"] = info.total / info.finite_count
        elif info.split in ("val", "test"):
            found[info.run_id][info.name] = info.last
    for run in runs:
        found[run.id] |= _start(store, run) | _usage(run)
    return {
        run_id: {name: value for name, value in values.items() if math.isfinite(value)}
        for run_id, values in found.items()
    }


def _start(store: Store, run: RunInfo) -> dict[str, float]:
    """How long after its process started the run had made its first update, and its hundredth."""
    began = run.environment.get("process_started")
    known = store.series_infos([run.id], ["train/loss"])
    if not isinstance(began, int | float) or not known:
        return {}
    series = store.series(run, "train/loss", steps=(0, 99))
    times = dict(zip(series.steps.tolist(), series.times.tolist(), strict=True))
    found = {"seconds_to_first_step": times.get(0), "seconds_to_100_steps": times.get(99)}
    return {name: value - began for name, value in found.items() if value is not None}


def _usage(run: RunInfo) -> dict[str, float]:
    """What the process used by the operating system's own count, which misses no peak between two samples."""
    peak = run.environment.get("peak_memory_bytes")
    return {"peak_memory_bytes": float(peak)} if isinstance(peak, int | float) else {}


def spreads(measured: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Each quantity over some repeats, by name: the finite values of those that have it.

    Args:
        measured: what each repeat came to, by name.
    """
    found: dict[str, list[float]] = {}
    for values in measured:
        for name, value in values.items():
            if math.isfinite(value):
                found.setdefault(name, []).append(value)
    return {name: Spread(values=np.array(values, np.float64)) for name, values in found.items()}


def form_key(run: RunInfo) -> str:
    """The same for runs that are repeats of each other, and for no other."""
    config = {key: value for key, value in flatten(run.config).items() if key not in NOT_OF_THE_FORM}
    own = (run.workload, run.framework, run.mode, run.precision, run.device, run.device_count, run.world_size)
    return repr((own, sorted((key, repr(value)) for key, value in config.items())))


def form_labels(firsts: Sequence[RunInfo]) -> dict[str, str]:
    """`PyTorch`, `TensorFlow xla`, …: the framework where that is enough, else with what else differs."""
    labels = run_labels(firsts)
    ways = [
        {run.id: run.framework or run.name for run in firsts},
        {run.id: f"{run.framework or run.name} {run.mode}" for run in firsts},
        {run.id: f"{run.framework or run.name} {run.mode} {run.precision}" for run in firsts},
        {run.id: f"{run.framework} {run.mode} {run.precision} {run.device_count}×" for run in firsts},
    ]
    return next((way for way in ways if len(set(way.values())) == len(firsts)), labels)
