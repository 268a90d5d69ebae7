"""A training that a runner started ends with the runner, however that ends.

The runner holds one end of a pipe, which the operating system closes with the process, and the training waits at the
other.
"""

from __future__ import annotations

import os
import signal
import stat
import threading

VARIABLE = "RUNNER_LIFELINE"
"""Set where standard input is that pipe; its value is the process id of the runner."""

_STANDARD_INPUT = 0


def hold_on() -> None:
    """End this process in order, as if terminated, once the runner that started it is gone. Else do nothing."""
    try:
        piped = stat.S_ISFIFO(os.fstat(_STANDARD_INPUT).st_mode)
    except OSError:
        piped = False
    if piped and os.environ.get(VARIABLE):
        threading.Thread(target=_wait, name="trackside-lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(_STANDARD_INPUT, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
