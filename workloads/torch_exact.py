"""Keras layers and optimizers that compute what PyTorch's of the same name compute.

Keras' own differ from PyTorch's in the formula, not only in their defaults: no choice of constants makes them agree.
Those here follow PyTorch's formulas operation by operation, so that two runs in double precision stay together to
rounding. They are ordinary Keras objects otherwise: they serialise, take schedules and run in every mode.

`weight_decay_kind`, `epsilon_kind` and `running_variance` say in words which formula an object follows; the trackers
record them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops


def _constant(value: float, like: Any) -> tf.Tensor:
    """A Python float in the precision of `like`; Keras' own cast would take it through float32 first."""
    return tf.constant(value, dtype=like.dtype)


def _clipped_by_global_norm(gradients: Sequence[tf.Tensor], largest: float) -> list[tf.Tensor]:
    """Scale by largest / (norm + 1e-6) where that is below 1; Keras leaves out the 1e-6."""
    norm = tf.norm(tf.stack([tf.norm(gradient) for gradient in gradients]))
    scale = tf.minimum(_constant(largest, norm) / (norm + _constant(1e-6, norm)), _constant(1.0, norm))
    return [gradient * scale for gradient in gradients]


class _TorchOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    """What both optimizers share: dense gradients, clipping as PyTorch clips, and weight decay inside the update step.

    `global_clipnorm` is `torch.nn.utils.clip_grad_norm_`, which Lightning's `gradient_clip_val` calls.
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: Keras would decay the weights on its own, for every optimizer in the same decoupled way."""

    def _dense(self, gradient: Any, variable: Any) -> tf.Tensor:
        # The gradient of an embedding arrives as slices. Keras squares each slice of a repeated row on its own, in
        # the norm for clipping and in the second moment, where PyTorch squares their sum.
        return tf.cast(tf.convert_to_tensor(gradient), variable.dtype)

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        pairs = zip(grads, trainable_variables, strict=True)
        super()._backend_apply_gradients([self._dense(*pair) for pair in pairs], trainable_variables)

    def _clip_gradients(self, grads: Any) -> Any:
        """Nothing yet: this comes before the sum over all devices, and each has only its own share of a gradient."""
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        """The sums over all devices, clipped."""
        summed, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
        if self.global_clipnorm:
            clipped = _clipped_by_global_norm(summed, self.global_clipnorm)
        else:
            clipped = super()._clip_gradients(summed)
        return list(zip(clipped, variables, strict=True))

    def _decays(self, variable: Any) -> bool:
        return bool(self.weight_decay) and self._use_weight_decay(variable)


@keras.saving.register_keras_serializable("trackside")
class TorchSGD(_TorchOptimizer):
    """`torch.optim.SGD`: velocity = momentum · velocity + gradient; weight -= learning rate · velocity.

    Keras puts the learning rate into the velocity instead, which is the same thing only until the rate changes.

    Args:
        learning_rate: a float, a schedule or a callable.
        momentum: weight of the velocity so far.
        weight_decay: L2 penalty, added to the gradient (coupled) as PyTorch does.
        nesterov: step along gradient + momentum · velocity.
        name: name of the optimizer.
        **kwargs: what every Keras optimizer takes: clipping, gradient accumulation, moving averages.
    """

    weight_decay_kind = "coupled"

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        name: str = "SGD",
        **kwargs: Any,
    ) -> None:
        if nesterov and momentum <= 0:
            raise ValueError("Nesterov momentum needs a momentum: pass momentum=0.9 or nesterov=False.")
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.momentum = momentum
        self.nesterov = nesterov

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity") if self.momentum else []

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self._decays(variable):
            gradient += _constant(self.weight_decay, variable) * variable
        if self.momentum:
            momentum = _constant(self.momentum, variable)
            velocity = self.velocities[self._get_variable_index(variable)]
            self.assign(velocity, momentum * velocity + gradient)
            gradient = gradient + momentum * velocity if self.nesterov else ops.convert_to_tensor(velocity)
        self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * gradient)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


