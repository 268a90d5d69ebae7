"""A model whose number of rounds depends on its data: inputs, weights and what it must compute, in NumPy.

    while the norm of x is above LIMIT:  x = x W

Batches of three sizes of numbers take three numbers of rounds; nothing but the data says how many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...db.records import Float64Array

WIDTH = 16
BATCH_SIZE = 32
LIMIT = 1.0
MOST_ROUNDS = 16  # of the form that has a bound: the largest batch needs 15
SCALES = (2.0, 20.0, 200.0)
TIMED_STEPS = 30
TOLERANCE = 1e-4  # of the loss, relative: float32 through fifteen products


def weight() -> Float64Array:
    """(WIDTH, WIDTH): a rotation times 0.7, so every round takes the norm down by 0.7."""
    rotation, _ = np.linalg.qr(np.random.default_rng(7).standard_normal((WIDTH, WIDTH)))
    shrinking: Float64Array = 0.7 * rotation
    return shrinking


def batch(scale: float, size: int = BATCH_SIZE) -> Any:
    """(size, WIDTH) float32 inputs of norm `scale`."""
    x = np.random.default_rng(11).standard_normal((size, WIDTH))
    return (x * scale / np.linalg.norm(x)).astype(np.float32)


def expected(x: Any) -> tuple[float, int]:
    """The loss, mean of the squares, and the rounds taken."""
    value, rounds = np.asarray(x, np.float64), 0
    while np.linalg.norm(value) > LIMIT:
        value, rounds = value @ weight(), rounds + 1
    return float((value**2).mean()), rounds


def agrees(losses: list[float]) -> bool:
    """Whether the losses of the batches of `SCALES` are those of NumPy."""
    return bool(np.allclose(losses, [expected(batch(scale))[0] for scale in SCALES], rtol=TOLERANCE))
