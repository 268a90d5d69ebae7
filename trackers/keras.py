"""The callback that tracks a training with Keras 3."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ..db.errors import UsageError

if find_spec("keras") is None:
    raise UsageError("KerasTracker needs Keras 3; install it with: pip install 'trackside[keras]'.")

import keras

from ..db.store import Store
from ..runs.metric_names import metric_key
from ..runs.run import Run
from . import keras_model, keras_settings
from .guard import Guard, guarded
from .keras_errors import callback_list
from .keras_fit import KerasFit
from .options import ProfileSchedule
from .session import EndState, TrackerOptions, TrackerSession, numbered

if int(keras.__version__.partition(".")[0]) < 3:
    raise UsageError(f"KerasTracker needs Keras 3, this is {keras.__version__}; update it with: pip install -U keras.")


class KerasTracker(keras.callbacks.Callback):  # type: ignore[misc]  # Keras comes without types
    """Tracks a Keras training: add it to the callbacks of `fit`, and that is all.

        model.fit(x, y, callbacks=[trackside.KerasTracker(project="mnist")])

    Every fit is a run. A fit with the same tracker and model that goes on where the last one ended
    (`initial_epoch=…`) continues its run; in a new process `resume` says which run to continue. `evaluate` with this
    callback after a finished fit adds to its run; alone it tracks nothing, and neither does `predict`.

    A step is an optimizer update, counted from 0: with `gradient_accumulation_steps` its loss is the mean over the
    batches that made it. Keras itself reports means since the epoch began; the batch's own values are picked up
    inside the compiled step, which computes the same as without. What a training step that does not call
    `compute_loss`, or another back end than TensorFlow, leaves of this is said in a notice of the run. With several
    optimizers, kept as attributes of the model, a step is a batch.

    Logged for each update, `log_every` apart (reduction `batch`):
        train/loss: the batch's loss, penalties included; with reduction `running_mean` where only that can be had.
        train/<metric>: the batch's own value of each metric that is a mean over samples, those that a training step
            of the model's own updates included.
        optimizer/learning_rate: the rate used for this update; `optimizer<i>/…` where there are several optimizers.
        optimizer/gradient_norm: 2-norm over all gradients before clipping (with `gradient_norm=True` or `debug=True`).
        layers/<path>/gradient_norm, layers/<path>/activation_norm: 2-norms of each layer's gradient, before clipping,
            and output; layers/<path>/zero_fraction: share of zeros in the output; layers/<path>/update_ratio: 2-norm
            of the update over that of the weights (with `debug=True`).
        step/seconds: from the end of the update before to the end of this one, in seconds; with
            `steps_per_execution` the mean over those made at once.
        step/data_seconds, step/compute_seconds: its parts before and after the batch arrived, in seconds.
        step/samples_per_second: samples in a second.
        step/first_seconds: the first execution after a start, in seconds; left out of the other `step/` metrics.

    Logged once an epoch or validation (reduction `epoch_mean`), at the last update before:
        val/loss, val/<metric>: results of the validation, and what a callback before this one added to an epoch's logs
            as `val_<metric>`; `test/<metric>` those of `evaluate` after the fit.
        train/<metric>: metrics that are no mean over samples, such as AUC, and the losses of single outputs.

    Sampled once a second (reduction `sample`):
        cpu/percent: use of all cores of the machine, in percent.
        process/memory_bytes: resident memory of this process, in bytes.
        gpu<i>/utilization_percent, gpu<i>/memory_bytes, gpu<i>/power_watts, gpu<i>/temperature_celsius,
        gpu<i>/energy_joules: of each visible GPU; energy in joules since the run began.

    Epoch (in fractions) and training samples seen go with each of them.

    Args:
        name: the run's name; made up by default. A second fit's is `name-2`.
        project: what the run is listed under.
        config: settings to add to those read off model and optimizer.
        store: the store's URL; default `$TRACKSIDE_STORE`, else a file under the working directory.
        tags: words to find the run by.
        group: a name shared by runs that belong together.
        log_every: log every so many updates.
        system: sample the machine; a number is the interval in seconds.
        profile: record a few steps with TensorFlow's profiler, True for those after the first ten; `ProfileSchedule`
            says which, and what of them.
        debug: True measures every layer at every update; `DebugOptions(…)` says how much of it, "tfdbg" asks for
            TensorFlow's own dump. The watch for a loss or gradient that is not finite, and the record of an
            exception, need no asking.
        tensorboard: a directory for TensorBoard event files of the run.
        gradient_norm: log the gradient norm; costs a pass over all gradients at each update.
        workload: name of the training problem, shared by runs that solve the same.
        source: keep the text of the training script with the run, secrets blotted out; a path names another file,
            False keeps none.
        resume: the run to continue, by id, unique prefix or name. True: the newest run of this `name` and `project`
            if training starts beyond its first epoch (`BackupAndRestore`, `initial_epoch`), else a new run. Steps go
            on from the optimizer's count, or after the run's last step where the optimizer is new.

    Attributes:
        guard: what went wrong in the tracker itself, counted; training never sees it.
        run_id: the run of the last fit; None before the first.

    Raises:
        UsageError: when an argument cannot be.
    """

    def __init__(
        self,
        name: str | None = None,
        project: str = "default",
        config: Mapping[str, Any] | None = None,
        store: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        log_every: int = 1,
        system: bool | float = True,
        profile: bool | ProfileSchedule | None = None,
        debug: Any = False,
        tensorboard: str | os.PathLike[str] | None = None,
        gradient_norm: bool = False,
        workload: str | None = None,
        source: bool | str | os.PathLike[str] = True,
        resume: str | bool = False,
    ) -> None:
        super().__init__()
        self.options = TrackerOptions(
            name=name,
            project=project,
            config=config,
            store=store,
            tags=tags,
            group=group,
            log_every=log_every,
            system=system,
            profile=profile,
            debug=debug,
            tensorboard=tensorboard,
            gradient_norm=gradient_norm,
            workload=workload,
            source=source,
        )
        if not isinstance(resume, str | bool) or resume == "":
            raise UsageError(f"resume is {resume!r}; give the id or name of a run, True or False.")
        if resume is True and name is None:
            raise UsageError("resume=True continues the newest run of the same name; give the tracker a name.")
        self.guard = Guard()
        self.run_id: str | None = None
        self._resume = resume
        self._fits = 0
        self._samples = 0
        self._epoch: float | None = None
        self._state: EndState | None = None
        self._last_model: weakref.ref[Any] | None = None
        self._list: weakref.ref[Any] | None = None
        self._fit: KerasFit | None = None
        self._beginning = False

    @property
    def run(self) -> Run | None:
        """The run being written; None outside of a fit."""
        return self._fit.session.run if self._fit is not None else None

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process or for another model starts with nothing under way.
        fresh = {"guard": Guard(), "_fit": None, "_list": None, "_last_model": None, "_model": None}
        return {**self.__dict__, **fresh, "_beginning": False}

    # Start and end of a fit

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        with self.guard("find the other callbacks"):
            callbacks = callback_list()
            self._list = None if callbacks is None else weakref.ref(callbacks)

    @guarded("prepare for training")
    def on_train_begin(self, logs: Any = None) -> None:
        self._end("failed", None)  # in case the fit before was left by an exception that nobody told us of
        self._beginning = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._beginning:
            # Only now is it known where training starts: another callback may have restored a checkpoint.
            self._beginning = False
            self._begin(epoch)
        self._begin_epoch(epoch)

    def _begin(self, epoch: int) -> None:
        """Start the run.

        Raises:
            TracksideError: when the run cannot be written at all; training has not begun yet.
        """
        properties: dict[str, Any] = {}
        with self.guard("describe the model"):
            properties = keras_settings.properties(self.model)
        run_id = self._continued(epoch)
        self._fits += 0 if run_id else 1
        session = TrackerSession.start(
            self.options,
            self.guard,
            name=numbered(self.options.name, self._fits),
            id=run_id,
            resume=run_id is not None,
            gpu_uuids=None if properties.get("device") == "cuda" else [],
            properties=properties,
        )
        self.run_id, self._state, self._last_model = session.run.id, None, weakref.ref(self.model)
        with self.guard("put the training under observation"):
            session.samples = 0 if run_id is None else self._samples_before(run_id)
            self._fit = KerasFit(
                session,
                self.model,
                self._list() if self._list is not None else None,
                self.params or {},
                first_step=self._first_step(session, epoch, run_id is not None),
                continued=run_id is not None,
                on_error=self._on_error,
                on_vanished=lambda: self._on_vanished(session),
            )
            if epoch > 0 and run_id is None:
                session.notice(
                    f"Training began in epoch {epoch + 1} with a run of its own; to continue an earlier run, give "
                    "KerasTracker its id or name as resume."
                )
        if self._fit is None:
            session.finish()

    def _continued(self, epoch: int) -> str | None:
        """Return the run that this fit continues."""
        same_model = self._last_model is not None and self._last_model() is self.model
        if epoch > 0 and same_model and self.run_id is not None:
            return self.run_id
        if self._fits > 0:
            return None
        if isinstance(self._resume, str):
            return self._resume
        if self._resume and epoch > 0:
            with self.guard("find the run to continue"), Store(self.options.store) as store:
                runs = [run for run in store.runs(project=self.options.project) if run.name == self.options.name]
                return runs[0].id if runs else None
        return None

    def _samples_before(self, run_id: str) -> int:
        """Return how many samples the run had seen when it was left."""
        if self._samples:
            return self._samples
        with self.guard("read how many samples the run had seen"), Store(self.options.store) as store:
            samples = store.axes(run_id).samples
            known = samples[samples == samples]
            return int(known[-1]) if len(known) else 0
        return 0

    def _first_step(self, session: TrackerSession, epoch: int, continued: bool) -> int:
        """Return the number of the first update: 0, unless training goes on from an earlier one."""
        if epoch == 0 and not continued:
            return 0
        optimizers = keras_model.optimizers(self.model)
        made = {keras_model.batches_seen(each) // keras_model.accumulation(each) for each in optimizers}
        if len(made) == 1 and 0 not in made:
            return made.pop()
        return session.run.last_step + 1 if continued else 0

    def on_train_end(self, logs: Any = None) -> None:
        self._end_training()
        self._end("finished", None)

    @guarded("end the training's record")
    def _end_training(self) -> None:
        if self._fit is not None:
            self._fit.end_training()

    @guarded("record the exception")
    def _on_error(self, error: BaseException) -> None:
        if self._fit is not None:
            self._end(self._fit.session.state_after(error), error)

    @guarded("record the end of the training")
    def _on_vanished(self, session: TrackerSession) -> None:
        if self._fit is not None and self._fit.session is session:
            session.notice("Training was left by an exception between two steps, which Keras told nobody of.")
            self._end("failed", None)

    @guarded("finish the run")
    def _end(self, state: EndState, error: BaseException | None) -> None:
        fit, self._fit = self._fit, None
        if fit is None:
            return
        record, step = None, None
        if error is not None and state == "failed":
            with self.guard("describe the exception"):
                record, step = fit.failure(error)
        with self.guard("leave the model as it was"):
            fit.close()
        self._samples, self._epoch, self._state = fit.session.samples, fit.session.epoch, state
        fit.session.finish(state, error, record=record, step=step)

    # Steps and epochs

    @guarded("begin an epoch")
    def _begin_epoch(self, epoch: int) -> None:
        if self._fit is not None:
            self._fit.begin_epoch(epoch)

    @guarded("begin a training step")
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.begin_batches(batch)

    @guarded("log a training step")
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.end_batches(batch, logs or {})

    @guarded("end an epoch")
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.end_epoch(logs or {})

    # Validation

    @guarded("begin a validation")
    def on_test_begin(self, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.begin_validation()

    @guarded("read a validation batch")
    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.end_validation_batches()

    @guarded("log a validation")
    def on_test_end(self, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.end_validation(logs or {})
        elif self._state == "finished" and self._last_model is not None and self._last_model() is self.model:
            self._add_to_last_run(logs or {})

    def _add_to_last_run(self, logs: Mapping[str, float]) -> None:
        """Log an evaluation on its own to the run of the last fit."""
        means = {metric_key(name, "test"): float(value) for name, value in logs.items()}
        if means and self.run_id is not None:
            with TrackerSession.reopened(self.options, self.guard, self.run_id) as session:
                session.log_epoch(session.step, means, epoch=self._epoch, samples=self._samples)
