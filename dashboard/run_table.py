"""The rows of the run table, made anew only for the runs that changed since somebody last asked.

Every open Runs page asks every two seconds, and most of the time next to nothing happened. So the rows are kept: all of
them while the database stands as it stood, else those of the runs whose own record is the same and that got no points.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from ..db.records import RunInfo, SeriesInfo
from ..db.store import Store
from .columns import Column
from .rows import Row, row_digest, run_row, series_of
from .source import StoreSource

MOST_TABLES = 8  # with different added columns; the one not asked for longest goes first
CLOCK_SECONDS = 2.0  # as often as a page asks: whether a running run is late, only the clock tells


@dataclass(frozen=True, slots=True)
class Table:
    """The run table with some columns.

    Attributes:
        rows: one a run, the newest first.
        digests: of each row, by run id.
        runs: the runs, in the order of the rows, without their environment and model.
    """

    rows: list[Row]
    digests: dict[str, str]
    runs: list[RunInfo]


@dataclass(frozen=True, slots=True)
class _Known:
    """A row and what it was made of."""

    run: RunInfo
    mark: tuple[int, int] | None
    infos: list[SeriesInfo]
    row: Row
    digest: str


class RunTable:
    """Reads the run table of one store. Safe to use from several threads, of which one at a time reads.

    Args:
        source: the store.
    """

    def __init__(self, source: StoreSource) -> None:
        self.source = source
        self._lock = Lock()
        self._version: object = None
        self._expires = -math.inf
        self._runs: list[RunInfo] = []
        self._marks: dict[str, tuple[int, int]] = {}
        self._known: OrderedDict[tuple[Column, ...], dict[str, _Known]] = OrderedDict()
        self._tables: dict[tuple[Column, ...], Table] = {}  # as of the version
        self._metric_names: list[str] | None = None  # as of the version

    @property
    def has_rows(self) -> bool:
        """Whether there was a run when somebody last looked; asks no store."""
        return bool(self._runs)

    def read(self, columns: Sequence[Column] = ()) -> Table:
        """The table as the store is now.

        Args:
            columns: those that were added to it.

        Raises:
            StoreError: the store cannot be read.
        """
        wanted = tuple(columns)
        store = self.source()
        with self._lock:
            self._look(store)
            if wanted not in self._tables:
                known = self._renewed(store, wanted)
                self._known[wanted] = known
                self._known.move_to_end(wanted)
                while len(self._known) > MOST_TABLES:
                    self._tables.pop(self._known.popitem(last=False)[0], None)
                self._tables[wanted] = Table(
                    [one.row for one in known.values()],
                    {run_id: one.digest for run_id, one in known.items()},
                    self._runs,
                )
            return self._tables[wanted]

    def metric_names(self) -> list[str]:
        """Every metric that a run of the table logged, in alphabetical order.

        Raises:
            StoreError: the store cannot be read.
        """
        store = self.source()
        with self._lock:
            self._look(store)
            if self._metric_names is None:
                self._metric_names = store.metric_names()
            return self._metric_names

    def _look(self, store: Store) -> None:
        """Reads the runs if anything may have changed. The points' marks first: what comes in between is read again."""
        version, now = store.version(), time.monotonic()
        if version is not None and version == self._version and now < self._expires:
            return
        self._version = None  # in case that reading fails
        self._marks = store.journal_marks()
        self._runs = store.runs(brief=True)
        self._tables.clear()
        self._metric_names = None
        running = any(run.state == "running" for run in self._runs)
        self._version, self._expires = version, now + CLOCK_SECONDS if running else math.inf

    def _renewed(self, store: Store, columns: tuple[Column, ...]) -> dict[str, _Known]:
        """What is known of each run now, in the order of the runs."""
        before = self._known.get(columns, {})
        moved = [
            run.id
            for run in self._runs
            if run.id not in before or before[run.id].mark is None or before[run.id].mark != self._marks.get(run.id)
        ]
        infos = series_of(store, moved, columns)
        now = datetime.now(UTC)
        found: dict[str, _Known] = {}
        for run in self._runs:
            old = before.get(run.id)
            if old is not None and run.id not in infos and old.run == run and run.state != "running":
                found[run.id] = old
                continue
            series = infos[run.id] if old is None or run.id in infos else old.infos
            row = run_row(run, series, now, columns)
            found[run.id] = _Known(run, self._marks.get(run.id), series, row, row_digest(row))
        return found
