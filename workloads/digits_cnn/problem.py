"""Digits CNN: the images, the constants and the initial weights that both frameworks are given.

Data: the 1,797 grey images of 8x8 pixels that scikit-learn ships (`sklearn.datasets.load_digits`, BSD-3-Clause), a copy
of the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, CC BY 4.0, https://doi.org/10.24432/C50P49. Nothing is downloaded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Weights, uniform_by_fan_in, weight_generator
from ..settings import Settings
from ..workload import Gate, Workload

TRAIN_SAMPLES = 1437
VALIDATION_SAMPLES = 360
CLASSES = 10

LEARNING_RATE = 0.05  # at the first step; a half cosine takes it to zero at the last
MOMENTUM = 0.9
NORM_MOMENTUM = 0.1  # PyTorch's convention: the weight of the new batch in the running statistics
NORM_EPSILON = 1e-5

SPLIT_SEED = 20240  # which image is for training does not depend on the run's seed

WORKLOAD = Workload(
    name="digits-cnn",
    summary="Small CNN with batch normalisation on images of handwritten digits",
    package=__package__,
    data="1,797 real 8x8 images from scikit-learn (UCI handwritten digits, CC BY 4.0); nothing is downloaded",
    train_samples=TRAIN_SAMPLES,
    steps=352,  # 8 epochs of 44 batches
    batch_size=32,
    size=16,
    size_unit="channels of the first convolution",
    seconds=45,
    metrics=("val/acc",),
    result="val/acc 0.98 or more",
    gate=Gate(steps=100, tolerance=1e-11),
    requires=(("sklearn", "scikit-learn"),),
)


class Digits(NamedTuple):
    """Images scaled to 0…1 (the grey levels are sixteenths, hence exact in any floating point) and their labels."""

    train_images: NDArray[np.float32]  # (1437, 8, 8, 1)
    train_labels: NDArray[np.int64]  # (1437,)
    validation_images: NDArray[np.float32]  # (360, 8, 8, 1)
    validation_labels: NDArray[np.int64]  # (360,)


def load_digits() -> Digits:
    """The images in one fixed split, the same for every seed."""
    from sklearn import datasets  # a second or two to import: only where the data is wanted

    bunch = datasets.load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[..., np.newaxis]  # (1797, 8, 8, 1)
    labels = bunch.target.astype(np.int64)  # (1797,)
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    train, validation = shuffled[:TRAIN_SAMPLES], shuffled[TRAIN_SAMPLES:]
    return Digits(images[train], labels[train], images[validation], labels[validation])


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    digits = load_digits()
    return Problem(
        inputs=(digits.train_images[: settings.samples],),
        targets=(digits.train_labels[: settings.samples],),
        validation_inputs=(digits.validation_images,),
        validation_targets=(digits.validation_labels,),
        weights=initial_weights(settings.seed, settings.size),
        config={
            "learning_rate": LEARNING_RATE,
            "schedule": "cosine",
            "momentum": MOMENTUM,
            "data": {"name": "scikit-learn digits"},
        },
    )


def initial_weights(seed: int, channels: int) -> Weights:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout, drawn as PyTorch draws them.

    Returns:
        Convolutions as (out, in, height, width), the head as (out, in) float32.
    """
    generator = weight_generator(seed)
    one, two = channels, 2 * channels

    def uniform(*shape: int, fan_in: int) -> NDArray[np.float32]:
        return uniform_by_fan_in(generator, *shape, fan_in=fan_in)

    return {
        "conv1.weight": uniform(one, 1, 3, 3, fan_in=9),
        "norm1.weight": np.ones(one, np.float32),
        "norm1.bias": np.zeros(one, np.float32),
        "conv2.weight": uniform(two, one, 3, 3, fan_in=9 * one),
        "norm2.weight": np.ones(two, np.float32),
        "norm2.bias": np.zeros(two, np.float32),
        "head.weight": uniform(CLASSES, 4 * two, fan_in=4 * two),
        "head.bias": uniform(CLASSES, fan_in=4 * two),
    }
