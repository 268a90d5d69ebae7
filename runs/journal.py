"""The journal: a file to which a training process appends every record before `log` returns.

What was appended is in the kernel's page cache and survives the death of the process. Two ways lead there: a memory
map where the file system reserves room for it (`mapped_file.py`), else one `write(2)` (`appended_file.py`).

A record is a header (magic, kind, length, CRC-32) and a body. A reader stops at an incomplete record at the end (it is
being written, or zeros that wait to be) and skips damaged bytes in the middle: a write cut short by a full disk, which
the writer repeats, or the zeros at the end of a mapped block.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

from platformdirs import user_state_path
from sqlalchemy import URL

from ..db.errors import StoreError
from ..db.filesystem import reserves_room
from .appended_file import AppendedFile
from .mapped_file import MappedFile

SUFFIX = ".journal"
HEADER = struct.Struct("<HHII")  # magic, kind, length of the body, CRC-32 of the body
MAGIC = 0x7354
_MAGIC_BYTES = MAGIC.to_bytes(2, "little")
_FIRST_BYTE = _MAGIC_BYTES[:1]
_LARGEST = 64 << 20  # a longer body is damage, not a record

POINTS_HEAD = struct.Struct("<Iqqddd")
"""Head of a POINTS body: layout, step, time (ns since the epoch, UTC), process seconds, epoch, samples (NaN: unknown).

