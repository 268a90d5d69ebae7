"""Which of some runs is better, by how much, and whether the difference is more than noise: one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..db.records import RunInfo, SeriesInfo
from .best import best_of, larger_is_better
from .checks import Verdict as Light
from .labels import metric_order
from .repeats import measure, siblings
from .step_times import step_times_view
from .target import Reached, joules_until, reach

if TYPE_CHECKING:
    from ..db.store import Store

MOST_REPEATS = 12
"""Of each run: their step times are read, and more of them say little more about the spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One row of the table: the same quantity of every run.

    Attributes:
        name: its key, for example `step_seconds` or `val/loss`.
        label: what people read.
        unit: of the values, or None.
        better: 1 where more is better, -1 where less is, 0 where neither.
        values: by run id; None where unknown.
        ratios: to the base run's value, by run id; NaN where either is unknown or the base's is zero.
        apart: by run id, whether the difference from the base run is larger than the spread of the repeats of both;
            None where one of them has no repeats, so that nobody knows.
        best: the run that is best: None where there is no better, where fewer than two runs are known or they are
            equal, where the second best differs from it by no more than the repeats do, and where no winner may be
            named.
    """

    name: str
    label: str
    unit: str | None
    better: int
    values: Mapping[str, float | None]
    ratios: Mapping[str, float]
    apart: Mapping[str, bool | None]
    best: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """The table.

    Attributes:
        base: id of the run that ratios are taken to.
        quantities: the rows, as far as any run has them.
        repeats: how many runs of the same form, itself included, each run has, by run id.
        target: metric and value of the "to target" rows, or None where the runs share no metric.
        reason: why no winner is named, or "".
    """

    base: str
    quantities: tuple[Quantity, ...]
    repeats: Mapping[str, int]
    target: tuple[str, float] | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN stays NaN."""
        return {
            "base": self.base,
            "repeats": dict(self.repeats),
            "target": None if self.target is None else {"metric": self.target[0], "value": self.target[1]},
            "reason": self.reason,
            "quantities": [
                {
                    "name": quantity.name,
                    "label": quantity.label,
                    "unit": quantity.unit,
                    "better": quantity.better,
                    "values": dict(quantity.values),
                    "ratios": dict(quantity.ratios),
                    "apart": dict(quantity.apart),
                    "best": quantity.best,
                }
                for quantity in self.quantities
            ],
        }


def verdict_view(
    store: Store,
    runs: Sequence[RunInfo],
    parity: Light | None,
    *,
    base: str | None = None,
    target: float | None = None,
) -> VerdictView:
    """Measure some runs against one of them.

    Args:
        store: where the runs are.
        runs: one or more.
        parity: what the parity card says of them, None for a run alone. Where it is red, no winner is named.
        base: id of the run that ratios are taken to; the one marked as baseline, else the first.
        target: the value of `val/loss` (of `train/loss` where not every run has the former) that the runs are timed to;
            by default the best that all of them came to.
    """
    base = base or next((run.id for run in runs if run.baseline), runs[0].id)
    others = siblings(store, runs, most=MOST_REPEATS)
    everyone = {run.id: run for run in (*runs, *(one for several in others.values() for one in several))}
    measured = _measure(store, tuple(everyone.values()))
    found_target = _target(store, runs, target)
    if found_target is not None:
        for run_id, reached in _reached(store, runs, found_target).items():
            measured[run_id] |= _known(
                target_steps=math.nan if reached.step is None else float(reached.step + 1),
                target_samples=reached.samples,
                target_seconds=reached.seconds,
                target_joules=reached.joules,
            )
    reason = "" if parity != "red" else "No winner is named, because these runs are not the same experiment."
    spreads = {run.id: _spread(run, others[run.id], measured) for run in runs}
    names = _names(measured, [run.id for run in runs])
    return VerdictView(
        base=base,
        quantities=tuple(
            _quantity(name, [run.id for run in runs], base, measured, spreads, winner=not reason) for name in names
        ),
        repeats={run.id: 1 + len(others[run.id]) for run in runs},
        target=found_target,
        reason=reason,
    )


# Name, what people read, unit, which way is better. Validation metrics come between the losses and the target.
_LOSSES = (
    ("final train/loss", "Final train loss", None, -1),
    ("best train/loss", "Best train loss", None, -1),
)
_REST = (
    ("target_steps", "Steps to target", "steps", -1),
    ("target_samples", "Samples to target", "samples", -1),
    ("target_seconds", "Time to target", "seconds", -1),
    ("target_joules", "Energy to target", "joules", -1),
    ("step_seconds", "Step time, median", "seconds", -1),
    ("step_p95_seconds", "Step time, 95th percentile", "seconds", -1),
    ("samples_per_second", "Samples per second", "samples/s", 1),
    ("first_step_seconds", "First step", "seconds", -1),
    ("seconds_to_first_step", "Start of the process to first step", "seconds", -1),
    ("peak_memory_bytes", "Peak memory of the process", "bytes", -1),
    ("gpu_memory_bytes", "Peak GPU memory", "bytes", -1),
    ("cpu_percent", "CPU utilisation, mean", "percent", 0),
    ("gpu_percent", "GPU utilisation, mean", "percent", 0),
    ("energy_joules", "GPU energy", "joules", -1),
)


