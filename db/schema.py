"""Which version of the tables a store has, and bringing it to the one this code needs."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from .engine import display_url, plain_errors
from .errors import StoreError

HEAD = "0003"
"""Revision this code reads and writes. A constant, so that opening a store does not import Alembic; a test compares."""

_LOCK_KEY = 0x7472_6163_6B73  # "tracks", for PostgreSQL's advisory lock


def ensure(engine: Engine) -> None:
    """Create or upgrade the tables if they need it; many processes may do so at once.

    Raises:
        StoreError: if the store is newer than this code, or is somebody else's database.
    """
    with plain_errors(engine.url):
        with engine.connect() as connection:
            if revision(connection) == HEAD:
                return
        with engine.connect().execution_options(trackside_write=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            # Another process may have done it while this one waited for the lock.
            found = revision(connection)
            if found == HEAD:
                return
            _refuse_strangers(connection, found)
            _upgrade(connection)


def revision(connection: Connection) -> str | None:
    """The revision that the tables are at; None in an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def known_revisions() -> list[str]:
    """Every revision this code can upgrade from, oldest first."""
    return sorted(path.name.split("_")[0] for path in _SCRIPTS.joinpath("versions").glob("[0-9]*.py"))


def _refuse_strangers(connection: Connection, found: str | None) -> None:
    where = display_url(connection.engine.url)
    tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
    ours = {"runs", "series", "segments"}
    # A server's database may be shared with other programs; a file that holds other tables was meant for them.
    strange = bool(tables & ours or (tables and connection.dialect.name == "sqlite"))
    if (found is None and strange) or (found is not None and not ours <= tables):
        raise StoreError(f"{where} holds tables of another program: give trackside a database of its own with --store.")
    if found is not None and found not in known_revisions():
        raise StoreError(
            f"{where} has schema {found}, this trackside knows up to {HEAD}: pip install -U trackside, "
            "or use another store with --store."
        )


_SCRIPTS = Path(__file__).parent / "migrations"


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
