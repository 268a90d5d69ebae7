"""The gallery of broken trainings in Keras on TensorFlow, as it is and with tf.debugging, in graph and eager mode.

python -m trackside.workloads.claims.broken_keras OUTPUT.json
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from . import broken
from .probe import write

SWITCH = "tf.debugging.enable_check_numerics()"


class Classifier(keras.Model):  # type: ignore[misc]
    """Two layers."""

    def __init__(self, case: str | None) -> None:
        super().__init__()
        self.case = case
        self.hidden = layers.Dense(broken.HIDDEN, activation="leaky_relu", name="hidden")
        self.head = layers.Dense(broken.CLASSES, name="head")

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, FEATURES)
        logits = self.head(self.hidden(x))  # (B, CLASSES)
        if self.case == broken.LOGARITHM:
            self.add_loss(0.01 * tf.reduce_mean(tf.math.log(x * tf.reduce_mean(self.hidden.kernel**2)) ** 2))
        return logits


def training(case: str | None, mode: str) -> Callable[[Any, Any], float]:
    """A function that makes one update."""
    keras.utils.set_random_seed(0)
    model = Classifier(case)
    model.compile(
        keras.optimizers.SGD(broken.learning_rate(case)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=mode == "eager",
        jit_compile=False,
    )

    def step(x: Any, y: Any) -> float:
        model.reset_metrics()
        return float(model.train_on_batch(x, y))

    return step


def main() -> None:
    """Every case, without and with the switch."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    logging.getLogger("absl").setLevel(logging.ERROR)
    tf.get_logger().setLevel(logging.ERROR)
    results, costs = [], []
    for mode in ("graph", "eager"):
        cost: dict[str, Any] = {"framework": "tensorflow", "mode": mode}
        for switch in (None, SWITCH):
            if switch is None:
                tf.debugging.disable_check_numerics()
            else:
                tf.debugging.enable_check_numerics()
            for case in broken.CASES:
                found = broken.observe(case, training(case, mode), __file__, ("hidden", "head"))
                results.append({"framework": "tensorflow", "mode": mode, "switch": switch, **found})
            cost["switched" if switch else "plain"] = broken.median_step(training(None, mode))
        costs.append(cost)
    write(sys.argv[1], {"results": results, "costs": costs})


if __name__ == "__main__":
    main()
