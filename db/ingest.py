"""The one transaction by which a training process's journal enters the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .errors import StoreError
from .models import AxisSegment, EventRow, Fingerprint, Journal, Run, Segment, SeriesRow
from .segments import Column, encode

MERGED_COLUMNS = ("config", "environment", "model")
"""JSON columns of `runs` whose updates are merged key by key; every other column is replaced."""


_CHUNK = 500  # databases bound the number of parameters of a statement


class JournalMovedError(StoreError):
    """Somebody else took part of this journal into the store; `position` says how far it is."""

    def __init__(self, position: int) -> None:
        super().__init__(f"Another process took this journal up to byte {position}: continue from there.")
        self.position = position


@dataclass(slots=True)
class Stretch:
    """Points to insert as one segment, and segments that they replace.

    Attributes:
        position: index of the first point in its series or axis, counted in the order logged.
        columns: step first; then time and value for a series, or epoch, samples, time, process seconds for an axis.
        replaces: ids of smaller segments whose points are all in here.
        id: set by the commit.
    """

    position: int
    columns: tuple[Column, ...]
    replaces: list[int] = field(default_factory=list)
    id: int = 0

    def __len__(self) -> int:
        return len(self.columns[0])


@dataclass(slots=True)
class SeriesChange:
    """A series that gained points: its summary as it is afterwards, and the stretches to insert."""

    summary: dict[str, Any]  # columns of `series`; "id" None for a new one, set by the commit
    stretches: list[Stretch]


@dataclass(slots=True, kw_only=True)
class Commit:
    """Everything that one reach into a journal brings, stored completely or not at all."""

    run_id: str
    run_created: dict[str, Any]  # columns of `runs`, used if the run is not there yet
    journal_id: str
    rank: int
    host: str
    process_id: int
    position_before: int
    position_after: int
    other_bytes: int = 0  # taken from other journals of this run and rank when the summaries were loaded
    closed: bool = False
    run_changes: dict[str, Any] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)  # sentence -> how many more
    last_step: int | None = None
    heartbeat_seconds: float | None = None  # the next sign of life is due in so many; None: no sign of life
    series: list[SeriesChange] = field(default_factory=list)
    axes: list[Stretch] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    fingerprints: dict[str, dict[str, Any]] = field(default_factory=dict)


def apply(connection: Connection, commit: Commit, now: datetime) -> None:
    """Execute a commit inside the caller's write transaction.

    Raises:
        JournalMovedError: if the journal is not at `position_before`, or another process writes the same run and rank
            (it was resumed twice), so that the summaries are out of date; nothing may then be kept.
    """
    _ensure_run(connection, commit)
    if other_bytes(connection, commit.run_id, commit.rank, commit.journal_id) != commit.other_bytes:
        raise JournalMovedError(commit.position_before)
    _advance_journal(connection, commit)
    _write_series(connection, commit)
    place = {"run_id": commit.run_id, "rank": commit.rank}
    _write_stretches(connection, AxisSegment, commit.axes, [place] * len(commit.axes))
    if commit.events:
        connection.execute(
            insert(EventRow),
            [{**event, "run_id": commit.run_id, "rank": commit.rank} for event in commit.events],
        )
    for name, value in commit.fingerprints.items():
        row = {"run_id": commit.run_id, "name": name, "value": value}
        connection.execute(
            _upsert(connection, Fingerprint)
            .values(row)
            .on_conflict_do_update(index_elements=["run_id", "name"], set_={"value": value})
        )
    _update_run(connection, commit, now)


def _upsert(connection: Connection, table: type) -> Any:
    return postgresql_insert(table) if connection.dialect.name == "postgresql" else sqlite_insert(table)


def _ensure_run(connection: Connection, commit: Commit) -> None:
    # FOR UPDATE (which SQLite neither has nor needs) makes the ranks of one job take turns on the run's row.
    if connection.execute(select(Run.id).where(Run.id == commit.run_id).with_for_update()).first() is None:
        connection.execute(
            _upsert(connection, Run).values(id=commit.run_id, **commit.run_created).on_conflict_do_nothing()
        )


def _advance_journal(connection: Connection, commit: Commit) -> None:
    position = connection.execute(
        select(Journal.position).where(Journal.id == commit.journal_id).with_for_update()
    ).scalar_one_or_none()
    if (position or 0) != commit.position_before:
        raise JournalMovedError(position or 0)
    if position is None:
        connection.execute(
            insert(Journal).values(
                id=commit.journal_id, run_id=commit.run_id, rank=commit.rank, host=commit.host,
                process_id=commit.process_id, position=commit.position_after, closed=commit.closed,
            )
        )  # fmt: skip
    else:
        connection.execute(
            update(Journal)
            .where(Journal.id == commit.journal_id)
            .values(position=commit.position_after, closed=commit.closed)
        )


def other_bytes(connection: Connection, run_id: str, rank: int, journal_id: str) -> int:
    """How much was taken from other journals of this run and rank: it grows when another process writes to them."""
    taken = select(func.coalesce(func.sum(Journal.position), 0))
    taken = taken.where(Journal.run_id == run_id, Journal.rank == rank, Journal.id != journal_id)
    return int(connection.execute(taken).scalar_one())


def _write_series(connection: Connection, commit: Commit) -> None:
    new = [change.summary for change in commit.series if change.summary["id"] is None]
    known = [change.summary for change in commit.series if change.summary["id"] is not None]
    if new:
        rows = [{**_without_id(summary), "run_id": commit.run_id, "rank": commit.rank} for summary in new]
        made = connection.execute(insert(SeriesRow).returning(SeriesRow.id, sort_by_parameter_order=True), rows)
        for summary, series_id in zip(new, made.scalars(), strict=True):
            summary["id"] = series_id
    if known:
        connection.execute(
            update(SeriesRow)
            .where(SeriesRow.id == bindparam("series_id"))
            .values({name: bindparam(name) for name in known[0] if name != "id"}),
            [{**_without_id(summary), "series_id": summary["id"]} for summary in known],
        )
    pairs = [(change.summary["id"], stretch) for change in commit.series for stretch in change.stretches]
    _write_stretches(
        connection, Segment, [stretch for _, stretch in pairs], [_segment_columns(*pair) for pair in pairs]
    )


def _without_id(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name != "id"}


def _segment_columns(series_id: int, stretch: Stretch) -> dict[str, Any]:
    values = stretch.columns[-1]
    finite = values[np.isfinite(values)]
    return {
        "series_id": series_id,
        "min_value": float(finite.min()) if len(finite) else None,
        "max_value": float(finite.max()) if len(finite) else None,
        "last_value": float(values[-1]),
    }


def _write_stretches(
    connection: Connection, table: Any, stretches: list[Stretch], columns: list[dict[str, Any]]
) -> None:
    replaced = [replaced_id for stretch in stretches for replaced_id in stretch.replaces]
    for start in range(0, len(replaced), _CHUNK):
        connection.execute(delete(table).where(table.id.in_(replaced[start : start + _CHUNK])))
    if not stretches:
        return
    rows = [
        {
            **extra,
            "position": stretch.position,
            "first_step": int(stretch.columns[0].min()),
            "last_step": int(stretch.columns[0].max()),
            "count": len(stretch),
            "payload": encode(stretch.columns),
        }
        for stretch, extra in zip(stretches, columns, strict=True)
    ]
    made = connection.execute(insert(table).returning(table.id, sort_by_parameter_order=True), rows)
    for stretch, row_id in zip(stretches, made.scalars(), strict=True):
        stretch.id = row_id


def _update_run(connection: Connection, commit: Commit, now: datetime) -> None:
    changes = dict(commit.run_changes)
    merged = [name for name in MERGED_COLUMNS if name in changes]
    if merged or commit.warnings:
        row = connection.execute(
            select(Run.config, Run.environment, Run.model, Run.warnings).where(Run.id == commit.run_id)
        ).one()
        for name in merged:
            changes[name] = {**getattr(row, name), **changes[name]}
        if commit.warnings:
            counts = dict(row.warnings)
            for sentence, more in commit.warnings.items():
                counts[sentence] = counts.get(sentence, 0) + more
            changes["warnings"] = counts
    if commit.last_step is not None:
        known = func.coalesce(Run.last_step, commit.last_step)
        greatest = func.greatest if connection.dialect.name == "postgresql" else func.max
        changes["last_step"] = greatest(known, commit.last_step)
    if commit.heartbeat_seconds is not None:
        # The database's own clock where it has one: the training machine's may be minutes off.
        clock: Any = func.clock_timestamp() if connection.dialect.name == "postgresql" else now
        changes["heartbeat_at"] = clock
        changes["heartbeat_due_at"] = clock + timedelta(seconds=commit.heartbeat_seconds)
    if changes:
        connection.execute(update(Run).where(Run.id == commit.run_id).values(changes))


def load_series(connection: Connection, run_id: str, rank: int) -> Sequence[dict[str, Any]]:
    """The summaries that a writer continues from: columns of `series`, one dict a metric."""
    columns = [column for column in SeriesRow.__table__.c if column.key not in ("run_id", "rank")]
    rows = connection.execute(select(*columns).where(SeriesRow.run_id == run_id, SeriesRow.rank == rank))
    return [dict(row) for row in rows.mappings()]
