"""Recommender in Keras on TensorFlow.

    python -m trackside.workloads.recommender.keras_tensorflow
    python -m trackside.workloads.recommender.keras_tensorflow --size 64 --precision float64 --optimizer stock

1,120 updates take about 5 seconds on one CPU core after some 10 seconds of imports, and rank the last pick of 60 %
of the users among the first 10. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
from keras import layers

from ..layout import DENSE, SAME
from ..problem import Problem
from ..settings import Settings
from . import problem as picks


def build_model(dimensions: int) -> keras.Model:
    """Matrix factorisation beside a network, each with embeddings of its own: 48,689 parameters with 16 dimensions."""
    user = keras.Input((), dtype="int64", name="user")  # (B,)
    item = keras.Input((), dtype="int64", name="item")  # (B,)
    factors = layers.Multiply()(
        [
            layers.Embedding(picks.USERS, dimensions, name="gmf_user")(user),
            layers.Embedding(picks.ITEMS, dimensions, name="gmf_item")(item),
        ]
    )  # (B, D)
    x = layers.Concatenate()(
        [
            layers.Embedding(picks.USERS, dimensions, name="mlp_user")(user),
            layers.Embedding(picks.ITEMS, dimensions, name="mlp_item")(item),
        ]
    )  # (B, 2D)
    x = layers.Dense(dimensions, activation="relu", name="hidden1")(x)  # (B, D)
    x = layers.Dense(dimensions // 2, activation="relu", name="hidden2")(x)  # (B, D/2)
    logits = layers.Dense(1, name="head")(layers.Concatenate()([factors, x]))  # (B, 1)
    # Half precision ends before the loss.
    return keras.Model([user, item], layers.Activation("linear", dtype=keras.config.floatx())(logits))


def build_optimizer(settings: Settings, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Adam with a learning rate that falls after every epoch."""
    # NumPy doubles make Keras evaluate the schedule in double precision; Python floats would give float32.
    rate, decay = np.float64(picks.LEARNING_RATE), np.float64(picks.RATE_DECAY)
    schedule = keras.optimizers.schedules.ExponentialDecay(rate, steps_per_epoch, decay, staircase=True)
    beta_1, beta_2 = picks.BETAS
    # Users and items come up several times in a batch, which only PyTorch's arithmetic adds up before it squares.
    adam = torch_exact.TorchAdam if settings.optimizer == "exact" else keras.optimizers.Adam
    return adam(schedule, beta_1=beta_1, beta_2=beta_2, epsilon=picks.EPSILON)


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    model = build_model(settings.size)
    model.compile(
        optimizer=build_optimizer(settings, problem.steps_per_epoch(settings.batch_size)),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        **keras_training.compile_options(settings),
    )
    return model


def pairings(model: keras.Model) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    paired: list[keras_training.Pairing] = []
    for name in ("gmf_user", "gmf_item", "mlp_user", "mlp_item"):
        paired.append((f"{name}.weight", model.get_layer(name).embeddings, SAME))
    for name in ("hidden1", "hidden2", "head"):
        layer = model.get_layer(name)
        paired += [(f"{name}.weight", layer.kernel, DENSE), (f"{name}.bias", layer.bias, SAME)]
    return paired


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    problem = picks.load(settings)
    ranking = keras_training.MeasureValidation(problem, picks.measure)
    return keras_training.fit(picks.WORKLOAD, problem, settings, build, pairings, callbacks=[ranking])


if __name__ == "__main__":
    keras_training.run_script(picks.WORKLOAD, __doc__, train)
