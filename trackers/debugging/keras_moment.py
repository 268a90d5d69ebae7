"""A training step as it was when its loss or gradients were not finite: weights, random state and batch.

Keras shows the loss after the update, when the weights are spoilt with it. So the step itself looks, between backward
pass and update, and copies everything to the host where something is wrong. While all is well that is a comparison
and a branch that is not taken. XLA has no way out to the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .. import keras_model
from ..guard import Guard

# A gradient that is not finite makes those of the layers before it so, and the first would tell of all, if TensorFlow's
# ReLU did not make 0 of NaN. A sum over each of these costs a few microseconds.
WATCHED_GRADIENTS = 16
LARGEST_WATCHED = 65_536
MOST_MOMENTS = 5
LARGEST_COPY = 1_000_000_000  # elements of weights that are copied to the host


@dataclass(frozen=True, slots=True)
class Moment:
    """A step before its update.

    Attributes:
        weights: of the model's variables in their order, as they were.
        seeds: state of the model's sources of random numbers when the step began.
        data: the batch, as the training step was given it; None where it could not be kept.
        batches: how many batches the optimizer had taken before this one.
    """

    weights: list[NDArray[Any]]
    seeds: list[NDArray[Any]]
    data: Any
    batches: int


class MomentKeeper:
    """Looks at each step before its update, inside the training function.

    Args:
        model: a compiled Keras model on the TensorFlow back end, with one replica and outside of XLA.
        guard: takes what goes wrong in here.

    Attributes:
        taken: the step that was not finite, until `release`; None while all is well.
    """

    def __init__(self, model: Any, guard: Guard) -> None:
        self._model = model
        self._guard = guard
        self._left = MOST_MOMENTS
        self.taken: Moment | None = None

    def begin(self, data: Any) -> tuple[Any, list[Any], list[Any]]:
        """A step begins with this batch; returns what `look` needs of it."""
        tensors = keras.tree.flatten(data)
        kept = [item for item in tensors if isinstance(item, tf.Tensor)]
        usable = len(kept) == sum(item is not None for item in tensors)
        return data, kept if usable else [], [tf.convert_to_tensor(s.state.value) for s in seed_generators(self._model)]

    def look(self, begun: tuple[Any, list[Any], list[Any]], losses: Sequence[Any], gradients: Sequence[Any]) -> Any:
        """Take the moment if losses or gradients are not finite; what this returns has to precede the update.

        Args:
            begun: what `begin` returned.
            losses: those computed in this step.
            gradients: dense or sparse, None where a weight has none; empty where they may be infinite by design.
        """
        data, tensors, seeds = begun
        numbers = [tf.cast(tf.reduce_sum(loss), tf.float32) for loss in losses]
        numbers += [tf.cast(tf.reduce_sum(g), tf.float32) for g in watched(gradients)]
        if not numbers:
            return None
        bad = tf.logical_not(tf.math.is_finite(tf.add_n(numbers)))
        count = len(tensors)

        def take(*arrays: Any) -> None:
            self._take(data, arrays[:count], arrays[count:])

        if tf.executing_eagerly():
            if bool(bad):
                take(*tensors, *seeds)
            return None

        def copied() -> Any:
            done = tf.py_function(take, [*tensors, *seeds], [])
            with tf.control_dependencies([done] if isinstance(done, tf.Operation) else done):
                return tf.constant(True)

        return tf.cond(bad, copied, lambda: tf.constant(False))

    def _take(self, data: Any, tensors: Sequence[Any], seeds: Sequence[Any]) -> None:
        with self._guard("keep the step that was not finite"):
            if self.taken is not None or self._left == 0:
                return
            self._left -= 1
            if keras_model.count_parameters(self._model) > LARGEST_COPY:
                return
            filled = iter(tensors)
            flat = [next(filled, None) if isinstance(item, tf.Tensor) else item for item in keras.tree.flatten(data)]
            whole = sum(isinstance(item, tf.Tensor) for item in flat) == len(tensors) > 0
            self.taken = Moment(
                weights=[np.array(v.numpy()) for v in self._model.variables],
                seeds=[np.array(seed.numpy()) for seed in seeds],
                data=keras.tree.pack_sequence_as(data, flat) if whole else None,
                batches=max((keras_model.batches_seen(o) for o in keras_model.optimizers(self._model)), default=0),
            )

    def release(self) -> Moment | None:
        """Give away the moment; the next bad step will be kept again."""
        moment, self.taken = self.taken, None
        return moment


class StepCopy:
    """Keeps every step as it begins, for XLA: outside of what it compiles, and at the cost of the weights once more.

    Args:
        model: a compiled Keras model on the TensorFlow back end, with one replica and one step an execution.
        guard: takes what goes wrong in here.
    """

    taken = None  # nothing in the step tells that it was not finite

    def __init__(self, model: Any, guard: Guard) -> None:
        self._model = model
        self._guard = guard
        self._data: Any = None
        self._types: list[tf.DType] | None = None
        self._batch: list[tf.Variable] = []
        self._weights: list[tf.Variable] = []

    def prepare(self) -> bool:
        """Make room, once a step was traced and all weights exist; returns whether the graph has to be built again."""
        if self._weights or self._types is None or keras_model.count_parameters(self._model) > LARGEST_COPY:
            return False
        self._batch = [_unshaped(dtype) for dtype in self._types]
        self._weights = [tf.Variable(tf.identity(v.value), trainable=False) for v in self._model.variables]
        return True

    def keep(self, data: Any) -> None:
        """A step begins with this batch; called where its graph is traced, outside of XLA."""
        flat = keras.tree.flatten(data)
        tensors = [item for item in flat if isinstance(item, tf.Tensor)]
        if len(tensors) != sum(item is not None for item in flat):
            tensors = []
        if self._types is None:
            self._types = [tensor.dtype for tensor in tensors]
            self._data = keras.tree.map_structure(lambda item: None if item is None else 0, data)
        if not self._weights:
            return
        if self._types == [tensor.dtype for tensor in tensors]:
            for variable, tensor in zip(self._batch, tensors, strict=True):
                variable.assign(tensor)
        for variable, weight in zip(self._weights, self._model.variables, strict=True):
            variable.assign(weight.value)

    def release(self) -> Moment | None:
        """Return the last step as it began; None after the first, which showed what is to be kept."""
        with self._guard("keep the step that was not finite"):
            if self._batch and int(tf.size(self._batch[0])):
                filled = iter(self._batch)
                flat = [tf.identity(next(filled)) if item == 0 else None for item in keras.tree.flatten(self._data)]
                return Moment(
                    weights=[variable.numpy() for variable in self._weights],
                    seeds=[],
                    data=keras.tree.pack_sequence_as(self._data, flat),
                    batches=0,
                )
        return None


def _unshaped(dtype: tf.DType) -> tf.Variable:
    return tf.Variable(
        tf.zeros([0], dtype), shape=tf.TensorShape(None), trainable=False, validate_shape=False, name="trackside_step"
    )


def seed_generators(model: Any) -> list[Any]:
    """Return the sources of random numbers in a model's layers, each once, in a fixed order."""
    found = {id(s): s for layer in model._flatten_layers() for s in getattr(layer, "_seed_generators", ())}
    return list(found.values())


def watched(gradients: Sequence[Any]) -> list[Any]:
    """Return small gradients: those of the first layers, and one of the last."""
    dense = [g for g in gradients if isinstance(g, tf.Tensor) and g.shape.num_elements() is not None]
    small = [g for g in dense if 0 < g.shape.num_elements() <= LARGEST_WATCHED]
    return small if len(small) <= WATCHED_GRADIENTS else [*small[: WATCHED_GRADIENTS - 1], small[-1]]
