"""A run as training code sees it: start it, log to it, finish it. Nothing in here waits for the store."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from ..db.artifacts import MEDIA_TYPES
from ..db.errors import StoreUnreachableError, UsageError
from ..db.records import Reduction, RunInfo, State
from ..db.store import Store
from . import attachments, clean, numbers
from .debugging.failure import failure_record
from .debugging.records import DebugRecord
from .journal import Kind, journal_folder
from .outcome import describe_error, outcome
from .properties import LARGEST_COUNT, chosen_id, json_object, known_properties, tag_words, whole_number
from .recorder import Recorder
from .script import check_source, keep_script
from .scrub import scrub_json
from .signals import TerminationWatch
from .writer import BackgroundWriter

logger = logging.getLogger("trackside")

FINISH_SECONDS = 10.0
"""How long `finish` waits for the store. What has not arrived by then stays in the journal."""


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
    source: bool | str | os.PathLike[str] = True,
) -> Run:
    """Start a run; use it as a context manager, or call `finish` at the end.

    Args:
        name: what people call it; the script's name and a few letters of the id by default.
        project: runs of one project are listed together.
        config: hyperparameters and whatever else makes the run what it is; what looks like a secret is blotted out.
        store: where runs live; default `TRACKSIDE_STORE`, else `sqlite:///.trackside/trackside.db`.
        tags: words to find it by.
        group: runs that belong together, for example the two halves of a comparison.
        workload: which training problem it solves.
        notes: free text.
        id: the run's id, to continue a run or to share one between the ranks of a job; a new one by default.
        resume: continue the run `id` (or its unique prefix, or a name) instead of starting a new one.
        rank: which process of a distributed job this is. Only rank 0 speaks for the state of the run.
        properties: further properties as `Run.update` takes them.
        source: keep the text of the training script with a new run, secrets blotted out, so that the code of two runs
            can be compared; the path of another file keeps that one, False none.

    Raises:
        UsageError: for arguments that make no sense, `resume` of an unknown run among them.
        StoreError: if the store can never work as given: no database, another program's, from a newer version,
            a folder that cannot be written. One that merely does not answer is no error: records wait for it.
    """
    if resume and id is None:
        raise UsageError("resume=True needs the id (or the name) of the run to continue: start_run(id=…, resume=True).")
    script = check_source(source)
    target = Store(store)
    try:
        continued, answered = _prepare(target, id if resume else None)
    except BaseException:
        target.close()
        raise
    run_id = continued.id if continued else (chosen_id(id) if id else uuid.uuid4().hex[:12])
    created = {
        "name": clean.name(name or "") or f"{_script_name()}-{run_id[:4]}",
        "project": clean.name(project or "") or "default",
        "group_name": clean.name(group) if group else None,
        "workload": clean.name(workload) if workload else None,
        "notes": clean.text(notes or ""),
        "tags": tag_words(tags),
    }
    run = Run(
        target,
        run_id,
        created,
        config=scrub_json(json_object("config", config)),
        continued=continued,
        rank=whole_number("rank", rank, 0, LARGEST_COUNT),
        properties=properties or {},
        complained=not answered,
    )
    if continued is None and run.rank == 0:
        keep_script(run, script)
    return run


def _prepare(store: Store, resumed: str | None) -> tuple[RunInfo | None, bool]:
    """The run to continue, if one was named, and whether the store answered."""
    try:
        store.prepare()
        if resumed is None:
            return None, True
        from .recovery import recover

        run = store.run(resumed)
        recover(store, only_run=run.id)  # what an earlier process left comes before what this one logs
        return store.run(run.id), True
    except StoreUnreachableError as error:
        logger.warning("trackside: %s Training goes on; points wait in a journal until the store answers.", error)
        return None, False


class Run:
    """A run that is being written. Safe to use from several threads; a forked child inherits none.

    Attributes:
        id: 12 hexadecimal digits, unless one was given.
        name: what people call it.
        rank: which process of a distributed job writes here.
        store_url: where it will be found.
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
        properties: Mapping[str, Any],
        complained: bool = False,
    ) -> None:
        self.id = run_id
        self.name: str = continued.name if continued else created["name"]
        self.rank = rank
        self.store_url = store.url
        self._process_id = os.getpid()
        self._watch: TerminationWatch | None = None
        now = datetime.now(UTC).isoformat()
        known = known_properties(properties)
        began = {"state": "running", "started_at": now, "ended_at": None, "error": None}
        resumed = {
            **known,
            **({"config": config} if config else {}),
            "state": "running",
            "ended_at": None,
            "error": None,
        }
        self._recorder = Recorder(
            journal_folder(store.url),
            {
                "run_id": run_id,
                "rank": rank,
                "host": socket.gethostname(),
                "process_id": os.getpid(),
                "created": {**created, **known, "config": config, "created_at": now, **began},
                "resumed": resumed if continued else {},
            },
            last_step=continued.last_step if continued and continued.last_step is not None and rank == 0 else -1,
            process_seconds=continued.process_seconds if continued else 0.0,
        )
        if continued:
            self.event("resume", f"continued after step {self.last_step}", step=self._step_or_none())
        self._writer = BackgroundWriter(store, self._recorder, complained=complained)
        self._writer.start()
        _alive.add(self)
        atexit.register(self._at_exit)

    @property
    def closed(self) -> bool:
        """Whether it was finished, or belongs to a parent process."""
        return bool(self._recorder.ended)

    @property
    def last_step(self) -> int:
        """The last step logged, -1 before the first."""
        return self._recorder.last_step

    def __enter__(self) -> Self:
        self._watch = TerminationWatch(self._on_termination, lambda: self.finish("killed"))
        self._watch.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        state, kept = outcome(error)
        if self._watch is not None:
            self._watch.remove()
            state = "killed" if self._watch.received else state
        self.finish(state, kept)

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.name!r}{' closed' if self.closed else ''}>"

    def log(
        self,
        metrics: Mapping[str, Any],
        step: int | None = None,
        *,
        epoch: float | None = None,
        samples: float | None = None,
        tokens: float | None = None,
    ) -> None:
        """Record numbers at a step. Durable against the death of the process when it returns; never raises.

        Args:
            metrics: name to number: Python or NumPy scalars, tensors of one element. A tensor on an accelerator is read
                later, off this thread, and is durable from then on.
            step: optimizer updates so far, counted from 0; one more than the last by default.
            epoch: where in the data this is; may be fractional.
            samples: training samples seen once this step was done.
            tokens: training tokens seen once this step was done; recorded as the metric `tokens`.
        """
        if tokens is not None and hasattr(metrics, "items"):
            metrics = {**metrics, "tokens": tokens}
        self._recorder.log(metrics, step, epoch, samples)

    def rows(self, names: Sequence[str]) -> Callable[[int, float, float, Iterable[float]], None]:
        """Return a function that does what `log` does for metrics of these names, at less than half the cost.

        It takes step, epoch (NaN where unknown), samples and the values in the order of the names, all plain numbers,
        and raises TypeError or struct.error, with nothing recorded, where they are not. It needs no more care than
        that it is for who logs the same each step; a training loop calls `log`.
        """
        return partial(self._recorder.log_row, self._recorder.layout(tuple(names)))

    def describe(self, metric: str, unit: str | None = None, reduction: Reduction = "batch") -> None:
        """Say what a metric's values are: their unit, and what one value stands for."""
        if reduction not in get_args(Reduction):
            self.warn(f"reduction {reduction!r} of {metric!r} is none of {', '.join(get_args(Reduction))}; ignored")
            return
        self._recorder.describe(clean.name(metric), clean.name(unit) if unit else None, reduction)

    def update(self, **columns: Any) -> None:
        """Set properties of the run.

        Args:
            columns: `config`, `environment`, `model` (JSON objects, merged key by key); `framework`,
                `framework_version`, `backend`, `mode`, `precision`, `device`, `device_count`, `world_size`,
                `workload`, `total_steps`, `log_directory`, `notes`.
        """
        self._recorder.append_json(Kind.CHANGE, lambda: known_properties(columns))

    def fingerprint(self, name: str, value: Mapping[str, Any]) -> None:
        """Record something that the parity check compares."""
        self._recorder.append_json(
            Kind.FINGERPRINT, lambda: {"name": clean.name(name)[:64], "value": clean.json_value(value)}
        )

    def event(
        self, kind: str, message: str, *, step: int | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Record that something happened."""
        self._recorder.append_json(
            Kind.EVENT,
            lambda: {
                "kind": clean.name(kind)[:32],
                "time": datetime.now(UTC).isoformat(),
                "step": None if step is None else numbers.step_number(step),
                "message": clean.text(message),
                "detail": clean.json_value(detail or {}),
            },
        )

    def attach(
        self,
        path: str | os.PathLike[str],
        *,
        kind: str,
        name: str | None = None,
        step: int | None = None,
        detail: Mapping[str, Any] | None = None,
        media_type: str | None = None,
        move: bool = False,
    ) -> bool:
        """Add a file to the run: a trace, a dump, a picture. Returns once it is safe beside the journal; never raises.

        A file of more than 500 MB stays where it is, and the store keeps its path.

        Args:
            path: the file; it is copied, and may be changed afterwards.
            kind: what it is, for example `trace/chrome`.
            name: what to call it; the file's name by default.
            step: at which step it was made.
            detail: what a reader must know of it.
            media_type: for a download; known for traces.
            move: do not copy: the file goes away when the store has it.

        Returns:
            False if the file cannot be read or there is no room for a copy; a warning says so.
        """
        file = Path(path)
        return self._recorder.attach(
            file,
            lambda: {
                "kind": clean.name(kind)[:64],
                "name": clean.name(name or file.name),
                "step": None if step is None else numbers.step_number(step),
                "created_at": datetime.now(UTC).isoformat(),
                "media_type": clean.name(media_type or MEDIA_TYPES.get(kind, "application/octet-stream"))[:128],
                "detail": clean.json_value(detail or {}),
            },
            move=move,
        )

    def profile(
        self, schedule: Any = None, *, model: Any = None, framework: str | None = None, **arguments: Any
    ) -> Any:
        """Record some steps of a loop with the framework's profiler; a context manager with `step()`.

            with run.profile(wait=10, active=5) as profiler:
                for batch in data:
                    ...
                    profiler.step()

        Args:
            schedule: a `ProfileSchedule`.
            model: whose layers the trace is to name: a PyTorch module, or a Keras model that is run eagerly.
            framework: `torch` or `tensorflow`; the one that is loaded by default, PyTorch if both are.
            arguments: those of `ProfileSchedule`, instead of one.

        Raises:
            UsageError: for arguments that make no sense.
        """
        # By name: trackers stand on runs, and nothing here loads them unless it is called.
        loop = import_module("..trackers.profiling.loop", __package__)
        return loop.LoopProfiler(self, loop.schedule_of(schedule, arguments), model=model, framework=framework)

    def scratch(self, suffix: str = "") -> Path:
        """A path beside the journal for a file, or a folder, on its way to `attach`.

        What is left there is swept away once the process is gone.
        """
        return attachments.scratch(self._recorder.journal.path, suffix)

    def warn(self, sentence: str) -> None:
        """Count a sentence about what could not be had; print it the first time."""
        self._recorder.warn(sentence)

    def finish(
        self,
        state: State = "finished",
        error: BaseException | None = None,
        *,
        record: DebugRecord | None = None,
        step: int | None = None,
    ) -> None:
        """End the run and deliver what is left; later calls do nothing.

        Waits at most `FINISH_SECONDS` for the store; what has not arrived by then waits in the journal.

        Args:
            state: `finished`, `failed` or `killed`.
            error: what ended it; its traceback is kept.
            record: what is known of the error; read off it by default.
            step: where it happened; the last step logged by default.
        """
        if self.closed or os.getpid() != self._process_id:
            return
        self._recorder.settle_deferred()
        atexit.unregister(self._at_exit)
        described = describe_error(error)
        if error is not None and state == "failed":
            said = record.message if record is not None else described["message"]
            summary = f"{described['type']}: {said}"
            known = (record or failure_record(error)).to_json()
            happened = self._step_or_none() if step is None else step
            self.event("exception", summary, step=happened, detail={**described, **known})
        ending = {"state": state, "ended_at": datetime.now(UTC).isoformat(), "error": described or None}
        self._recorder.append_json(Kind.END, ending)
        self._recorder.stop("log was called after the run had ended; nothing was recorded")
        journal = self._recorder.journal
        if self._writer.stop(FINISH_SECONDS):
            with suppress(OSError):  # a folder that lost its permissions: a recovery finds nothing new in it
                journal.path.unlink(missing_ok=True)
        else:
            logger.warning(
                "trackside: the store did not take the end of run %s; it waits in %s: "
                "run trackside sync when the store is back (%s).",
                self.id,
                journal.path,
                self._writer.whereabouts(),
            )
        journal.close()
        if journal.lost_records:  # close counted those that still waited for room
            logger.warning(
                "trackside: %d records of run %s found no room on disk or in memory.", journal.lost_records, self.id
            )

    def _on_termination(self, name: str) -> None:
        self.event("signal", f"The process received {name}.", step=self._step_or_none(), detail={"signal": name})

    def _step_or_none(self) -> int | None:
        return self.last_step if self.last_step >= 0 else None

    def _at_exit(self) -> None:
        # The script ended without `finish`. An exception that nobody caught is remembered by the interpreter.
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        self.finish(*outcome(error))

    def _abandon_in_child(self) -> None:
        """In a forked child: let go of the journal, which belongs to the parent."""
        self._recorder.journal.close()
        atexit.unregister(self._at_exit)
        self._recorder.stop("a forked process does not write to its parent's run; call start_run in the child instead")


def _script_name() -> str:
    stem = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return stem if stem not in ("", "-c", "-m", "__main__") else "run"


_alive: weakref.WeakSet[Run] = weakref.WeakSet()


def _abandon_all_in_child() -> None:
    for run in list(_alive):
        run._abandon_in_child()


os.register_at_fork(after_in_child=_abandon_all_in_child)
