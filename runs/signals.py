"""Notices SIGTERM without changing what it does to the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

# A scheduler grants seconds, not minutes, between SIGTERM and SIGKILL.
PATIENCE_SECONDS = 3.0


class TerminationWatch:
    """Hears SIGTERM, then hands it on to the handler that was there before, or to the system's default.

    Nothing is installed outside the main thread (Python refuses), nor over a handler that was not set from Python
    (it could not be handed on).

    Args:
        on_signal: called with the signal's name. It runs on a thread of its own and is waited for only briefly: the
            signal may have interrupted the main thread while it held a lock that `on_signal` needs.
        on_end: called in the same way when the signal is about to end the process at once.
    """

    def __init__(self, on_signal: Callable[[str], None], on_end: Callable[[], None]) -> None:
        self.received = False
        self._on_signal = on_signal
        self._on_end = on_end
        self._installed = False
        self._previous: Any = None

    def install(self) -> bool:
        """Begin to watch; returns False where that is impossible."""
        if threading.current_thread() is not threading.main_thread():
            return False
        previous = signal.getsignal(signal.SIGTERM)
        if previous is None:
            return False
        self._previous = previous
        signal.signal(signal.SIGTERM, self._handle)
        self._installed = True
        return True

    def remove(self) -> None:
        """Put the former handler back, unless someone has put another one over ours."""
        if not self._installed or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._previous)
            self._installed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._installed and self._previous is not signal.SIG_IGN:
            self.received = True
            _briefly(lambda: self._on_signal(signal.Signals(number).name))
        if callable(self._previous):
            try:
                self._previous(number, frame)
            except SystemExit:
                _briefly(self._on_end)
                raise
        elif self._previous == signal.SIG_DFL:
            _briefly(self._on_end)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _briefly(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, name="trackside-signal", daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
