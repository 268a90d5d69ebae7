"""Data-dependent control flow in Keras on TensorFlow: eager, graph and XLA, in four ways of writing it.

python -m trackside.workloads.claims.control_flow_keras OUTPUT.json
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import control_flow as task
from .probe import last_line, write


class AsWritten(keras.Model):  # type: ignore[misc]
    """The loop as anybody would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = self.add_weight(shape=(task.WIDTH, task.WIDTH), name="weight")
        self.weight.assign(task.weight())
        self.factor = 1.0  # a plain Python number, changed between two steps
        self.traces = 0

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, W)
        self.traces += 1
        while tf.norm(x) > task.LIMIT:
            x = tf.matmul(x, self.weight)
        return self.factor * x


class Decorated(AsWritten):
    """As written, with the decorator that has AutoGraph rewrite it; Keras 3 does not do so by itself."""

    @tf.function  # type: ignore[untyped-decorator]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        while tf.norm(x) > task.LIMIT:
            x = tf.matmul(x, self.weight)
        return self.factor * x


class WhileLoop(AsWritten):
    """The loop as TensorFlow's own operation."""

    most_rounds: int | None = None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        (x,) = tf.while_loop(
            lambda x: tf.norm(x) > task.LIMIT,
            lambda x: (tf.matmul(x, self.weight),),
            (x,),
            maximum_iterations=self.most_rounds,
        )
        return self.factor * x


class Bounded(WhileLoop):
    """The same with a largest number of rounds, which XLA wants in order to reserve memory for the gradient."""

    most_rounds = task.MOST_ROUNDS


def measure(mode: str, form: str, make: Callable[[], AsWritten]) -> dict[str, Any]:
    """One form in one mode: whether it trains, and what it costs."""
    found: dict[str, Any] = {"framework": "tensorflow", "mode": mode, "form": form}
    model = make()
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=mode == "eager", jit_compile=mode == "xla")

    def step(x: Any) -> float:
        return float(model.train_on_batch(x, np.zeros_like(x)))

    inputs = [task.batch(scale) for scale in task.SCALES]
    try:
        began = time.perf_counter()
        losses = [_alone(model, step, inputs[0])]
        found["first_seconds"] = time.perf_counter() - began
        losses += [_alone(model, step, x) for x in inputs[1:]]
        found |= {"ran": True, "correct": task.agrees(losses)}
        step(task.batch(task.SCALES[1], size=task.BATCH_SIZE // 2))
        if mode != "eager":
            found |= {"traces": model.traces, "graph_breaks": 0}
        before = _alone(model, step, inputs[1])
        model.factor = 2.0
        found["change_seen"] = abs(_alone(model, step, inputs[1]) / before - 4) < 1e-3
        model.factor = 1.0
        times = []
        for _ in range(task.TIMED_STEPS):
            began = time.perf_counter()
            step(inputs[1])
            times.append(time.perf_counter() - began)
        found["step_seconds"] = statistics.median(times)
    except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
        found |= {"ran": False, "error": last_line(error)}
    return found


def _alone(model: AsWritten, step: Callable[[Any], float], x: Any) -> float:
    """The loss of this batch by itself; Keras otherwise gives the mean since the metrics were reset."""
    model.reset_metrics()
    return step(x)


def main() -> None:
    """Every form in every mode."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    forms = (
        ("as written", AsWritten),
        ("as written, under @tf.function", Decorated),
        ("tf.while_loop", WhileLoop),
        ("tf.while_loop with a bound", Bounded),
    )
    results = [measure(mode, form, make) for form, make in forms for mode in ("eager", "graph", "xla")]
    write(sys.argv[1], {"results": results})


if __name__ == "__main__":
    main()
