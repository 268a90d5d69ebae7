"""Turns the rows of Keras' executions into records of optimizer updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..runs.metric_names import metric_key
from . import keras_model
from .session import TrackerSession, epochs_done
from .step_clock import TIMES, StepTime

if TYPE_CHECKING:
    from .debugging.keras_watch import KerasWatch
    from .keras_probe import StepProbe, StepRow

Row = Callable[[int, float, float, Iterable[float]], None]  # what `Run.rows` returns


class StepRecorder:
    """Gathers what belongs to one optimizer update, from one batch or several, and logs it in one record.

    A step that leaves the same row as the one before goes a short way, `_log_usual`: what a hook costs between
    somebody's training steps is the loading of the code and objects it touches. All others go the careful way beside
    it; the record is the same.

    Args:
        session: the started run.
        model: the model, about to train.
        probe: reads what each step left; None where Keras' own logs are all there is.
        first_step: the number of the next update.
        batches: batches of an epoch; None where unknown.
        watch: sees to values that are not finite.

    Attributes:
        probe: the probe that is read.
        batch_keys: what was logged for updates.
        batch_size: samples of the largest batch so far; 0 where the batches do not tell.
    """

    def __init__(
        self,
        session: TrackerSession,
        model: Any,
        probe: StepProbe | None,
        *,
        first_step: int,
        batches: int | None,
        watch: KerasWatch | None = None,
    ) -> None:
        self._session = session
        self._model = model
        self._watch = watch
        self.probe = probe
        self._step = first_step
        self._batches = batches
        self._accumulation = keras_model.accumulation(model.optimizer)
        # Keras keeps a half-made update from one epoch, and from one fit, to the next.
        self._pending = keras_model.batches_seen(model.optimizer) % self._accumulation
        self._made: list[dict[str, float]] = []  # by the batches of the update under way
        self._begin = 0
        self._in_step = False
        self._keys: dict[str, str] = {}
        self._running_means: set[str] = set()
        self.batch_keys: set[str] = set()
        self._epoch_samples: float = 0.0
        self._epoch_batches = 0
        self._first = True
        self.batch_size = 0
        self._usual: tuple[StepProbe, int, Row] | None = None  # that rows come from, where in them samples are
        self._checked: tuple[int, ...] = ()  # where in them the loss is, and the gradient norm
        self._loss_at = 0
        self._names: tuple[str, ...] = ()  # of what else is in them
        self._bad_batch = False  # among those that make the update under way

    @property
    def under_way(self) -> tuple[int, int] | None:
        """The update being made and the batch of the epoch it is made with, both counted from 0; None between steps."""
        return (self._step, self._begin) if self._in_step else None

    @property
    def next_step(self) -> int:
        """The number of the update that the next batch, or the one under way, belongs to."""
        return self._step

    @property
    def accumulation(self) -> int:
        """How many batches make an update."""
        return self._accumulation

    @property
    def loss_is_running_mean(self) -> bool:
        """Whether the loss, or what there is in its place, could only be had as Keras' running mean."""
        return bool(self._running_means)

    @property
    def samples_per_epoch(self) -> int | None:
        """Training samples of the epoch that ends; None where the batches do not tell, or it was cut short."""
        if self._batches is not None and self._epoch_batches < self._batches:
            return None
        return int(self._epoch_samples) if self._epoch_samples == self._epoch_samples and self._epoch_samples else None

    def begin_epoch(self) -> None:
        """An epoch begins."""
        self._in_step = False  # data of unknown length ends in an execution that has no end
        self._epoch_samples = 0.0
        self._epoch_batches = 0

    def end_epoch(self) -> None:
        """An epoch has ended; how long one is, is known now."""
        self._batches = self._batches or self._epoch_batches

    def begin_batches(self, batch: int) -> None:
        """An execution of one or several steps begins with this batch of the epoch."""
        self._begin = batch
        if self.probe is not None and not self._in_step:
            self.probe.discard()  # what someone else did with the training function is no part of this training
        self._in_step = True
        self._session.clock.begin_batch()

    def end_batches(self, epoch: int, batch: int, logs: Mapping[str, float]) -> None:
        """An execution has ended.

        Args:
            epoch: counted from 0.
            batch: the last batch of the execution; beyond the last there was, where the epoch ended in between.
            logs: Keras' means since the epoch began.
        """
        if self._usual is not None and batch == self._begin and self._log_usual(*self._usual, epoch, batch):
            return
        session = self._session
        self._in_step = False
        rows = self.probe.read() if self.probe is not None else []
        steps = len(rows) or batch - self._begin + 1
        samples = waited = 0.0
        for row in rows:
            samples += row.values.get("samples", 0.0)
            waited += row.data_seconds
        session.clock.end_batch(int(samples) if samples == samples else 0, data_seconds=waited)
        updates = (self._pending + steps) // self._accumulation
        time: StepTime | None = None
        if updates:
            # The first execution is one period with its tracing and compiling, however many updates it made.
            time = session.clock.end_step(1 if self._first else updates)
        bad = self._bad_step(steps)
        for index in range(steps):
            self._bad_batch = self._bad_batch or index == bad
            self._made.append(self._batch_metrics(rows[index] if rows else None, logs if index == steps - 1 else {}))
            self._epoch_batches += 1
            self._pending += 1
            if self._pending == self._accumulation:
                self._pending = 0
                self._log(time, epochs_done(epoch, self._begin + index, self._batches), self._begin + index)
                if self._first:
                    self._first, time = False, None

    def _bad_step(self, steps: int) -> int | None:
        """Which step of an execution was kept because it was not finite, counted from 0; None where none was."""
        keeper = None if self._watch is None else self._watch.keeper
        if keeper is None or keeper.taken is None:
            return None
        seen = max((keras_model.batches_seen(each) for each in keras_model.optimizers(self._model)), default=0)
        return min(max(steps - (seen - keeper.taken.batches), 0), steps - 1)

    def _log_usual(self, probe: StepProbe, samples_at: int, log_row: Row, epoch: int, batch: int) -> bool:
        """Log a step that left the usual row; False, with nothing changed, if it did not."""
        row = probe.usual_row() if probe is self.probe else None
        if row is None or not (samples := row[samples_at]) >= 1:
            return False
        if self._watch is not None:
            if self._watch.roused:
                return False
            for at in self._checked:
                if row[at] - row[at] != 0.0:  # NaN or infinite
                    return False
        session, count = self._session, int(samples)
        times = session.clock.end_batch_and_step(count, probe.waited(row))
        if times is None:
            return False
        probe.take_usual_row()
        self._in_step = False
        self._epoch_samples += samples
        self._epoch_batches += 1
        if count > self.batch_size:
            self.batch_size = count
        session.samples += count
        session.step = step = self._step
        self._step += 1
        session.epoch = done = epochs_done(epoch, batch, self._batches)
        values = (*row[3:samples_at], *row[samples_at + 1 :])
        session.history.steps.append((step, row[self._loss_at], dict(zip(self._names, values, strict=True))))
        log_row(step, done, session.samples, (*values, *times))
        return True

    def _learn(self, metrics: Mapping[str, float], time: StepTime | None) -> None:
        """Prepare the short way for steps that leave the same as this one, if it was a step of the usual kind."""
        session, probe = self._session, self.probe
        if time is None or tuple(time.metrics()) != TIMES or probe is None or probe.steps > 1:
            return
        if self._accumulation > 1 or session.options.log_every != 1 or session.event_files or self._measured:
            return
        columns = probe.values.columns
        names = tuple(self._keys.get(name) for name in ("learning_rate", *columns) if name != "samples")
        if "samples" in columns and "loss" in columns and names == tuple(metrics):
            log_row = session.run.rows((*metrics, *TIMES))
            self._usual = probe, 4 + columns.index("samples"), log_row
            self._loss_at = 4 + columns.index("loss")
            self._checked = tuple(4 + columns.index(name) for name in ("loss", "gradient_norm") if name in columns)
            self._names = tuple(metrics)

    @property
    def _measured(self) -> bool:
        """Whether the layers are measured."""
        return self.probe is not None and self.probe.layers is not None

    def _batch_metrics(self, row: StepRow | None, logs: Mapping[str, float]) -> dict[str, float]:
        """Return what is known of one batch, by key, and count its samples."""
        values = row.values if row is not None else {}
        samples = values.pop("samples", 0.0)
        self._epoch_samples += samples
        if samples == samples:
            self._session.samples += int(samples)
            if samples > self.batch_size:
                self.batch_size = int(samples)
        keys = self._keys
        metrics = {keys.get(name) or self._key(name): value for name, value in values.items()}
        if "loss" not in values:
            for name, value in logs.items():
                if (key := metric_key(name, "train")) not in metrics:
                    self._running_means.add(key)
                    metrics[key] = value
        return metrics

    def _key(self, name: str) -> str:
        if name in ("learning_rate", "gradient_norm"):
            key = f"optimizer/{name}"
        elif name.startswith("layers/"):
            key = name
        elif name.startswith("optimizer"):
            key = name  # of one of several
        else:
            plain = name.removeprefix("metric/")
            key = metric_key(plain, "train")
            if key in self._keys.values():
                key = f"train/{plain}"  # two that would share a key keep their own names
        self._keys[name] = key
        return key

    def _log(self, time: StepTime | None, epoch: float, batch: int) -> None:
        session, step = self._session, self._step
        self._step += 1
        session.reached(step, epoch)
        made, self._made = self._made, []
        bad, self._bad_batch = self._bad_batch, False
        metrics = made[0] if len(made) == 1 else self._mean(made)
        if self._watch is not None:
            with session.guard("watch for values that are not finite"):
                self._watch.saw(step, metrics, batch, kept=bad)
        if not session.due(step):
            return
        if self._measured and (probes := session.options.probes) is not None and step % probes.every:
            metrics = {key: value for key, value in metrics.items() if not key.startswith("layers/")}
        session.log_step(step, metrics, time, epoch=epoch)
        if not metrics.keys() <= self.batch_keys:
            for key in metrics.keys() & self._running_means - self.batch_keys:
                session.run.describe(key, reduction="running_mean")
            self.batch_keys.update(metrics)
        self._learn(metrics, time)

    def _mean(self, made: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Return the metrics of an update that several batches made."""
        means = {}
        for key in dict.fromkeys(key for batch in made for key in batch):
            values = [batch[key] for batch in made if key in batch]
            # What the optimizer did it did with the last batch, and a mean since the epoch began is one already.
            last = key.startswith("optimizer") or key in self._running_means
            if key.startswith("layers/"):
                if key.endswith("/activation_norm"):  # of all outputs together
                    means[key] = math.hypot(*values)
                    continue
                last = not key.endswith("/zero_fraction")
            means[key] = values[-1] if last else sum(values) / len(values)
        return means
