"""Fraud in Keras on TensorFlow.

    python -m trackside.workloads.fraud.keras_tensorflow
    python -m trackside.workloads.fraud.keras_tensorflow --size 256 --precision float64 --mode xla --optimizer stock

930 updates take about 5 seconds on one CPU core after some 10 seconds of imports, and reach an area under the
precision-recall curve of 0.48. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
from keras import layers

from ..layout import DENSE, SAME
from ..problem import Problem
from ..settings import Settings
from . import problem as fraud


class WeightedBinaryCrossentropy(keras.losses.BinaryCrossentropy):  # type: ignore[misc]
    """Of logits, the mean over all samples with fraud counting several times: what `class_weight` does in training.

    As a part of the loss it counts in validation as well.

    Args:
        pos_weight: how many times fraud counts.
    """

    def __init__(self, pos_weight: float) -> None:
        super().__init__(from_logits=True)
        self.pos_weight = pos_weight

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        weight = keras.ops.where(y_true > 0, self.pos_weight, 1.0)  # (B, 1)
        return super().__call__(y_true, y_pred, weight if sample_weight is None else weight * sample_weight)


def build_model(hidden: int) -> keras.Model:
    """Two hidden layers: 5,249 parameters with 64 units each."""
    return keras.Sequential(
        [
            keras.Input((fraud.FEATURES,)),  # (B, 15)
            layers.Dense(hidden, activation="relu", name="hidden1"),  # (B, H)
            layers.Dense(hidden, activation="relu", name="hidden2"),  # (B, H)
            layers.Dense(1, name="head"),  # (B, 1)
            layers.Activation("linear", dtype=keras.config.floatx()),  # half precision ends before the loss
        ]
    )


def build_optimizer(settings: Settings) -> keras.optimizers.Optimizer:
    """AdamW with a cosine schedule; the gradients are clipped by their norm over all weights."""
    # A NumPy double makes Keras evaluate the schedule in double precision; a Python float would give float32.
    rate = np.float64(fraud.LEARNING_RATE)
    schedule = keras.optimizers.schedules.CosineDecay(rate, decay_steps=settings.steps)
    beta_1, beta_2 = fraud.BETAS
    constants: dict[str, Any] = {
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": fraud.EPSILON,
        "weight_decay": fraud.WEIGHT_DECAY,
        "global_clipnorm": fraud.CLIPPED_NORM,
    }
    if settings.optimizer == "exact":
        return torch_exact.TorchAdam(schedule, decoupled=True, **constants)
    return keras.optimizers.AdamW(schedule, **constants)


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    model = build_model(settings.size)
    model.compile(
        optimizer=build_optimizer(settings),
        loss=WeightedBinaryCrossentropy(fraud.POSITIVE_WEIGHT),
        **keras_training.compile_options(settings),
    )
    return model


def pairings(model: keras.Model) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    paired: list[keras_training.Pairing] = []
    for name in ("hidden1", "hidden2", "head"):
        layer = model.get_layer(name)
        paired += [(f"{name}.weight", layer.kernel, DENSE), (f"{name}.bias", layer.bias, SAME)]
    return paired


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    problem = fraud.load(settings)
    (labels,) = problem.validation_targets
    areas = keras_training.MeasureValidation(problem, lambda logits: fraud.measure(labels, logits))
    return keras_training.fit(fraud.WORKLOAD, problem, settings, build, pairings, callbacks=[areas])


if __name__ == "__main__":
    keras_training.run_script(fraud.WORKLOAD, __doc__, train)
