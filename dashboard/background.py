"""Work that takes seconds, done beside the requests that ask for it: the page asks again until it is there."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Event, Lock, Thread
from typing import Any

from ..db.errors import StoreError, TracksideError

PATIENCE_SECONDS = 0.4  # what a page may wait for rather than say that it is busy
MOST_KEPT = 24  # results; the timeline of a large step has some 10 MB


class Background:
    """Does one piece of work at a time and keeps the results that were asked for last."""

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._jobs: OrderedDict[Hashable, _Job] = OrderedDict()
        self._lock = Lock()
        self._turn = Lock()  # a trace at a time: two at once would only double the memory

    def ask(self, key: Hashable, work: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> Any:
        """The result of `work`, or None while it is still being done.

        Args:
            key: what the result is kept under; who asks again with the same key does not start it again.
            work: must not return None.
            patience: seconds to wait before None is the answer.

        Raises:
            TracksideError: if the work failed; a store that was away is asked again next time.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(work)
                Thread(target=job.run, args=(self._turn,), name="trackside-analysis", daemon=True).start()
            self._jobs.move_to_end(key)
            self._forget()
        if not job.done.wait(patience):
            return None
        if isinstance(job.error, StoreError):
            with self._lock:
                self._jobs.pop(key, None)
        if job.error is not None:
            raise job.error
        return job.result

    def _forget(self) -> None:
        finished = [key for key, job in self._jobs.items() if job.done.is_set()]
        for key in finished[: max(len(self._jobs) - self._most_kept, 0)]:
            del self._jobs[key]


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.done = Event()
        self.result: Any = None
        self.error: TracksideError | None = None

    def run(self, turn: Lock) -> None:
        try:
            with turn:
                self.result = self._work()
        except TracksideError as error:
            self.error = error
        except Exception as error:  # a defect of ours must not leave the page waiting for ever
            logging.getLogger("trackside.dashboard").error("Work in the background failed", exc_info=error)
            self.error = TracksideError("This trace could not be analysed; the server's log has the details.")
        finally:
            self.done.set()
