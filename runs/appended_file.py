"""A file that grows by `write(2)`: the way that works on every file system."""

from __future__ import annotations

import os


class AppendedFile:
    """Appends records to a file. Safe from several threads and signal handlers: one system call, so no lock.

    Args:
        fd: a descriptor opened with `O_APPEND`; it stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def size(self) -> int:
        """Bytes of the file; 0 once closed."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def write(self, record: bytes) -> bool:
        """Append a record. False if there is no room for all of it now, or the file is closed."""
        try:
            return os.write(self._fd, record) == len(record)
        except OSError:
            return False

    def prepare(self) -> None:
        """Nothing to ready: the kernel extends the file as it grows."""

    def close(self) -> None:
        """Write no more."""
        self._fd = -1
