"""Broken trainings in Keras, each as somebody might write it. The line at fault says `culprit`.

Each function trains with the tracker it is given, and lets whatever comes of it pass. `mode` is what `compile` is told
of how to run: `jit_compile=False`, `run_eagerly=True` or `jit_compile=True`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

FEATURES, CLASSES, SAMPLES, BATCH = 8, 3, 48, 8

Mode = dict[str, Any]


def data() -> tuple[Any, Any]:
    """Samples (48, 8) whose class can be learned."""
    x = np.random.default_rng(1).normal(size=(SAMPLES, FEATURES)).astype("float32")
    return x, x[:, :CLASSES].argmax(1)


def classifier(*between: Any, lr: float = 0.1, loss: Any = None, model: Any = None, mode: Mode) -> Any:
    """Two layers, and what a case puts before them or in their place."""
    keras.utils.set_random_seed(0)
    model = model or keras.Sequential(
        [*between, keras.layers.Dense(16, activation="relu", name="hidden"), keras.layers.Dense(CLASSES, name="out")]
    )
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(lr), loss=loss, **mode)
    return model


def fit(model: Any, tracker: Any, x: Any = None, y: Any = None, **settings: Any) -> None:
    """Two epochs without output."""
    if x is None:
        x, y = data()
    if y is not None:
        settings["batch_size"] = BATCH
    model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=[tracker], **settings)


class Normalise(keras.layers.Layer):  # type: ignore[misc]  # Keras comes without types
    """Divides each sample by its spread, which is zero where all features are the same."""

    def call(self, x: Any) -> Any:
        spread = keras.ops.max(x, 1, keepdims=True) - keras.ops.min(x, 1, keepdims=True)
        return x / spread  # culprit: division_by_zero


def division_by_zero(tracker: Any, mode: Mode) -> None:
    """A sample without any spread in the fourth batch."""
    x, y = data()
    x[27] = 1.0
    fit(classifier(Normalise(name="normalise"), mode=mode), tracker, x, y)


def exploding_rate(tracker: Any, mode: Mode) -> None:
    """A regression whose learning rate is a hundred times too large."""

    def squared(y: Any, predicted: Any) -> Any:
        return keras.ops.square(predicted[:, 0] - keras.ops.cast(y, "float32"))  # culprit: exploding_rate

    fit(classifier(lr=30.0, loss=squared, mode=mode), tracker)


def log_of_negative(tracker: Any, mode: Mode) -> None:
    """A loss that takes the logarithm of a prediction that may be negative."""

    def logarithm(y: Any, predicted: Any) -> Any:
        chosen = keras.ops.take_along_axis(predicted, keras.ops.cast(y, "int32"), axis=1)
        return -keras.ops.log(chosen)  # culprit: log_of_negative

    x, y = data()
    fit(classifier(loss=logarithm, mode=mode), tracker, x, y[:, None])


class Head(keras.layers.Layer):  # type: ignore[misc]  # Keras comes without types
    """Expects more features than it is given."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(32, CLASSES))

    def call(self, x: Any) -> Any:
        return x @ self.kernel  # culprit: wrong_shape


def wrong_shape(tracker: Any, mode: Mode) -> None:
    """16 features into a layer of 32."""
    model = keras.Sequential([keras.layers.Dense(16, activation="relu"), Head(name="head")])
    fit(classifier(model=model, mode=mode), tracker)


class Double(keras.layers.Layer):  # type: ignore[misc]  # Keras comes without types
    """Converts to double precision what its weights multiply in single."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(FEATURES, FEATURES))

    def call(self, x: Any) -> Any:
        return tf.matmul(tf.cast(x, tf.float64), self.kernel)  # culprit: wrong_dtype


def wrong_dtype(tracker: Any, mode: Mode) -> None:
    """Samples in double precision, a layer in single."""
    fit(classifier(Double(name="double"), mode=mode), tracker)


def label_out_of_range(tracker: Any, mode: Mode) -> None:
    """One label that no output stands for, in the fourth batch."""

    def labelled(y: Any, predicted: Any) -> Any:
        y = tf.cast(y, "int32")
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, predicted)  # culprit: label_out_of_range

    x, y = data()
    y[27] = CLASSES
    model = classifier(loss=labelled, mode=mode)
    fit(model, tracker, x, y)


def stock_label_out_of_range(tracker: Any, mode: Mode) -> None:
    """The same with the loss that Keras has: no line of the user's is near."""
    x, y = data()
    y[27] = CLASSES
    fit(classifier(mode=mode), tracker, x, y)


def dead_relu(tracker: Any, mode: Mode) -> None:
    """A bias so low that no unit of the hidden layer ever fires."""
    model = classifier(mode=mode)
    model.build((None, FEATURES))
    model.get_layer("hidden").bias.assign([-100.0] * 16)
    fit(model, tracker)


def worker_dies(tracker: Any, mode: Mode) -> None:
    """An exception in the function that a data pipeline runs on its own threads."""

    def read(index: Any) -> Any:
        if index == 27:
            raise OSError("image 27 is truncated")  # culprit: worker_dies
        return np.ones(FEATURES, "float32")

    def load(index: Any) -> Any:
        x = tf.ensure_shape(tf.numpy_function(read, [index], tf.float32), (FEATURES,))
        return x, tf.constant(0)

    pipeline = tf.data.Dataset.range(SAMPLES).map(load, num_parallel_calls=2).batch(BATCH)
    fit(classifier(mode=mode), tracker, pipeline)


class Pairs(keras.layers.Layer):  # type: ignore[misc]  # Keras comes without types
    """Compares everything with everything, which needs more memory than there is."""

    def call(self, x: Any) -> Any:
        every = tf.tile(x, [2**27, 2**10])  # culprit: out_of_memory
        return x + tf.reduce_sum(every)


def out_of_memory(tracker: Any, mode: Mode) -> None:
    """Thirty-five terabytes."""
    fit(classifier(Pairs(name="pairs"), mode=mode), tracker)


class Cut(keras.layers.Layer):  # type: ignore[misc]  # Keras comes without types
    """Two layers, and between them a cut that nobody meant."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.body = keras.layers.Dense(16, activation="relu", name="body")
        self.head = keras.layers.Dense(CLASSES, name="head")

    def build(self, shape: Any) -> None:
        self.body.build(shape)
        self.head.build((None, 16))

    def call(self, x: Any) -> Any:
        return self.head(keras.ops.stop_gradient(self.body(x)))  # culprit: frozen_layer


def frozen_layer(tracker: Any, mode: Mode) -> None:
    """A layer that was meant to train, and is cut off by `stop_gradient`."""
    fit(classifier(model=keras.Sequential([Cut(name="cut")]), mode=mode), tracker)
