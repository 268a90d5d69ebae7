"""Digits CNN in Keras on TensorFlow.

    python -m trackside.workloads.digits_cnn.keras_tensorflow
    python -m trackside.workloads.digits_cnn.keras_tensorflow --precision float64 --mode xla --optimizer stock

352 updates take about 2 seconds on one CPU core after some 10 seconds of imports, and reach a validation accuracy of
0.98 or more. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, while TensorFlow is imported: errors only
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

import trackside

from .. import torch_exact
from ..settings import Settings, parse_settings
from . import problem

MODES = ("graph", "eager", "xla")
PRECISIONS = ("float32", "float64")


def build_model(optimizer: str) -> keras.Model:
    """Two convolutions with batch normalisation and a linear head: 6,138 trainable parameters."""

    def norm() -> layers.Layer:
        if optimizer == "exact":
            return torch_exact.BatchNormalization(problem.NORM_MOMENTUM, problem.NORM_EPSILON)
        return layers.BatchNormalization(momentum=1 - problem.NORM_MOMENTUM, epsilon=problem.NORM_EPSILON)

    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),  # (B, 8, 8, 1)
            layers.Conv2D(16, 3, padding="same", use_bias=False),  # the normalisation after it has a bias
            norm(),
            layers.ReLU(),
            layers.MaxPooling2D(2),  # (B, 4, 4, 16)
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            norm(),
            layers.ReLU(),
            layers.MaxPooling2D(2),  # (B, 2, 2, 32)
            layers.Flatten(),  # (B, 128)
            layers.Dense(problem.CLASSES),  # (B, 10)
        ]
    )


def load_weights(model: keras.Model, weights: dict[str, NDArray[np.float32]]) -> None:
    """Put PyTorch's weights into the layers, in Keras' layout."""
    conv1, norm1, conv2, norm2, head = (layer for layer in model.layers if layer.weights)
    for layer, name in ((conv1, "conv1"), (conv2, "conv2")):
        layer.kernel.assign(weights[f"{name}.weight"].transpose(2, 3, 1, 0))  # (out, in, h, w) -> (h, w, in, out)
    for layer, name in ((norm1, "norm1"), (norm2, "norm2")):
        layer.gamma.assign(weights[f"{name}.weight"])
        layer.beta.assign(weights[f"{name}.bias"])
    # PyTorch flattens channels first, Keras channels last: the rows of the head follow.
    kernel = weights["head.weight"].reshape(problem.CLASSES, 32, 2, 2).transpose(2, 3, 1, 0)  # (2, 2, 32, 10)
    head.kernel.assign(kernel.reshape(128, problem.CLASSES))
    head.bias.assign(weights["head.bias"])


def batches(digits: problem.Digits, settings: Settings, epochs: int) -> tf.data.Dataset:
    """All batches of the run, one epoch after another, in the order drawn beforehand."""
    images = tf.constant(digits.train_images[..., np.newaxis], keras.config.floatx())  # (1437, 8, 8, 1)
    labels = tf.constant(digits.train_labels)  # (1437,)
    order = problem.sample_order(settings.seed, epochs)  # (epochs, 1437)
    whole = problem.steps_per_epoch(settings.batch_size) * settings.batch_size
    indices = order[:, :whole].reshape(-1, settings.batch_size)  # (batches, B)
    dataset = tf.data.Dataset.from_tensor_slices(indices)
    return dataset.map(lambda index: (tf.gather(images, index), tf.gather(labels, index))).prefetch(2)


class StopAfter(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends training at a given update with a last validation, wherever in an epoch it falls."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.done = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.done += 1
        if self.done == self.steps:
            self.model.stop_training = True


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    tf.config.experimental.enable_tensor_float_32_execution(False)  # float32 means float32, in both frameworks
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # or it takes all of the memory at once
    keras.config.set_floatx(settings.precision)
    keras.utils.set_random_seed(settings.seed)

    digits = problem.load_digits()
    epochs = problem.epochs(settings.steps, settings.batch_size)
    validation_images = digits.validation_images[..., np.newaxis]  # (360, 8, 8, 1)

    model = build_model(settings.optimizer)
    load_weights(model, problem.initial_weights(settings.seed))
    sgd = torch_exact.TorchSGD if settings.optimizer == "exact" else keras.optimizers.SGD
    # A NumPy double makes Keras evaluate the schedule in double precision; a Python float would give float32.
    rate = np.float64(problem.LEARNING_RATE)
    schedule = keras.optimizers.schedules.CosineDecay(rate, decay_steps=settings.steps)
    model.compile(
        optimizer=sgd(schedule, momentum=problem.MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
        run_eagerly=settings.mode == "eager",
        jit_compile=settings.mode == "xla",
    )
    tracker = trackside.KerasTracker(
        name=settings.name,
        project=settings.project or "digits-cnn",
        group=settings.group,
        workload="digits-cnn",
        config=problem.config(settings, digits),
        store=settings.store,
        tensorboard=settings.tensorboard,
    )
    history = model.fit(
        batches(digits, settings, epochs),
        epochs=epochs,
        steps_per_epoch=problem.steps_per_epoch(settings.batch_size),
        validation_data=(validation_images, digits.validation_labels),
        validation_batch_size=len(validation_images),
        callbacks=[tracker, StopAfter(settings.steps)],
        shuffle=False,
        verbose=0,
    )
    return {name: history.history[name.replace("/", "_")][-1] for name in ("val/loss", "val/acc")}


if __name__ == "__main__":
    options = parse_settings(
        __doc__, modes=MODES, precisions=PRECISIONS, steps=problem.STEPS, batch_size=problem.BATCH_SIZE
    )
    print(*(f"{name} {value:.4f}" for name, value in train(options).items()))
