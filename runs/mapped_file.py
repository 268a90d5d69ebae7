"""A file that grows in blocks mapped into memory: appending is one copy, without a call of the operating system.

Between two training steps the caches belong to the training, and `write(2)` then takes 25 µs (2 cores, steps of
9 ms), a copy into a map 4. What was copied lies in the kernel's page cache, as what was written does, and survives the
death of the process alike. `write(2)` also lets go of the interpreter, which another thread may then keep for
milliseconds; a copy does not.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from contextlib import suppress
from pathlib import Path

BLOCK_BYTES = 256 << 10
"""At 150 bytes a step: 1,700 steps."""

_AHEAD_BYTES = 64 << 10  # what `prepare` readies in front of the writing; it comes by about once a second
_SLICE_BYTES = 16 << 10  # readied in one call, some 20 µs during which no other thread has the interpreter
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14, which the mmap module does not name
_NEXT = "next"
_LIBC = ctypes.CDLL(None, use_errno=True)


class MappedFile:
    """Appends records to an empty file. Safe from several threads and signal handlers, without a lock.

    `mmap.write` looks whether a record fits, copies it and moves on in one call under the interpreter's lock. Where
    one does not fit, the block is sealed, so that no smaller one can land in it any more, and the next block is taken.
    Blocks form a chain whose links are set once, by `dict.setdefault`: whoever comes first, be it two threads or a
    signal handler in the middle of another's extension, everybody goes on in the same block, and none waits for
    another. So the file fills strictly from its beginning to its end, with zeros behind the last record of a block.

    A map is only for file systems that reserve what `fallocate` asked for: a full disk then shows where the file is
    extended. Where a write into a map has no answer but SIGBUS, a disk that fails for example, `prepare` asks
    the kernel beforehand, about once a second, and seals what it refuses.

    Args:
        path: an empty file.

    Raises:
        OSError, ValueError: if no block can be had.
    """

    def __init__(self, path: Path) -> None:
        # A descriptor of its own: maps keep duplicates of it, and one of a locked file would keep that locked.
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._block = self._map(0, BLOCK_BYTES)
        except (OSError, ValueError):
            os.close(self._fd)
            raise

    @property
    def size(self) -> int:
        """Bytes from the beginning of the file to the end of its last record; 0 once closed."""
        block = self._block
        try:
            return block.offset + block.tell()
        except ValueError:
            return 0

    def write(self, record: bytes) -> bool:
        """Append a record as a whole. False if there is no room for it now, or the file is closed."""
        try:
            self._block.write(record)
        except ValueError:
            return self._write_behind(record)
        return True

    def _write_behind(self, record: bytes) -> bool:
        block = self._block
        while True:
            try:
                block.seek(0, os.SEEK_END)  # the seal; a ValueError if the file was closed
                block = self._following(block, len(record))
            except (OSError, ValueError):
                return False
            self._block = block  # perhaps back to one that another thread has filled since: sealed, and linked
            with suppress(ValueError):
                block.write(record)
                return True

    def prepare(self) -> None:
        """Ready what will be written next. For a background thread, about once a second."""
        block: _Block | None = self._block
        assert block is not None
        with suppress(OSError, ValueError):  # no room for another block, or closed: seen again by who needs it
            if not (_ready(block, block.tell()) and _ready(self._following(block, 0), 0)):
                while block is not None:  # a write asks the file system anew, and gets an error for an answer
                    block.seek(0, os.SEEK_END)
                    block = block.following.get(_NEXT)

    def close(self) -> None:
        """Let go of the file. In a forked child this leaves the parent's file as it is."""
        fd, self._fd = self._fd, -1
        block: _Block | None = self._block
        while block is not None:
            block.close()
            block = block.following.get(_NEXT)
        if fd >= 0:
            os.close(fd)

    def _following(self, block: _Block, room: int) -> _Block:
        """The block behind a block; a new one has room for at least so many bytes."""
        following = block.following.get(_NEXT)
        if following is None:
            size = max(BLOCK_BYTES, -(-room // mmap.PAGESIZE) * mmap.PAGESIZE)
            following = block.following.setdefault(_NEXT, self._map(block.offset + len(block), size))
        return following

    def _map(self, offset: int, size: int) -> _Block:
        _reserve(self._fd, offset, size)
        block = _Block(self._fd, size, offset=offset)
        block.offset, block.following = offset, {}
        if not _ready(block, 0, _SLICE_BYTES):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return block


class _Block(mmap.mmap):
    """A mapped part of the file.

    Attributes:
        offset: where in the file it begins.
        following: the block behind it, once there is one.
    """

    offset: int
    following: dict[str, _Block]


def _reserve(fd: int, offset: int, size: int) -> None:
    # Not os.posix_fallocate: where the file system cannot reserve, glibc writes zeros instead, which of two threads
    # that extend the file at once would fall into what the other has written already.
    while _LIBC.fallocate(fd, 0, ctypes.c_int64(offset), ctypes.c_int64(size)) != 0:
        error = ctypes.get_errno()
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))


def _ready(block: _Block, position: int, length: int = _AHEAD_BYTES) -> bool:
    """Have the pages from a position on at hand, ready to be written. False if writing there would raise SIGBUS."""
    begin = position - position % mmap.PAGESIZE
    for start in range(begin, min(begin + length, len(block)), _SLICE_BYTES):
        try:
            block.madvise(_POPULATE_WRITE, start, min(_SLICE_BYTES, len(block) - start))
        except OSError as error:
            # An older kernel does not know the question; then pages are made ready as they are written.
            return error.errno != errno.EFAULT
    return True
