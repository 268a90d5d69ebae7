"""Tabular: the measurements, the constants and the initial weights that both frameworks are given.

Data: 569 tumours with 30 measurements of their cell nuclei each, 357 of them benign, as scikit-learn ships them
(`sklearn.datasets.load_breast_cancer`, BSD-3-Clause), a copy of "Breast Cancer Wisconsin (Diagnostic)" by W. Wolberg,
O. Mangasarian, N. Street and W. Street, UCI Machine Learning Repository, CC BY 4.0,
https://doi.org/10.24432/C5DW2B. Nothing is downloaded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Weights, linear_by_fan_in, weight_generator
from ..settings import Settings
from ..workload import Gate, Workload

TRAIN_SAMPLES = 455
VALIDATION_SAMPLES = 114
FEATURES = 30

LEARNING_RATE = 2e-3  # a tenth of it after half of the updates, a hundredth after three quarters
RATE_FACTOR = 0.1
WEIGHT_DECAY = 1e-2
BETAS = (0.9, 0.999)
EPSILON = 1e-8

SPLIT_SEED = 20240  # which tumour is for training does not depend on the run's seed

WORKLOAD = Workload(
    name="tabular",
    summary="Fully connected network on measurements of tumours",
    package=__package__,
    data="569 real tumours from scikit-learn (UCI breast cancer, CC BY 4.0); nothing is downloaded",
    train_samples=TRAIN_SAMPLES,
    steps=280,  # 20 epochs of 14 batches
    batch_size=32,
    size=64,
    size_unit="hidden units",
    seconds=20,
    metrics=("val/acc", "val/auc"),
    result="val/acc 0.96, val/auc 0.99",
    gate=Gate(steps=100, tolerance=1e-11),
    requires=(("sklearn", "scikit-learn"),),
)


class Tumours(NamedTuple):
    """Measurements with mean 0 and deviation 1 over the training samples, and 1 for benign, 0 for malignant."""

    train_features: NDArray[np.float32]  # (455, 30)
    train_labels: NDArray[np.float32]  # (455, 1)
    validation_features: NDArray[np.float32]  # (114, 30)
    validation_labels: NDArray[np.float32]  # (114, 1)


def load_tumours() -> Tumours:
    """The measurements in one fixed split, the same for every seed."""
    from sklearn import datasets  # a second or two to import: only where the data is wanted

    bunch = datasets.load_breast_cancer()
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(bunch.data))
    features, labels = bunch.data[shuffled], bunch.target[shuffled, np.newaxis].astype(np.float32)
    train = features[:TRAIN_SAMPLES]
    features = ((features - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)
    return Tumours(features[:TRAIN_SAMPLES], labels[:TRAIN_SAMPLES], features[TRAIN_SAMPLES:], labels[TRAIN_SAMPLES:])


def rate_drops(steps: int) -> list[int]:
    """The updates, counted from 0, that are the first with a lower learning rate."""
    return [steps // 2, steps * 3 // 4]


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    tumours = load_tumours()
    return Problem(
        inputs=(tumours.train_features[: settings.samples],),
        targets=(tumours.train_labels[: settings.samples],),
        validation_inputs=(tumours.validation_features,),
        validation_targets=(tumours.validation_labels,),
        weights=initial_weights(settings.seed, settings.size),
        config={
            "learning_rate": LEARNING_RATE,
            "schedule": "steps",
            "weight_decay": WEIGHT_DECAY,
            "data": {"name": "scikit-learn breast cancer"},
        },
    )


def initial_weights(seed: int, hidden: int) -> Weights:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout, drawn as PyTorch draws them.

    Returns:
        Matrices as (out, in) float32.
    """
    generator = weight_generator(seed)
    return {
        **linear_by_fan_in(generator, "hidden1", hidden, FEATURES),
        **linear_by_fan_in(generator, "hidden2", hidden, hidden),
        **linear_by_fan_in(generator, "head", 1, hidden),
    }
