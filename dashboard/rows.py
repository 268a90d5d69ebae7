"""Rows of the run table, made of run records and series summaries: no point is read for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import orjson

from ..db.records import RunInfo, SeriesInfo
from ..db.store import Store
from ..runs.clean import json_number
from .columns import Column, cells

Row = dict[str, Any]

ACCURACIES = ("val/accuracy", "val/acc")
NAMES = ("train/loss", "val/loss", *ACCURACIES, "step/seconds", "step/samples_per_second")


def run_rows(store: Store, columns: Sequence[Column] = (), runs: Sequence[RunInfo] | None = None) -> list[Row]:
    """One row a run, the newest first.

    Args:
        store: where the runs live.
        columns: those that were added to the table.
        runs: the runs, where they have been read already.
    """
    runs = store.runs() if runs is None else runs
    infos = series_of(store, [run.id for run in runs], columns)
    now = datetime.now(UTC)
    return [run_row(run, infos[run.id], now, columns) for run in runs]


def series_of(store: Store, run_ids: Sequence[str], columns: Sequence[Column] = ()) -> dict[str, list[SeriesInfo]]:
    """Summaries of the series that rows are made of, by run id; an entry for each of the runs asked for."""
    names = {*NAMES, *(column.name for column in columns if column.source != "config")}
    found: dict[str, list[SeriesInfo]] = {run_id: [] for run_id in run_ids}
    for info in store.series_infos(run_ids, names):
        found[info.run_id].append(info)
    return found


def run_row(run: RunInfo, infos: Sequence[SeriesInfo], now: datetime, columns: Sequence[Column] = ()) -> Row:
    """What the table shows of one run.

    Args:
        run: the run.
        infos: its series summaries; those of other ranks than 0 are left out.
        now: the present, aware; a run that has not ended lasts until its last sign of life.
        columns: those that were added to the table.
    """
    series = {info.name: info for info in infos if info.rank == 0}
    loss, validation, steps = series.get("train/loss"), series.get("val/loss"), series.get("step/seconds")
    rate = series.get("step/samples_per_second")
    accuracy = next((series[name] for name in ACCURACIES if name in series), None)
    return {
        "id": run.id,
        "state": run.state,
        "name": run.name,
        "project": run.project,
        "framework": run.framework,
        "backend": run.backend,
        "workload": run.workload,
        "group": run.group,
        "form": list(run_form(run).values()),
        "last_step": run.last_step,
        "total_steps": run.total_steps,
        "progress": (run.last_step + 1) / run.total_steps if run.total_steps and run.last_step is not None else None,
        "train_last": json_number(loss.last) if loss else None,
        "train_best": json_number(loss.minimum) if loss and loss.finite_count else None,
        "val_last": json_number(validation.last) if validation else None,
        "val_accuracy": json_number(accuracy.last) if accuracy else None,
        "step_seconds": mean_without_first(steps),
        "throughput": json_number(rate.mean) if rate and rate.finite_count else None,
        "started": (run.started or run.created).timestamp(),
        "duration": run_seconds(run, now),
        "tags": list(run.tags),
        "non_finite": _non_finite(info for info in infos if info.name in NAMES),
        **cells(columns, run, series),
    }


def run_form(run: RunInfo) -> dict[str, str]:
    """How the run was executed: its mode, precision and number of devices, as far as it said."""
    form = {"mode": run.mode, "precision": run.precision}
    if run.mode or run.precision:  # a plain loop says nothing of all that
        form["devices"] = f"{run.device_count} device{'s' if run.device_count != 1 else ''}"
    return {kind: word for kind, word in form.items() if word}


def mean_without_first(info: SeriesInfo | None) -> float | None:
    """Mean of a run's step times without its first step, which traces and compiles; None where that is unknown."""
    if info is None or info.finite_count == 0:
        return None
    if info.finite_count < 2 or not math.isfinite(info.first):
        return info.mean
    return (info.total - info.first) / (info.finite_count - 1)


def run_seconds(run: RunInfo, now: datetime) -> float:
    """How long the run took, or has taken so far."""
    end = run.ended or (now if run.state == "running" else run.heartbeat) or now
    return max(0.0, (end - (run.started or run.created)).total_seconds())


def row_digest(row: Row) -> str:
    """Changes when the row does; a running run's duration alone does not count as a change."""
    return f"{crc32(orjson.dumps({key: value for key, value in row.items() if key != 'duration'})):x}"


def transaction(
    rows: Sequence[Row], shown: Mapping[str, str], digests: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """What turns the rows a page shows into these: AG Grid's row transaction, or None where nothing changed.

    Args:
        rows: what should be shown.
        shown: digest of each row shown, by run id.
        digests: of these rows, by run id, where they are known.
    """
    if digests is None:
        digests = {row["id"]: row_digest(row) for row in rows}
    if digests == shown:
        return None
    change: dict[str, Any] = {
        "add": [row for row in rows if row["id"] not in shown],
        "update": [row for row in rows if row["id"] in shown and shown[row["id"]] != digests[row["id"]]],
        "remove": [{"id": run_id} for run_id in shown if run_id not in digests],
    }
    if change["add"]:
        change["addIndex"] = 0  # the newest stand on top
    return change


def _non_finite(infos: Iterable[SeriesInfo]) -> str | None:
    """Where the first value that is no finite number was logged, as a sentence."""
    found = [
        (step, kind, info.name)
        for info in infos
        for step, kind in (
            (info.first_nan_step, "NaN"),
            (info.first_positive_infinity_step, "+Inf"),
            (info.first_negative_infinity_step, "−Inf"),
        )
        if step is not None
    ]
    if not found:
        return None
    step, kind, name = min(found)
    return f"First {kind} in {name} at step {step}"
