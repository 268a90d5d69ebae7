"""Migrations: made once, by whoever comes first, and the same tables as the models say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from trackside.db import schema
from trackside.db.engine import make_engine, resolve_url
from trackside.db.errors import StoreError
from trackside.db.models import Base
from trackside.db.saved_views import SavedViews
from trackside.db.store import Store, open_store


def test_head_is_the_newest_migration():
    assert schema.known_revisions()[-1] == schema.HEAD


def test_migrations_build_what_the_models_describe(empty_store_url):
    with open_store(empty_store_url) as store, store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert schema.revision(connection) == schema.HEAD


def test_every_migration_can_be_taken_back(empty_store_url):
    with open_store(empty_store_url) as store:
        migrate(store, "downgrade", "base")
        with store.engine.connect() as connection:
            assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        migrate(store, "upgrade", "head")
        with store.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_store_of_the_first_version_is_upgraded_and_used(empty_store_url):
    with Store(empty_store_url) as store:
        migrate(store, "upgrade", "0001")
        with store.write() as connection:
            assert not inspect(connection).has_table("artifacts")
            connection.execute(text(OLD_RUN))
    with open_store(empty_store_url) as store:
        (run,) = store.runs()
        assert (run.name, run.config) == ("old", {"lr": 0.1})
        artifact = store.attach(run, "trace.json", "trace/chrome", b"{}")
        assert store.artifact_bytes(artifact) == b"{}"


def test_a_store_of_the_second_version_is_upgraded_and_used(empty_store_url):
    with Store(empty_store_url) as store:
        migrate(store, "upgrade", "0002")
        with store.write() as connection:
            assert not inspect(connection).has_table("saved_views")
            connection.execute(text(OLD_RUN))
    with open_store(empty_store_url) as store:
        view = SavedViews(store).save("mine", "/?q=old")
        assert SavedViews(store).all() == [view]
        assert [run.name for run in store.runs()] == ["old"]


OLD_RUN = """
INSERT INTO runs (id, name, project, device_count, world_size, state, created_at, process_seconds, config, environment,
                  model, tags, notes, is_baseline, warnings)
VALUES ('o1', 'old', 'p', 1, 1, 'finished', '2026-01-02 03:04:05.000000', 0, '{"lr": 0.1}', '{}', '{}', '[]', '', FALSE,
        '{}')
"""


def migrate(store, direction, revision):
    config = Config()
    config.set_main_option("script_location", str(schema._SCRIPTS))
    config.set_main_option("path_separator", "os")
    with store.write() as connection:
        config.attributes["connection"] = connection
        getattr(command, direction)(config, revision)


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
