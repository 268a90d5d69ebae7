"""What a validation pass of Keras was fed: its first batches and how many samples it held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .guard import Guard
from .keras_batches import HOST, BatchKeeper, Receiver
from .keras_values import batch_samples, replaced

UNKNOWN = -(1 << 40)  # samples of a batch that does not tell: makes every sum negative


class EvaluationProbe:
    """Builds a test function that counts samples and keeps the first batches.

    Args:
        model: a compiled Keras model on the TensorFlow back end.
        on_batch: receives the arrays of each of the first batches, in order.
        keep_batches: how many batches `on_batch` gets.
        guard: takes what goes wrong in here.

    Attributes:
        records: whether the model's test function can be built so.
    """

    def __init__(self, model: Any, *, on_batch: Receiver, keep_batches: int = 8, guard: Guard) -> None:
        self._model = model
        self._guard = guard
        self._between = hasattr(model, "_autoconvert_optionals")
        compiled = bool(model.jit_compile) and not model.run_eagerly
        one_replica = model.distribute_strategy.num_replicas_in_sync == 1
        self.records = one_replica and (self._between or not compiled)
        self._keeper = BatchKeeper(on_batch, limit=keep_batches, at_once=int(model.steps_per_execution))
        with tf.device(HOST):
            self._counts = tf.Variable([0, 0], dtype=tf.int64, trainable=False, name="trackside_counts")

    def build(self) -> Callable[[Any], Any]:
        """Return a test function that records. The model's attributes are left as they were."""
        model = self._model
        if self._between:
            convert = model._autoconvert_optionals
            attributes = {"_autoconvert_optionals": lambda step: self._recording(convert(step))}
        else:
            attributes = {"test_step": self._recording(model.test_step)}
        with replaced(model, test_function=None, **attributes):
            model.make_test_function(force=True)
            function: Callable[[Any], Any] = model.test_function
        if self._between:
            return function

        def test_function(iterator: Any) -> Any:
            with replaced(model, **attributes):  # Keras before 3.8 looks the step up only when it traces it
                return function(iterator)

        return test_function

    def _recording(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def recorded(data: Any) -> Any:
            with self._guard("read the validation data"), tf.device(HOST):
                samples = batch_samples(data)
                samples = tf.cast(samples if tf.is_tensor(samples) else UNKNOWN, tf.int64)
                batches, _ = tf.unstack(self._counts.read_value())
                self._keeper.keep(data, batches)
                self._counts.assign_add(tf.stack([tf.ones([], tf.int64), samples]))
            return step(data)

        return recorded

    def hand_out(self) -> None:
        """Give away the batches kept since the last call; call it after every execution."""
        if self._keeper.wanted:
            self._keeper.hand_out(int(self._counts.numpy()[0]))

    def samples(self) -> int | None:
        """Return how many samples have been evaluated; None where the batches do not tell."""
        samples = int(self._counts.numpy()[1])
        return samples if samples >= 0 else None
