"""The journal: what was appended is read back, whatever happened to the file in between."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.db.engine import resolve_url
from trackside.db.errors import StoreError
from trackside.runs.journal import JournalReader, JournalWriter, Kind, abandoned, journal_folder

bodies = st.lists(st.binary(max_size=300), max_size=20)


def read_all(path):
    reader = JournalReader(path)
    try:
        records, position = [], 0
        while True:
            more, after = reader.read(position)
            if after == position:
                return records, position
            records += more
            position = after
    finally:
        reader.close()


@pytest.fixture
def writer(tmp_path):
    made = JournalWriter(tmp_path / "a.journal")
    yield made
    made.close()


@given(bodies)
def test_records_come_back_in_order(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("journal") / "a.journal"
    writer = JournalWriter(path)
    for body in some:
        writer.append(Kind.POINTS, body)
    writer.close()
    records, position = read_all(path)
    assert records == [(Kind.POINTS, body) for body in some]
    assert position == path.stat().st_size


@given(bodies, st.integers(1, 200))
def test_a_file_cut_anywhere_gives_every_complete_record(tmp_path_factory, some, cut):
    path = tmp_path_factory.mktemp("journal") / "a.journal"
    writer = JournalWriter(path)
    ends = []
    for body in some:
        writer.append(Kind.POINTS, body)
        ends.append(path.stat().st_size)
    writer.close()
    size = max(0, path.stat().st_size - cut)
    os.truncate(path, size)
    records, _ = read_all(path)
    assert len(records) == sum(end <= size for end in ends)


def test_damage_in_the_middle_costs_only_what_was_damaged(writer):
    for index in range(10):
        writer.append(Kind.POINTS, bytes([index]) * 40)
    with writer.path.open("r+b") as file:
        file.seek(3 * 52 + 20)
        file.write(b"\xff" * 10)
    records, _ = read_all(writer.path)
    assert [body[0] for _, body in records] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_record_larger_than_a_reach_is_read(writer):
    large = os.urandom(JournalReader.CHUNK + 1000)
    writer.append(Kind.CHANGE, large)
    writer.append(Kind.POINTS, b"after")
    records, _ = read_all(writer.path)
    assert records == [(Kind.CHANGE, large), (Kind.POINTS, b"after")]


def test_a_full_disk_keeps_records_in_memory_until_there_is_room(writer, monkeypatch):
    real, full = os.write, True

    def write(fd, data):
        if full and fd == writer.fd:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    for index in range(5):
        writer.append(Kind.POINTS, bytes([index]))
    assert read_all(writer.path)[0] == []
    assert not writer.retry()
    full = False
    writer.append(Kind.POINTS, b"\x05")
    assert writer.retry()
    assert [body[0] for _, body in read_all(writer.path)[0]] == [0, 1, 2, 3, 4, 5]
    assert writer.lost_records == 0


def test_a_write_cut_short_by_a_full_disk_is_repeated_whole(writer, monkeypatch):
    real, budget = os.write, [70]

    def write(fd, data):
        if fd != writer.fd:
            return real(fd, data)
        taken = real(fd, data[: budget[0]]) if budget[0] else 0
        budget[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", write)
    for index in range(4):
        writer.append(Kind.POINTS, bytes([index]) * 30)
    budget[0] = 10**6
    assert writer.retry()
    assert [body[0] for _, body in read_all(writer.path)[0]] == [0, 1, 2, 3]


def test_memory_is_bounded_and_what_it_cannot_hold_is_counted(writer, monkeypatch):
    monkeypatch.setattr(JournalWriter, "MEMORY_BYTES", 200)
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    for _ in range(10):
        writer.append(Kind.POINTS, b"x" * 50)
    assert writer.lost_records == 7


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="make its folder writable"):
        JournalWriter(tmp_path / "file" / "a.journal")


def test_a_living_journal_is_not_abandoned(writer):
    assert list(abandoned(writer.path.parent)) == []
    writer.close()
    ((path, fd),) = abandoned(writer.path.parent)
    os.close(fd)
    assert path == writer.path


def test_journals_of_a_server_do_not_depend_on_the_password():
    folders = {journal_folder(resolve_url(f"postgresql://me{word}@host/db")) for word in ("", ":old", ":new")}
    assert len(folders) == 1
    assert journal_folder(resolve_url("postgresql://other@host/db")) not in folders
