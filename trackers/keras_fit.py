"""One fit of a Keras model while it is tracked: what is put into it, and what is read out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from ..db.engine import resolve_url
from ..runs.debugging.records import DebugRecord
from ..runs.journal import journal_folder
from ..runs.metric_names import metric_key
from . import keras_layers, keras_model, keras_settings
from .debugging.keras_failure import keras_failure
from .debugging.keras_watch import KerasWatch
from .fingerprints import DataFingerprint, weights_fingerprint
from .keras_errors import CallbackWatch, OnError, reporting
from .keras_steps import StepRecorder
from .profiling import keras_window
from .profiling.keras_window import KerasWindow
from .session import TrackerSession

if TYPE_CHECKING:
    from .debugging.keras_dump import NumericsDump
    from .keras_evaluation import EvaluationProbe
    from .keras_probe import StepProbe

# Reading weights one by one takes about 4 s for this many on one core; larger models start without it.
LARGEST_FINGERPRINT = 1_000_000_000

# A callback may make a new training function once or twice (to unfreeze layers); more often it is at odds with us.
MOST_REBUILDS = 5

NOTHING = object()


class KerasFit:
    """Puts the probes into a model that is about to train, and takes them out again.

    Args:
        session: the started run.
        model: the compiled model.
        callbacks: Keras' list of the fit's callbacks; None where it could not be found.
        params: what Keras tells callbacks of the fit: `epochs` and `steps`.
        first_step: the number of the next update.
        continued: whether the run had begun before this fit.
        on_error: called with the exception that ends the fit.
        on_vanished: called when the fit ended in a way that nobody told us of.
    """

    def __init__(
        self,
        session: TrackerSession,
        model: Any,
        callbacks: Any | None,
        params: Mapping[str, Any],
        *,
        first_step: int,
        continued: bool,
        on_error: OnError,
        on_vanished: Callable[[], None],
    ) -> None:
        self.session = session
        self._model = model
        self._params = params
        self._continued = continued
        self._on_error = on_error
        self._epoch = 0
        self._probe: StepProbe | None = None
        self._evaluation: EvaluationProbe | None = None
        self._validated = False
        self._val_keys: set[str] = set()
        self._installed: dict[str, tuple[Callable[..., Any], Any]] = {}
        self._rebuilds = 0
        self._first_batch = True
        self._draws: dict[int, int] = {}
        self._seen: dict[str, Any] = {}
        self._callback_watch = None if callbacks is None else CallbackWatch(callbacks, on_error, on_vanished)
        self._watch = KerasWatch(session, model, session.options.probes)
        self._train_data = self._fingerprint("data/batches", "samples_per_epoch")
        self._val_data = self._fingerprint("evaluation", "samples")
        self._dump: NumericsDump | None = None
        with session.guard("start TensorFlow's dump"):
            self._dump = self._start_dump()
        with session.guard("look into the training step"):
            self._probe = self._make_probe()
        with session.guard("follow the training function"):
            self._install_train_function()
            self._install("evaluate", model.evaluate)  # what the validation data raises comes out here
        self._recorder = StepRecorder(
            session,
            model,
            self._probe,
            first_step=first_step,
            batches=params.get("steps"),
            watch=self._watch,
        )
        if not continued and (batches := params.get("steps")):
            self._train_data.count_batches(int(batches))  # samples are known only when the first epoch has ended
        session.reached(max(first_step - 1, 0), 0.0)
        self._describe()
        with session.guard("look at the random layers"):
            self._draws = keras_layers.random_draws(model)
        self._window: KerasWindow | None = None
        with session.guard("prepare the profiler"):
            self._window = keras_window.make(session, model, params)
        session.clock.start()

    def _fingerprint(self, name: str, samples_key: str) -> DataFingerprint:
        run = self.session.run
        return DataFingerprint(
            lambda value: run.fingerprint(name, value), samples_key=samples_key, guard=self.session.guard
        )

    # What is put into the model

    def _make_probe(self) -> StepProbe | None:
        if keras.backend.backend() != "tensorflow":
            self.session.notice(
                f"On Keras' {keras.backend.backend()} back end the loss and metrics of training are means since the "
                "epoch began, and samples, gradient norms and the time spent waiting for data are missing."
            )
            return None
        from .keras_probe import StepProbe

        fresh = not self._continued
        probe = StepProbe(
            self._model,
            gradient_norm=self.session.options.gradient_norm or self.session.options.probes is not None,
            on_batch=self._take_training_batch if fresh else None,
            keep_batches=self._train_data.remaining,
            before_update=self._record_weights if fresh else None,
            guard=self.session.guard,
            watch=True,
            debug=self.session.options.probes,
        )
        self._watch.keeper, self._watch.probes = probe.moments, probe.layers
        if self.session.options.probes is not None and probe.layers is None:
            self.session.notice("The layers are not measured: the model trains on several devices.")
        return probe

    def _start_dump(self) -> NumericsDump | None:
        options = self.session.options
        if options.debug != "tfdbg":
            return None
        compiled = bool(self._model.jit_compile) and not self._model.run_eagerly
        if keras.backend.backend() != "tensorflow" or compiled:
            self.session.notice("TensorFlow's dump was left out: it needs its back end, and jit_compile=False.")
            return None
        from .debugging.keras_dump import NumericsDump

        parent = Path(options.tensorboard) if options.tensorboard else journal_folder(resolve_url(options.store))
        dump = NumericsDump(self.session, self._model, parent.resolve() / f"tfdbg-{self.session.run.id}")
        dump.start()
        return dump

    def _take_training_batch(self, arrays: list[Any], weights: int) -> None:
        self._train_data.add(arrays, copy=False, weights=weights)

    def _install_train_function(self) -> None:
        function = self._model.train_function
        if self._probe is not None:
            function = self._probe.build()
        self._install("train_function", function)

    def _install(self, name: str, function: Callable[..., Any]) -> None:
        """Put a function in the place of the model's own, past Keras' attribute tracking."""
        ours = reporting(function, self._on_error)
        _, before = self._installed.get(name, (None, vars(self._model).get(name, NOTHING)))
        self._installed[name] = (ours, before)
        vars(self._model)[name] = ours

    def _is_installed(self, name: str) -> bool:
        return name in self._installed and getattr(self._model, name) is self._installed[name][0]

    def remove(self) -> None:
        """Leave the model's attributes as they were before the fit."""
        own = vars(self._model)
        for name, (ours, before) in self._installed.items():
            if own.get(name) is ours:
                own.pop(name) if before is NOTHING else own.update({name: before})
        self._installed.clear()
        if self._callback_watch is not None:
            self._callback_watch.release()

    # What is said of the run

    def _describe(self) -> None:
        """Describe model and settings; a model without input shape has no layers to speak of before its first batch."""
        session, model = self.session, self._model
        if keras_model.is_built(model) or not self._first_batch:
            with session.guard("describe the model"):
                session.update(model=keras_model.describe_model(model))
            with session.guard("describe the arithmetic"):
                session.run.fingerprint("arithmetic", keras_settings.arithmetic(model, self._callbacks, self._seen))
            if self._probe is None and not self._continued and self._first_batch:
                with session.guard("fingerprint the initial weights"):
                    self._record_weights()
        if self._first_batch:
            with session.guard("read the settings"):
                session.update(config=keras_settings.settings(model, self._params, self._callbacks))
            with session.guard("count the steps ahead"):
                session.update(total_steps=keras_settings.total_steps(self._params, model))

    @property
    def _callbacks(self) -> list[Any]:
        return [] if self._callback_watch is None else self._callback_watch.callbacks

    def _record_weights(self) -> None:
        if keras_model.trainable_count(self._model) > LARGEST_FINGERPRINT:
            self.session.notice("The initial weights were not fingerprinted: the model is too large for it.")
            return
        small = keras_model.count_parameters(self._model) <= LARGEST_FINGERPRINT
        frozen = keras_model.frozen_arrays(self._model) if small else ()  # not the few trained ones of a huge one
        weights = weights_fingerprint(keras_model.trainable_arrays(self._model), frozen)
        self.session.run.fingerprint("init/weights", weights)

    # The course of the fit

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins, counted from 0."""
        self._epoch = epoch
        self._recorder.begin_epoch()
        self.session.clock.resume()

    def begin_batches(self, batch: int) -> None:
        """An execution of one or several steps begins."""
        if not self._is_installed("train_function") and self._rebuilds < MOST_REBUILDS:
            self._rebuilds += 1
            with self.session.guard("follow a new training function"):
                if self._probe is not None:
                    self._probe = self._make_probe()
                    self._recorder.probe = self._probe
                self._install_train_function()
        if self._window is not None:
            self._window.begin_batches(
                self._recorder.next_step, self._epoch, batch, self._recorder.accumulation
            )  # fmt: skip
        self._recorder.begin_batches(batch)

    def end_batches(self, batch: int, logs: Mapping[str, float]) -> None:
        """An execution has ended; `logs` are Keras' means since the epoch began."""
        self._recorder.end_batches(self._epoch, batch, logs)
        if self._window is not None:
            self._window.end_batches(self._recorder.next_step)
            if self._window.done:
                self._window = None
        if self._first_batch:
            self._first_batch = False
            self._after_first_batch()

    def _after_first_batch(self) -> None:
        with self.session.guard("look at the random layers"):
            # A layer built with the first batch began at nothing.
            drawn = keras_layers.random_draws(self._model)
            self._seen["random"] = any(count != self._draws.get(layer, 0) for layer, count in drawn.items())
        self._seen["weighted"] = self._probe is not None and self._probe.values.weighted
        self._describe()
        with self.session.guard("read the settings"):
            # Again: which of the optimizers that a model keeps it trains with shows only now.
            self.session.update(config=keras_settings.settings(self._model, self._params, self._callbacks))
        if self._recorder.batch_size:
            self.session.update(config={"data": {"batch_size": self._recorder.batch_size}})
        if self._probe is None:
            return
        if len(self._probe.values.used) == 1:
            with self.session.guard("look for layers without a gradient"):
                self._watch.saw_gradients(self.session.step, self._probe.values.without_gradient)
        if self._recorder.loss_is_running_mean:
            losses = self._probe.values.losses_per_step
            calls = "without compute_loss" if not losses else f"with {losses} calls of compute_loss"
            self.session.notice(
                "train/loss and the metrics of training are Keras' means since the epoch began, because train_step "
                f"computes its loss {calls}; a step that calls self.compute_loss once gives each batch's own."
            )
        if not self._probe.splits_time:
            self.session.notice("The time spent waiting for data cannot be told apart here; it counts as computing.")
        if self._probe.steps > 1:
            self.session.notice(
                f"Keras makes {self._probe.steps} updates in one execution; their step times are the mean of them."
            )
        norms = [name for name in self._probe.values.columns if name.endswith("gradient_norm")]
        if (self.session.options.gradient_norm or self.session.options.probes is not None) and not norms:
            self.session.notice(
                "optimizer/gradient_norm is missing: the gradients do not pass through an optimizer of the model, on "
                "one device."
            )

    def begin_validation(self) -> None:
        """Validation begins, between two training batches or after an epoch."""
        if self._window is not None:
            self._window.interrupt()
        self.session.clock.pause()
        if not self._is_installed("test_function"):
            function = self._model.test_function
            with self.session.guard("look into the validation"):
                self._evaluation = self._make_evaluation_probe()
                if self._evaluation is not None:
                    function = self._evaluation.build()
            self._install("test_function", function)

    def _make_evaluation_probe(self) -> EvaluationProbe | None:
        if self._probe is None or self._validated or self._continued:
            return None
        from .keras_evaluation import EvaluationProbe

        probe = EvaluationProbe(
            self._model,
            on_batch=lambda arrays, weights: self._val_data.add(arrays, copy=False, weights=weights),
            keep_batches=self._val_data.remaining,
            guard=self.session.guard,
        )
        return probe if probe.records else None

    def end_validation_batches(self) -> None:
        """An execution of the test function has ended."""
        if self._evaluation is not None and not self._validated:
            self._evaluation.hand_out()

    def end_validation(self, logs: Mapping[str, float]) -> None:
        """Validation has ended with these results."""
        session = self.session
        if self._evaluation is not None and not self._validated:
            samples = self._evaluation.samples()
            if samples:
                self._val_data.count(samples)
            self._val_data.close()
        self._validated = True
        means = {metric_key(name, "val"): float(value) for name, value in logs.items()}
        self._val_keys.update(means)
        session.log_epoch(session.step, means, epoch=session.epoch)
        session.clock.resume()

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """An epoch has ended; `logs` are its means, with those of the validation under `val_`."""
        if self._window is not None:
            self._window.interrupt()
        session = self.session
        validated = {metric_key(name, "val"): float(value) for name, value in logs.items() if name.startswith("val_")}
        # What Keras measured is logged; another callback may have put results of its own beside it.
        added = {key: value for key, value in validated.items() if key not in self._val_keys}
        session.log_epoch(session.step, added, epoch=session.epoch)
        self._recorder.end_epoch()
        if not self._continued and self._recorder.samples_per_epoch:
            self._train_data.count(self._recorder.samples_per_epoch)
        session.reached(session.step, float(self._epoch + 1))
        means = {
            metric_key(name, "train"): float(value)
            for name, value in logs.items()
            if not name.startswith("val_") and name not in ("lr", "learning_rate")
        }
        batch_keys = self._recorder.batch_keys
        means = {key: value for key, value in means.items() if key not in batch_keys}
        session.log_epoch(session.step, means, epoch=session.epoch)
        session.clock.pause()

    def end_training(self) -> None:
        """Training has come to its end."""
        reason = keras_settings.early_stop(self._model, self._callbacks, self._epoch, self._params.get("epochs"))
        if reason is not None:
            self.session.notice(reason, kind="early_stop")
        self.session.update(total_steps=self.session.step + 1)  # none of those planned beyond will come

    def failure(self, error: BaseException) -> tuple[DebugRecord, int | None]:
        """Return the record of the exception that ends the fit, and the update it struck in; None between two."""
        under_way = self._recorder.under_way
        known = self.session.history.known()
        if under_way is not None:
            known["batch_index"] = under_way[1]
        return keras_failure(error, self._model, **known), None if under_way is None else under_way[0]

    def close(self) -> None:
        """Take everything out of the model, and finish what is under way."""
        if self._window is not None:
            self._window.close()  # first: what it put into the model lies over what others did
        self.remove()
        if self._dump is not None:
            with self.session.guard("end TensorFlow's dump"):
                self._dump.stop()
        self._train_data.close()
        self._val_data.close()
