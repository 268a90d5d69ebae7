"""Points out of their segments; the columns unpacked last are kept for who draws the same curve again.

Every zoom of a curve needs what the view before it needed. Unpacking is most of what reading takes, so a reader that
was given room keeps columns. It keeps segments rather than series: a training that goes on only ever adds to them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, select

from .chunks import chunks
from .models import AxisSegment, Segment
from .segments import Column, Progression, unpack

SERIES_DTYPES = (np.int64, np.int64, np.float64)  # step, time, value
AXES_DTYPES = (np.int64, np.float64, np.float64, np.int64, np.float64)  # step, epoch, samples, time, process seconds

_PROGRESSION_BYTES = 100

Part = Column | Progression


class PointReader:
    """Reads the columns of stored segments. Safe to use from several threads.

    Args:
        room: bytes of unpacked columns to keep; those that were not asked for longest go first. None by default.
    """

    def __init__(self, room: int = 0) -> None:
        self._room = room
        self._taken = 0
        self._kept: OrderedDict[Hashable, Part] = OrderedDict()
        self._lock = Lock()

    def read(
        self,
        connection: Connection,
        table: type[Segment] | type[AxisSegment],
        owner: Hashable,
        where: Sequence[ColumnElement[bool]],
        wanted: Sequence[int],
        steps: tuple[float, float] | None = None,
    ) -> list[Any]:
        """The wanted columns of some segments, each joined into one array.

        Args:
            connection: in a transaction that sees one state.
            table: where the segments are.
            owner: whose they are, never to be somebody else: ids of rows come again once a run was purged.
            where: which of the table's segments.
            wanted: indices of columns.
            steps: first and last step of interest. Segments that do not overlap are not read, and points outside
                are left out; `wanted` must then begin with the steps.
        """
        columns = table.__table__.c
        query = select(columns.id, columns.position, columns["count"], columns.first_step, columns.last_step)
        query = query.where(*where).order_by(columns.position)
        if steps is not None:
            query = query.where(columns.last_step >= steps[0], columns.first_step <= steps[1])
        # What a segment holds never changes. One that grew has another count and nearly always another id.
        rows = [tuple(row) for row in connection.execute(query)]
        keys = [(table.__tablename__, owner, *row) for row in rows]
        parts = self._at_hand(keys, wanted)
        missing = {row[0]: place for place, row in enumerate(rows) if parts[place] is None}
        for ids in chunks(list(missing)):
            payloads = select(columns.id, columns.payload).where(columns.id.in_(ids))
            for row_id, payload in connection.execute(payloads):
                unpacked = unpack(payload, wanted)
                parts[missing[row_id]] = unpacked
                self._keep(keys[missing[row_id]], wanted, unpacked)
        read = [part for part in parts if part is not None]
        if steps is not None:
            read = [
                part if steps[0] <= row[3] and row[4] <= steps[1] else _within(part, steps)
                for part, row in zip(read, rows, strict=True)
            ]
        dtypes = SERIES_DTYPES if table is Segment else AXES_DTYPES
        return [_joined([part[place] for part in read], dtypes[index]) for place, index in enumerate(wanted)]

    def _at_hand(self, keys: Sequence[Hashable], wanted: Sequence[int]) -> list[list[Part] | None]:
        """Of each segment the wanted columns, None where one of them is missing."""
        if not self._room:
            return [None] * len(keys)
        found: list[list[Part] | None] = []
        with self._lock:
            for key in keys:
                columns = [(key, index) for index in wanted]
                if all(column in self._kept for column in columns):
                    for column in columns:
                        self._kept.move_to_end(column)
                    found.append([self._kept[column] for column in columns])
                else:
                    found.append(None)
        return found

    def _keep(self, key: Hashable, wanted: Sequence[int], parts: Sequence[Part]) -> None:
        if not self._room:
            return
        with self._lock:
            for index, part in zip(wanted, parts, strict=True):
                before = self._kept.pop((key, index), None)
                self._taken += _size(part) - (0 if before is None else _size(before))
                self._kept[key, index] = part
            while self._taken > self._room:
                _, gone = self._kept.popitem(last=False)
                self._taken -= _size(gone)


def _size(part: Part) -> int:
    return _PROGRESSION_BYTES if isinstance(part, Progression) else part.nbytes


def _column(part: Part) -> Column:
    return part.column() if isinstance(part, Progression) else part


def _within(parts: Sequence[Part], steps: tuple[float, float]) -> list[Part]:
    """The points of one segment whose steps lie in a range; the first of its columns holds the steps."""
    column = _column(parts[0])
    inside = np.flatnonzero((column >= steps[0]) & (column <= steps[1]))
    if not len(inside) or inside[-1] - inside[0] + 1 > len(inside):
        return [_column(part)[inside] for part in parts]
    first, stop = int(inside[0]), int(inside[-1]) + 1
    return [
        Progression(int(part.column()[first]), part.stride, stop - first)
        if isinstance(part, Progression)
        else part[first:stop]
        for part in parts
    ]


def _joined(parts: Sequence[Part], dtype: Any) -> Column:
    """The parts of a column one behind the other, in an array of its own."""
    if not parts:
        return np.empty(0, dtype)
    even = _one_progression(parts)
    if even is not None:
        return even.column()
    joined: Column = np.concatenate([_column(part) for part in parts])
    return joined


def _one_progression(parts: Sequence[Part]) -> Progression | None:
    """The progression that all parts are stretches of, as steps nearly always are; None where they are not."""
    first, count = parts[0], 0
    if not isinstance(first, Progression):
        return None
    for part in parts:
        if not isinstance(part, Progression) or part.stride != first.stride:
            return None
        if part.start != first.start + first.stride * count:
            return None
        count += part.count
    return Progression(first.start, first.stride, count)