@keras.saving.register_keras_serializable("trackside")
class TorchAdam(_TorchOptimizer):
    """`torch.optim.Adam`, and `torch.optim.AdamW` with `decoupled=True`.

    PyTorch adds epsilon to the bias-corrected root of the second moment, Keras to the uncorrected one: with Keras'
    formula the effective epsilon changes from step to step.

    Args:
        learning_rate: a float, a schedule or a callable.
        beta_1: decay of the mean of the gradients.
        beta_2: decay of the mean of their squares.
        epsilon: added outside the root.
        weight_decay: added to the gradient (Adam), or taken off the weights (AdamW, whose default is 0.01).
        decoupled: AdamW's weight decay.
        amsgrad: divide by the largest second moment so far.
        name: name of the optimizer.
        **kwargs: what every Keras optimizer takes: clipping, gradient accumulation, moving averages.
    """

    epsilon_kind = "outside"

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        amsgrad: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay=weight_decay, name=name or ("AdamW" if decoupled else "Adam"), **kwargs
        )
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.decoupled = decoupled
        self.amsgrad = amsgrad

    @property
    def weight_decay_kind(self) -> str:
        """`coupled` (Adam) or `decoupled` (AdamW)."""
        return "decoupled" if self.decoupled else "coupled"

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.means, self.squares = self.add_optimizer_variables(variables, ["mean", "square"])
        self.largest_squares = self.add_optimizer_variables(variables, "largest_square") if self.amsgrad else []

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        mean, square = self.means[index], self.squares[index]
        rate = tf.cast(learning_rate, tf.float64)
        if self._decays(variable):
            if self.decoupled:
                self.assign(variable, variable * tf.cast(1.0 - rate * self.weight_decay, variable.dtype))
            else:
                gradient += _constant(self.weight_decay, variable) * variable

        self.assign_add(mean, _constant(1 - self.beta_1, variable) * (gradient - mean))
        kept, fresh = _constant(self.beta_2, variable), _constant(1 - self.beta_2, variable)
        self.assign(square, kept * square + fresh * (gradient * gradient))
        if self.amsgrad:
            largest = self.largest_squares[index]
            self.assign(largest, tf.maximum(largest, square))
            square = largest

        # PyTorch has these scalars as Python floats, so they are double precision here too.
        step = tf.cast(self.iterations, tf.float64) + 1.0
        step_size = tf.cast(rate / (1.0 - tf.constant(self.beta_1, tf.float64) ** step), variable.dtype)
        root = tf.cast(tf.sqrt(1.0 - tf.constant(self.beta_2, tf.float64) ** step), variable.dtype)
        denominator = ops.sqrt(square) / root + _constant(self.epsilon, variable)
        self.assign_sub(variable, step_size * (mean / denominator))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "decoupled": self.decoupled,
            "amsgrad": self.amsgrad,
        }


@keras.saving.register_keras_serializable("trackside")
class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """`torch.nn.BatchNorm1d/2d/3d`: the running variance is the unbiased one, and momentum weighs the new batch.

    Keras' running variance divides by n, PyTorch's by n - 1; training is the same, evaluation is not. The layer's
    `momentum` attribute stays in Keras' convention (weight of the old statistics), as code that reads Keras layers
    expects; the argument and `get_config` have PyTorch's.

    Args:
        momentum: weight of the new batch in the running mean and variance.
        epsilon: added to the variance inside the root.
        axis: the channels.
        **kwargs: what Keras' own layer takes.
    """

    running_variance = "unbiased"

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(axis=axis, momentum=1.0 - momentum, epsilon=epsilon, **kwargs)
        self.torch_momentum = momentum

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if mask is not None:
            raise ValueError("PyTorch's batch normalisation knows no masks: use keras.layers.BatchNormalization.")
        if not (training and self.trainable):
            return super().call(inputs, training=False)

        compute_dtype = keras.backend.result_type(inputs.dtype, "float32")  # half precision would overflow
        inputs = ops.cast(inputs, compute_dtype)
        mean, variance = self._moments(inputs, None)  # (channels,), (channels,)
        count = ops.cast(ops.size(inputs) // ops.shape(inputs)[self.axis], compute_dtype)
        unbiased = variance * (count / ops.maximum(count - 1, 1))

        new, old = _constant(self.torch_momentum, mean), _constant(1.0 - self.torch_momentum, mean)
        self.moving_mean.assign(old * ops.cast(self.moving_mean, compute_dtype) + new * mean)
        self.moving_variance.assign(old * ops.cast(self.moving_variance, compute_dtype) + new * unbiased)
        outputs = ops.batch_normalization(
            inputs,
            mean,
            variance,
            self.axis,
            offset=ops.cast(self.beta, compute_dtype) if self.center else None,
            scale=ops.cast(self.gamma, compute_dtype) if self.scale else None,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.torch_momentum}


@keras.saving.register_keras_serializable("trackside")
class LeakyReLU(keras.layers.LeakyReLU):  # type: ignore[misc]
    """`torch.nn.LeakyReLU`, its slope in the precision of the inputs: TensorFlow takes it through float32.

    Args:
        negative_slope: what negative inputs are multiplied by.
        **kwargs: what Keras' own layer takes.
    """

    def __init__(self, negative_slope: float = 0.01, **kwargs: Any) -> None:
        super().__init__(negative_slope=negative_slope, **kwargs)

    def call(self, inputs: Any) -> Any:
        return tf.where(inputs > 0, inputs, inputs * _constant(self.negative_slope, inputs))
