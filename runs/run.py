"""A run as training code sees it: start it, log to it, finish it. Nothing in here waits for the store."""

from __future__ import annotations

import atexit
import logging
import math
import os
import socket
import struct
import sys
import threading
import time
import traceback as traceback_module
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import orjson

from ..db.errors import StoreUnreachableError, UsageError
from ..db.records import Reduction, RunInfo, State
from ..db.store import Store
from . import clean, numbers
from .journal import POINTS_HEAD, SUFFIX, JournalWriter, Kind, journal_folder
from .writer import BackgroundWriter

logger = logging.getLogger("trackside")

PROPERTIES = (
    "workload", "group_name", "framework", "framework_version", "backend", "mode", "precision", "device",
    "device_count", "world_size", "total_steps", "log_directory", "notes",
)  # fmt: skip
_MERGED = ("config", "environment", "model")

FINISH_SECONDS = 10.0
"""How long `finish` waits for the store. What has not arrived by then stays in the journal."""

_PLAIN = frozenset((float, int))
_NAN = math.nan


def start_run(
    name: str | None = None,
    project: str = "default",
    *,
    config: Mapping[str, Any] | None = None,
    store: str | None = None,
    tags: Iterable[str] = (),
    group: str | None = None,
    workload: str | None = None,
    notes: str = "",
    id: str | None = None,
    resume: bool = False,
    rank: int = 0,
    properties: Mapping[str, Any] | None = None,
) -> Run:
    """Start a run; use it as a context manager, or call `finish` at the end.

    Args:
        name: what people call it; the script's name and a few letters of the id by default.
        project: runs of one project are listed together.
        config: hyperparameters and whatever else makes the run what it is.
        store: where runs live; default `TRACKSIDE_STORE`, else `sqlite:///.trackside/trackside.db`.
        tags: words to find it by.
        group: runs that belong together, for example the two halves of a comparison.
        workload: which training problem it solves.
        notes: free text.
        id: the run's id, to continue a run or to share one between the ranks of a job; a new one by default.
        resume: continue the run `id` (or its unique prefix, or a name) instead of starting a new one.
        rank: which process of a distributed job this is. Only rank 0 speaks for the state of the run.
        properties: further properties as `Run.update` takes them.

    Raises:
        UsageError: for arguments that make no sense, `resume` of an unknown run among them.
        StoreError: if the store can never work as given: no database, another program's, from a newer version,
            a folder that cannot be written. One that merely does not answer is no error: records wait for it.
    """
    if resume and id is None:
        raise UsageError("resume=True needs the id (or the name) of the run to continue: start_run(id=…, resume=True).")
    target = Store(store)
    try:
        continued = _prepare(target, id if resume else None)
    except BaseException:
        target.close()
        raise
    run_id = continued.id if continued else (clean.name(id) if id else uuid.uuid4().hex[:12])
    created = {
        "name": clean.name(name) if name else f"{_script_name()}-{run_id[:4]}",
        "project": clean.name(project) or "default",
        "group_name": clean.name(group) if group else None,
        "workload": clean.name(workload) if workload else None,
        "notes": clean.text(notes),
        "tags": sorted({clean.name(tag) for tag in ([tags] if isinstance(tags, str) else tags)}),
    }
    return Run(
        target,
        run_id,
        created,
        config=_object("config", config),
        continued=continued,
        rank=rank,
        properties=dict(properties or {}),
    )


def _prepare(store: Store, resumed: str | None) -> RunInfo | None:
    """Open the store if it answers; the run to continue, if one was named."""
    try:
        store.prepare()
        if resumed is None:
            return None
        from .recovery import recover

        run = store.run(resumed)
        recover(store, only_run=run.id)  # what an earlier process left comes before what this one logs
        return store.run(run.id)
    except StoreUnreachableError as error:
        logger.warning("trackside: %s Training goes on; points wait in a journal until the store answers.", error)
        return None


