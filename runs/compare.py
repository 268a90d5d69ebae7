"""Two or more runs side by side: parity, where they part, how fast they were; the object behind `trackside compare`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..db.records import RunInfo, SeriesInfo
from .best import best_of
from .difference import DifferenceView, difference_view
from .labels import metric_order, run_labels
from .parity import ParityCard, check_parity
from .series import resolve_runs
from .starts import FROM_THE_FIRST, Starts
from .step_times import StepTimesView, step_times_view
from .verdict import VerdictView, chosen_base, verdict_view

if TYPE_CHECKING:
    from ..db.store import Store

LOSS = "train/loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """What became of one metric of one run: how it ended and how good it was at best; NaN where unknown."""

    last: float
    best: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One run in the summary table.

    Attributes:
        run_id: id of the run.
        label: short name, distinct among the runs compared.
        framework: "torch", "tensorflow" or None.
        state: as of now.
        last_step: None before the first.
        duration_seconds: from start to end, or to now; None where it did not start.
        first_step_seconds: what the first step took; NaN where not recorded, as all the others.
        median_step_seconds: after warm-up.
        samples_per_second: after warm-up.
        metrics: by key, training and validation metrics of rank 0.
    """

    run_id: str
    label: str
    framework: str | None
    state: str
    last_step: int | None
    duration_seconds: float | None
    first_step_seconds: float
    median_step_seconds: float
    samples_per_second: float
    metrics: dict[str, MetricSummary]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What can be said about two or more runs together.

    Attributes:
        runs: in the order asked for.
        parity: are they the same experiment.
        summary: a row a run.
        verdict: a row a quantity, with ratios to the base run and whether they are more than noise.
        differences: of the first run and each other one, for every training and validation loss both logged.
        step_times: after warm-up, on common bins.
        parted_at: the first step at which the training loss of any run parts from the first run's; None if none.
    """

    runs: tuple[RunInfo, ...]
    parity: ParityCard
    summary: tuple[SummaryRow, ...]
    verdict: VerdictView
    differences: tuple[DifferenceView, ...]
    step_times: StepTimesView
    parted_at: int | None

    def _repr_html_(self) -> str:
        """What a notebook shows: the parity verdict, and a row a run with how its metrics ended."""
        from ..db.notebook import table  # only notebooks need it

        names = list(dict.fromkeys(name for row in self.summary for name in row.metrics))
        parted = (
            "no step found where training losses part"
            if self.parted_at is None
            else f"training loss parts at step {self.parted_at}"
        )
        caption = f"Parity: {self.parity.verdict}; {parted}"
        head = ("run", "state", "last step", "median step (s)", "samples/s", *(f"{name}, last" for name in names))
        rows = [
            (
                row.label,
                row.state,
                row.last_step,
                row.median_step_seconds,
                row.samples_per_second,
                *tuple(row.metrics[name].last if name in row.metrics else None for name in names),
            )
            for row in self.summary
        ]
        return table(caption, head, rows)

    def to_json(self) -> dict[str, Any]:
        """As strict JSON values: times in ISO 8601, NaN and infinities spelt out as "NaN", "Infinity", "-Infinity"."""
        labels = {row.run_id: row.label for row in self.summary}
        document = {
            "runs": [_run_json(run, labels[run.id]) for run in self.runs],
            "parity": {
                "verdict": self.parity.verdict,
                "checks": [dataclasses.asdict(check) for check in self.parity.checks],
            },
            "summary": [dataclasses.asdict(row) for row in self.summary],
            "verdict": self.verdict.to_json(),
            "differences": [_difference_json(view) for view in self.differences],
            "step_times": {
                "skipped": self.step_times.skipped,
                "edges": self.step_times.edges,
                "rows": [
                    {f.name: getattr(row, f.name) for f in dataclasses.fields(row)} for row in self.step_times.rows
                ],
            },
            "parted_at": self.parted_at,
        }
        result: dict[str, Any] = _strict(document)
        return result


def compare(
    store: Store,
    references: Sequence[RunInfo | str],
    *,
    base: RunInfo | str | None = None,
    target: float | None = None,
    starts: Starts = FROM_THE_FIRST,
) -> Comparison:
    """Compare runs; differences are taken from the first.

    Args:
        store: where the runs are.
        references: ids, unique beginnings of ids, names, or runs.
        base: which of them the verdict's ratios are taken to; the baseline, else the first.
        target: the loss that the runs are timed to; the best that all of them came to.
        starts: the step that each run begins with, by run id, of those that do not begin with their first: differences
            and what the target took count from there.

    Raises:
        UsageError: fewer than two different runs, or a base that is none of them.
        RunNotFoundError: there is no such run.
    """
    runs = tuple({run.id: run for run in resolve_runs(store, references)}.values())
    parity = check_parity(store, runs)
    base_id = chosen_base(store, runs, base, "compared")
    labels = run_labels(runs)
    infos = [info for info in store.series_infos(list(labels)) if info.rank == 0]
    times = step_times_view(store, runs)
    logged = {(info.run_id, info.name) for info in infos}
    losses = [name for name in sorted({info.name for info in infos}, key=metric_order) if name in (LOSS, "val/loss")]
    first, *others = runs
    differences = tuple(
        difference_view(store, first, other, name, starts=starts)
        for other in others
        for name in losses
        if (first.id, name) in logged and (other.id, name) in logged
    )
    parted = [view.parted_at for view in differences if view.metric == LOSS and view.parted_at is not None]
    return Comparison(
        runs=runs,
        parity=parity,
        summary=tuple(_summary(run, labels[run.id], infos, times) for run in runs),
        verdict=verdict_view(store, runs, parity.verdict, base=base_id, target=target, starts=starts),
        differences=differences,
        step_times=times,
        parted_at=min(parted, default=None),
    )


def _summary(run: RunInfo, label: str, infos: Sequence[SeriesInfo], times: StepTimesView) -> SummaryRow:
    row = next((row for row in times.rows if row.run_id == run.id), None)
    metrics = sorted(
        (info for info in infos if info.run_id == run.id and info.split in ("train", "val", "test")),
        key=lambda info: metric_order(info.name),
    )
    return SummaryRow(
        run_id=run.id,
        label=label,
        framework=run.framework,
        state=run.state,
        last_step=run.last_step,
        duration_seconds=_duration(run),
        first_step_seconds=math.nan if row is None else row.first_seconds,
        median_step_seconds=math.nan if row is None else row.median,
        samples_per_second=math.nan if row is None else row.samples_per_second,
        metrics={info.name: MetricSummary(last=info.last, best=best_of(info)) for info in metrics},
    )


def _duration(run: RunInfo) -> float | None:
    if run.started is None:
        return None
    end = run.ended or (datetime.now(UTC) if run.state == "running" else run.heartbeat)
    return None if end is None else (end - run.started).total_seconds()


def _run_json(run: RunInfo, label: str) -> dict[str, Any]:
    # The environment holds a source diff and the card has what matters of it: whoever wants it all asks for the run.
    left_out = {"environment", "error", "warnings"}
    described = {f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.name not in left_out}
    return {**described, "label": label}


def _difference_json(view: DifferenceView) -> dict[str, Any]:
    """The finding, without the points: those are what `trackside export` writes."""
    distance = np.abs(view.difference)
    finite = distance[np.isfinite(distance)]
    return {
        "a": view.a,
        "b": view.b,
        "metric": view.metric,
        "axis": view.axis,
        "points": len(view.x),
        "largest": float(finite.max()) if len(finite) else None,
        "parted_at": view.parted_at,
        "basis": view.basis,
        "reason": view.reason,
    }


def _strict(value: Any) -> Any:
    """`value` as what strict JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, np.ndarray):
        return [_strict(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return _strict(value.item())
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
