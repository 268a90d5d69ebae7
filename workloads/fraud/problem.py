"""Fraud: the payments, the constants and the initial weights that both frameworks are given.

Data: 60,000 card payments, 300 of them fraud, drawn by `payments.py` beside this file, which says how. Real payments
are nobody's to hand out. Training has the first four fifths of the time, validation the rest, as a bank would have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..problem import Problem, Weights, linear_by_fan_in, weight_generator
from ..ranking_metrics import average_precision, roc_auc
from ..settings import Settings
from ..workload import Gate, Workload
from . import payments

TRAIN_SAMPLES = 48_000
VALIDATION_SAMPLES = 12_000
FRAUD = 300
FEATURES = len(payments.FEATURES)  # 15

LEARNING_RATE = 3e-3  # at the first step; a half cosine takes it to zero at the last
WEIGHT_DECAY = 1e-2
BETAS = (0.9, 0.999)
EPSILON = 1e-8
CLIPPED_NORM = 0.5  # one batch in four exceeds it: those with more fraud in them than most
POSITIVE_WEIGHT = 20.0  # fraud counts so many times in the loss, whose mean stays over all samples

DATA_SEED = 20240  # the payments do not depend on the run's seed

WORKLOAD = Workload(
    name="fraud",
    summary="Fully connected network on card payments, 0.5 % of them fraud",
    package=__package__,
    data="60,000 card payments from a generator that the workload documents; nothing is downloaded",
    train_samples=TRAIN_SAMPLES,
    steps=930,  # 10 epochs of 93 batches
    batch_size=512,
    size=64,
    size_unit="hidden units",
    seconds=30,
    metrics=("val/pr_auc", "val/roc_auc"),
    result="val/pr_auc 0.48, val/roc_auc 0.95",
    gate=Gate(steps=100, tolerance=1e-11),
)


class Samples(NamedTuple):
    """What is known of payments, with mean 0 and deviation 1 over the training samples, and 1 for fraud."""

    train_features: NDArray[np.float32]  # (48000, 15)
    train_labels: NDArray[np.float32]  # (48000, 1)
    validation_features: NDArray[np.float32]  # (12000, 15)
    validation_labels: NDArray[np.float32]  # (12000, 1)


def load_samples() -> Samples:
    """The payments, the same for every seed, those of training the older ones."""
    drawn = payments.simulate(TRAIN_SAMPLES + VALIDATION_SAMPLES, FRAUD, DATA_SEED)
    train = drawn.features[:TRAIN_SAMPLES]
    features = ((drawn.features - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)
    labels = drawn.fraud[:, np.newaxis].astype(np.float32)
    return Samples(features[:TRAIN_SAMPLES], labels[:TRAIN_SAMPLES], features[TRAIN_SAMPLES:], labels[TRAIN_SAMPLES:])


def measure(labels: ArrayLike, logits: ArrayLike) -> Mapping[str, float]:
    """The metrics of a validation. Where five in a thousand are positive accuracy says nothing."""
    return {"roc_auc": roc_auc(labels, logits), "pr_auc": average_precision(labels, logits)}


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    samples = load_samples()
    return Problem(
        inputs=(samples.train_features[: settings.samples],),
        targets=(samples.train_labels[: settings.samples],),
        validation_inputs=(samples.validation_features,),
        validation_targets=(samples.validation_labels,),
        weights=initial_weights(settings.seed, settings.size),
        config={
            "learning_rate": LEARNING_RATE,
            "schedule": "cosine",
            "weight_decay": WEIGHT_DECAY,
            "clipped_norm": CLIPPED_NORM,
            "positive_weight": POSITIVE_WEIGHT,
            "data": {"name": "simulated card payments"},
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
