"""YOLO in Keras on TensorFlow.

    python -m trackside.workloads.yolo.keras_tensorflow
    python -m trackside.workloads.yolo.keras_tensorflow --precision float64 --size 128 --steps 100

2,048 updates take about 45 seconds on one CPU core after some 10 seconds of imports, and reach a mean average precision
(`val/map_50`) of 0.91. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from ..layout import CONV2D, SAME
from ..problem import Problem
from ..settings import Settings
from . import problem as yolo
from .average_precision import mean_average_precision

# Targets and outputs are (B, G, G, A, V): rows and columns of cells, anchors, and the values that problem.py lists.
# What a cell without an object says of boxes and classes does not count.


def box_loss(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Squared error of centre and size: (B,)."""
    errors = ops.concatenate(
        [ops.sigmoid(outputs[..., :2]) - targets[..., :2], outputs[..., 2:4] - targets[..., 2:4]], -1
    )
    return yolo.BOX_WEIGHT * ops.sum(targets[..., 4] * ops.sum(ops.square(errors), -1), (1, 2, 3))


def object_loss(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of whether there is an object: (B,)."""
    objects = targets[..., 4]  # (B, G, G, A)
    weights = objects + yolo.NO_OBJECT_WEIGHT * (1 - objects)
    entropy = ops.binary_crossentropy(objects, outputs[..., 4], from_logits=True)
    return ops.sum(weights * entropy, (1, 2, 3))


def class_loss(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the class: (B,)."""
    entropy = ops.categorical_crossentropy(targets[..., 5:], outputs[..., 5:], from_logits=True)  # (B, G, G, A)
    return ops.sum(targets[..., 4] * entropy, (1, 2, 3))


class DetectionLoss(keras.losses.Loss):  # type: ignore[misc]
    """Of box, object and class, summed over the cells and anchors of a scene, averaged over the scenes."""

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return box_loss(y_true, y_pred) + object_loss(y_true, y_pred) + class_loss(y_true, y_pred)


def build_model(size: int, optimizer: str) -> keras.Model:
    """Six convolutions, three of which halve the image, and a linear head: 101,413 trainable parameters."""

    def norm(name: str) -> layers.Layer:
        if optimizer == "exact":
            return torch_exact.BatchNormalization(yolo.NORM_MOMENTUM, yolo.NORM_EPSILON, name=name)
        return layers.BatchNormalization(momentum=1 - yolo.NORM_MOMENTUM, epsilon=yolo.NORM_EPSILON, name=name)

    inputs = x = keras.Input((size, size, 1))  # (B, S, S, 1)
    for number, (channels, stride) in enumerate(yolo.LAYERS):
        # All sides alike, as PyTorch does; padding "same" with stride 2 would pad the right and the bottom only.
        x = layers.ZeroPadding2D(1, name=f"pad{number}")(x)
        # The normalisation after the convolution has a bias.
        x = layers.Conv2D(channels, 3, stride, use_bias=False, name=f"conv{number}")(x)
        x = norm(f"norm{number}")(x)
        x = layers.LeakyReLU(yolo.NEGATIVE_SLOPE, name=f"activation{number}")(x)
    cells = size // yolo.STRIDE
    x = layers.Conv2D(len(yolo.ANCHORS) * yolo.VALUES, 1, name="head")(x)  # (B, G, G, A·V)
    x = layers.Reshape((cells, cells, len(yolo.ANCHORS), yolo.VALUES))(x)  # (B, G, G, A, V)
    outputs = layers.Activation("linear", dtype=keras.config.floatx())(x)  # half precision ends before the loss
    return keras.Model(inputs, outputs, name="yolo")


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    model = build_model(settings.size, settings.optimizer)
    # A NumPy double makes Keras evaluate the schedule in double precision; a Python float would give float32.
    rate = np.float64(yolo.LEARNING_RATE)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / yolo.WARM_UP,
        decay_steps=max(1, settings.steps - yolo.WARM_UP),
        warmup_target=rate,
        warmup_steps=yolo.WARM_UP,
    )
    if settings.optimizer == "exact":
        optimizer = torch_exact.TorchAdam(schedule)
    else:
        optimizer = keras.optimizers.Adam(schedule, epsilon=1e-8)
    model.compile(
        optimizer=optimizer,
        loss=DetectionLoss(),
        metrics=[box_loss, object_loss, class_loss],
        **keras_training.compile_options(settings),
    )
    return model


def pairings(model: keras.Model) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    paired: list[keras_training.Pairing] = []
    for number in range(len(yolo.LAYERS)):
        norm = model.get_layer(f"norm{number}")
        paired += [
            (f"backbone.{number}.conv.weight", model.get_layer(f"conv{number}").kernel, CONV2D),
            (f"backbone.{number}.norm.weight", norm.gamma, SAME),
            (f"backbone.{number}.norm.bias", norm.beta, SAME),
        ]
    head = model.get_layer("head")
    return [*paired, ("head.weight", head.kernel, CONV2D), ("head.bias", head.bias, SAME)]


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    problem = yolo.load(settings)
    (targets,) = problem.validation_targets
    precision = keras_training.MeasureValidation(
        problem, lambda outputs: {"map_50": mean_average_precision(outputs, targets)}
    )
    return keras_training.fit(yolo.WORKLOAD, problem, settings, build, pairings, callbacks=[precision])


if __name__ == "__main__":
    keras_training.run_script(yolo.WORKLOAD, __doc__, train)
