"""From journal to store: reads records, packs points into columns, commits both with the journal's position."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ..db.errors import StoreError
from ..db.ingest import Commit, JournalMovedError, SeriesChange
from ..db.records import Float64Array, Int64Array
from ..db.store import Store
from . import attachments
from .journal import POINTS_HEAD, JournalReader, Kind
from .tail import SeriesTail, StretchTail

_HEAD_TYPE = np.dtype(
    [("layout", "<u4"), ("step", "<i8"), ("time", "<i8"), ("process", "<f8"), ("epoch", "<f8"), ("samples", "<f8")]
)
assert _HEAD_TYPE.itemsize == POINTS_HEAD.size

NAMELESS = "points were lost, because the names of their metrics found no room on the disk"
REPEATED = "a step of {name!r} was logged again or out of order; every point is kept, and charts show the latest"


class Ingester:
    """Takes one journal into one store, exactly once however often it is tried and by whomever.

    The store's transaction moves the journal's position together with the points before it. What is held in
    memory (summaries, unfinished segments) is rebuilt from the store whenever a commit did not succeed.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self.store = store
        self.reader = JournalReader(path)
        self.closed = False  # the END record is in the store
        self.header: dict[str, Any] | None = None
        self.last_time: datetime | None = None  # of the newest point, for a run that could not say when it ended
        self._position: int | None = None
        self._layouts: dict[int, list[str]] = {}
        self._described: dict[str, tuple[str | None, str]] = {}
        self._series: dict[str, SeriesTail] = {}
        self._axes = StretchTail()
        self._last_axis: tuple[int, float, float] | None = None
        self._other_bytes = 0
        self._spent: list[Path] = []  # files that the next commit stores

    def close(self) -> None:
        """Release the file."""
        self.reader.close()

    def advance(self, heartbeat_seconds: float | None = None) -> int:
        """Bring the next reach of the journal into the store.

        Args:
            heartbeat_seconds: also note that the process lives, and will say so again within so many seconds.

        Returns:
            How many bytes of the journal were taken; 0 where there were none.

        Raises:
            StoreError: if the store does not take it now; nothing is lost, call again later.
        """
        if self._position is None and not self._load():
            return 0
        assert self._position is not None
        records, after = self.reader.read(self._position)
        if not records and heartbeat_seconds is None:
            return 0
        commit = self._commit(self._position, after, heartbeat_seconds)
        reach = _Reach()
        self._spent = []
        for kind, body in records:
            self._take(kind, body, commit, reach)
        self._pack(reach, commit)
        try:
            self.store.commit(commit)
        except BaseException:
            # The summaries in memory are ahead of the store now: start again from what is stored.
            self._position = None
            raise
        attachments.remove(self._spent)
        taken, self._position = after - self._position, after
        self.closed = self.closed or commit.closed
        return taken

    def drain(self) -> None:
        """Bring everything that the journal holds."""
        while True:
            try:
                if not self.advance():
                    return
            except JournalMovedError:
                continue

    def _load(self) -> bool:
        """Find out where the store is; False while the journal has no first record yet."""
        records, _ = self.reader.read(0)
        if not records or records[0][0] != Kind.RUN:
            return False
        self.header = orjson.loads(records[0][1])
        stored = self.store.journal_position(self.header["journal"]) or 0
        place = (self.header["run_id"], self.header["rank"], self.header["journal"])
        summaries, axis_count, self._other_bytes = self.store.writer_state(*place)
        self._series = {summary["name"]: SeriesTail(summary) for summary in summaries}
        self._axes, self._last_axis = StretchTail(axis_count), None
        self._layouts, self._described = {}, {}
        position = 0
        while position < stored:  # layouts and descriptions hold for everything after them
            records, after = self.reader.read(position)
            if after == position:
                raise StoreError(
                    f"The store has more of {self.reader.path} than the file holds: it was cut short; move it away."
                )
            for kind, body in records:
                if kind in (Kind.LAYOUT, Kind.DESCRIBE):
                    self._take(kind, body, None, None)
            position = after
        # `read` returns whole reaches, and a reach may end beyond what is stored; positions are exact.
        self._position = stored
        return True

    def _commit(self, before: int, after: int, heartbeat_seconds: float | None) -> Commit:
        header = self.header
        assert header is not None
        return Commit(
            run_id=header["run_id"],
            run_created=_with_times(header["created"]),
            journal_id=header["journal"],
            rank=header["rank"],
            host=header["host"],
            process_id=header["process_id"],
            position_before=before,
            position_after=after,
            other_bytes=self._other_bytes,
            closed=self.closed,
            heartbeat_seconds=heartbeat_seconds,
        )

    def _take(self, kind: int, body: bytes, commit: Commit | None, reach: _Reach | None) -> None:
        if kind == Kind.LAYOUT:
            self._layouts[int.from_bytes(body[:4], "little")] = orjson.loads(body[4:])
            return
        if kind == Kind.DESCRIBE:
            described = orjson.loads(body)
            self._described[described["name"]] = (described["unit"], described["reduction"])
            if reach is not None:
                reach.described.append(described["name"])
            return
        assert commit is not None
        assert reach is not None
        if kind == Kind.POINTS:
            if int.from_bytes(body[:4], "little") in self._layouts:
                reach.points.append(body)
            else:  # the disk was full for so long that what the record refers to was lost
                commit.warnings[NAMELESS] = commit.warnings.get(NAMELESS, 0) + 1
        elif kind == Kind.RUN:
            self._change(orjson.loads(body).get("resumed", {}), commit)
        elif kind == Kind.CHANGE:
            self._change(orjson.loads(body), commit)
        elif kind == Kind.EVENT:
            commit.events.append(_with_times(orjson.loads(body)))
        elif kind == Kind.FINGERPRINT:
            fingerprint = orjson.loads(body)
            commit.fingerprints[fingerprint["name"]] = fingerprint["value"]
        elif kind == Kind.WARNING:
            sentence = body.decode()
            commit.warnings[sentence] = commit.warnings.get(sentence, 0) + 1
        elif kind == Kind.ARTIFACT:
            self._attach(orjson.loads(body), commit)
        elif kind == Kind.END:
            self._change(orjson.loads(body), commit)
            commit.closed = reach.closed = True
        elif kind == Kind.SUCCEEDED:
            commit.closed = True

    def _attach(self, record: dict[str, Any], commit: Commit) -> None:
        taken = attachments.Taken(record, self.reader.path.parent)
        self._spent += taken.spent
        if taken.artifact is not None:
            commit.artifacts.append(taken.artifact)
        if taken.lost:
            commit.warnings[taken.lost] = commit.warnings.get(taken.lost, 0) + 1
        if taken.notice:
            time = taken.artifact.columns["created_at"] if taken.artifact is not None else datetime.now(UTC)
            commit.events.append(
                {"kind": "notice", "time": time, "step": record.get("step"), "message": taken.notice, "detail": {}}
            )

    def _change(self, changes: dict[str, Any], commit: Commit) -> None:
        # State, configuration and the rest belong to the job; only its first process speaks for it.
        if commit.rank == 0:
            for name, value in _with_times(changes).items():
                if name in ("config", "environment", "model"):
                    commit.run_changes[name] = {**commit.run_changes.get(name, {}), **value}
                else:
                    commit.run_changes[name] = value

    def _pack(self, reach: _Reach, commit: Commit) -> None:
        blocks = _blocks(reach.points)
        touched: dict[str, list[tuple[Int64Array, Int64Array, Float64Array, Int64Array]]] = {}
        for order, head, values in blocks:
            for index, name in enumerate(self._layouts[int(head["layout"][0])]):
                part = (head["step"], head["time"] // 1000, values[:, index], order)
                touched.setdefault(name, []).append(part)
        for name, parts in touched.items():
            steps, times, values = _in_order(parts)
            tail = self._series.get(name)
            if tail is None:
                tail = self._series[name] = SeriesTail.new(name, *self._described.get(name, (None, "batch")))
            change, repeated = tail.extend(steps, times, values, seal=reach.closed)
            commit.series.append(change)
            # A gauge is read several times within a slow step, and a validation may be repeated: no cause for alarm.
            if repeated and tail.summary["reduction"] == "batch":
                sentence = REPEATED.format(name=name)
                commit.warnings[sentence] = commit.warnings.get(sentence, 0) + repeated
        for name in set(reach.described) & self._series.keys():
            self._redescribe(name, commit)
        if blocks:
            self._pack_axes(blocks, commit, seal=reach.closed)
        if reach.closed:
            idle = [tail for name, tail in self._series.items() if name not in touched]
            commit.series += [sealed for tail in idle if (sealed := tail.seal()) is not None]

    def _redescribe(self, name: str, commit: Commit) -> None:
        tail = self._series[name]
        tail.summary["unit"], tail.summary["reduction"] = self._described[name]
        if all(change.summary is not tail.summary for change in commit.series):
            commit.series.append(SeriesChange(tail.summary, []))

    def _pack_axes(self, blocks: list[_Block], commit: Commit, *, seal: bool) -> None:
        order = np.concatenate([block[0] for block in blocks])
        head = np.concatenate([block[1] for block in blocks])[np.argsort(order)]
        steps, epochs, samples = head["step"], head["epoch"], head["samples"]
        last = self._last_axis or (None, np.nan, np.nan)
        new_step = np.concatenate(([last[0] is None or steps[0] != last[0]], steps[1:] != steps[:-1]))
        # Two logs of one step make one row, unless the second knows more than the first.
        knows_more = _newly_known(epochs, last[1]) | _newly_known(samples, last[2])
        kept = new_step | knows_more
        self._last_axis = (int(steps[-1]), float(epochs[-1]), float(samples[-1]))
        newest = float(head["time"][-1]) / 1e9
        self.last_time = datetime.fromtimestamp(newest, UTC)
        commit.last_step = int(steps.max())
        if commit.rank == 0:
            commit.run_changes["process_seconds"] = float(head["process"].max())
        columns = (steps, epochs, samples, head["time"] // 1000, head["process"])
        commit.axes += self._axes.extend(tuple(np.ascontiguousarray(column[kept]) for column in columns), seal=seal)


_Block = tuple[Int64Array, Any, Float64Array]
"""Points of one layout: their order in the reach, the structured heads (n,), and the values (n, n_metrics)."""


@dataclass(slots=True)
class _Reach:
    """What one read of the journal brought, apart from what goes straight into the commit."""

    points: list[bytes] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    closed: bool = False


def _blocks(points: list[bytes]) -> list[_Block]:
    """Bodies of POINTS records as arrays, one block a layout."""
    numbered = sorted(enumerate(points), key=lambda pair: (pair[1][:4], pair[0]))
    blocks = []
    for _, group in groupby(numbered, key=lambda pair: pair[1][:4]):
        rows = list(group)
        order = np.fromiter(map(itemgetter(0), rows), np.int64, len(rows))
        width = len(rows[0][1])
        table = np.frombuffer(b"".join(body for _, body in rows), np.uint8).reshape(len(rows), width)
        head = np.ascontiguousarray(table[:, : POINTS_HEAD.size]).view(_HEAD_TYPE).reshape(-1)
        values = np.ascontiguousarray(table[:, POINTS_HEAD.size :]).view("<f8")
        blocks.append((order, head, values))
    return blocks


def _in_order(
    parts: list[tuple[Int64Array, Int64Array, Float64Array, Int64Array]],
) -> tuple[Int64Array, Int64Array, Float64Array]:
    steps, times, values, order = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if len(parts) > 1:
        sequence = np.argsort(order)
        steps, times, values = steps[sequence], times[sequence], values[sequence]
    return np.ascontiguousarray(steps), np.ascontiguousarray(times), np.ascontiguousarray(values)


def _newly_known(values: Float64Array, before: float) -> Any:
    previous = np.concatenate(([before], values[:-1]))
    return ~np.isnan(values) & (values != previous)


def _with_times(columns: dict[str, Any]) -> dict[str, Any]:
    """JSON carries times as ISO text: back to datetimes, by the names that columns for times have."""
    return {
        name: datetime.fromisoformat(value) if value is not None and (name.endswith("_at") or name == "time") else value
        for name, value in columns.items()
    }
