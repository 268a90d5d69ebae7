"""The one transaction by which a training process's journal enters the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Interval, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .chunks import chunks
from .errors import StoreError
from .models import ArtifactRow, AxisSegment, Base, Fingerprint, Journal, Run, Segment, SeriesRow
from .segments import Column, encode

MERGED_COLUMNS = ("config", "environment", "model")
"""JSON columns of `runs` whose updates are merged key by key; every other column is replaced."""


# A commit comes every second or so while somebody trains, in their process. Making a statement takes longer than
# executing it, so those of every commit are made once; of tables rather than classes, whose inserts take a longer way.
_RUNS, _SERIES, _JOURNALS, _EVENTS = (Base.metadata.tables[name] for name in ("runs", "series", "journals", "events"))

# FOR UPDATE (which SQLite neither has nor needs) makes the ranks of one job take turns on the run's row.
_LOCK_RUN = select(_RUNS.c.id).where(_RUNS.c.id == bindparam("run")).with_for_update()
_POSITION = select(_JOURNALS.c.position).where(_JOURNALS.c.id == bindparam("journal")).with_for_update()
_ADVANCE = (
    update(_JOURNALS)
    .where(_JOURNALS.c.id == bindparam("journal"))
    .values(position=bindparam("reached"), closed=bindparam("ended"))
)
_OTHER_BYTES = select(func.coalesce(func.sum(_JOURNALS.c.position), 0)).where(
    _JOURNALS.c.run_id == bindparam("run"),
    _JOURNALS.c.rank == bindparam("process"),
    _JOURNALS.c.id != bindparam("journal"),
)
_NEW_SERIES = insert(_SERIES).returning(_SERIES.c.id, sort_by_parameter_order=True)


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


@dataclass(slots=True)
class ArtifactFile:
    """A file to store."""

    columns: dict[str, Any]  # of `artifacts`, but for `run_id`, `rank` and `payload`
    payload: Path | None  # holds it, compressed; None where it stays outside


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
    artifacts: list[ArtifactFile] = field(default_factory=list)


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
            insert(_EVENTS),
            [{**event, "run_id": commit.run_id, "rank": commit.rank} for event in commit.events],
        )
    for artifact in commit.artifacts:  # one at a time: together they could take all of the memory
        payload = None if artifact.payload is None else artifact.payload.read_bytes()
        connection.execute(insert(ArtifactRow), [{**place, **artifact.columns, "payload": payload}])
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
    if connection.execute(_LOCK_RUN, {"run": commit.run_id}).first() is None:
        connection.execute(
            _upsert(connection, Run).values(id=commit.run_id, **commit.run_created).on_conflict_do_nothing()
        )


def _advance_journal(connection: Connection, commit: Commit) -> None:
    position = connection.execute(_POSITION, {"journal": commit.journal_id}).scalar_one_or_none()
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
        reached = {"journal": commit.journal_id, "reached": commit.position_after, "ended": commit.closed}
        connection.execute(_ADVANCE, reached)


def other_bytes(connection: Connection, run_id: str, rank: int, journal_id: str) -> int:
    """How much was taken from other journals of this run and rank: it grows when another process writes to them."""
    others = {"run": run_id, "process": rank, "journal": journal_id}
    return int(connection.execute(_OTHER_BYTES, others).scalar_one())


def _write_series(connection: Connection, commit: Commit) -> None:
    new = [change.summary for change in commit.series if change.summary["id"] is None]
    known = [change.summary for change in commit.series if change.summary["id"] is not None]
    if new:
        rows = [{**_without_id(summary), "run_id": commit.run_id, "rank": commit.rank} for summary in new]
        made = connection.execute(_NEW_SERIES, rows)
        for summary, series_id in zip(new, made.scalars(), strict=True):
            summary["id"] = series_id
    if known:
        connection.execute(
            _known_series(tuple(_without_id(known[0]))),
            [{**_without_id(summary), "series_id": summary["id"]} for summary in known],
        )
    pairs = [(change.summary["id"], stretch) for change in commit.series for stretch in change.stretches]
    _write_stretches(
        connection, Segment, [stretch for _, stretch in pairs], [_segment_columns(*pair) for pair in pairs]
    )


@cache
def _known_series(columns: tuple[str, ...]) -> Any:
    """The statement that replaces these columns of a series."""
    return (
        update(_SERIES)
        .where(_SERIES.c.id == bindparam("series_id"))
        .values({name: bindparam(name) for name in columns})
    )


@cache
def _new_rows(table: Any) -> Any:
    """The statement that inserts segments and gives back their ids."""
    return insert(table).returning(table.c.id, sort_by_parameter_order=True)


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
    for ids in chunks(replaced):
        connection.execute(delete(table).where(table.id.in_(ids)))
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
    made = connection.execute(_new_rows(table.__table__), rows)
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
        changes["last_step"] = commit.last_step
    if commit.heartbeat_seconds is not None:
        changes["heartbeat_at"] = now
        changes["heartbeat_due_at"] = timedelta(seconds=commit.heartbeat_seconds)
    if changes:
        server_clock = connection.dialect.name == "postgresql"
        if not server_clock and "heartbeat_at" in changes:
            changes["heartbeat_due_at"] = now + changes["heartbeat_due_at"]
        elif "heartbeat_at" in changes:
            del changes["heartbeat_at"]
        names = {f"new_{name}": value for name, value in changes.items()}
        connection.execute(_run_update(tuple(changes), server_clock), {"run": commit.run_id, **names})


@cache
def _run_update(columns: tuple[str, ...], server_clock: bool) -> Any:
    """The statement that changes these columns of a run.

    Args:
        columns: in PostgreSQL, `heartbeat_due_at` takes the time until then.
        server_clock: the database has a clock of its own; the training machine's may be minutes off.
    """
    new: dict[str, Any] = {name: bindparam(f"new_{name}", type_=_RUNS.c[name].type) for name in columns}
    if "last_step" in new:
        greatest = func.greatest if server_clock else func.max
        new["last_step"] = greatest(func.coalesce(_RUNS.c.last_step, new["last_step"]), new["last_step"])
    if "heartbeat_due_at" in new and server_clock:
        new["heartbeat_at"] = func.clock_timestamp()
        new["heartbeat_due_at"] = func.clock_timestamp() + bindparam("new_heartbeat_due_at", type_=Interval())
    return update(_RUNS).where(_RUNS.c.id == bindparam("run")).values(new)


def load_series(connection: Connection, run_id: str, rank: int) -> Sequence[dict[str, Any]]:
    """The summaries that a writer continues from: columns of `series`, one dict a metric."""
    columns = [column for column in SeriesRow.__table__.c if column.key not in ("run_id", "rank")]
    rows = connection.execute(select(*columns).where(SeriesRow.run_id == run_id, SeriesRow.rank == rank))
    return [dict(row) for row in rows.mappings()]