def _names(measured: Mapping[str, Mapping[str, float]], ids: Sequence[str]) -> list[tuple[str, str, str | None, int]]:
    known = {name for run_id in ids for name in measured[run_id]}
    metrics = sorted(
        {name.partition(" ")[2] for name in known if name.startswith(("final ", "best "))} - {"train/loss"},
        key=metric_order,
    )
    rows = list(_LOSSES)
    for metric in metrics:
        better, read = 1 if larger_is_better(metric) else -1, metric.replace("/", " ").replace("_", " ")
        rows += [(f"final {metric}", f"Final {read}", None, better), (f"best {metric}", f"Best {read}", None, better)]
    return [row for row in (*rows, *_REST) if row[0] in known]


def _measure(store: Store, runs: Sequence[RunInfo]) -> dict[str, dict[str, float]]:
    """Everything but the target, by run id and name."""
    found = measure(store, runs)
    for row in step_times_view(store, runs).rows:
        found[row.run_id] |= _known(step_p95_seconds=row.p95)
    by_run: dict[str, list[SeriesInfo]] = {run.id: [] for run in runs}
    for info in store.series_infos(list(by_run)):
        by_run[info.run_id].append(info)
    for run in runs:
        values = found[run.id]
        for info in by_run[run.id]:
            if info.rank == 0 and (info.name == "train/loss" or info.split in ("val", "test")):
                values[f"final {info.name}"], values[f"best {info.name}"] = info.last, best_of(info)
        gpus = [info for info in by_run[run.id] if info.name.startswith("gpu")]
        memory = {info.name: info.maximum for info in gpus if info.name.endswith("/memory_bytes")}
        busy = [info.mean for info in gpus if info.name.endswith("/utilization_percent")]
        values |= _known(
            gpu_memory_bytes=sum(memory.values()) if memory else math.nan,
            gpu_percent=float(np.mean(busy)) if busy else math.nan,
            energy_joules=joules_until(store, run) if gpus else math.nan,
        )
    return found


def _known(**values: float) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _target(store: Store, runs: Sequence[RunInfo], value: float | None) -> tuple[str, float] | None:
    """The first of the losses that every run has, and the value asked for or the best that all of them reached."""
    infos = store.series_infos([run.id for run in runs], ("val/loss", "train/loss"))
    for name in ("val/loss", "train/loss"):
        metric = {info.run_id: info for info in infos if info.name == name and info.rank == 0}
        if len(metric) == len(runs):
            if value is not None:
                return name, value
            best = [reach(store, run, metric[run.id], math.nan).best for run in runs]
            if not any(map(math.isnan, best)):
                return name, max(best)
    return None


def _reached(store: Store, runs: Sequence[RunInfo], target: tuple[str, float]) -> dict[str, Reached]:
    infos = store.series_infos([run.id for run in runs], (target[0],))
    metric = {info.run_id: info for info in infos if info.rank == 0}
    return {run.id: reach(store, run, metric[run.id], target[1]) for run in runs if run.id in metric}


def _spread(
    run: RunInfo, others: Sequence[RunInfo], measured: Mapping[str, Mapping[str, float]]
) -> dict[str, tuple[float, float, float]]:
    """Median, smallest and largest of every quantity over a run and its repeats, where there are any."""
    spreads = {}
    for name in measured[run.id]:
        values = [measured[one.id].get(name, math.nan) for one in (run, *others)]
        values = [value for value in values if math.isfinite(value)]
        if len(values) > 1:
            spreads[name] = (float(np.median(values)), min(values), max(values))
    return spreads


def _quantity(
    row: tuple[str, str, str | None, int],
    ids: Sequence[str],
    base: str,
    measured: Mapping[str, Mapping[str, float]],
    spreads: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    winner: bool,
) -> Quantity:
    name, label, unit, better = row
    values = {run_id: measured[run_id].get(name) for run_id in ids}
    ratios = {run_id: _ratio(value, values[base]) for run_id, value in values.items()}
    return Quantity(
        name=name,
        label=label,
        unit=unit,
        better=better,
        values=values,
        ratios=ratios,
        apart={run_id: _apart(spreads[base].get(name), spreads[run_id].get(name)) for run_id in ids if run_id != base},
        best=_best(name, better, values, spreads) if winner else None,
    )


def _ratio(value: float | None, base: float | None) -> float:
    return math.nan if value is None or not base else value / base


def _apart(one: tuple[float, float, float] | None, other: tuple[float, float, float] | None) -> bool | None:
    """Whether two medians are further apart than the repeats of either."""
    if one is None or other is None:
        return None
    return abs(one[0] - other[0]) > max(one[2] - one[1], other[2] - other[1])


def _best(
    name: str,
    better: int,
    values: Mapping[str, float | None],
    spreads: Mapping[str, Mapping[str, tuple[float, float, float]]],
) -> str | None:
    known = {run_id: value for run_id, value in values.items() if value is not None and not math.isnan(value)}
    if better == 0 or len(known) < 2:
        return None
    first, second, *_ = sorted(known, key=lambda run_id: -better * known[run_id])
    tie = _apart(spreads[first].get(name), spreads[second].get(name)) is False
    return None if tie or known[first] == known[second] else first
