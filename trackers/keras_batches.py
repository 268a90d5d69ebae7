"""The first training batches as the compiled step received them, without touching the user's data pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

HOST = "/CPU:0"
ALL = 2**31 - 1  # more samples than any batch has

Receiver = Callable[[list[NDArray[Any]], int], None]
"""Takes the arrays of a batch, and how many of them, the last ones, are weights of its samples."""


class BatchKeeper:
    """Puts the first batches aside from inside the step and hands them out afterwards.

    A batch is assigned to variables on the host; once the last one has been handed out, nothing is held or copied.

    Args:
        receive: gets one batch; called in the order of the batches.
        limit: how many batches to keep.
        at_once: how many steps pass between two calls of `hand_out`.
    """

    def __init__(self, receive: Receiver, *, limit: int, at_once: int) -> None:
        self._receive = receive
        self._limit = limit
        self._at_once = max(min(at_once, limit), 1)
        self._slots: list[list[tf.Variable]] = []
        self._wanted: tf.Variable | None = None
        self._handed_out = 0
        self._weights = 0

    @property
    def wanted(self) -> bool:
        """Whether batches may be left to hand out."""
        return self._handed_out < self._limit

    def keep(self, data: Any, index: tf.Tensor) -> None:
        """Keep the batch if it is one of the first; called inside the step.

        Args:
            data: the batch as the data pipeline gives it.
            index: scalar int64, which batch it is, counted from 0.
        """
        tensors = [item for item in keras.tree.flatten(data) if not _empty(item)]
        self._weights = len(sample_weights(data))
        if not tensors or not all(isinstance(t, tf.Tensor) and _is_number(t.dtype) for t in tensors):
            self._limit = 0  # ragged, sparse or text: no digest is defined
        elif tf.executing_eagerly():
            if self._handed_out < self._limit:
                self._handed_out += 1
                self._receive([tensor.numpy() for tensor in tensors], self._weights)
        else:
            self._keep_in_graph(tensors, index)

    def _keep_in_graph(self, tensors: list[tf.Tensor], index: tf.Tensor) -> None:
        if not self._slots:
            with tf.init_scope(), tf.device(HOST):
                self._slots = [[_any_shape(t.dtype) for t in tensors] for _ in range(self._at_once)]
                self._wanted = tf.Variable(ALL, dtype=tf.int32, trainable=False, name="trackside_wanted")
        if [v.dtype for v in self._slots[0]] != [t.dtype for t in tensors] or self._wanted is None:
            return
        if self._at_once == 1:
            # All of the batch or nothing of it: taking a slice costs less than a branch does, and runs every step.
            wanted = self._wanted.read_value()
            for variable, tensor in zip(self._slots[0], tensors, strict=True):
                variable.assign(tensor[:wanted] if tensor.shape.rank else tensor)
            return

        def assign(slot: list[tf.Variable]) -> Callable[[], tf.Tensor]:
            def branch() -> tf.Tensor:
                for variable, tensor in zip(slot, tensors, strict=True):
                    variable.assign(tensor)
                return tf.constant(True)

            return branch

        with tf.device(HOST):
            slot = tf.cast(index % self._at_once, tf.int32)
            branches = [assign(variables) for variables in self._slots]
            tf.cond(index < self._limit, lambda: tf.switch_case(slot, branches), lambda: tf.constant(False))

    def hand_out(self, steps: int) -> None:
        """Give away the batches kept so far.

        Args:
            steps: how many steps were made in all.
        """
        if not self._slots or self._handed_out >= self._limit:
            return
        for index in range(self._handed_out, min(steps, self._limit)):
            self._receive([variable.numpy() for variable in self._slots[index % self._at_once]], self._weights)
        self._handed_out = min(steps, self._limit)
        if self._handed_out >= self._limit and self._wanted is not None:
            self._wanted.assign(0)
            for variable in (v for slot in self._slots for v in slot):
                variable.assign(tf.zeros([0], variable.dtype))  # let go of the batch


def sample_weights(data: Any) -> list[Any]:
    """Return the weights that come with a batch's samples; Keras makes them of class weights too."""
    given = data[2] if isinstance(data, tuple) and len(data) == 3 else None
    return [item for item in keras.tree.flatten(given) if not _empty(item)]


def _any_shape(dtype: tf.DType) -> tf.Variable:
    return tf.Variable(
        tf.zeros([0], dtype), shape=tf.TensorShape(None), trainable=False, validate_shape=False, name="trackside_batch"
    )


def _empty(item: Any) -> bool:
    # Keras turns an optional in the data, an absent sample weight for example, into None.
    return item is None or isinstance(item, tf.experimental.Optional)


def _is_number(dtype: tf.DType) -> bool:
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_bool) and dtype != tf.bfloat16
