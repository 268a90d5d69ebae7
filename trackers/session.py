"""A run with all that accompanies it while someone trains: clock, sampler, signals, TensorBoard. No framework."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ..runs.debugging.records import DebugRecord
from ..runs.run import Run, start_run
from ..runs.scrub import scrub
from ..runs.signals import TerminationWatch
from .debugging.history import History
from .environment import describe_git, describe_machine, describe_usage
from .gpu import Gpus
from .guard import Guard
from .options import TrackerOptions as TrackerOptions
from .step_clock import StepClock, StepTime
from .system import SystemSampler
from .tensorboard import EventFiles

EndState = Literal["finished", "failed", "killed"]

# A short training may be over before git has answered; one that is being killed has no time to wait for it.
GIT_PATIENCE_SECONDS = 5.0
KILL_PATIENCE_SECONDS = 0.2

# Everything a tracker logs of itself, with unit and reduction; train/* and val/* are described as they come.
UNITS = {
    "step/seconds": "seconds",
    "step/first_seconds": "seconds",
    "step/data_seconds": "seconds",
    "step/compute_seconds": "seconds",
    "step/samples_per_second": "samples per second",
}


class TrackerSession:
    """One run while it is being trained: what both trackers do with it, free of any framework.

    Make one with `start` when training is about to begin, call `clock` around each batch, `log_step` after each
    update and `finish` once. Apart from `start`, nothing here raises.

    Attributes:
        run: the run that is written.
        clock: times the steps.
        step: the last optimizer update reached; what gauges and events are filed under.
        epoch: epochs done at that update; None where unknown.
        samples: training samples seen since the run began.
        history: the last steps, for the record of what goes wrong next.
        saw_loss: called with step and loss where a loss that was logged is not finite; nothing by default.
        finished: whether `finish` was called.
        closing: called when the run ends, however it does, while it can still be written.
    """

    def __init__(self, run: Run, options: TrackerOptions, guard: Guard, *, clock: StepClock | None = None) -> None:
        self.run = run
        self.options = options
        self.guard = guard
        self.clock = clock or StepClock()
        self.step = 0
        self.epoch: float | None = 0.0
        self.samples = 0
        self.history = History()
        self.saw_loss: Callable[[int, float], None] | None = None
        self.finished = False
        self._described: set[str] = set()
        self._sampler: SystemSampler | None = None
        self._watch: TerminationWatch | None = None
        self._events: EventFiles | None = None
        self._git: threading.Thread | None = None
        self._noticed: set[str] = set()
        self._finishing = threading.Lock()
        self.closing: list[Callable[[], None]] = []

    @classmethod
    def start(
        cls,
        options: TrackerOptions,
        guard: Guard,
        *,
        name: str | None = None,
        id: str | None = None,
        resume: bool = False,
        rank: int = 0,
        gpu_uuids: Sequence[str] | None = None,
        watch_signals: bool = True,
        properties: Mapping[str, Any] | None = None,
    ) -> TrackerSession:
        """Start (or resume) the run and everything that accompanies it.

        Args:
            options: the tracker's arguments.
            guard: takes what goes wrong from here on.
            name: the run's name, if not that of the options.
            id: the run to write to; a new one if None.
            resume: continue the run `id`.
            rank: which process of a distributed training this is; only rank 0 logs losses and describes the run.
            gpu_uuids: the GPUs to sample; None for all that the process may see.
            watch_signals: call `watch` at once; False where the framework has yet to install a handler of its own.
            properties: what is known at once of framework, device and so on, as for `Run.update`.

        Raises:
            TracksideError: when the run cannot be started with these arguments: the run to continue is unknown, or
                the store can never work.
        """
        run = start_run(
            name=name or options.name,
            project=options.project,
            config=scrub(dict(options.config)) if options.config else None,
            store=options.store,
            tags=tuple(options.tags),
            group=options.group,
            workload=options.workload,
            id=id,
            resume=resume,
            rank=rank,
            properties=properties,
            source=options.kept_source,
        )
        guard.attach(run.warn)
        session = cls(run, options, guard)
        with guard("describe the machine"):
            session._accompany(gpu_uuids)
        if watch_signals:
            session.watch()
        return session

    @classmethod
    @contextmanager
    def reopened(cls, options: TrackerOptions, guard: Guard, run_id: str) -> Iterator[TrackerSession]:
        """Continue a finished run for a moment, without sampler or signals, to add an evaluation to it.

        Raises:
            TracksideError: when the run cannot be continued.
        """
        run = start_run(id=run_id, resume=True, store=options.store)
        guard.attach(run.warn)
        session = cls(run, options, guard)
        session.step = max(run.last_step, 0)
        try:
            yield session
        finally:
            session.finish()

    def _accompany(self, gpu_uuids: Sequence[str] | None) -> None:
        if self.options.system is not False:
            interval = 1.0 if self.options.system is True else float(self.options.system)
            gpus = Gpus.open(gpu_uuids)
            self._sampler = SystemSampler(self._log_gauges, gpus, interval=interval, guard=self.guard)
            for key, unit in self._sampler.units.items():
                self.run.describe(key, unit=unit, reduction="sample")
        else:
            gpus = None
        for key, unit in UNITS.items():
            self.run.describe(key, unit=unit, reduction="batch")
        if self.run.rank == 0:
            self.run.update(environment=describe_machine(gpus))
            # git may be slow on a large checkout; training does not wait for it.
            self._git = threading.Thread(target=self._record_git, name="trackside-git", daemon=True)
            self._git.start()
            if self.options.tensorboard is not None:
                self._open_event_files(Path(self.options.tensorboard))
        if self._sampler is not None:
            self._sampler.start()

    def watch(self) -> None:
        """Record SIGTERM from now on, and end the run as killed where it ends the process.

        Call it after a framework has installed its own handler, which then does what it would have done.
        """
        if self._watch is None:
            self._watch = TerminationWatch(self._on_termination, lambda: self.finish("killed"))
            self._watch.install()

    def _record_git(self) -> None:
        with self.guard("read the git state"):
            state = describe_git()
            if state is not None:
                self.run.update(environment={"git": state})

    def _open_event_files(self, directory: Path) -> None:
        # A name may hold anything, also a path out of the directory.
        name = re.sub(r"[^\w.+=-]+", "_", self.run.name).strip(".")[:80]
        directory = directory.expanduser().resolve() / f"{name}-{self.run.id[:6]}"
        self._events = EventFiles(directory, guard=self.guard)
        self.run.update(log_directory=str(directory))

    def _log_gauges(self, gauges: dict[str, float]) -> None:
        self.run.log(gauges, step=self.step, epoch=self.epoch, samples=self.samples)

    @property
    def terminated(self) -> bool:
        """Whether the process was asked to terminate (SIGTERM) while this session ran."""
        return self._watch is not None and self._watch.received

    @property
    def event_files(self) -> bool:
        """Whether steps also go into TensorBoard's event files."""
        return self._events is not None

    @property
    def logs_loss(self) -> bool:
        """Whether this process logs losses and describes the run; only rank 0 does."""
        return self.run.rank == 0

    def due(self, step: int) -> bool:
        """Whether `log_every` asks for this step to be logged."""
        return step % self.options.log_every == 0

    def reached(self, step: int, epoch: float | None) -> None:
        """Note how far training is, also where the step is not logged."""
        self.step = step
        self.epoch = epoch

    def log_step(
        self,
        step: int,
        metrics: Mapping[str, float],
        time: StepTime | None = None,
        *,
        epoch: float | None = None,
        samples: int | None = None,
    ) -> None:
        """Log one optimizer update: its metrics and its time, in one record.

        Args:
            step: the update, counted from 0.
            metrics: plain floats by key; the same keys in the same order each time are the fastest.
            time: what `clock.end_step` returned.
            epoch: epochs done once the update was, in fractions: see `epochs_done`.
            samples: training samples seen once the update was done; `self.samples` if None.
        """
        if step >= self.step:  # an older one was read late, from an accelerator
            self.reached(step, epoch)
        loss = metrics.get("train/loss")
        self.history.steps.append((step, loss, metrics))
        if self.saw_loss is not None and loss is not None and not math.isfinite(loss):
            with self.guard("watch the loss"):
                self.saw_loss(step, loss)
        record = {**metrics, **time.metrics()} if time is not None else dict(metrics)
        if not record:
            return
        seen = self.samples if samples is None else samples
        self._describe(metrics, "batch")
        self.run.log(record, step=step, epoch=epoch, samples=seen)
        if self._events is not None:
            self._events.add(record, step)

    def log_epoch(
        self,
        step: int,
        metrics: Mapping[str, float],
        *,
        epoch: float | None = None,
        samples: int | None = None,
    ) -> None:
        """Log means over an epoch or a validation pass at the step of the last update before them."""
        if not metrics:
            return
        self._describe(metrics, "epoch_mean")
        seen = self.samples if samples is None else samples
        self.run.log(dict(metrics), step=step, epoch=epoch, samples=seen)
        if self._events is not None:
            self._events.add(metrics, step)

    def _describe(self, metrics: Mapping[str, float], reduction: Literal["batch", "epoch_mean"]) -> None:
        if metrics.keys() <= self._described:
            return
        for key in metrics:
            if key not in self._described:
                self._described.add(key)
                self.run.describe(key, reduction=reduction)

    def update(self, **properties: Any) -> None:
        """Add to what the run says of itself (see `Run.update`); secrets in `config` are blotted out."""
        if "config" in properties:
            own = dict(self.options.config or {})
            properties["config"] = scrub({**properties["config"], **own})
        self.run.update(**properties)

    def notice(self, sentence: str, *, kind: str = "notice", **detail: Any) -> None:
        """Record once, as an event of the run, what could not be had or has happened."""
        if sentence not in self._noticed:
            self._noticed.add(sentence)
            self.run.event(kind, sentence, step=self.step, detail=detail)

    def finish(
        self,
        state: EndState = "finished",
        error: BaseException | None = None,
        *,
        record: DebugRecord | None = None,
        step: int | None = None,
    ) -> None:
        """End the run and everything that accompanies it. Only the first call counts.

        Args:
            state: how it ended.
            error: what ended it.
            record: what the tracker can tell of the error.
            step: the update that was being made; the last one logged by default.
        """
        with self._finishing:
            if self.finished:
                return
            self.finished = True
        for close in self.closing:
            with self.guard("end what accompanies the training"):
                close()
        if self._watch is not None:
            self._watch.remove()
        if self._sampler is not None:
            self._sampler.stop()
        if self._events is not None:
            self._events.close()
        if self._git is not None:
            self._git.join(KILL_PATIENCE_SECONDS if state == "killed" else GIT_PATIENCE_SECONDS)
        if self.run.rank == 0:
            with self.guard("read what the process has used"):
                self.run.update(environment=describe_usage())
        self.run.finish(state, error, record=record, step=step)

    def _on_termination(self, name: str) -> None:
        self.run.event("signal", f"The process received {name}.", step=self.step, detail={"signal": name})

    def state_after(self, error: BaseException) -> EndState:
        """Return how a run ends that an exception ends: killed for an interrupt, an exit or a signal, else failed."""
        killed = self.terminated or _was_interrupted(error) or isinstance(error, SystemExit | GeneratorExit)
        return "killed" if killed else "failed"


def _was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an exception: TensorFlow makes an error of its own of one that struck in a kernel."""
    link: BaseException | None = error
    for _ in range(20):  # a chain may lead back to itself
        if link is None:
            return False
        if isinstance(link, KeyboardInterrupt) or "KeyboardInterrupt" in str(link)[:2000]:
            return True
        link = link.__cause__ or link.__context__
    return False


def epochs_done(epoch: int, batch: int, batches: int | float | None) -> float:
    """Return how many epochs are done once a batch is: 0.5 in the middle of the first, 1.0 at its end.

    Args:
        epoch: the epoch, counted from 0.
        batch: the batch within it, counted from 0.
        batches: batches of an epoch; None, 0 or infinite where unknown, and then whole epochs are counted.
    """
    if not batches or batches == float("inf"):
        return float(epoch)
    return epoch + min((batch + 1) / batches, 1.0)


def numbered(name: str | None, fit: int) -> str | None:
    """Return the name of the run of the n-th fit (from 1) with one tracker: `name`, `name-2`, `name-3`."""
    return name if name is None or fit <= 1 else f"{name}-{fit}"
