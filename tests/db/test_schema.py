"""Migrations: made once, by whoever comes first, and the same tables as the models say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from trackside.db import schema
from trackside.db.engine import make_engine, resolve_url
from trackside.db.errors import StoreError
from trackside.db.models import Base
from trackside.db.store import open_store


def test_head_is_the_newest_migration():
    assert schema.known_revisions()[-1] == schema.HEAD


def test_migrations_build_what_the_models_describe(empty_store_url):
    with open_store(empty_store_url) as store, store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert schema.revision(connection) == schema.HEAD


def test_opening_again_changes_nothing(store_url):
    for _ in range(2):
        with open_store(store_url) as store:
            assert store.runs() == []


def test_a_newer_store_is_refused_with_the_cure(store_url):
    with open_store(store_url) as store, store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"schema 9999.*pip install -U trackside"):
        open_store(store_url)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE runs (theirs INTEGER)"],
        # It too is kept by Alembic: its revision is not one of ours, and not a newer one either.
        ["CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('5d2f')"],
    ],
)
def test_another_programs_database_is_left_alone(empty_store_url, statements):
    make_tables(empty_store_url, statements)
    with pytest.raises(StoreError, match="another program"):
        open_store(empty_store_url)


def test_a_file_of_another_program_gets_no_tables_of_ours(tmp_path):
    url = f"sqlite:///{tmp_path}/theirs.db"
    make_tables(url, ["CREATE TABLE customers (name TEXT)"])
    with pytest.raises(StoreError, match="another program"):
        open_store(url)


def make_tables(url, statements):
    engine = make_engine(resolve_url(url))
    with engine.connect().execution_options(trackside_write=True) as connection, connection.begin():
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_many_processes_may_come_first(empty_store_url):
    code = f"import trackside; trackside.open_store({empty_store_url!r}).close()"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
