"""Bringing in, while the dashboard runs, what processes that died left behind."""

from __future__ import annotations

import logging
from threading import Event, Thread

from ..db.errors import TracksideError
from ..runs.recovery import recover
from .source import StoreSource

SECONDS = 15.0
STOP_SECONDS = 10.0


class Recovery:
    """A thread that takes abandoned journals into the store, at once and then every few seconds.

    A run whose process was killed then shows as `lost`, with all of its points, without another command.

    Args:
        source: the store.
        seconds: between two looks.
    """

    def __init__(self, source: StoreSource, seconds: float = SECONDS) -> None:
        self.source = source
        self.seconds = seconds
        self._stopping = Event()
        self._said: str | None = None
        self._thread = Thread(target=self._follow, name="trackside-recovery", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, once the journal that is being taken in is done; ten seconds at most."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _follow(self) -> None:
        while True:
            self._look()
            if self._stopping.wait(self.seconds):
                return

    def _look(self) -> None:
        """One look. What goes wrong is said once, not every few seconds: the journals stay for the next time."""
        try:
            recover(self.source())
        except (TracksideError, OSError, ValueError) as error:
            if str(error) != self._said:
                self._said = str(error)
                logging.getLogger("trackside.dashboard").warning("Journals of dead processes wait: %s", error)
        else:
            self._said = None
