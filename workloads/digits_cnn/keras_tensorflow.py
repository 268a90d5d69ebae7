"""Digits CNN in Keras on TensorFlow.

    python -m trackside.workloads.digits_cnn.keras_tensorflow
    python -m trackside.workloads.digits_cnn.keras_tensorflow --precision float64 --mode xla --optimizer stock

352 updates take about 2 seconds on one CPU core after some 10 seconds of imports, and reach a validation accuracy of
0.98 or more. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
from keras import layers

from ..layout import CONV2D, SAME, flattened_images
from ..problem import Problem
from ..settings import Settings
from . import problem as digits


def build_model(channels: int, optimizer: str) -> keras.Model:
    """Two convolutions with batch normalisation and a linear head: 6,138 trainable parameters with 16 channels."""

    def norm(name: str) -> layers.Layer:
        if optimizer == "exact":
            return torch_exact.BatchNormalization(digits.NORM_MOMENTUM, digits.NORM_EPSILON, name=name)
        return layers.BatchNormalization(momentum=1 - digits.NORM_MOMENTUM, epsilon=digits.NORM_EPSILON, name=name)

    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),  # (B, 8, 8, 1)
            # The normalisation after a convolution has a bias.
            layers.Conv2D(channels, 3, padding="same", use_bias=False, name="conv1"),
            norm("norm1"),
            layers.ReLU(),
            layers.MaxPooling2D(2),  # (B, 4, 4, C)
            layers.Conv2D(2 * channels, 3, padding="same", use_bias=False, name="conv2"),
            norm("norm2"),
            layers.ReLU(),
            layers.MaxPooling2D(2),  # (B, 2, 2, 2C)
            layers.Flatten(),  # (B, 8C)
            layers.Dense(digits.CLASSES, name="head"),  # (B, 10)
            layers.Activation("linear", dtype=keras.config.floatx()),  # half precision ends before the loss
        ]
    )


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    model = build_model(settings.size, settings.optimizer)
    sgd = torch_exact.TorchSGD if settings.optimizer == "exact" else keras.optimizers.SGD
    # A NumPy double makes Keras evaluate the schedule in double precision; a Python float would give float32.
    rate = np.float64(digits.LEARNING_RATE)
    schedule = keras.optimizers.schedules.CosineDecay(rate, decay_steps=settings.steps)
    model.compile(
        optimizer=sgd(schedule, momentum=digits.MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
        **keras_training.compile_options(settings),
    )
    return model


def pairings(model: keras.Model) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    paired: list[keras_training.Pairing] = []
    for number in (1, 2):
        paired.append((f"conv{number}.weight", model.get_layer(f"conv{number}").kernel, CONV2D))
        norm = model.get_layer(f"norm{number}")
        paired += [(f"norm{number}.weight", norm.gamma, SAME), (f"norm{number}.bias", norm.beta, SAME)]
    head = model.get_layer("head")
    channels = head.kernel.shape[0] // 4
    return [*paired, ("head.weight", head.kernel, flattened_images(channels, 2, 2)), ("head.bias", head.bias, SAME)]


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return keras_training.fit(digits.WORKLOAD, digits.load(settings), settings, build, pairings)


if __name__ == "__main__":
    keras_training.run_script(digits.WORKLOAD, __doc__, train)
