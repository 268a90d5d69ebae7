"""A problem's arrays as the batches that `model.fit` takes. Imported after `keras_training`, which sets Keras up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .problem import Arrays, Problem, in_precision, sample_order, with_places
from .settings import Settings

Taking = Callable[[tf.Tensor], tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]]
"""From the indices of some samples to their inputs and targets."""


def batches(problem: Problem, settings: Settings, first_epoch: int = 0) -> tf.data.Dataset:
    """All batches of the run from an epoch on, one epoch after another, in the order drawn beforehand."""
    order = sample_order(settings.seed, problem.samples, problem.epochs(settings))
    noise = [tf.constant(array) for array in in_precision(problem.noise(order.size), settings.precision)]
    whole = problem.steps_per_epoch(settings.batch_size) * settings.batch_size
    indices = with_places(order)[first_epoch:, :whole].reshape(-1, settings.batch_size, 2)  # (batches, B, 2)
    take = _taking(problem, problem.inputs, problem.targets, settings)

    def batch(index: tf.Tensor) -> Any:
        inputs, targets = take(index[:, 0])
        return single([*(tf.gather(tensor, index[:, 1]) for tensor in noise), *inputs]), single(targets)

    return tf.data.Dataset.from_tensor_slices(indices).map(batch).prefetch(2)


def validation(problem: Problem, settings: Settings, batch_size: int) -> dict[str, Any]:
    """The arguments of `fit` that say what to validate on: arrays, or a dataset where they must be expanded."""
    inputs, targets = problem.validation_inputs, problem.validation_targets
    if problem.expand is not None:
        take = _taking(problem, inputs, targets, settings)
        indices = tf.data.Dataset.range(len(inputs[0])).batch(batch_size)
        return {"validation_data": indices.map(lambda index: tuple(map(single, take(index)))).prefetch(2)}
    arrays = (single(in_precision(inputs, settings.precision)), single(in_precision(targets, settings.precision)))
    return {"validation_data": arrays, "validation_batch_size": batch_size}


def single(parts: Sequence[Any]) -> Any:
    """What Keras expects: the thing itself where there is one, a tuple of several."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def _taking(problem: Problem, inputs: Arrays, targets: Arrays, settings: Settings) -> Taking:
    if problem.expand is not None:
        return _expanding(problem, inputs, targets, settings)
    tensors = [tf.constant(array) for array in in_precision((*inputs, *targets), settings.precision)]

    def take(index: tf.Tensor) -> tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]:
        taken = [tf.gather(tensor, index) for tensor in tensors]
        return taken[: len(inputs)], taken[len(inputs) :]

    return take


def _expanding(problem: Problem, inputs: Arrays, targets: Arrays, settings: Settings) -> Taking:
    def expand(index: NDArray[np.int64]) -> Arrays:
        expanded = problem.expanded(tuple(array[index] for array in inputs))
        return in_precision((*expanded, *(array[index] for array in targets)), settings.precision)

    example = expand(np.arange(1))

    def take(index: tf.Tensor) -> tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]:
        made = tf.numpy_function(expand, [index], [array.dtype for array in example])
        for tensor, array in zip(made, example, strict=True):
            tensor.set_shape((index.shape[0], *array.shape[1:]))  # TensorFlow cannot see what NumPy does
        return made[: len(inputs)], made[len(inputs) :]

    return take
