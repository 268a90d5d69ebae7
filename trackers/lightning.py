"""The callback that tracks a training with PyTorch Lightning."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..db.errors import RunNotFoundError, TracksideError, UsageError
from ..runs.run import Run
from . import lightning_dispatch, lightning_settings
from .debugging.torch_debugger import TorchDebugger
from .debugging.torch_failure import torch_failure
from .guard import Guard, guarded
from .lightning_description import TrainingDescription
from .lightning_steps import StepRecorder, evaluation_means
from .options import ProfileSchedule
from .profiling import lightning_window, torch_recording
from .profiling.lightning_window import LightningWindow
from .session import EndState, TrackerOptions, TrackerSession, numbered

PACKAGES = ("lightning.pytorch", "pytorch_lightning")

_SELDOM = ("on_before_zero_grad", "on_after_backward")
"""Hooks that only a trace, and what is described of a first step, have use for."""


def _callback_classes() -> tuple[type[Any], ...]:
    """Return the Callback class of each Lightning package in use, else of the first that is installed.

    `lightning` and `pytorch_lightning` are the same code under two names with unrelated classes.
    """
    loaded = [name for name in PACKAGES if name in sys.modules]
    names = loaded or [name for name in PACKAGES if find_spec(name.partition(".")[0]) is not None][:1]
    if not names:
        raise UsageError("LightningTracker needs Lightning; install it with: pip install 'trackside[lightning]'.")
    return tuple(import_module(name).Callback for name in names)


class LightningTracker(*_callback_classes()):  # type: ignore[misc]  # which package is in use shows at run time
    """Tracks a Lightning training: add it to the trainer's callbacks, and that is all.

        Trainer(callbacks=[trackside.LightningTracker(project="mnist")])

    Every fit is a run. A fit that continues a checkpoint of an earlier one (`ckpt_path=…`), or the trainer's own
    last fit where its step counter goes on, continues that run. `validate` and `test` after a finished fit add to
    its run; alone they track nothing, and neither does `predict`.

    A step is an optimizer update, counted from 0: with gradient accumulation its loss is the mean over the batches
    that made it. In manual optimization a step is a batch. The values of a step on an accelerator are read when they
    are ready, a few steps late; no hook waits for the device before the end of an epoch.

    Logged for each update, `log_every` apart (reduction `batch`):
        train/loss: what `training_step` returned.
        train/<metric>: what it passed to `self.log` with `on_step=True`; `train_acc` becomes `train/acc`.
        optimizer/learning_rate: the rate used for this update; `optimizer<i>/…` where there are several optimizers,
            `…_group<i>` for further parameter groups.
        optimizer/gradient_norm: 2-norm over all gradients before clipping (with `gradient_norm=True`).
        step/seconds: from the end of the update before to the end of this one, in seconds.
        step/data_seconds, step/compute_seconds: its parts before and after the batch arrived, in seconds.
        step/samples_per_second: samples of all processes in a second.
        step/first_seconds: the first update after a start, in seconds; left out of the other `step/` metrics.

    Logged once an epoch or validation (reduction `epoch_mean`), at the last update before:
        val/loss, val/<metric>: what `validation_step` passed to `self.log`; `test/<metric>` likewise.
        train/<metric>: what was logged with `on_step=False`.

    Sampled once a second (reduction `sample`):
        cpu/percent: use of all cores of the machine, in percent.
        process/memory_bytes: resident memory of this process, in bytes.
        gpu<i>/utilization_percent, gpu<i>/memory_bytes, gpu<i>/power_watts, gpu<i>/temperature_celsius,
        gpu<i>/energy_joules: of each visible GPU; energy in joules since the run began.

    Logged for each update with `debug=True` (reduction `batch`), of each layer, `layers/net.0/gradient_norm` for one:
        layers/<path>/gradient_norm: 2-norm of the gradient of its parameters, before clipping.
        layers/<path>/activation_norm: 2-norm of what came out of it.
        layers/<path>/zero_fraction: share of zeros in that, from 0 to 1.
        layers/<path>/update_ratio: 2-norm of the update over that of its weights.

    Epoch (in fractions) and training samples seen go with each of them. In distributed training every process logs
    its step times and gauges; losses and metrics are those of rank 0.

    Args:
        name: the run's name; made up by default. A second fit's is `name-2`.
        project: what the run is listed under.
        config: settings to add to those read off trainer, optimizer and `hparams`.
        store: the store's URL; default `$TRACKSIDE_STORE`, else a file under the working directory.
        tags: words to find the run by.
        group: a name shared by runs that belong together.
        log_every: log every so many updates.
        system: sample the machine; a number is the interval in seconds.
        profile: record a few steps with PyTorch's profiler, True for those after the first ten; `ProfileSchedule`
            says which, and what of them.
        debug: True measures every layer at every update; `DebugOptions(…)` says how much of it. The watch for a loss
            or gradient that is not finite, and the record of an exception, need no asking.
        tensorboard: a directory for TensorBoard event files of the run.
        gradient_norm: log the gradient norm; costs a pass over all gradients at each update.
        workload: name of the training problem, shared by runs that solve the same.
        source: keep the text of the training script with the run, secrets blotted out; a path names another file,
            False keeps none.

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
        if debug == "tfdbg":
            raise UsageError('debug="tfdbg" is TensorFlow\'s own dump; give LightningTracker True or DebugOptions(…).')
        self.guard = Guard()
        if self.options.schedule is not None:
            with self.guard("look out for other profilers"):
                torch_recording.prepare()
        self.run_id: str | None = None
        self._session: TrackerSession | None = None
        self._recorder: StepRecorder | None = None
        self._fits = 0
        self._samples = 0
        self._epoch: float | None = None
        self._state: EndState | None = None
        self._trainer_id: int | None = None
        self._checkpoint: dict[str, Any] = {}
        self._description: TrainingDescription | None = None
        self._debugger: TorchDebugger | None = None
        self._window: LightningWindow | None = None

    @property
    def run(self) -> Run | None:
        """The run being written; None outside of a fit."""
        return self._session.run if self._session is not None else None

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process or for another trainer starts with nothing under way.
        fresh = {"guard": Guard(), "_session": None, "_recorder": None, "_trainer_id": None, "_description": None}
        kept = {name: value for name, value in self.__dict__.items() if name not in _SELDOM}
        return {**kept, **fresh, "_debugger": None, "_window": None}

    # Start and end of a fit

    @guarded("prepare for training")
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            self._checkpoint = {}
            self._description = TrainingDescription(pl_module, self.guard)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.strategy.restore_checkpoint_after_setup:
            self._begin(trainer, pl_module)

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin(trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin(trainer, pl_module)
        self._begin_training(trainer, pl_module)

    def _begin(self, trainer: Any, module: Any) -> None:
        """Start the run, on every process, unless that has been done.

        Raises:
            TracksideError: when the run cannot be written at all; training has not begun yet.
        """
        if self._session is not None:
            return
        error: TracksideError | None = None
        with self.guard("start the run"):
            try:
                if trainer.global_rank == 0:
                    self._open(trainer, module, None)
            except TracksideError as refused:
                error = refused
        if trainer.world_size > 1:
            # Every process must take part in this, whatever befell the first.
            run_id = trainer.strategy.broadcast(self.run_id if self._session is not None else None)
            if trainer.global_rank > 0 and run_id is not None:
                with self.guard("join the run"):
                    self._open(trainer, module, run_id)
        if error is not None:
            raise error

    def _open(self, trainer: Any, module: Any, joined: str | None) -> None:
        continued = joined is None and self._continued(trainer)
        properties: dict[str, Any] = {}
        with self.guard("describe the trainer"):
            properties = lightning_settings.properties(trainer, module)
        self._fits += 0 if continued else 1
        try:
            self._session = self._start(trainer, joined or continued or None, bool(continued), properties)
        except RunNotFoundError:
            if not continued:
                raise
            self._samples = 0
            self._session = self._start(trainer, None, False, properties)
            self._session.notice("The run that the checkpoint belongs to is not in this store; this is a new one.")
            continued = False
        self._session.samples = self._samples if continued else 0
        self.run_id, self._trainer_id = self._session.run.id, id(trainer)

    def _start(self, trainer: Any, run_id: str | None, resume: bool, properties: dict[str, Any]) -> TrackerSession:
        uuids = None
        with self.guard("find the GPUs"):
            uuids = lightning_settings.gpu_uuids(trainer)
        return TrackerSession.start(
            self.options,
            self.guard,
            name=numbered(self.options.name, self._fits),
            id=run_id,
            resume=resume,
            rank=trainer.global_rank,
            gpu_uuids=uuids,
            watch_signals=False,  # Lightning is about to install its own handler, which ours must hand on to
            properties=properties,
        )

    def _continued(self, trainer: Any) -> str | None:
        """Return the run that this fit continues."""
        if "run_id" in self._checkpoint:
            self._samples = int(self._checkpoint.get("samples", 0))
            return str(self._checkpoint["run_id"])
        if self.run_id is not None and self._trainer_id == id(trainer) and trainer.global_step > 0:
            return self.run_id
        return None

    @guarded("describe the training")
    def _begin_training(self, trainer: Any, module: Any) -> None:
        session = self._session
        if session is None:
            return
        session.watch()
        if not session.logs_loss:
            self._description = None
        elif self._description is not None:
            self._description.begin(session, trainer, module)
        # Where optimization is manual each optimizer counts into `global_step`, and a step is a batch.
        made = trainer.global_step if module.automatic_optimization else trainer.fit_loop.total_batch_idx + 1
        session.reached(max(int(made) - 1, 0), float(trainer.current_epoch))
        self._recorder = StepRecorder(session, trainer, module)
        if session.logs_loss:
            with self.guard("watch for values that are not finite"):
                self._debugger = TorchDebugger(session, trainer, module, self.options.probes)
        with self.guard("prepare the profiler"):
            self._window = lightning_window.make(session, trainer, module)
        lightning_dispatch.restore(self, _SELDOM)
        self._let_go(trainer)
        session.clock.start()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._end_training(trainer)

    @guarded("end the training's record")
    def _end_training(self, trainer: Any) -> None:
        if self._recorder is not None and self._session is not None:
            self._recorder.log_epoch_means(trainer)
            self._recorder.close()
            reason = lightning_settings.early_stop(trainer)
            if reason is not None:
                self._session.notice(reason, kind="early_stop")
            self._session.update(total_steps=self._session.step + 1)  # none of those planned beyond will come

    @guarded("finish the run")
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        # The last hook of a fit: whatever fails before it has its run still open.
        if stage == "fit":
            self._end("finished")

    @guarded("record the exception")
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self._session is None and trainer.state.fn == "fit" and trainer.world_size == 1:
            with self.guard("start the run"):
                self._open(trainer, pl_module, None)  # training failed before it began; that is worth a run
        session = self._session
        if session is not None and trainer.state.fn == "fit":
            self._end(session.state_after(exception), exception, pl_module)

    def _end(self, state: EndState, error: BaseException | None = None, module: Any = None) -> None:
        session, recorder, debugger = self._session, self._recorder, self._debugger
        self._session = self._recorder = self._debugger = self._window = None
        lightning_dispatch.restore(self, _SELDOM)
        if session is None:
            return
        if recorder is not None:
            with self.guard("read the last values"):
                recorder.close()
        if debugger is not None:
            with self.guard("read the last values of the layers"):
                debugger.close()
        self._samples, self._epoch, self._state = session.samples, session.epoch, state
        record, step = None, None
        if error is not None and state == "failed":
            with self.guard("describe the exception"):
                known = session.history.known() if debugger is None else debugger.known()
                record = torch_failure(error, module, **known)
                step = None if debugger is None else debugger.step
        session.finish(state, error, record=record, step=step)

    # Steps

    @guarded("begin an epoch")
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if self._recorder is not None:
            self._recorder.begin_epoch(trainer)

    @guarded("note the arrival of a batch")
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._window is not None:
            self._profile_batch(trainer, batch_idx)
        if self._recorder is not None:
            self._recorder.begin_batch(batch)
            if self._debugger is not None:
                self._debugger.begin_batch(batch, batch_idx)
            if self._description is not None:
                self._description.begin_batch(pl_module, batch)

    def _profile_batch(self, trainer: Any, batch_idx: int) -> None:
        window = self._window
        if window is not None:
            window.begin_batch(trainer, batch_idx)
            if window.done:
                self._window = None
                self._let_go(trainer)

    def _let_go(self, trainer: Any) -> None:
        """Let go of what has seen everything, and of the hooks that are called for it alone."""
        if self._description is not None and not self._description.looks:
            self._description = None
        if self._description is None and self._window is None:
            lightning_dispatch.silence(self, trainer, _SELDOM, PACKAGES)

    @guarded("profile a step")
    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self._window is not None:
            self._window.mark("zero_grad")

    @guarded("look at the loss")
    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if self._debugger is not None:
            self._debugger.before_backward(loss)
        if self._window is not None:
            self._window.mark("backward")
        if self._description is not None:
            self._description.before_backward(trainer, pl_module, loss)
            self._let_go(trainer)

    @guarded("look at the gradients")
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if self._window is not None:
            self._window.mark("after_backward")
        if self._description is not None:
            self._description.after_backward()

    @guarded("read the learning rate")
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self._description is not None:
            self._description.before_update(trainer, pl_module, optimizer)
            self._let_go(trainer)
        if self._recorder is not None:
            self._recorder.before_update(trainer, optimizer)
        if self._debugger is not None:
            self._debugger.before_update(optimizer)
        if self._window is not None:
            self._window.mark("optimizer")

    @guarded("log a training step")
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._window is not None:
            self._window.end_batch(trainer)
        if self._recorder is not None:
            self._recorder.end_batch(trainer, outputs, batch, batch_idx)
        if self._debugger is not None:
            self._debugger.end_batch()

    @guarded("end an epoch")
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._window is not None:
            self._window.interrupt()
        if self._recorder is not None:
            self._recorder.end_epoch()

    # Validation and test

    @guarded("begin a validation")
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self._window is not None:
            self._window.interrupt()
        if self._recorder is not None and not trainer.sanity_checking:
            self._recorder.begin_validation()

    @guarded("count a validation batch")
    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._recorder is not None and not trainer.sanity_checking:
            self._recorder.validation_batch(batch)

    @guarded("log a validation")
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking:
            return
        if self._recorder is not None:
            self._recorder.end_validation(trainer, trainer.fit_loop.epoch_loop.val_loop, "val")
        elif trainer.state.fn == "validate":
            self._add_to_last_run(trainer, trainer.validate_loop, "val")

    @guarded("log a test")
    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._add_to_last_run(trainer, trainer.test_loop, "test")

    def _add_to_last_run(self, trainer: Any, loop: Any, split: str) -> None:
        """Log the means of an evaluation on its own to the run of the last fit, if that came to its end."""
        if self.run_id is None or self._state != "finished" or trainer.global_rank != 0:
            return
        means = {key: float(values[0]) for key, values in evaluation_means(trainer, loop, split).items()}
        if means:
            with TrackerSession.reopened(self.options, self.guard, self.run_id) as session:
                session.log_epoch(session.step, means, epoch=self._epoch, samples=self._samples)

    # Checkpoints

    @guarded("note a checkpoint")
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # Writing it is neither waiting for data nor computing.
        if self._session is not None:
            self._session.clock.discard_gap()

    def state_dict(self) -> dict[str, Any]:
        if self.run_id is None:
            return {}
        samples = self._session.samples if self._session is not None else self._samples
        return {"run_id": self.run_id, "samples": samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._checkpoint = dict(state_dict)
