"""What both frameworks are given: the images, the order of the batches, the initial weights and the constants.

Everything here is NumPy, so neither framework's random numbers, shuffling or initialisers play a part.

Data: the 1,797 grey images of 8x8 pixels that scikit-learn ships (`sklearn.datasets.load_digits`, BSD-3-Clause), a copy
of the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, CC BY 4.0, https://doi.org/10.24432/C50P49. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..settings import Settings

TRAIN_SAMPLES = 1437
VALIDATION_SAMPLES = 360
CLASSES = 10

BATCH_SIZE = 32
STEPS = 352  # 8 epochs of 44 batches
LEARNING_RATE = 0.05  # at the first step; a half cosine takes it to zero at the last
MOMENTUM = 0.9
NORM_MOMENTUM = 0.1  # PyTorch's convention: the weight of the new batch in the running statistics
NORM_EPSILON = 1e-5

SPLIT_SEED = 20240  # which image is for training does not depend on the run's seed


class Digits(NamedTuple):
    """Images scaled to 0…1 (the grey levels are sixteenths, hence exact in any floating point) and their labels."""

    train_images: NDArray[np.float32]  # (1437, 8, 8)
    train_labels: NDArray[np.int64]  # (1437,)
    validation_images: NDArray[np.float32]  # (360, 8, 8)
    validation_labels: NDArray[np.int64]  # (360,)

    @property
    def sha256(self) -> str:
        """Digest of all four arrays: two runs with the same one were given the same data."""
        digest = hashlib.sha256()
        for array in self:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load_digits() -> Digits:
    """The images in one fixed split, the same for every seed."""
    from sklearn import datasets  # a second or two to import: only where the data is wanted

    bunch = datasets.load_digits()
    images = (bunch.images / 16.0).astype(np.float32)  # (1797, 8, 8)
    labels = bunch.target.astype(np.int64)  # (1797,)
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    train, validation = shuffled[:TRAIN_SAMPLES], shuffled[TRAIN_SAMPLES:]
    return Digits(images[train], labels[train], images[validation], labels[validation])


def steps_per_epoch(batch_size: int) -> int:
    """Whole batches in one pass over the training images; what is left over is dropped."""
    return TRAIN_SAMPLES // batch_size


def epochs(steps: int, batch_size: int) -> int:
    """Passes over the data that `steps` updates take, a last one that is cut short included."""
    return math.ceil(steps / steps_per_epoch(batch_size))


def sample_order(seed: int, epochs: int) -> NDArray[np.int64]:
    """Which sample comes when.

    Args:
        seed: the run's seed.
        epochs: how many passes. A longer run begins with the order of a shorter one.

    Returns:
        (epochs, 1437) int64, each row a permutation of the training samples.
    """
    generator = np.random.default_rng([seed, 1])
    return np.stack([generator.permutation(TRAIN_SAMPLES) for _ in range(epochs)])


def initial_weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout.

    Drawn as PyTorch draws them: uniform within ±1/sqrt(fan in). Single precision for every run, so that a run in
    double precision starts from the very same point.

    Returns:
        Convolutions as (out, in, height, width), the head as (out, in) float32.
    """
    generator = np.random.default_rng([seed, 0])

    def uniform(*shape: int, fan_in: int) -> NDArray[np.float32]:
        bound = 1.0 / math.sqrt(fan_in)
        return generator.uniform(-bound, bound, shape).astype(np.float32)

    return {
        "conv1.weight": uniform(16, 1, 3, 3, fan_in=9),
        "norm1.weight": np.ones(16, np.float32),
        "norm1.bias": np.zeros(16, np.float32),
        "conv2.weight": uniform(32, 16, 3, 3, fan_in=144),
        "norm2.weight": np.ones(32, np.float32),
        "norm2.bias": np.zeros(32, np.float32),
        "head.weight": uniform(CLASSES, 128, fan_in=128),
        "head.bias": uniform(CLASSES, fan_in=128),
    }


def config(settings: Settings, digits: Digits) -> dict[str, Any]:
    """What both runs record as their configuration, key by key the same where the runs are the same."""
    return {
        "seed": settings.seed,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "learning_rate": LEARNING_RATE,
        "schedule": "cosine",
        "momentum": MOMENTUM,
        "precision": settings.precision,
        "optimizer_arithmetic": settings.optimizer,
        "threads": settings.threads,
        "data": {"name": "scikit-learn digits", "sha256": digits.sha256},
    }
