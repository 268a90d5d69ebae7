"""Reading a store, and the few things people change in one.

With `database`, `artifacts`, `ingest`, `saved_views` and `trash` the only place that executes statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, delete, func, literal, null, select, update

from . import artifacts
from .chunks import chunks
from .database import Database
from .engine import display_url
from .errors import RunNotFoundError, SeriesNotFoundError, UsageError
from .models import AxisSegment, EventRow, Fingerprint, Journal, Run, Segment, SeriesRow
from .points import PointReader
from .records import ArtifactInfo, Axes, Event, KeptProfile, RunInfo, Series, SeriesInfo, State
from .rows import run_info, series_info

if TYPE_CHECKING:
    import pandas as pd

MICROSECONDS = 1_000_000

# Columns rather than objects: nothing here needs the identity map of an ORM session.
_RUNS, _SERIES = Run.__table__, SeriesRow.__table__

# What a list of runs has no place for, and what is most of a run's row: packages, layers.
_LARGE = ("environment", "model")


def open_store(url: str | None = None, *, keep_bytes: int = 0) -> Store:
    """Open the store of runs, creating or upgrading its tables if need be.

    Args:
        url: where runs live. Default: `TRACKSIDE_STORE`, else `sqlite:///.trackside/trackside.db`.
        keep_bytes: how much of the points read to keep in memory, for who reads the same ones over and over.

    Raises:
        StoreError: if it cannot be opened; the message says what to do.
    """
    store = Store(url, keep_bytes=keep_bytes)
    try:
        store.prepare()
    except BaseException:
        store.close()
        raise
    return store


class Store(Database):
    """Runs, series and points of one database. Safe to use from several threads.

    Prefer `open_store`; building one directly connects to nothing until the first read.
    """

    def __init__(self, url: str | None = None, *, keep_bytes: int = 0) -> None:
        super().__init__(url)
        self._points = PointReader(keep_bytes)

    # Runs

    def runs(
        self,
        project: str | None = None,
        state: State | None = None,
        *,
        deleted: bool = False,
        ids: Iterable[str] | None = None,
        brief: bool = False,
    ) -> list[RunInfo]:
        """Runs, the newest first.

        Args:
            project: only those of this project.
            state: only those in this state now.
            deleted: those in the trash instead of the others.
            ids: only those with these ids.
            brief: leave `environment` and `model` empty, which are most of a run's bytes.
        """
        columns = [null().label(column.name) if brief and column.name in _LARGE else column for column in _RUNS.c]
        query = select(*columns, self._overdue()).order_by(Run.created_at.desc(), Run.id)
        query = query.where(Run.deleted_at.is_not(None) if deleted else Run.deleted_at.is_(None))
        if project is not None:
            query = query.where(Run.project == project)
        if ids is not None:
            query = query.where(Run.id.in_(list(ids)))
        with self.read() as connection:
            found = [run_info(row) for row in connection.execute(query)]
        return [run for run in found if state is None or run.state == state]

    def run(self, reference: str) -> RunInfo:
        """The run with this id, this unique beginning of an id, or (the newest) with this name.

        Raises:
            RunNotFoundError: if there is none, or the beginning fits several.
        """
        if not reference:
            raise RunNotFoundError("No run was named: give its id, a unique beginning of the id, or its name.")
        query = select(*_RUNS.c, self._overdue()).order_by(Run.created_at.desc())
        with self.read() as connection:
            exact = connection.execute(query.where(Run.id == reference)).first()
            if exact is not None:
                return run_info(exact)
            named = connection.execute(
                query.where(Run.name == reference)
                .order_by(None)
                .order_by(Run.deleted_at.is_not(None), Run.created_at.desc())
            ).first()
            if named is not None:
                return run_info(named)
            begun = connection.execute(query.where(Run.id.startswith(reference, autoescape=True)).limit(6)).all()
        if len(begun) == 1:
            return run_info(begun[0])
        if begun:
            some = ", ".join(row.id for row in begun[:5])
            raise RunNotFoundError(f"{reference!r} begins several run ids ({some}): give more of the id.")
        raise RunNotFoundError(
            f"There is no run {reference!r} in {display_url(self.url)}: trackside runs lists those that are."
        )

    def journal_marks(self) -> dict[str, tuple[int, int]]:
        """By run id, what moves whenever the run gets points or another series: its journals, and the bytes taken."""
        query = select(Journal.run_id, func.count(), func.sum(Journal.position)).group_by(Journal.run_id)
        with self.read() as connection:
            return {run_id: (int(count), int(taken)) for run_id, count, taken in connection.execute(query)}

    # Points

    def series_infos(self, run_ids: Iterable[str], names: Iterable[str] | None = None) -> list[SeriesInfo]:
        """Summaries of the series of some runs, by run, name and rank. No point is read."""
        ids, infos = list(run_ids), []
        wanted = None if names is None else list(names)
        with self.read() as connection:
            for some in chunks(ids):
                query = select(*_SERIES.c).where(SeriesRow.run_id.in_(some))
                if wanted is not None:
                    query = query.where(SeriesRow.name.in_(wanted))
                infos += [series_info(row) for row in connection.execute(query)]
        return sorted(infos, key=lambda info: (info.run_id, info.name, info.rank))

    def metric_names(self) -> list[str]:
        """Every metric that a run outside the trash logged, in alphabetical order."""
        query = select(SeriesRow.name).join(Run, Run.id == SeriesRow.run_id).where(Run.deleted_at.is_(None)).distinct()
        with self.read() as connection:
            return sorted(connection.execute(query).scalars())

    def series(
        self,
        run: RunInfo | str,
        name: str,
        rank: int = 0,
        steps: tuple[float, float] | None = None,
        *,
        times: bool = True,
    ) -> Series:
        """The points of one metric, in the order logged.

        Args:
            run: a run, or what `Store.run` understands.
            name: the metric's key, for example `train/loss`.
            rank: which process of a distributed run.
            steps: first and last step of interest; only stored segments that overlap are read, and points
                outside are left out.
            times: False leaves the times NaN, and the work of unpacking them undone.

        Raises:
            RunNotFoundError, SeriesNotFoundError: if there is no such run or metric.
        """
        info = run if isinstance(run, RunInfo) else self.run(run)
        with self.read() as connection:
            found = connection.execute(
                select(*_SERIES.c).where(SeriesRow.run_id == info.id, SeriesRow.name == name, SeriesRow.rank == rank)
            ).first()
            if found is None:
                raise self._no_series(connection, info.id, name)
            step, *time, value = self._points.read(
                connection,
                Segment,
                (info.id, info.created, found.id),
                [Segment.series_id == found.id],
                (0, 1, 2) if times else (0, 2),
                steps,
            )
        seconds = time[0] / MICROSECONDS if times else np.broadcast_to(np.nan, step.shape)
        return Series(series_info(found), step, value, seconds)

    def axes(self, run: RunInfo | str, rank: int = 0) -> Axes:
        """Epoch, samples, time and process seconds of a run's steps, in the order logged."""
        info = run if isinstance(run, RunInfo) else self.run(run)
        with self.read() as connection:
            step, epoch, samples, time, process = self._points.read(
                connection,
                AxisSegment,
                (info.id, info.created, rank),
                [AxisSegment.run_id == info.id, AxisSegment.rank == rank],
                (0, 1, 2, 3, 4),
            )
        return Axes(step, epoch, samples, time / MICROSECONDS, process)

    def frame(self, runs: Iterable[RunInfo | str], metrics: Iterable[str] | None = None) -> pd.DataFrame:
        """Points as a pandas DataFrame with columns run, metric, step, epoch, samples, time, value.

        Needs pandas: `pip install 'trackside[frame]'`.
        """
        from .frame import frame

        return frame(self, runs, metrics)

    # What else a run left

    def events(self, run: RunInfo | str) -> list[Event]:
        """What happened to a run, the oldest first."""
        run_id = run.id if isinstance(run, RunInfo) else self.run(run).id
        query = select(*EventRow.__table__.c).where(EventRow.run_id == run_id).order_by(EventRow.time, EventRow.id)
        with self.read() as connection:
            return [
                Event(run_id=row.run_id, kind=row.kind, time=row.time, step=row.step, rank=row.rank,
                      message=row.message, detail=row.detail)
                for row in connection.execute(query)
            ]  # fmt: skip

    def fingerprints(self, run: RunInfo | str) -> dict[str, dict[str, Any]]:
        """What the parity check compares, by kind."""
        run_id = run.id if isinstance(run, RunInfo) else self.run(run).id
        query = select(Fingerprint.name, Fingerprint.value).where(Fingerprint.run_id == run_id)
        with self.read() as connection:
            return {row.name: row.value for row in connection.execute(query)}

    def artifacts(self, run: RunInfo | str, kind: str | None = None) -> list[ArtifactInfo]:
        """Files that a run left, in the order they came, without their content; `kind` picks some."""
        run_id = run.id if isinstance(run, RunInfo) else self.run(run).id
        with self.read() as connection:
            return artifacts.infos(connection, run_id, kind)

    def artifact_bytes(self, artifact_id: int) -> bytes:
        """What a file held.

        Raises:
            ArtifactNotFoundError: if there is none of this id.
            StoreError: if it was too large for the store and is not on this machine.
        """
        with self.read() as connection:
            return artifacts.content(connection, artifact_id)

    def kept_profiles(self, run: RunInfo | str) -> list[KeptProfile]:
        """What was found in the traces of a run that were analysed already."""
        run_id = run.id if isinstance(run, RunInfo) else self.run(run).id
        with self.read() as connection:
            return artifacts.kept_profiles(connection, run_id)

    # What readers and importers add

    def attach(
        self,
        run: RunInfo | str,
        name: str,
        kind: str,
        data: bytes,
        *,
        step: int | None = None,
        detail: Mapping[str, Any] | None = None,
        rank: int = 0,
        media_type: str | None = None,
    ) -> int:
        """Add a file to a run; returns its id. A training process uses `Run.attach`, which waits for no store.

        Raises:
            UsageError: if it is too large for a database.
        """
        info = self._current(run)
        described = artifacts.columns(
            info.id, rank, kind, name, step=step, detail=dict(detail or {}), media_type=media_type
        )
        payload = artifacts.compress(data) if len(data) <= artifacts.LARGEST_BYTES else b""
        if len(data) > artifacts.LARGEST_BYTES or len(payload) > artifacts.LARGEST_PAYLOAD:
            raise UsageError(f"{name} has {len(data) / 1e6:.0f} MB, too much for a store: keep a shorter trace.")
        with self.write() as connection:
            return artifacts.add(connection, {**described, "size_bytes": len(data), "payload": payload, "path": None})

    def remove_artifact(self, artifact_id: int) -> None:
        """Remove a file of a run, and what was found in it."""
        with self.write() as connection:
            artifacts.remove(connection, artifact_id)

    def keep_profile(self, profile: KeptProfile) -> bool:
        """Keep what was found in a trace, in the place of an earlier analysis; False if the trace is gone."""
        with self.write() as connection:
            return artifacts.keep_profile(connection, profile)

    # What people change

    def tag(self, run: RunInfo | str, *tags: str) -> None:
        """Add tags to a run."""
        info = self._current(run)
        self._change(info, tags=sorted({*info.tags, *tags}))

    def untag(self, run: RunInfo | str, *tags: str) -> None:
        """Take tags off a run."""
        info = self._current(run)
        self._change(info, tags=sorted(set(info.tags) - set(tags)))

    def annotate(self, run: RunInfo | str, notes: str) -> None:
        """Replace a run's notes."""
        self._change(self._current(run), notes=notes)

    def rename(self, run: RunInfo | str, name: str) -> None:
        """Give a run another name.

        Raises:
            UsageError: if it is empty.
        """
        if not name.strip():
            raise UsageError("A run needs a name: give it at least one letter.")
        self._change(self._current(run), name=name.strip())

    def set_tags(self, run: RunInfo | str, tags: Iterable[str]) -> None:
        """Replace the tags of a run."""
        self._change(self._current(run), tags=sorted({tag.strip() for tag in tags} - {""}))

    def set_baseline(self, run: RunInfo | str, baseline: bool = True) -> None:
        """Mark a run as the one that others are measured against."""
        self._change(self._current(run), is_baseline=baseline)

    def delete(self, run: RunInfo | str) -> None:
        """Put a run into the trash, from which `restore` brings it back."""
        self._change(self._current(run), deleted_at=datetime.now(UTC))

    def restore(self, run: RunInfo | str) -> None:
        """Take a run out of the trash."""
        self._change(self._current(run), deleted_at=None)

    def purge(self, run: RunInfo | str) -> None:
        """Remove a run in the trash and all its points for good.

        Raises:
            UsageError: if it is not in the trash, or still training.
        """
        info = self._current(run)
        if info.deleted is None:
            raise UsageError(f"Run {info.id} is not in the trash: delete it first, then purge.")
        if info.state == "running":
            raise UsageError(f"Run {info.id} is still training: stop it first, then purge.")
        with self.write() as connection:
            connection.execute(delete(Run).where(Run.id == info.id))

    def mark(self, run_id: str, state: State, ended: datetime) -> None:
        """Record how a run ended that could not say so itself."""
        with self.write() as connection:
            connection.execute(
                update(Run).where(Run.id == run_id, Run.state == "running").values(state=state, ended_at=ended)
            )

    def _current(self, run: RunInfo | str) -> RunInfo:
        return self.run(run.id if isinstance(run, RunInfo) else run)

    def _change(self, run: RunInfo, **columns: Any) -> None:
        with self.write() as connection:
            connection.execute(update(Run).where(Run.id == run.id).values(**columns))

    def _overdue(self) -> Any:
        """SQL: has this run failed to give the sign of life that it promised?"""
        if self.url.get_backend_name() == "postgresql":
            now: Any = func.clock_timestamp()
        else:
            now = literal(datetime.now(UTC), Run.heartbeat_due_at.type)
        return (Run.heartbeat_due_at < now).label("overdue")

    def _no_series(self, connection: Connection, run_id: str, name: str) -> SeriesNotFoundError:
        query = select(SeriesRow.name).where(SeriesRow.run_id == run_id).distinct().order_by(SeriesRow.name)
        names = connection.execute(query.limit(12)).scalars().all()
        known = ", ".join(names) if names else "nothing yet"
        return SeriesNotFoundError(f"Run {run_id} logged no {name!r}: it logged {known}.")
