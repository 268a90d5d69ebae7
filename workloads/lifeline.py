"""A training that a runner started ends with the runner, however that ends.

The runner holds one end of a pipe, which the operating system closes with the process, and the training waits at the
other.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

VARIABLE = "TRACKSIDE_LIFELINE"
"""Set where standard input is that pipe; its value is the process id of the runner."""


def hold_on() -> None:
    """End this process in order, as if terminated, once the runner that started it is gone. Else do nothing."""
    if os.environ.get(VARIABLE):
        threading.Thread(target=_wait, name="trackside-lifeline", daemon=True).start()


def _wait() -> None:
    try:
        while os.read(sys.__stdin__.fileno() if sys.__stdin__ is not None else 0, 4096):
            pass
    except (OSError, ValueError):
        return  # no pipe after all: whoever started this is somebody else
    os.kill(os.getpid(), signal.SIGTERM)
