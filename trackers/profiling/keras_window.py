"""Where a step begins and ends in Keras' loop, for a window of the profiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from ...runs.traces.records import TraceContext
from .. import keras_settings
from ..session import TrackerSession
from .window import ProfileWindow, Recording, Room, open_window


def make(session: TrackerSession, model: Any, params: Mapping[str, Any]) -> KerasWindow | None:
    """The window of a fit; None where nothing is to be recorded."""
    if session.options.schedule is None:
        return None
    backend = keras.backend.backend()
    if backend != "tensorflow":
        session.notice(f"No steps were profiled: that is not done on Keras' {backend} back end.")
        return None
    from . import keras_ranges, tensorflow_recording

    def recording() -> Recording:
        import tensorflow as tf

        eager = bool(model.run_eagerly) or tf.config.functions_run_eagerly()
        return tensorflow_recording.TensorFlowRecording(model if eager else None)

    def describe() -> TraceContext:
        flat = list(model._flatten_layers(include_self=False))
        return TraceContext(
            framework="tensorflow",
            mode=keras_settings.properties(model).get("mode"),
            layers={keras_ranges.layer_path(model, layer): type(layer).__name__ for layer in flat},
            optimizer=None if model.optimizer is None else type(model.optimizer).__name__,
            versions={**tensorflow_recording.versions(), "keras": str(keras.__version__)},
        )

    window = open_window(session.options.schedule, recording, describe, session)
    return None if window is None else KerasWindow(window, params)


class KerasWindow:
    """Tells a window of optimizer updates, from executions of one batch or several.

    Args:
        window: records.
        params: what Keras tells callbacks of the fit: `epochs` and `steps`.
    """

    def __init__(self, window: ProfileWindow, params: Mapping[str, Any]) -> None:
        self._window = window
        self._params = params
        self._begun: int | None = None

    @property
    def done(self) -> bool:
        """Whether nothing will be recorded any more."""
        return self._window.done and self._window.recording is None

    def begin_batches(self, step: int, epoch: int, batch: int, accumulation: int) -> None:
        """An execution begins.

        Args:
            step: updates so far.
            epoch: counted from 0.
            batch: the first batch of the execution, counted in the epoch.
            accumulation: batches that make an update.
        """
        if step != self._begun:  # not the second of the batches that make an update
            self._begun = step
            self._window.begin_step(step, None if self._window.recording else self._room(epoch, batch, accumulation))

    def end_batches(self, following: int) -> None:
        """An execution has ended; `following` is the number of the next update."""
        if self._begun is not None and following > self._begun:
            self._window.end_step(following)

    def interrupt(self) -> None:
        """A validation begins, or an epoch has ended."""
        self._window.interrupt()

    def close(self) -> None:
        """Training is over."""
        self._window.close()

    def _room(self, epoch: int, batch: int, accumulation: int) -> Room:
        batches, epochs = self._params.get("steps"), self._params.get("epochs")
        if not batches:
            return Room()
        last = epochs is not None and epoch + 1 >= epochs
        return Room((batches - batch) / accumulation, batches / accumulation, last)
