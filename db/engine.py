"""Opening a database: the URL, the pragmas with their reasons, and errors as sentences."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.pool import ConnectionPoolEntry, Pool, QueuePool

from .errors import StoreError, StoreUnreachableError, StoreURLError
from .filesystem import network_type

logger = logging.getLogger("trackside")

DEFAULT_URL = "sqlite:///.trackside/trackside.db"
STORE_VARIABLE = "TRACKSIDE_STORE"

# A writer holds SQLite's lock for milliseconds, a migration for a second: half a minute is patience enough for
# dozens of processes, and then the journal still has everything.
_BUSY_SECONDS = 30
_CONNECT_SECONDS = 5


def resolve_url(url: str | None = None) -> URL:
    """The store's URL: the argument, else `TRACKSIDE_STORE`, else the file under the working directory.

    A relative SQLite path is made absolute now, so that a later change of directory does not move the store.

    Raises:
        StoreURLError: if the text is no URL, or names a database that trackside does not speak.
    """
    text = url or os.environ.get(STORE_VARIABLE) or DEFAULT_URL
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError) as error:
        shown = re.sub(r"(?<=:)[^:/@]*(?=@)", "***", str(text))  # what could not be parsed may hold a password
        raise StoreURLError(
            f"{shown!r} is no store URL: use sqlite:///path/to/file.db or postgresql://user:password@host/database."
        ) from error
    backend = parsed.drivername.split("+")[0]
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreURLError("A store in memory cannot be shared with the dashboard: use sqlite:///path/to/file.db.")
        if parsed.query:
            raise StoreURLError(f"A SQLite store takes no options: leave out what follows the '?' in {text!r}.")
        try:
            database = str(Path(parsed.database).expanduser().absolute())
        except RuntimeError as error:
            raise StoreURLError(f"{text!r} names a user without a home folder: write the path out.") from error
        if "\0" in database:
            raise StoreURLError("A path cannot hold the character NUL: correct the store URL.")
        return parsed.set(drivername="sqlite", database=database)
    raise StoreURLError(
        f"trackside keeps runs in SQLite or PostgreSQL, not in {backend!r}: "
        "use sqlite:///path/to/file.db or postgresql://user:password@host/database."
    )


def display_url(url: URL) -> str:
    """The URL without its password, for messages and pages."""
    return url.render_as_string(hide_password=True)


def make_engine(url: URL, *, connections: int = 4) -> Engine:
    """An engine whose transactions behave alike on both databases. Connects to nothing yet.

    Args:
        url: the store's.
        connections: how many to a SQLite file are kept open; a single one is never joined by another.
    """
    if url.get_backend_name() == "sqlite":
        # Kept open between transactions: closing the last connection to a file in WAL mode checkpoints and syncs it,
        # which made a commit a second three times as dear.
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=20 if connections > 1 else 0,
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "checkout", _refuse_vanished)
        _sqlite_engines.add(engine)
        event.listen(engine, "connect", _on_network if _warn_of_network(url) else _on_disk)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(
            url,
            pool_pre_ping=True,  # a server that was restarted must not cost a request
            pool_size=5,
            max_overflow=20,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "trackside"},
        )
    except ModuleNotFoundError as error:
        raise StoreError("A PostgreSQL store needs psycopg: pip install 'trackside[postgres]'.") from error


@cache
def _warn_of_network(url: URL) -> bool:
    """Whether the file lies on a network file system; says so once a process."""
    folder = Path(str(url.database)).parent
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    kind = network_type(existing)
    if kind:
        logger.warning(
            "trackside: %s is on a network file system (%s), where SQLite is slow and fragile: use a local folder, "
            "or PostgreSQL for several machines.",
            folder,
            kind,
        )
    return kind is not None


def _on_disk(connection: sqlite3.Connection, _record: object) -> None:
    _prepare_sqlite(connection, "wal")


def _on_network(connection: sqlite3.Connection, _record: object) -> None:
    _prepare_sqlite(connection, "delete")


def _prepare_sqlite(connection: sqlite3.Connection, journal_mode: str) -> None:
    # The driver would begin transactions at moments of its own choosing; _begin_sqlite does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")  # off by default; purging a run relies on it
    # WAL: readers never wait for the writer, nor it for them. It needs memory shared by all who open the file, which a
    # network file system cannot give: there the rollback journal ("delete") is slower, but correct.
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != journal_mode:
        cursor.execute(f"PRAGMA journal_mode = {journal_mode}")
    # In WAL mode NORMAL can lose the last commits to a power cut, never consistency; the journal has them still.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _refuse_vanished(connection: sqlite3.Connection, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Open the file anew where it is no longer the one that was opened: writing on would go nowhere."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    try:
        status = Path(path).stat()
        file = (status.st_dev, status.st_ino)
    except OSError:
        file = None
    if record.info.setdefault("file", file) != file or file is None:
        raise DisconnectionError(f"{path} was taken away or replaced")


# A SQLite connection must be neither used nor closed in a forked child: it would spoil the parent's. The old pools are
# kept, because a connection that nobody refers to is closed.
_sqlite_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_inherited: list[Pool] = []


def _leave_connections_to_parent() -> None:
    for engine in list(_sqlite_engines):
        _inherited.append(engine.pool)
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_connections_to_parent)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once with "database is locked" if another wrote in
    # between, however long the timeout. One that says at the start that it will write waits for its turn.
    writing = connection.get_execution_options().get("trackside_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def plain_errors(url: URL) -> Iterator[None]:
    """Turn what the drivers raise into one sentence with the cure."""
    try:
        yield
    except (OperationalError, InterfaceError, ProgrammingError, DatabaseError) as error:
        raise _sentence(url, error) from error
    except ModuleNotFoundError as error:
        raise StoreError("A PostgreSQL store needs psycopg: pip install 'trackside[postgres]'.") from error


def _sentence(url: URL, error: Any) -> StoreError:
    where = display_url(url)
    cause = str(getattr(error, "orig", error)).strip()
    low = cause.lower()
    if "not a database" in low or "malformed" in low:
        return StoreError(f"{where} is not a trackside store ({cause}): check the path, or move the file away.")
    if "readonly" in low or "read-only" in low or "permission denied" in low:
        return StoreError(
            f"{where} cannot be written ({cause}): check its permissions, or choose another with --store."
        )
    if "unable to open" in low:
        return StoreError(f"{where} cannot be opened: check that its folder exists and may be written.")
    if "disk is full" in low or "no space left" in low or "disk full" in low:
        return StoreUnreachableError(
            f"The disk that holds {where} is full ({cause}): make room; journals keep the points."
        )
    if "locked" in low or "busy" in low:
        return StoreUnreachableError(
            f"{where} has been busy for {_BUSY_SECONDS} seconds: try again, or find what holds it."
        )
    if "does not exist" in low and "database" in low:
        return StoreError(f"{where} does not exist: create the database (createdb), or correct the URL.")
    if "authentication" in low or "no password supplied" in low or ("role" in low and "does not exist" in low):
        return StoreError(
            f"{where} refuses this user ({_first_line(cause)}): correct the user or password in the URL, "
            "or set PGPASSWORD."
        )
    if url.get_backend_name() == "sqlite" and "i/o error" in low:
        # Also what SQLite says where its shared memory finds no room on a full disk.
        return StoreUnreachableError(
            f"{where} cannot be read or written ({cause}): check that its disk has room and is sound."
        )
    if isinstance(error, (OperationalError, InterfaceError)):
        return StoreUnreachableError(f"{where} does not answer ({_first_line(cause)}): start it, or correct the URL.")
    return StoreError(f"{where} failed: {_first_line(cause)}. Run trackside doctor for a closer look.")


def _first_line(text: str) -> str:
    return text.splitlines()[0].rstrip(".") if text else "no reason given"
