"""Python's garbage collector, paused while a trace is read.

A reader makes an object or more for each event, keeps them all and closes no cycle. The collector finds nothing, but
goes through all of them again and again: of a large PyTorch trace that was more than half of the time.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_readers = 0
_was_on = False


@contextmanager
def paused() -> Iterator[None]:
    """No automatic collection in the block; afterwards it is on again if it was.

    The collector is the whole process's: of blocks in several threads, the first pauses it and the last resumes it.
    """
    global _readers, _was_on
    with _lock:
        if not _readers:
            _was_on = gc.isenabled()
            gc.disable()
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers and _was_on:
                gc.enable()