class Run:
    """A run that is being written. Safe to use from several threads; a forked child inherits none.

    Attributes:
        id: 12 hexadecimal digits, unless one was given.
        name: what people call it.
        rank: which process of a distributed job writes here.
        closed: whether it was finished.
        last_step: the last step logged, -1 before the first.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        created: dict[str, Any],
        *,
        config: dict[str, Any],
        continued: RunInfo | None,
        rank: int,
        properties: dict[str, Any],
    ) -> None:
        self.id = run_id
        self.name: str = continued.name if continued else created["name"]
        self.rank = rank
        self.closed = False
        self.last_step = (
            (continued.last_step if continued and continued.last_step is not None else -1) if rank == 0 else -1
        )
        self.store_url = store.url
        self._layouts: dict[tuple[str, ...], tuple[Callable[..., bytes], int]] = {}
        self._layout_lock = threading.Lock()
        self._warned: set[str] = set()
        self._deferred: list[tuple[Any, ...]] = []
        self._process_offset = (continued.process_seconds if continued else 0.0) - time.perf_counter()
        self._process_id = os.getpid()

        journal_id = f"{run_id}-{rank}-{uuid.uuid4().hex[:8]}"
        folder = journal_folder(store.url)
        # Names sort by time, so that a recovery replays the journals of a resumed run in their order.
        self._journal = JournalWriter(folder / f"{time.time_ns():020d}-{journal_id}{SUFFIX}")
        self._append: Callable[[Kind, bytes], None] = self._journal.append
        self._ended = ""
        now = datetime.now(UTC).isoformat()
        properties = self._properties(properties)
        began = {"state": "running", "started_at": now, "ended_at": None, "error": None}
        header = {
            "journal": journal_id,
            "run_id": run_id,
            "rank": rank,
            "host": socket.gethostname(),
            "process_id": os.getpid(),
            "created": {**created, **properties, "config": config, "created_at": now, **began},
            "resumed": {**properties, **({"config": config} if config else {}), "state": "running", "ended_at": None}
            if continued
            else {},
        }
        self._append(Kind.RUN, orjson.dumps(header))
        if continued:
            self.event("resume", f"continued after step {self.last_step}", step=self.last_step)
        self._writer = BackgroundWriter(store, self._journal, self._settle_deferred)
        self._writer.start()
        _alive.add(self)
        atexit.register(self._at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(*_outcome(error))

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.name!r}{' closed' if self.closed else ''}>"

    def log(
        self,
        metrics: Mapping[str, Any],
        step: int | None = None,
        *,
        epoch: float | None = None,
        samples: float | None = None,
    ) -> None:
        """Record numbers at a step. Durable against the death of the process when it returns; never raises.

        Args:
            metrics: name to number: Python or NumPy scalars, tensors of one element. A tensor on an accelerator is read
                later, off this thread, and is durable from then on.
            step: optimizer updates so far, counted from 0; one more than the last by default.
            epoch: where in the data this is; may be fractional.
            samples: training samples seen once this step was done.
        """
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
                self._append(Kind.POINTS, body)
                self.last_step = step  # type: ignore[assignment]  # None does not pack
                return
        except (KeyError, TypeError, AttributeError, OverflowError, struct.error):
            pass  # a first time, no step, or something that is no plain number: the careful way
        try:
            self._log_carefully(metrics, step, epoch, samples)
        except Exception as error:  # noqa: BLE001 - training must not stop because of a number we could not take
            self.warn(f"a call of log could not be recorded ({type(error).__name__}: {error})")

    def describe(self, metric: str, unit: str | None = None, reduction: Reduction = "batch") -> None:
        """Say what a metric's values are: their unit, and what one value stands for."""
        if reduction not in get_args(Reduction):
            self.warn(f"reduction {reduction!r} of {metric!r} is none of {', '.join(get_args(Reduction))}; ignored")
            return
        body = {"name": clean.name(metric), "unit": clean.name(unit) if unit else None, "reduction": reduction}
        self._append_json(Kind.DESCRIBE, body)

    def update(self, **columns: Any) -> None:
        """Set properties of the run.

        Args:
            columns: `config`, `environment`, `model` (JSON objects, merged key by key); `framework`,
                `framework_version`, `backend`, `mode`, `precision`, `device`, `device_count`, `world_size`,
                `workload`, `total_steps`, `log_directory`, `notes`.
        """
        try:
            self._append_json(Kind.CHANGE, self._properties(columns))
        except (UsageError, TypeError, ValueError) as error:
            self.warn(f"a description of the run was left out: {error}")

    def fingerprint(self, name: str, value: Mapping[str, Any]) -> None:
        """Record something that the parity check compares."""
        self._append_json(Kind.FINGERPRINT, {"name": name, "value": clean.json_value(value)})

    def event(
        self, kind: str, message: str, *, step: int | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Record that something happened."""
        body = {
            "kind": kind[:32],
            "time": datetime.now(UTC).isoformat(),
            "step": None if step is None else numbers.step_number(step),
            "message": clean.text(message),
            "detail": clean.json_value(detail or {}),
        }
        self._append_json(Kind.EVENT, body)

    def warn(self, sentence: str) -> None:
        """Count a sentence about what could not be had; print it the first time."""
        sentence = clean.text(sentence, 500)
        self._append(Kind.WARNING, sentence.encode())
        if sentence not in self._warned:
            self._warned.add(sentence)
            logger.warning("trackside: %s.", sentence.rstrip("."))

    def finish(self, state: State = "finished", error: BaseException | None = None) -> None:
        """End the run and deliver what is left; later calls do nothing.

        Waits at most `FINISH_SECONDS` for the store; what has not arrived by then waits in the journal.

        Args:
            state: `finished`, `failed` or `killed`.
            error: what ended it; its traceback is kept.
        """
        if self.closed or os.getpid() != self._process_id:
            return
        self._settle_deferred()
        atexit.unregister(self._at_exit)
        described = describe_error(error)
        if error is not None and state == "failed":
            self.event(
                "exception", f"{described['type']}: {described['message']}", step=self._step_or_none(), detail=described
            )
        ending = {"state": state, "ended_at": datetime.now(UTC).isoformat(), "error": described or None}
        self._append_json(Kind.END, ending)
        self._detach("log was called after the run had ended; nothing was recorded")
        delivered = self._writer.stop(FINISH_SECONDS)
        if delivered:
            self._journal.path.unlink(missing_ok=True)
        else:
            logger.warning(
                "trackside: the store did not take the end of run %s; it waits in %s: "
                "run trackside sync when the store is back.",
                self.id,
                self._journal.path,
            )
        self._journal.close()
        if self._journal.lost_records:
            logger.warning(
                "trackside: %d records of run %s found no room on disk or in memory.",
                self._journal.lost_records,
                self.id,
            )

    def _log_carefully(
        self, metrics: Mapping[str, Any], step: int | None, epoch: float | None, samples: float | None
    ) -> None:
        if self.closed:
            self.warn(self._ended)
            return
        if not hasattr(metrics, "items"):
            self.warn(
                f"log takes a mapping such as {{'train/loss': 0.7}}, not {type(metrics).__name__}; nothing was recorded"
            )
            return
        number = self.last_step + 1 if step is None else numbers.step_number(step)
        if number is None:
            self.warn(f"step {clean.text(repr(step), 60)} is no whole number; the step after the last was used")
            number = self.last_step + 1
        stamp = (
            number,
            time.time_ns(),
            time.perf_counter() + self._process_offset,
            numbers.or_nan(epoch),
            numbers.or_nan(samples),
        )
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
        self._append(Kind.POINTS, pack(layout, *stamp, *metrics.values()))

    def _layout(self, names: tuple[str, ...]) -> tuple[Callable[..., bytes], int]:
        known = self._layouts.get(names)
        if known is None:
            with self._layout_lock:
                known = self._layouts.get(names)
                if known is None:
                    number = len(self._layouts)
                    # In the journal before any record that refers to it.
                    self._append(
                        Kind.LAYOUT, number.to_bytes(4, "little") + orjson.dumps([clean.name(n) for n in names])
                    )
                    known = (struct.Struct(f"{POINTS_HEAD.format}{len(names)}d").pack, number)
                    self._layouts[names] = known
        return known

    def _settle_deferred(self) -> None:
        """Read the tensors that were on an accelerator when they were logged. Runs off the training thread."""
        waiting, self._deferred = self._deferred, []
        if waiting:
            for (metrics, stamp), values in zip(waiting, numbers.read_all([m for m, _ in waiting]), strict=True):
                self._append_points(dict(zip(metrics, values, strict=True)), stamp)

    def _append_json(self, kind: Kind, body: Mapping[str, Any]) -> None:
        try:
            self._append(kind, orjson.dumps(body))
        except Exception as error:  # noqa: BLE001 - describing a run must not stop the training
            self.warn(f"a description of the run could not be recorded ({type(error).__name__}: {error})")

    def _properties(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in columns.items():
            if name == "group":
                name = "group_name"
            if name in _MERGED:
                kept[name] = _object(name, value)
            elif name in ("device_count", "world_size", "total_steps"):
                kept[name] = None if value is None else int(value)
            elif name in PROPERTIES:
                kept[name] = None if value is None else clean.text(value, 1000)
            else:
                raise UsageError(f"a run has no property {name!r}: it has {', '.join((*_MERGED, *PROPERTIES))}.")
        return kept

    def _step_or_none(self) -> int | None:
        return self.last_step if self.last_step >= 0 else None

    def _at_exit(self) -> None:
        # The script ended without `finish`. An exception that nobody caught is remembered by the interpreter.
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        self.finish(*_outcome(error))

    def _abandon_in_child(self) -> None:
        """In a forked child: let go of the journal, which belongs to the parent."""
        self._journal.close()
        atexit.unregister(self._at_exit)
        self._detach("a forked process does not write to its parent's run; call start_run in the child instead")

    def _detach(self, reason: str) -> None:
        """Take nothing more, and say why to whoever logs nevertheless."""
        self.closed = True
        self._ended = reason
        self._append = _ignore
        self._layouts = {}  # the quick way of `log` finds nothing and leaves the question to the careful one


def _ignore(kind: Kind, body: bytes) -> None:
    """Stands for the journal's `append` once a run is closed."""


def describe_error(error: BaseException | None) -> dict[str, Any]:
    """An exception as the store keeps it: `type`, `message`, `traceback`; empty for None."""
    if error is None:
        return {}
    lines = traceback_module.format_exception(type(error), error, error.__traceback__)
    return {
        "type": type(error).__qualname__,
        "message": clean.text(error, 2_000),
        # The end says what happened; a recursion error has thousands of lines before it.
        "traceback": clean.text("".join(lines)[-20_000:]),
    }


def _outcome(error: BaseException | None) -> tuple[State, BaseException | None]:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    return ("killed" if isinstance(error, KeyboardInterrupt) else "failed"), error


def _object(what: str, value: Any) -> dict[str, Any]:
    try:
        return clean.json_object(value or {})
    except TypeError as error:
        raise UsageError(f"{what}: {error}.") from error


def _script_name() -> str:
    stem = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return stem if stem not in ("", "-c", "-m", "__main__") else "run"


_alive: weakref.WeakSet[Run] = weakref.WeakSet()


def _abandon_all_in_child() -> None:
    for run in list(_alive):
        run._abandon_in_child()


os.register_at_fork(after_in_child=_abandon_all_in_child)
