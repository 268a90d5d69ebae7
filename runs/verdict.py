"""Which of some runs is better, by how much, and whether the difference is more than noise: one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..db.errors import UsageError
from ..db.records import RunInfo, SeriesInfo
from .best import best_of, larger_is_better
from .checks import Verdict as Light
from .labels import metric_order
from .repeats import Spread, apart, measure, siblings, spreads
from .series import resolve_runs
from .starts import FROM_THE_FIRST, Starts, signed
from .step_times import step_times_view
from .target import Reached, course, joules_until, reach

if TYPE_CHECKING:
    from ..db.store import Store

MOST_REPEATS = 12
"""Of each run: their step times are read, and more of them say little more about the spread."""
TARGETS = ("val/loss", "train/loss")
"""What runs are timed to: the first of them that every run logged."""


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
        starts: the steps that "to target" counts from, by run id, of runs that do not begin with their first step.
    """

    base: str
    quantities: tuple[Quantity, ...]
    repeats: Mapping[str, int]
    target: tuple[str, float] | None
    reason: str
    starts: Starts = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN stays NaN."""
        return {
            "base": self.base,
            "repeats": dict(self.repeats),
            "target": None if self.target is None else {"metric": self.target[0], "value": self.target[1]},
            "reason": self.reason,
            "starts": dict(self.starts),
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
    starts: Starts = FROM_THE_FIRST,
) -> VerdictView:
    """Measure some runs against one of them.

    Args:
        store: where the runs are.
        runs: one or more.
        parity: what the parity card says of them, None for a run alone. Where it is red, no winner is named.
        base: id of the run that ratios are taken to; the one marked as baseline, else the first.
        target: the value of `val/loss` (of `train/loss` where not every run has the former) that the runs are timed to;
            by default the best that all of them came to.
        starts: where runs begin that do not begin with their first step: what it took to the target counts from there.
    """
    base = base or default_base(runs)
    others = siblings(store, runs, most=MOST_REPEATS)
    everyone = {run.id: run for run in (*runs, *(one for several in others.values() for one in several))}
    measured = _measure(store, tuple(everyone.values()))
    timed, reached = _timed(store, runs, target, starts)
    for run_id, one in reached.items():
        measured[run_id] |= _known(
            target_steps=math.nan if one.step is None else float(one.step + 1 - starts.get(run_id, 0)),
            target_samples=one.samples,
            target_tokens=one.tokens,
            target_seconds=one.seconds,
            target_joules=one.joules,
        )
    reason = "" if parity != "red" else "No winner is named, because these runs are not the same experiment."
    repeated = {run.id: spreads([measured[one.id] for one in (run, *others[run.id])]) for run in runs}
    names = _names(measured, [run.id for run in runs])
    return VerdictView(
        base=base,
        quantities=tuple(
            _quantity(name, [run.id for run in runs], base, measured, repeated, winner=not reason) for name in names
        ),
        repeats={run.id: 1 + len(others[run.id]) for run in runs},
        target=timed,
        reason=reason,
        starts={run.id: starts[run.id] for run in runs if run.id in starts},
    )


def default_base(runs: Sequence[RunInfo]) -> str:
    """Id of the run that ratios are taken to where nobody chose: the one marked as baseline, else the first."""
    return next((run.id for run in runs if run.baseline), runs[0].id)


def chosen_base(store: Store, runs: Sequence[RunInfo], reference: RunInfo | str | None, done: str) -> str | None:
    """Id of the run that somebody chose as the base; None where nobody did.

    Args:
        store: where the runs are.
        runs: among which it must be.
        reference: a run, its id, a unique beginning of that, or its name.
        done: what is done with the runs, for the sentence: `compared`.

    Raises:
        UsageError: if it is none of them.
    """
    if reference is None:
        return None
    (base,) = resolve_runs(store, [reference])
    if base.id not in {run.id for run in runs}:
        raise UsageError(f"The base run {base.id} is none of those {done}: name one of them.")
    return base.id


def target_metric(store: Store, runs: Sequence[RunInfo]) -> str | None:
    """The metric whose value runs are timed to; None where they share none. No point is read."""
    infos = store.series_infos([run.id for run in runs], TARGETS)
    logged = {name: {info.run_id for info in infos if info.name == name and info.rank == 0} for name in TARGETS}
    return next((name for name in TARGETS if len(logged[name]) == len(runs)), None)


def counted_from(view: VerdictView, labels: Mapping[str, str]) -> str:
    """A sentence on what "to target" counts from; "" where every run begins with its first step.

    Args:
        view: the table.
        labels: of the runs, by id.
    """
    named = ", ".join(f"step {signed(step)} of {labels[run_id]}" for run_id, step in view.starts.items())
    return f"Steps, samples, time and energy to it are counted from {named}." if named else ""


# Name, what people read, unit, which way is better. Validation metrics come between the losses and the target.
_LOSSES = (
    ("final train/loss", "Final train loss", None, -1),
    ("best train/loss", "Best train loss", None, -1),
)
_REST = (
    ("target_steps", "Steps to target", "steps", -1),
    ("target_samples", "Samples to target", "samples", -1),
    ("target_tokens", "Tokens to target", "tokens", -1),
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
    times = step_times_view(store, runs)
    found = measure(store, runs, times)
    for row in times.rows:
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


def _timed(
    store: Store, runs: Sequence[RunInfo], value: float | None, starts: Starts
) -> tuple[tuple[str, float] | None, dict[str, Reached]]:
    """What the runs are timed to, and when each came to it.

    The metric is the first of the losses that every run has, the value that asked for or the best that all reached.
    """
    infos = store.series_infos([run.id for run in runs], TARGETS)
    for name in TARGETS:
        metric = {info.run_id: info for info in infos if info.name == name and info.rank == 0}
        if len(metric) == len(runs):
            courses = {run.id: course(store, run, metric[run.id], starts.get(run.id)) for run in runs}
            best = [one.best for one in courses.values()]
            if value is not None or not any(map(math.isnan, best)):
                target = max(best) if value is None else value
                return (name, target), {
                    run.id: reach(store, run, courses[run.id], target, starts.get(run.id)) for run in runs
                }
    return None, {}


def _quantity(
    row: tuple[str, str, str | None, int],
    ids: Sequence[str],
    base: str,
    measured: Mapping[str, Mapping[str, float]],
    repeated: Mapping[str, Mapping[str, Spread]],
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
        apart={
            run_id: None
            if value is None or values[base] is None
            else _apart(repeated[base].get(name), repeated[run_id].get(name))
            for run_id, value in values.items()
            if run_id != base
        },
        best=_best(name, better, values, repeated) if winner else None,
    )


def _ratio(value: float | None, base: float | None) -> float:
    return math.nan if value is None or not base else value / base


def _apart(one: Spread | None, other: Spread | None) -> bool | None:
    return None if one is None or other is None else apart(one, other)


def _best(
    name: str,
    better: int,
    values: Mapping[str, float | None],
    repeated: Mapping[str, Mapping[str, Spread]],
) -> str | None:
    known = {run_id: value for run_id, value in values.items() if value is not None and not math.isnan(value)}
    if better == 0 or len(known) < 2:
        return None
    first, second, *_ = sorted(known, key=lambda run_id: -better * known[run_id])
    tie = _apart(repeated[first].get(name), repeated[second].get(name)) is False
    return None if tie or known[first] == known[second] else first
