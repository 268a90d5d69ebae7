"""The thread that carries a run's journal into the store while training goes on."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

from ..db.errors import StoreError
from ..db.ingest import JournalMovedError
from ..db.store import Store
from .ingester import Ingester
from .journal import JournalReader, JournalWriter
from .recorder import Recorder

logger = logging.getLogger("trackside")

INTERVAL_SECONDS = 1.0
"""How often points reach the store. Their safety does not wait for it: that is the journal's work."""

SHARE = 0.0025
SLOWEST_SECONDS = 4.0
PROMPT_COMMITS = 10
"""Of the processor's time, how much the writer may take; it waits longer between commits where they are dear (many
metrics, cold caches), but not longer than this. The first commits come every second: somebody may be watching, and
what is loaded once would count as dear."""

HEARTBEAT_SECONDS = 5.0
DUE_SECONDS = 30.0
"""A sign of life every five seconds; a run is called lost after missing six. A long compilation may hold the
interpreter for some seconds, and a busy SQLite file a writer for some more."""

_LONGEST_PAUSE = 30.0

STRAGGLER_SECONDS = 2.0
"""How long a journal that was succeeded by another is watched for records that a thread was about to append."""


class BackgroundWriter:
    """Reads what the training thread appended and commits it, about once a second, until told to stop.

    A store that does not answer costs one warning; the journal grows meanwhile, and everything arrives later.
    """

    def __init__(self, store: Store, recorder: Recorder, *, complained: bool = False) -> None:
        self._store = store
        self._recorder = recorder
        self._wake = threading.Event()
        self._stopping = False
        self._given_up = False
        self._delivered = False
        self._complained = complained  # somebody has said already that the store does not answer
        # A daemon: a training process that ends must never wait for a store that does not answer.
        self._thread = threading.Thread(target=self._work, name="trackside-writer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """Deliver what is left and end.

        Returns:
            True if the store has everything; False if it did not take it within `patience` seconds.
        """
        self._stopping = True
        self._wake.set()
        self._thread.join(patience)
        self._given_up = True
        return self._delivered

    def whereabouts(self) -> str:
        """Where the thread is at this moment, innermost call first: what a report of a stuck writer needs."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        if frame is None:
            return "the writer has ended"
        calls = [f"{Path(call.filename).name}:{call.lineno}" for call in traceback.extract_stack(frame)]
        return "the writer is at " + " < ".join(reversed(calls[-8:]))

    def _work(self) -> None:
        ingester = Ingester(self._store, self._recorder.journal.path)
        succeeded: JournalWriter | None = None
        prepared = False
        pause, next_beat, quiet_until, commits = 0.0, 0.0, 0.0, 0
        while True:
            stopping = self._stopping
            try:
                # Before the store, which may not answer: these make records durable.
                self._recorder.settle_deferred()
                self._recorder.journal.retry()
                self._recorder.journal.prepare()
                if not prepared:
                    self._store.prepare()
                    prepared = True
                now, used = time.monotonic(), time.thread_time()
                due = DUE_SECONDS if now >= next_beat else None
                # Only a full reach is followed by another at once: while training logs there is always a little more,
                # and a commit for every few steps would take ten times the processor time of one a second.
                while ingester.advance(due) >= JournalReader.CHUNK // 2:
                    due = None
                if now >= next_beat:
                    next_beat = now + HEARTBEAT_SECONDS
                if succeeded is None:
                    succeeded = self._recorder.succeed_journal()
                    quiet_until = now + STRAGGLER_SECONDS
                elif ingester.closed and now >= quiet_until:
                    _remove(succeeded, ingester)
                    succeeded = None
                    ingester = Ingester(self._store, self._recorder.journal.path)
                    continue
                commits += 1
                cost = 0.0 if commits <= PROMPT_COMMITS else time.thread_time() - used
                pause = min(max(INTERVAL_SECONDS, cost / SHARE), SLOWEST_SECONDS)
                if self._complained:
                    self._complained = False
                    logger.warning("trackside: the store answers again; what was waiting has been delivered.")
            except JournalMovedError:
                continue  # a recovery took part of it; go on from there
            except StoreError as error:
                prepared = False  # the file may have been taken away: make it anew, the journal has everything
                self._complain(error)
                pause = min(max(2 * pause, INTERVAL_SECONDS), _LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001 - a defect of ours must not end the delivery of a training's data
                self._complain(error)
                pause = _LONGEST_PAUSE
            if (ingester.closed and succeeded is None) or (stopping and self._complained) or self._given_up:
                break
            self._wake.wait(0.01 if stopping else pause)
            if not stopping and not self._stopping:
                self._wake.clear()
        self._delivered = ingester.closed and succeeded is None
        ingester.close()
        self._store.close()

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            logger.warning(
                "trackside: %s Training goes on, and nothing is lost: points wait in %s and arrive when it answers.",
                error,
                self._recorder.journal.path,
            )


def _remove(journal: JournalWriter, ingester: Ingester) -> None:
    """Take away a journal that the store has completely."""
    ingester.close()
    with suppress(OSError):
        journal.path.unlink(missing_ok=True)
    journal.close()
