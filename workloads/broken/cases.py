"""The broken trainings by name. `torch_broken.py` and `keras_broken.py` have a function for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One broken training.

    Attributes:
        name: of its function in both frameworks.
        title: what is wrong, in a few words.
        debug: whether layers must be measured for it to show.
    """

    name: str
    title: str
    debug: bool = False


CASES = (
    Case("division_by_zero", "division by zero in a layer"),
    Case("exploding_rate", "learning rate that explodes"),
    Case("log_of_negative", "logarithm of a negative number in the loss"),
    Case("wrong_shape", "wrong shape"),
    Case("wrong_dtype", "wrong type"),
    Case("label_out_of_range", "label out of range"),
    Case("dead_relu", "dead ReLU", debug=True),
    Case("worker_dies", "exception in a worker of the data pipeline"),
    Case("out_of_memory", "out of memory"),
    Case("frozen_layer", "layer cut off from training"),
)
