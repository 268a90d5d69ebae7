"""Store URLs and what a bad one gets."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from trackside.db.engine import display_url, resolve_url
from trackside.db.errors import StoreError, StoreUnreachableError, StoreURLError
from trackside.db.filesystem import network_type, reserves_room
from trackside.db.store import open_store


def test_argument_then_environment_then_default(monkeypatch):
    assert resolve_url().database == str(Path.cwd() / ".trackside" / "trackside.db")
    monkeypatch.setenv("TRACKSIDE_STORE", "sqlite:////elsewhere/runs.db")
    assert resolve_url().database == "/elsewhere/runs.db"
    assert resolve_url("sqlite:////given.db").database == "/given.db"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_way_to_write_postgresql(scheme):
    assert resolve_url(f"{scheme}://u:p@host/db").drivername == "postgresql+psycopg"


def test_a_password_is_not_shown():
    assert "secret" not in display_url(resolve_url("postgres://u:secret@host/db"))


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "http://host"])
def test_a_url_that_cannot_be_meant_names_one_that_can(url):
    with pytest.raises(StoreURLError, match="sqlite:///path/to/file.db"):
        resolve_url(url)


@pytest.mark.parametrize(
    "url",
    ["sqlite:///~nobody-of-that-name/x.db", "sqlite:////x.db?mode=ro", "sqlite:////x.db?timeout=abc", "sqlite:///\0"],
)
def test_what_sqlite_could_not_open_is_refused_in_a_sentence(url):
    with pytest.raises(StoreURLError):
        resolve_url(url)


def test_a_url_that_cannot_be_parsed_does_not_show_its_password():
    with pytest.raises(StoreURLError) as refused:
        resolve_url("postgresql://me:secret@host:port/db")
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all" * 50)
    with pytest.raises(StoreError, match="not a trackside store"):
        open_store(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(f"sqlite:///{tmp_path}/file/below/runs.db")


def test_a_server_that_does_not_answer():
    with pytest.raises(StoreUnreachableError, match=r"does not answer .* start it, or correct the URL"):
        open_store("postgresql://nobody@127.0.0.1:1/nothing")


def test_a_database_that_does_not_exist(shared_postgresql):
    with pytest.raises(StoreError, match="createdb"):
        open_store(shared_postgresql.url("no_such_database"))


def test_on_a_network_file_system_sqlite_keeps_its_rollback_journal(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("trackside.db.engine.network_type", lambda path: "nfs4")
    with open_store(f"sqlite:///{tmp_path}/shared/runs.db") as store, store.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "delete"
    assert "PostgreSQL for several machines" in caplog.text


def test_on_a_disk_readers_do_not_wait_for_the_writer(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store, store.write(), store.read() as reading:
        assert reading.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_network_file_systems_are_told_from_disks(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path}/na\\040s nfs4 rw 0 0\n")
    (tmp_path / "na s" / "deep").mkdir(parents=True)
    assert network_type(tmp_path / "na s" / "deep", str(mounts)) == "nfs4"
    assert network_type(tmp_path, str(mounts)) is None
    assert reserves_room(tmp_path, str(mounts))
    assert not reserves_room(tmp_path / "na s" / "deep", str(mounts))


@pytest.mark.parametrize("kind", ["btrfs", "zfs", "xfs", "overlay", "nfs4", "fuse.sshfs", "apfs"])
def test_only_where_reserved_room_is_kept_is_a_map_safe(tmp_path, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / {kind} rw 0 0\n")
    assert not reserves_room(tmp_path, str(mounts))


def test_a_file_that_was_taken_away_is_not_written_to_any_more(tmp_path):
    path = tmp_path / "runs.db"
    with open_store(f"sqlite:///{path}") as store:
        assert store.runs() == []
        for part in tmp_path.glob("runs.db*"):
            part.unlink()
        store.prepare()
        assert store.runs() == []
        assert path.exists()


def test_a_forked_child_leaves_the_connections_of_its_parent_alone(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        assert store.runs() == []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            os._exit(0 if store.engine.pool.checkedin() == 0 and store.runs() == [] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert store.engine.pool.checkedin() == 1
        assert store.runs() == []
