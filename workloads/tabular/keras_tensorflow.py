"""Tabular in Keras on TensorFlow.

    python -m trackside.workloads.tabular.keras_tensorflow
    python -m trackside.workloads.tabular.keras_tensorflow --size 256 --precision float64 --mode xla --optimizer stock

280 updates take about 3 seconds on one CPU core after some 10 seconds of imports, and reach a validation accuracy of
0.96. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
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
from ..ranking_metrics import roc_auc
from ..settings import Settings
from . import problem as tumours


def build_model(hidden: int) -> keras.Model:
    """Two hidden layers: 6,209 parameters with 64 units each."""
    return keras.Sequential(
        [
            keras.Input((tumours.FEATURES,)),  # (B, 30)
            layers.Dense(hidden, activation="relu", name="hidden1"),  # (B, H)
            layers.Dense(hidden, activation="relu", name="hidden2"),  # (B, H)
            layers.Dense(1, name="head"),  # (B, 1)
            layers.Activation("linear", dtype=keras.config.floatx()),  # half precision ends before the loss
        ]
    )


def build_optimizer(settings: Settings) -> keras.optimizers.Optimizer:
    """AdamW with a learning rate that drops twice."""
    # Keras drops the rate after the update it is given, PyTorch at it.
    boundaries = [step - 1 for step in tumours.rate_drops(settings.steps)]
    # NumPy doubles make Keras evaluate the schedule in double precision; Python floats would give float32.
    rates = [np.float64(tumours.LEARNING_RATE * tumours.RATE_FACTOR**drops) for drops in (0, 1, 2)]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    beta_1, beta_2 = tumours.BETAS
    constants: dict[str, Any] = {
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": tumours.EPSILON,
        "weight_decay": tumours.WEIGHT_DECAY,
    }
    if settings.optimizer == "exact":
        return torch_exact.TorchAdam(schedule, decoupled=True, **constants)
    return keras.optimizers.AdamW(schedule, **constants)


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    model = build_model(settings.size)
    model.compile(
        optimizer=build_optimizer(settings),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="acc", threshold=0.0)],  # of logits
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
    problem = tumours.load(settings)
    (labels,) = problem.validation_targets
    areas = keras_training.MeasureValidation(problem, lambda logits: {"auc": roc_auc(labels, logits)})
    return keras_training.fit(tumours.WORKLOAD, problem, settings, build, pairings, callbacks=[areas])


if __name__ == "__main__":
    keras_training.run_script(tumours.WORKLOAD, __doc__, train)
