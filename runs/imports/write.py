"""From a run that was found to the store: once, however often it is brought in, and only what is new."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ...db.errors import RunNotFoundError
from ...db.ingest import Commit, SeriesChange
from ...db.records import Float64Array, Int64Array
from .. import clean
from ..tail import SeriesTail, StretchTail
from .records import FoundRun, FoundSeries

if TYPE_CHECKING:
    from ...db.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of one run.

    Attributes:
        run_id: its id in the store.
        name: its name there.
        source: where it was found.
        new_points: points added this time.
        known_points: points that were there already.
        renamed: what a metric was called there, by its key here, where the two differ.
        left_out: sentences: what could not be brought over, and why.
    """

    run_id: str
    name: str
    source: str
    new_points: int
    known_points: int
    renamed: Mapping[str, str]
    left_out: tuple[str, ...]


def write_run(store: Store, found: FoundRun, *, project: str | None = None, tags: Sequence[str] = ()) -> Imported:
    """Put a run into the store, or what it has more than last time.

    Args:
        store: where to.
        found: the run.
        project: what it is listed under; what the source says, else `imported`.
        tags: more words to find it by.

    Raises:
        StoreError: if the store cannot be written.
    """
    run_id = "i" + hashlib.sha256(found.identity.encode("utf-8", "replace")).hexdigest()[:11]
    journal = f"{run_id}-import"
    taken = store.journal_position(journal)
    summaries, axis_count, others = store.writer_state(run_id, 0, journal)
    known = {summary["name"]: summary for summary in summaries}
    series = [one for one in found.series if len(one.steps)]
    counts = {one.name: min(known.get(clean.name(one.name), {"count": 0})["count"], len(one.steps)) for one in series}
    changes = [
        _new_part(one, known.get(clean.name(one.name)), counts[one.name])
        for one in series
        if counts[one.name] < len(one.steps)
    ]
    old = sum(counts.values())
    new = sum(len(one.steps) for one in series) - old
    times = [float(t) for one in series for t in (one.times[0], one.times[-1])]
    axes = [] if axis_count else StretchTail().extend(_axes(found, series), seal=True)
    if taken is None or changes:
        store.commit(
            Commit(
                run_id=run_id,
                run_created=_created(found, project, tags, times),
                journal_id=journal,
                rank=0,
                host=socket.gethostname(),
                process_id=os.getpid(),
                position_before=taken or 0,
                position_after=(taken or 0) + new,
                other_bytes=others,
                closed=True,
                last_step=max((int(one.steps.max()) for one in series), default=None),
                run_changes={}
                if taken is None
                else {"ended_at": _moment(max(times, default=0.0)), "state": found.state},
                series=changes,
                axes=axes if any(len(stretch) for stretch in axes) else [],
            )
        )
    return Imported(
        run_id=run_id,
        name=_name(store, run_id) or found.name,
        source=found.source,
        new_points=new,
        known_points=old,
        renamed={one.name: one.source for one in series if one.name != one.source},
        left_out=tuple(found.left_out),
    )


def _new_part(one: FoundSeries, summary: dict[str, Any] | None, count: int) -> SeriesChange:
    """What a series has beyond the `count` points that are in the store."""
    tail = SeriesTail(summary) if summary is not None else SeriesTail.new(clean.name(one.name), None, one.reduction)
    steps, values = one.steps[count:].astype(np.int64), one.values[count:].astype(np.float64)
    change, _ = tail.extend(steps, _micros(one.times[count:]), values)
    return change


def _axes(found: FoundRun, series: Sequence[FoundSeries]) -> tuple[Int64Array, ...] | tuple[Any, ...]:
    """Steps with their epoch, samples (unknown), time and process seconds: the time since the first point."""
    if not series:
        return tuple(np.empty(0, kind) for kind in (np.int64, np.float64, np.float64, np.int64, np.float64))
    steps = np.concatenate([one.steps for one in series]).astype(np.int64)
    times = np.concatenate([one.times for one in series])
    order = np.lexsort((times, steps))
    steps, times = steps[order], times[order]
    last = np.append(steps[1:] != steps[:-1], True)
    steps, times = steps[last], times[last]
    epochs: Float64Array = np.array([found.epochs.get(step, np.nan) for step in steps.tolist()], np.float64)
    samples = np.full(len(steps), np.nan)
    return steps, epochs, samples, _micros(times), times - times.min()


def _micros(times: Float64Array) -> Int64Array:
    return np.round(times * 1e6).astype(np.int64)


def _created(found: FoundRun, project: str | None, tags: Sequence[str], times: Sequence[float]) -> dict[str, Any]:
    properties = dict(found.properties)
    own_project, own_tags = properties.pop("project", None), properties.pop("tags", ())
    began, ended = _moment(min(times, default=0.0)), _moment(max(times, default=0.0))
    return {
        "name": clean.name(found.name) or "imported",
        "project": clean.name(project or own_project or "imported"),
        "tags": sorted({clean.name(tag) for tag in (*own_tags, *tags)} - {""}),
        "notes": clean.text(properties.pop("notes", "")),
        "state": found.state,
        "created_at": began,
        "started_at": began,
        "ended_at": ended,
        "config": clean.json_object(dict(found.config)),
        "environment": {"imported_from": clean.text(found.source, 1000)},
        **{key: clean.text(value, 1000) for key, value in properties.items() if value},
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _name(store: Store, run_id: str) -> str | None:
    try:
        return store.run(run_id).name
    except RunNotFoundError:
        return None
