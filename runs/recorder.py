"""What `Run.log` does: pack numbers into a record and append it to the journal, in a few microseconds."""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ..db.errors import StoreError, UsageError
from . import attachments, clean, numbers
from .journal import HEADER, MAGIC, POINTS_HEAD, SUFFIX, JournalWriter, Kind

logger = logging.getLogger("trackside")

JOURNAL_BYTES = 64 << 20
"""A journal larger than this is followed by a new one, and removed once the store has it: a long training must not
fill the disk with what the store already holds. At 200 bytes a step: 300,000 steps."""

_PLAIN = frozenset((float, int))
_NAN = math.nan

MOST_WARNINGS = 50
"""Most sentences kept of one process: they are printed, and read and written with the run's row."""

Pack = Callable[..., bytes]

_CHECKSUM_AT = HEADER.size - 4  # where in a header its last field begins


class Layout(NamedTuple):
    """Names that go together in one record.

    Attributes:
        number: what records call these names by.
        pack: makes the body of a record.
        head: the header of a record without its checksum.
    """

    number: int
    pack: Pack
    head: bytes

    @classmethod
    def of(cls, number: int, names: int) -> Layout:
        """The layout of so many names."""
        row = struct.Struct(f"{POINTS_HEAD.format}{names}d")
        return cls(number, row.pack, HEADER.pack(MAGIC, Kind.POINTS, row.size, 0)[:_CHECKSUM_AT])


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
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._descriptions: dict[str, bytes] = {}
        self._definitions = threading.Lock()
        self._deferred: list[tuple[Mapping[str, Any], tuple[Any, ...]]] = []
        self._warned: set[str] = set()
        self.journal = self._begin_journal()
        self.append: Callable[[Kind, bytes], None] = self.journal.append
        self._append_record: Callable[[bytes], None] = self.journal.append_record

    def log(self, metrics: Mapping[str, Any], step: int | None, epoch: float | None, samples: float | None) -> None:
        """Record numbers at a step; see `Run.log`."""
        try:
            try:
                values = metrics.values()
                layout = self._layouts[tuple(metrics)]
                if _PLAIN.issuperset(map(type, values)):
                    epoch_or_nan, samples_or_nan = (
                        _NAN if epoch is None else epoch,
                        _NAN if samples is None else samples,
                    )
                    self.log_row(layout, step, epoch_or_nan, samples_or_nan, values)  # type: ignore[arg-type]
                    return  # None does not pack
            except (KeyError, TypeError, AttributeError, OverflowError, struct.error):
                pass  # a first time, no step, or something that is no plain number: the careful way
            self._log_carefully(metrics, step, epoch, samples)
        except Exception as error:  # noqa: BLE001 - training must not stop because of a number we could not take
            self.warn(f"a call of log could not be recorded ({type(error).__name__}: {error})")

    def log_row(self, layout: Layout, step: int, epoch: float, samples: float, values: Iterable[float]) -> None:
        """Record numbers whose names were looked up before: what `log` does, for a caller that logs the same each step.

        Args:
            layout: from `layout`; good for as long as the recorder is.
            step: optimizer updates so far, counted from 0.
            epoch: where in the data this is.
            samples: training samples seen once this step was done.
            values: plain numbers, in the order of the layout's names.

        Raises:
            TypeError, struct.error: if they are not; nothing is recorded then.
        """
        # Flat, and with all that can be made beforehand made beforehand: it runs between somebody's training steps.
        body = layout.pack(
            layout.number, step, time.time_ns(), time.perf_counter() + self._process_offset, epoch, samples, *values
        )
        self._append_record(layout.head + zlib.crc32(body).to_bytes(4, "little") + body)
        self.last_step = step

    def append_json(self, kind: Kind, body: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Record a JSON object, or what a function makes of things that may not let themselves be looked at."""
        try:
            self.append(kind, orjson.dumps(body() if callable(body) else body))
        except UsageError as error:
            self.warn(f"a description of the run was left out: {error}")
        except Exception as error:  # noqa: BLE001 - describing a run must not stop the training
            self.warn(f"a description of the run could not be recorded ({type(error).__name__}: {error})")

    def attach(self, path: Path, described: Callable[[], Mapping[str, Any]], *, move: bool) -> bool:
        """Record a file; see `Run.attach`."""
        journal = self.journal  # file and record go to the same one, whichever follows it meanwhile
        try:
            if self.ended:
                self.warn(f"{path.name} was not attached: {self.ended}")
                return False
            attachments.append(journal, path, described(), move=move)
        except OSError as error:
            self.warn(f"{path} was not attached ({error.strerror or error})")
            return False
        except Exception as error:  # noqa: BLE001 - a file that cannot be taken must not stop the training
            self.warn(f"{path} was not attached ({type(error).__name__}: {error})")
            return False
        return True

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
                for names, layout in self._layouts.items():
                    new.append(Kind.LAYOUT, _layout_body(layout.number, names))
                for body in self._descriptions.values():
                    new.append(Kind.DESCRIBE, body)
                self.journal, self.append, self._append_record = new, new.append, new.append_record
            old.append(Kind.SUCCEEDED, b"")
            return old
        except (OSError, StoreError):
            return None  # there is no room for another: go on with this one

    def stop(self, reason: str) -> None:
        """Take nothing more, and say why to whoever logs nevertheless."""
        self.ended = reason
        self.append, self._append_record = _ignore, _ignore_record
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
        layout = self.layout(tuple(metrics))
        self.append(Kind.POINTS, layout.pack(layout.number, *stamp, *metrics.values()))

    def layout(self, names: tuple[str, ...]) -> Layout:
        """How numbers of these names are recorded together; said in the journal the first time."""
        known = self._layouts.get(names)
        if known is None:
            with self._definitions:
                known = self._layouts.get(names)
                if known is None:
                    number = len(self._layouts)
                    # In the journal before any record that refers to it.
                    self.append(Kind.LAYOUT, _layout_body(number, names))
                    known = Layout.of(number, len(names))
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


def _ignore_record(record: bytes) -> None:
    """Likewise for `append_record`."""
