"""The journal: what was appended is read back, whatever happened to the file in between."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.db.engine import resolve_url
from trackside.db.errors import StoreError
from trackside.runs import mapped_file
from trackside.runs.appended_file import AppendedFile
from trackside.runs.journal import JournalReader, JournalWriter, Kind, abandoned, journal_folder
from trackside.runs.mapped_file import MappedFile

from .conftest import WAYS, written

bodies = st.lists(st.binary(min_size=1, max_size=300), max_size=40)


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
def writer(tmp_path, way):
    made = JournalWriter(tmp_path / "a.journal")
    assert isinstance(made._file, MappedFile if way == "mapped" else AppendedFile)
    yield made
    made.close()


@pytest.fixture
def full(monkeypatch, way):
    """A disk on which there is no room while `full[0]` is true."""
    state, write, reserve = [False], os.write, mapped_file._reserve

    def refuse_or(function, *arguments):
        if state[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*arguments)

    if way == "mapped":
        monkeypatch.setattr(mapped_file, "_reserve", lambda *arguments: refuse_or(reserve, *arguments))
    else:
        monkeypatch.setattr(os, "write", lambda *arguments: refuse_or(write, *arguments))
    return state


@pytest.mark.parametrize("way", WAYS)
@given(some=bodies)
def test_records_come_back_in_order(tmp_path_factory, way, some):
    path = tmp_path_factory.mktemp("journal") / "a.journal"
    with written(way):
        writer = JournalWriter(path)
        for body in some:
            writer.append(Kind.POINTS, body)
        size = writer.size
        writer.close()
    records, position = read_all(path)
    assert records == [(Kind.POINTS, body) for body in some]
    assert position == size


@pytest.mark.parametrize("way", WAYS)
@given(some=bodies, cut=st.integers(1, 200))
def test_a_file_cut_anywhere_gives_every_complete_record(tmp_path_factory, way, some, cut):
    path = tmp_path_factory.mktemp("journal") / "a.journal"
    ends = []
    with written(way):
        writer = JournalWriter(path)
        for body in some:
            writer.append(Kind.POINTS, body)
            ends.append(writer.size)
        size = max(0, writer.size - cut)
        writer.close()
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


def test_a_full_disk_keeps_records_in_memory_until_there_is_room(writer, full):
    full[0] = True
    for index in range(200):  # the mapped file has room for some of them
        writer.append(Kind.POINTS, bytes([index]) * 100)
    assert len(read_all(writer.path)[0]) < 100
    assert not writer.retry()
    full[0] = False
    writer.append(Kind.POINTS, b"\xff")
    assert writer.retry()
    assert [body[0] for _, body in read_all(writer.path)[0]] == [*range(200), 255]
    assert writer.lost_records == 0


@pytest.mark.parametrize("way", ["appended"], indirect=True)
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


def test_memory_is_bounded_and_what_it_cannot_hold_is_counted(writer, full, monkeypatch):
    monkeypatch.setattr(JournalWriter, "MEMORY_BYTES", 200)
    full[0] = True
    for _ in range(100):
        writer.append(Kind.POINTS, b"x" * 50)
    assert writer.lost_records == 100 - 3 - len(read_all(writer.path)[0])


def test_a_copy_that_caught_a_record_half_written_loses_nothing(writer, monkeypatch):
    """A reader copies while records are written: it may see the first half of one and all of the next."""
    for index in range(3):
        writer.append(Kind.POINTS, bytes([index + 1]) * 40)
    real, torn = os.pread, [(52 + 20, 52 + 52)]  # the second record's body from its eighth byte on

    def pread(fd, size, position):
        copy = bytearray(real(fd, size, position))
        for start, end in torn:
            copy[start:end] = bytes(end - start)
        torn.clear()
        return bytes(copy)

    monkeypatch.setattr(os, "pread", pread)
    records, _ = read_all(writer.path)
    assert [body[0] for _, body in records] == [1, 2, 3]


@pytest.mark.parametrize("caught", range(12))
def test_the_beginning_of_a_header_is_no_record(writer, caught, monkeypatch):
    """Zeros behind it are the length and the checksum of an empty body."""
    writer.append(Kind.POINTS, b"first")
    writer.append(Kind.POINTS, b"second")
    real, once = os.pread, [17 + caught]

    def pread(fd, size, position):
        copy = real(fd, size, position)
        cut = once.pop() if once else len(copy)
        return copy[:cut] + bytes(len(copy) - cut)

    monkeypatch.setattr(os, "pread", pread)
    reader = JournalReader(writer.path)
    records, position = reader.read(0)
    assert ([body for _, body in records], position) == ([b"first"], 17)
    assert reader.read(position)[0] == [(Kind.POINTS, b"second")]
    reader.close()


def test_threads_lose_and_double_nothing_while_it_is_read(writer):
    def work(name):
        for index in range(2000):
            writer.append(Kind.POINTS, bytes([name]) + index.to_bytes(2, "big") * (1 + index * 7 % 120))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        reader, position, found = JournalReader(writer.path), 0, []
        while True:
            done = not any(thread.is_alive() for thread in threads)
            records, position = reader.read(position)
            found += [(body[0], int.from_bytes(body[1:3], "big")) for _, body in records]
            writer.prepare()
            if done and not records:
                break
        reader.close()
    finally:
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    for name in range(4):
        assert [index for who, index in found if who == name] == list(range(2000))


def test_a_signal_handler_may_append_in_the_middle_of_an_append(writer):
    counter, told = itertools.count(), []

    def handle(number, frame):  # which the next signal may interrupt in its turn
        mine = next(counter)
        writer.append(Kind.EVENT, mine.to_bytes(4, "big") * 50)
        told.append(mine)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        index = 0
        while len(told) < 500:
            writer.append(Kind.POINTS, index.to_bytes(4, "big") * 100)
            index += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    records, _ = read_all(writer.path)
    for kind, count in ((Kind.POINTS, index), (Kind.EVENT, len(told))):
        numbers = [int.from_bytes(body[:4], "big") for found, body in records if found == kind]
        assert sorted(numbers) == list(range(count))


@pytest.mark.parametrize("way", ["mapped"], indirect=True)
def test_two_that_extend_the_file_at_once_go_on_in_the_same_block(writer, monkeypatch):
    """The second comes by after the first has asked for the next block and before it has linked it."""
    real, interrupted = mapped_file._reserve, []

    def reserve(fd, offset, size):
        real(fd, offset, size)
        if not interrupted:
            interrupted.append(offset)
            writer.append(Kind.POINTS, b"second" * 100)
            writer.append(Kind.POINTS, b"third!" * 100)

    monkeypatch.setattr(mapped_file, "_reserve", reserve)
    writer.append(Kind.POINTS, b"x" * 4000)
    writer.append(Kind.POINTS, b"first!" * 100)
    writer.append(Kind.POINTS, b"fourth" * 100)
    assert interrupted == [4096]
    assert [body[:6] for _, body in read_all(writer.path)[0][1:]] == [b"second", b"third!", b"first!", b"fourth"]


@pytest.mark.parametrize("way", ["mapped"], indirect=True)
def test_a_map_that_can_no_longer_be_written_to_is_left_alone(writer, full, monkeypatch):
    """A write into it would end the process with SIGBUS; `prepare` hears of it from the kernel."""
    writer.append(Kind.POINTS, b"before")
    writer.prepare()
    full[0] = True  # a file system that fails refuses to extend files, too
    with monkeypatch.context() as failing:
        failing.setattr(mapped_file, "_ready", lambda *arguments: False)
        writer.prepare()
    writer.append(Kind.POINTS, b"during")
    assert [body for _, body in read_all(writer.path)[0]] == [b"before"]
    full[0] = False
    assert writer.retry()
    assert [body for _, body in read_all(writer.path)[0]] == [b"before", b"during"]


def test_a_file_system_that_cannot_reserve_gets_its_records_written(tmp_path, monkeypatch):
    def refuse(fd, offset, size):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(mapped_file, "_reserve", refuse)
    with written("mapped"):
        writer = JournalWriter(tmp_path / "a.journal")
    writer.append(Kind.POINTS, b"all the same")
    assert read_all(writer.path)[0] == [(Kind.POINTS, b"all the same")]
    writer.close()


def test_what_a_forked_child_closes_stays_as_it_is(writer):
    writer.append(Kind.POINTS, b"one")
    before = writer.path.read_bytes()
    child = os.fork()
    if child == 0:
        writer.close()
        writer.append(Kind.POINTS, b"of the child")
        os._exit(0)
    os.waitpid(child, 0)
    assert writer.path.read_bytes() == before
    writer.append(Kind.POINTS, b"two")
    assert [body for _, body in read_all(writer.path)[0]] == [b"one", b"two"]


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
