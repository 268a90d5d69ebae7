"""Callbacks of the Keras halves. Imported after `keras_training`, which sets Keras up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
from numpy.typing import NDArray

import trackside

from .keras_data import single
from .problem import Problem


class StopAfter(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends training at a given update with a last validation, wherever in an epoch it falls.

    Args:
        steps: updates.
        done: how many of them an earlier process made.
        tracker: told how many there will be; Keras itself knows of whole epochs only.
    """

    def __init__(self, steps: int, done: int, tracker: trackside.KerasTracker) -> None:
        super().__init__()
        self.steps = steps
        self.done = done
        self.tracker = tracker

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.tracker.run is not None:
            self.tracker.run.update(total_steps=self.steps)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.done += 1
        if self.done >= self.steps:
            self.model.stop_training = True


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps weights and optimizers' state after each epoch.

    Keras' BackupAndRestore writes over the file it would restore from: killed at that moment, it leaves nothing. Here a
    complete file takes the place of the one before.

    Args:
        folder: where it lies; made if need be.
    """

    PATTERN = "epoch-*.weights.h5"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        before = list(self.folder.glob(self.PATTERN))
        half_written = self.folder / "new.weights.h5"
        self.model.save_weights(half_written, overwrite=True)
        half_written.rename(self.folder / self.PATTERN.replace("*", f"{epoch + 1:06d}"))
        for path in before:
            path.unlink()

    def restore(self, model: keras.Model) -> int:
        """Put the state into a compiled model that has not trained yet; returns how many epochs are behind it."""
        found = max(self.folder.glob(self.PATTERN), default=None)
        if found is None:
            return 0
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model.load_weights(found)
        return int(found.name.split("-")[1].split(".")[0])


class MeasureValidation(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds metrics that need all outputs at once, such as an exact area under a curve, to those of a validation.

    A Keras metric sees one batch after another, and those of training as well.

    Args:
        problem: the validation inputs.
        measure: from the model's outputs for them, (validation samples, …), to metrics by name, without `val_`.
    """

    def __init__(self, problem: Problem, measure: Callable[[NDArray[Any]], Mapping[str, float]]) -> None:
        super().__init__()
        self.inputs = problem.validation_inputs
        self.measure = measure
        self.measured: Mapping[str, float] = {}

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        outputs = self.model.predict(single(self.inputs), batch_size=len(self.inputs[0]), verbose=0)
        self.measured = self.measure(outputs)
        if logs is not None:
            logs.update(self.measured)  # for the callbacks after this one

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in self.measured.items()})  # for the history
