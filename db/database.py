"""A connection to the database of a store: its transactions, and what a writer asks of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, func, select, text

from . import ingest, schema
from .engine import display_url, make_engine, plain_errors, resolve_url
from .errors import StoreError
from .models import AxisSegment
from .models import Journal as JournalRow

# Which transactions can be seen: the same text, the same rows. A replica that replays them does not say.
_POSTGRESQL_VERSION = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE CAST(txid_current_snapshot() AS text) END"
)


class Database:
    """The database of a store, its tables and transactions. Connects to nothing until the first of them."""

    def __init__(self, url: str | None = None) -> None:
        self.url = resolve_url(url)
        self.engine = make_engine(self.url)
        self._postgresql = self.url.get_backend_name() == "postgresql"
        self._watching: Engine | None = None
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({display_url(self.url)!r})"

    def close(self) -> None:
        """Release the connections."""
        self.engine.dispose()
        if self._watching is not None:
            self._watching.dispose()

    def prepare(self) -> None:
        """Create the file and the tables, or upgrade them.

        Raises:
            StoreError: if that cannot be done.
        """
        if not self._postgresql:
            folder = Path(str(self.url.database)).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"The folder {folder} for the store cannot be made ({error.strerror}): choose another with --store."
                ) from error
        schema.ensure(self.engine)

    # Transactions

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads one consistent state."""
        with plain_errors(self.url), self.engine.connect() as connection:
            if self._postgresql:  # where every statement would otherwise see what was committed before it
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that waits for its turn to write."""
        with (
            plain_errors(self.url),
            self.engine.connect().execution_options(trackside_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    def version(self) -> Hashable | None:
        """A value that is another one once anything was committed to the database; None where that cannot be told.

        It costs next to nothing. Ask before reading what is to be kept for as long as the value stays: what is
        committed in between then is read a second time, rather than missed.
        """
        if self._postgresql:
            with self.read() as connection:
                return connection.execute(_POSTGRESQL_VERSION).scalar_one_or_none()
        with self._lock:
            if self._watching is None:
                # SQLite counts what other connections committed, so this one must write nothing, and stay the same.
                self._watching = make_engine(self.url, connections=1)
        with plain_errors(self.url), self._watching.connect() as connection, connection.begin():
            # Another file at the same path is another connection, whose count begins anew: hence the mark of its own.
            opened = connection.info.setdefault("opened", object())
            return opened, connection.exec_driver_sql("PRAGMA data_version").scalar_one()

    def commit(self, change: ingest.Commit) -> None:
        """Store one reach into a journal, completely or not at all.

        Raises:
            ingest.JournalMovedError: if another process took that part of the journal already.
            StoreError: if the store cannot be written.
        """
        with self.write() as connection:
            ingest.apply(connection, change, datetime.now(UTC))

    def journal_position(self, journal_id: str) -> int | None:
        """Bytes of a journal that are in the store; None if nothing is."""
        with self.read() as connection:
            return connection.execute(
                select(JournalRow.position).where(JournalRow.id == journal_id)
            ).scalar_one_or_none()

    def writer_state(self, run_id: str, rank: int, journal_id: str) -> tuple[Sequence[dict[str, Any]], int, int]:
        """What a writer of this run continues from: series summaries, count of axis points, `ingest.other_bytes`."""
        with self.read() as connection:
            axes = select(func.coalesce(func.sum(AxisSegment.count), 0))
            axes = axes.where(AxisSegment.run_id == run_id, AxisSegment.rank == rank)
            others = ingest.other_bytes(connection, run_id, rank, journal_id)
            return ingest.load_series(connection, run_id, rank), int(connection.execute(axes).scalar_one()), others