The values follow as float64, in the order of the layout's names.
"""


class Kind(IntEnum):
    """What a record says. Bodies are JSON objects unless said otherwise."""

    RUN = 1  # the run as created, and whose journal this is: always the first record
    LAYOUT = 2  # u32 number, then a JSON array of metric names: what POINTS of that number hold
    POINTS = 3
    CHANGE = 4  # columns of the run
    EVENT = 5
    FINGERPRINT = 6
    DESCRIBE = 7  # unit and reduction of a metric
    WARNING = 8
    END = 9  # how it ended; nothing follows
    SUCCEEDED = 10  # empty: this journal has grown large, and another one follows
    ARTIFACT = 11  # a file beside the journal that belongs to the run


def journal_folder(url: URL) -> Path:
    """Where the journals of a store lie: beside a SQLite file, else under the user's state directory.

    A server's folder is named by a digest of the URL without its password, so that any later command of this user for
    that store finds it.
    """
    if url.get_backend_name() == "sqlite":
        return Path(f"{url.database}-journals")
    # Not url.set(password=None): that means "leave it as it is".
    anonymous = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    identity = anonymous.render_as_string(hide_password=False)
    return user_state_path("trackside") / "journals" / hashlib.sha256(identity.encode()).hexdigest()[:16]


class JournalWriter:
    """Appends records. Safe from several threads and signal handlers: an append is one step, so no lock.

    Attributes:
        path: the file.
        lost_records: how many found no room on the disk or in memory.

    Raises:
        StoreError: on construction, if the file cannot be made.
    """

    # What may wait in memory while the disk is full. At 150 bytes a step of ten metrics: 400,000 steps.
    MEMORY_BYTES = 64 << 20

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost_records = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Locked before it gets the name that recoveries look for: none can take it for abandoned in between.
            unborn = path.with_suffix(".new")
            self.fd = os.open(unborn, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            lock(self.fd)  # held until this process ends, however it ends: that is how others see that it lives
            self._file = _file(unborn, self.fd)
            unborn.rename(path)
        except OSError as error:
            raise StoreError(
                f"The journal {path} cannot be written ({error.strerror}): make its folder writable, or choose another "
                "store with store= or TRACKSIDE_STORE."
            ) from error
        self._write = self._file.write

    @property
    def size(self) -> int:
        """Bytes that records take up in the file."""
        return self._file.size

    def append(self, kind: Kind, body: bytes) -> None:
        """Write one record. Never raises: what the disk refuses waits in memory for `retry`."""
        self.append_record(HEADER.pack(MAGIC, kind, len(body), zlib.crc32(body)) + body)

    def append_record(self, record: bytes) -> None:
        """Write one record that has its header already, as `append` would."""
        if self._waiting or not self._write(record):
            self._keep(record)

    def retry(self) -> bool:
        """Try again to write what the disk refused. True if nothing waits any more."""
        while self._waiting:
            if not self._write(self._waiting[0]):
                return False
            self._waiting_bytes -= len(self._waiting.popleft())
        return True

    def prepare(self) -> None:
        """Ready the file for what comes next. For a background thread, about once a second."""
        self._file.prepare()

    def close(self) -> None:
        """Release the file and its lock. What still waits for room on the disk counts as lost from here on.

        A forked child calls it for itself alone: nothing of the parent's file changes.
        """
        fd, self.fd = self.fd, -1
        self.lost_records += len(self._waiting)
        self._waiting.clear()
        self._file.close()
        if fd >= 0:
            os.close(fd)

    def _keep(self, record: bytes) -> None:
        if self._waiting_bytes + len(record) > self.MEMORY_BYTES:
            self.lost_records += 1
            return
        self._waiting.append(record)
        self._waiting_bytes += len(record)


def _file(path: Path, fd: int) -> MappedFile | AppendedFile:
    """The best way to append to a new file at `path`, which is open as `fd`."""
    # Without the interpreter's one lock, copying into a map would no longer be one step.
    if reserves_room(path) and getattr(sys, "_is_gil_enabled", lambda: True)():
        with suppress(OSError, ValueError):
            return MappedFile(path)
    return AppendedFile(fd)


class JournalReader:
    """Reads records from a position on; the file may still be growing."""

    CHUNK = 8 << 20

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Release the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, position: int) -> tuple[list[tuple[int, bytes]], int]:
        """Complete records from `position` on, about `CHUNK` bytes of them, and the position after the last.

        Returns:
            Pairs of kind and body; nothing and `position` itself where no complete record follows.
        """
        size = self.CHUNK
        while True:
            # No more than there is: a buffer of megabytes for some kilobytes costs a quarter of a millisecond.
            rest = max(os.fstat(self._fd).st_size - position, 0)
            chunk = os.pread(self._fd, min(size, rest), position)
            records, used = _parse(chunk, lambda start, part: os.pread(self._fd, len(part), position + start) == part)
            # A record longer than the chunk: take a larger one, unless the file ends here.
            if used or rest <= size or size > 2 * _LARGEST:
                return records, position + used
            size *= 4

    def blank(self) -> bool:
        """Whether there is nothing in the file: what a process leaves that died before its first record."""
        return not os.pread(self._fd, self.CHUNK, 0).strip(b"\0")


def _parse(chunk: bytes, unchanged: Callable[[int, bytes], bool]) -> tuple[list[tuple[int, bytes]], int]:
    """Complete records, and where the last of them ends.

    Args:
        chunk: copied from the file while it may have been written to.
        unchanged: whether the file still holds these bytes at an offset in the chunk. A copy may have caught the
            beginning of a record under way and, further on, a later record that was complete by then; what was
            complete before the later one will be found changed, and only the rest is damage.
    """
    records: list[tuple[int, bytes]] = []
    offset, end = 0, len(chunk)
    unpack, crc32, head = HEADER.unpack_from, zlib.crc32, HEADER.size
    while offset + head <= end:
        magic, kind, length, crc = unpack(chunk, offset)
        body = chunk[offset + head : offset + head + length]
        if magic == MAGIC and len(body) == length and crc32(body) == crc and (length or kind == Kind.SUCCEEDED):
            records.append((kind, body))
            offset += head + length
            continue
        following = _next_record(chunk, offset + 1)
        if following is None or not unchanged(offset, chunk[offset:following]):
            break
        offset = following
    return records, offset


def _next_record(chunk: bytes, start: int) -> int | None:
    """Where the next intact record begins, if one does: what lies before it is damage."""
    # One byte is looked for ten times as fast as two, and mostly there is half a megabyte of zeros to look through.
    while (found := chunk.find(_FIRST_BYTE, start)) >= 0:
        if found + HEADER.size <= len(chunk) and chunk.startswith(_MAGIC_BYTES, found):
            _, kind, length, crc = HEADER.unpack_from(chunk, found)
            body = chunk[found + HEADER.size : found + HEADER.size + length]
            # Only one kind is empty. Of others, the first bytes of a header with zeros behind would pass for a record.
            if len(body) == length and zlib.crc32(body) == crc and (length or kind == Kind.SUCCEEDED):
                return found
        start = found + 1
    return None


def lock(fd: int) -> bool:
    """Take the journal's lock without waiting; False if a living process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks (some network mounts): treated as held, so that nobody's journal is taken away.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.ENOLCK, errno.ENOTSUP)
    return True


def abandoned(folder: Path) -> Iterator[tuple[Path, int]]:
    """Journals whose process is gone, oldest first, each with a locked descriptor that the caller closes."""
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # taken by another recovery between the listing and now
        if lock(fd):
            yield path, fd
        else:
            os.close(fd)
