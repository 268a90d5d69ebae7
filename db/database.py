"""A connection to the database of a store: its transactions, and what a writer asks of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, func, select

from . import ingest, schema
from .engine import display_url, make_engine, plain_errors, resolve_url
from .errors import StoreError
from .models import AxisSegment
from .models import Journal as JournalRow


class Database:
    """The database of a store, its tables and transactions. Connects to nothing until the first of them."""

    def __init__(self, url: str | None = None) -> None:
        self.url = resolve_url(url)
        self.engine = make_engine(self.url)

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

    def prepare(self) -> None:
        """Create the file and the tables, or upgrade them.

        Raises:
            StoreError: if that cannot be done.
        """
        if self.url.get_backend_name() == "sqlite":
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
        with plain_errors(self.url), self.engine.connect() as connection, connection.begin():
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
