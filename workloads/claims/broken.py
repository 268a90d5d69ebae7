"""The gallery of broken trainings: what is wrong in each, and how what came of it is put down. NumPy alone.

A small classifier trains for `STEPS` updates. At `FAULT` one thing goes wrong, as it does in practice: one batch has a
column too few, a label that does not exist, another type, a negative number under a logarithm; or the learning rate is
far too large from the first update on.
"""

from __future__ import annotations

import math
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .probe import last_line

STEPS, FAULT = 10, 3
TIMED_STEPS = 40
FEATURES, HIDDEN, CLASSES, BATCH_SIZE = 16, 32, 4, 32

SHAPE, LABEL, DTYPE, LOGARITHM, RATE = "shape", "label", "dtype", "logarithm", "learning rate"
CASES: Mapping[str, str] = {
    SHAPE: "a batch with a column too few",
    LABEL: "a label that does not exist",
    DTYPE: "a batch of float64 among float32",
    LOGARITHM: "the logarithm of a negative number, squared, in the loss",
    RATE: "a learning rate that explodes",
}


def batch(step: int, case: str | None) -> tuple[Any, Any]:
    """Inputs (BATCH_SIZE, FEATURES) and labels (BATCH_SIZE,) of an update, with the fault where it is due."""
    generator = np.random.default_rng(step)
    x = np.abs(generator.standard_normal((BATCH_SIZE, FEATURES))).astype(np.float32) + 0.1
    y = generator.integers(0, CLASSES, BATCH_SIZE)
    if step == FAULT:
        if case == SHAPE:
            x = x[:, :-1]
        elif case == LABEL:
            y[0] = CLASSES + 3
        elif case == DTYPE:
            x = x.astype(np.float64)
        elif case == LOGARITHM:
            x[0, 0] = -1.0
    return x, y


def learning_rate(case: str | None) -> float:
    """What the optimizer is given."""
    return 1e6 if case == RATE else 0.01


def observe(case: str, step: Callable[[Any, Any], float], source: str, layers: tuple[str, ...]) -> dict[str, Any]:
    """Train a case and put down what came of it.

    Args:
        case: one of `CASES`.
        step: makes an update and returns its loss.
        source: file with the user's own code: the model, not the loop around it.
        layers: names that a message could name.

    Returns:
        `raised_at`: the update that raised, or None; `error`: what it said; whether message or traceback `names_layer`,
        `names_operator` and `names_line` (of the model's own code); `bad_from`: the first update whose loss is not
        finite, or None; `harmless`: it went on and nothing came of it.
    """
    found: dict[str, Any] = {
        "case": case,
        "what": CASES[case],
        "fault_at": None if case == RATE else FAULT,
        "raised_at": None,
        "bad_from": None,
        "error": None,
    }
    for number in range(STEPS):
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                loss = step(*batch(number, case))
        except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
            said = "\n".join([str(error), *(str(warning.message) for warning in warned)])
            where = traceback.extract_tb(error.__traceback__)
            found |= {
                "raised_at": number,
                "error": last_line(error),
                "names_layer": any(name in str(error) for name in layers),
                "names_operator": any(word in said.lower() for word in OPERATORS[case]),
                "names_line": _names_line(said, where, source),
            }
            break
        if found["bad_from"] is None and not math.isfinite(loss):
            found["bad_from"] = number
    found["harmless"] = found["raised_at"] is None and found["bad_from"] is None
    return found


def _names_line(said: str, where: traceback.StackSummary, source: str) -> bool:
    """Whether the traceback, or one that the message quotes, leads to a line of the user's model."""
    quoted = [line for line in said.splitlines() if source in line]
    return any(frame.filename == source and frame.name in MODEL_CODE for frame in where) or any(
        f"in {name}" in line for line in quoted for name in MODEL_CODE
    )


MODEL_CODE = ("forward", "call", "objective")
OPERATORS: Mapping[str, tuple[str, ...]] = {
    SHAPE: ("mat1 and mat2", "matmul", "matrix size", "linear", "incompatible with the layer"),
    LABEL: ("cross_entropy", "crossentropy", "nll_loss", "sparsesoftmax"),
    DTYPE: ("mat1 and mat2", "matmul", "linear"),
    LOGARITHM: ("logbackward", "powbackward", "log:", "'log'", '"log"', "op: log", "eager op log", "log "),
    RATE: ("backward", "matmul", "softmax", "crossentropy", "nll", "bias", "relu", "addmm"),
}
"""Words by which a message names the operator; any will do."""


def median_step(step: Callable[[Any, Any], float]) -> float:
    """Seconds of a healthy update, warm-up left out."""
    times = []
    for number in range(TIMED_STEPS + FAULT):
        x, y = batch(number, None)
        began = time.perf_counter()
        step(x, y)
        times.append(time.perf_counter() - began)
    return statistics.median(times[FAULT:])
