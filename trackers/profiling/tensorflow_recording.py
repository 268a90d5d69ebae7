"""Some steps under TensorFlow's profiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.profiler import profiler_v2

from ..options import ProfileSchedule
from .keras_ranges import EagerRanges
from .window import PREFIX, Refused

BUSY = "another TensorFlow profiler was at work, and there can be only one at a time."


class TensorFlowRecording:
    """A window of tf.profiler.

    Args:
        model: a Keras model whose layers get ranges, if it trains eagerly; in a graph they have names of their own.
    """

    kind = "trace/xplane"
    suffix = ".xplane.pb"
    closes_at_end = True
    must_end = False

    def __init__(self, model: Any = None) -> None:
        self._model = model
        self._running = False
        self._target = Path()
        self._step: Any = None
        self._ranges: EagerRanges | None = None
        self._starts: list[tuple[Any, Any]] = []

    def start(self, schedule: ProfileSchedule, target: Path, on_foreign: Callable[[], None]) -> None:
        self._target = target
        options = tf.profiler.experimental.ProfilerOptions(python_tracer_level=int(schedule.stacks))
        try:
            tf.profiler.experimental.start(str(target), options)
        except tf.errors.AlreadyExistsError as error:
            raise Refused(BUSY) from error
        self._running = True
        self._give_way_to_others(on_foreign)
        if self._model is not None:
            self._ranges = EagerRanges(self._model)

    def _give_way_to_others(self, on_foreign: Callable[[], None]) -> None:
        """While ours runs, a start of anybody else's would raise an error in their training."""
        for place in (tf.profiler.experimental, profiler_v2):
            original = place.start

            def start(*args: Any, _original: Any = original, **kwargs: Any) -> Any:
                on_foreign()
                return _original(*args, **kwargs)

            place.start = start
            self._starts.append((place, (start, original)))

    def begin_step(self, step: int) -> None:
        self._step = tf.profiler.experimental.Trace("train", step_num=step, _r=1)
        self._step.__enter__()

    def end_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.__exit__(None, None, None)

    def mark(self, name: str) -> None:
        with tf.profiler.experimental.Trace(PREFIX + name):
            pass

    def stop(self) -> None:
        for place, (ours, original) in self._starts:
            if place.start is ours:
                place.start = original
        self._starts.clear()
        if self._ranges is not None:
            self._ranges.remove()
        try:
            if self._running:
                self._running = False
                tf.profiler.experimental.stop()  # which also writes
        finally:
            self.end_step()  # only now: a step that has not come to its end is not recorded

    def save(self) -> Path:
        files = sorted(self._target.rglob("*.xplane.pb"), key=lambda path: path.stat().st_size)
        if not files:
            raise FileNotFoundError("TensorFlow's profiler wrote no trace")
        return files[-1]


def versions() -> dict[str, str]:
    """Version of the framework."""
    return {"tensorflow": str(tf.__version__)}
