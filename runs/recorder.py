"""What `Run.log` does: pack numbers into a record and append it to the journal, in a few microseconds."""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from ..db.errors import StoreError, UsageError
from . import clean, numbers
from .journal import POINTS_HEAD, SUFFIX, JournalWriter, Kind

logger = logging.getLogger("trackside")

JOURNAL_BYTES = 64 << 20
"""A journal larger than this is followed by a new one, and removed once the store has it: a long training must not
fill the disk with what the store already holds. At 200 bytes a step: 300,000 steps."""

_PLAIN = frozenset((float, int))
_NAN = math.nan

MOST_WARNINGS = 50
"""Most sentences kept of one process: they are printed, and read and written with the run's row."""

Pack = Callable[..., bytes]


class Recorder:
    """The records of one process: appends them, and remembers which numbers go together in one record.

    Safe from several threads. `log` never raises and never waits: packing is a few microseconds, and appending one
    copy or system call.

    Attributes:
        last_step: the last step logged, -1 before the first.
        journal: the journal that is appended to now.
        ended: why nothing is taken any more; empty while it is.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], *, last_step: int, process_seconds: float) -> None:
        """Begin a journal.

        Args:
            folder: where journals lie.
            header: the RUN record, without the journal's id.
            last_step: the last step of the run so far.
            process_seconds: how long earlier processes of the run were up.

        Raises:
            StoreError: if the journal cannot be made.
        """
        self.last_step = last_step
        self.ended = ""
        self._folder = folder
        self._header = dict(header)
        self._process_offset = process_seconds - time.perf_counter()
        self._layouts: dict[tuple[str, ...], tuple[Pack, int]] = {}
        self._descriptions: dict[str, bytes] = {}
        self._definitions = threading.Lock()
        self._deferred: list[tuple[Mapping[str, Any], tuple[Any, ...]]] = []
        self._warned: set[str] = set()
        self.journal = self._begin_journal()
        self.append: Callable[[Kind, bytes], None] = self.journal.append

    def log(self, metrics: Mapping[str, Any], step: int | None, epoch: float | None, samples: float | None) -> None:
        """Record numbers at a step; see `Run.log`."""
        try:
            try:
                values = metrics.values()
                pack, layout = self._layouts[tuple(metrics)]
                if _PLAIN.issuperset(map(type, values)):
                    body = pack(
                        layout,
                        step,
                        time.time_ns(),
                        time.perf_counter() + self._process_offset,
                        _NAN if epoch is None else epoch,
                        _NAN if samples is None else samples,
                        *values,
                    )
                    self.append(Kind.POINTS, body)
                    self.last_step = step  # type: ignore[assignment]  # None does not pack
                    return
            except (KeyError, TypeError, AttributeError, OverflowError, struct.error):
                pass  # a first time, no step, or something that is no plain number: the careful way
            self._log_carefully(metrics, step, epoch, samples)
        except Exception as error:  # noqa: BLE001 - training must not stop because of a number we could not take
            self.warn(f"a call of log could not be recorded ({type(error).__name__}: {error})")

    def append_json(self, kind: Kind, body: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Record a JSON object, or what a function makes of things that may not let themselves be looked at."""
        try:
            self.append(kind, orjson.dumps(body() if callable(body) else body))
        except UsageError as error:
            self.warn(f"a description of the run was left out: {error}")
        except Exception as error:  # noqa: BLE001 - describing a run must not stop the training
            self.warn(f"a description of the run could not be recorded ({type(error).__name__}: {error})")

    def describe(self, name: str, unit: str | None, reduction: str) -> None:
        """Record what a metric's values are."""
        body = orjson.dumps({"name": name, "unit": unit, "reduction": reduction})
        with self._definitions:
            self._descriptions[name] = body
            self.append(Kind.DESCRIBE, body)

    def warn(self, sentence: str) -> None:
        """Count a sentence; print it the first time."""
        sentence = clean.text(sentence, 500)
        if len(self._warned) >= MOST_WARNINGS and sentence not in self._warned:
            sentence = "there were more kinds of warnings than are kept"
        self.append(Kind.WARNING, sentence.encode())
        if sentence not in self._warned:
            self._warned.add(sentence)
            logger.warning("trackside: %s.", sentence.rstrip("."))

    def settle_deferred(self) -> None:
        """Read the tensors that lay on an accelerator when they were logged. Runs off the training thread."""
        waiting, self._deferred = self._deferred, []
        if waiting:
            try:
                values = numbers.read_all([metrics for metrics, _ in waiting])
            except Exception as error:  # noqa: BLE001 - a device that fails must not take the training's end with it
                self.warn(f"{len(waiting)} records on a device could not be read ({type(error).__name__}: {error})")
                return
            for (metrics, stamp), read in zip(waiting, values, strict=True):
                self._append_points(dict(zip(metrics, read, strict=True)), stamp)

    def succeed_journal(self) -> JournalWriter | None:
        """Begin a new journal if this one is large; returns the old one, to be removed once the store has it.

        A thread that is logging at this moment may still append a record to the old one.
        """
        try:
            if self.ended or self.journal.size < JOURNAL_BYTES:
                return None
            with self._definitions:
                old, new = self.journal, self._begin_journal()
                # What records refer to by number must be known from the new journal alone.
                for names, (_, number) in self._layouts.items():
                    new.append(Kind.LAYOUT, _layout_body(number, names))
                for body in self._descriptions.values():
                    new.append(Kind.DESCRIBE, body)
                self.journal, self.append = new, new.append
            old.append(Kind.SUCCEEDED, b"")
            return old
        except (OSError, StoreError):
            return None  # there is no room for another: go on with this one

    def stop(self, reason: str) -> None:
        """Take nothing more, and say why to whoever logs nevertheless."""
        self.ended = reason
        self.append = _ignore
        self._layouts = {}  # the quick way of `log` finds nothing and leaves the question to the careful one

    def _log_carefully(
        self, metrics: Mapping[str, Any], step: int | None, epoch: float | None, samples: float | None
    ) -> None:
        if self.ended:
            self.warn(self.ended)
            return
        if not hasattr(metrics, "items"):
            kind = type(metrics).__name__
            self.warn(f"log takes a mapping such as {{'train/loss': 0.7}}, not {kind}; nothing was recorded")
            return
        number = self.last_step + 1 if step is None else numbers.step_number(step)
        if number is None:
            # Without its value, which would make another sentence of every step.
            self.warn(f"a step ({type(step).__name__}) was no 64-bit whole number; the step after the last was used")
            number = self.last_step + 1
        process_seconds = time.perf_counter() + self._process_offset
        stamp = (number, time.time_ns(), process_seconds, numbers.or_nan(epoch), numbers.or_nan(samples))
        self.last_step = number
        plain, later, refused = numbers.sort_out(metrics)
        for sentence in refused:
            self.warn(sentence)
        if plain:
            self._append_points(plain, stamp)
        if later:
            self._deferred.append((later, stamp))

    def _append_points(self, metrics: Mapping[str, float], stamp: tuple[Any, ...]) -> None:
        pack, layout = self._layout(tuple(metrics))
        self.append(Kind.POINTS, pack(layout, *stamp, *metrics.values()))

    def _layout(self, names: tuple[str, ...]) -> tuple[Pack, int]:
        known = self._layouts.get(names)
        if known is None:
            with self._definitions:
                known = self._layouts.get(names)
                if known is None:
                    number = len(self._layouts)
                    # In the journal before any record that refers to it.
                    self.append(Kind.LAYOUT, _layout_body(number, names))
                    known = (struct.Struct(f"{POINTS_HEAD.format}{len(names)}d").pack, number)
                    self._layouts[names] = known
        return known

    def _begin_journal(self) -> JournalWriter:
        journal_id = f"{self._header['run_id']}-{self._header['rank']}-{uuid.uuid4().hex[:8]}"
        # Names sort by time, so that a recovery replays the journals of one run in their order.
        journal = JournalWriter(self._folder / f"{time.time_ns():020d}-{journal_id}{SUFFIX}")
        journal.append(Kind.RUN, orjson.dumps({**self._header, "journal": journal_id}))
        self._header["resumed"] = {}  # said once; a journal that succeeds another must not say it again
        return journal


def _layout_body(number: int, names: tuple[str, ...]) -> bytes:
    return number.to_bytes(4, "little") + orjson.dumps([clean.name(name) or "unnamed" for name in names])


def _ignore(kind: Kind, body: bytes) -> None:
    """Stands for the journal's `append` once nothing is taken any more."""
