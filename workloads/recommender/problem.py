"""Recommender: the interactions, the constants and the initial weights that both frameworks are given.

Data: 23,000 picks of 1,000 users out of 500 items, drawn by `interactions.py` beside this file, which says how. The
ratings that people usually train on may not be passed on. Evaluation follows X. He et al., "Neural Collaborative
Filtering" (2017): the last pick of each user is to be found among 99 items that the user never picked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Weights, normal, uniform_by_fan_in, weight_generator
from ..ranking_metrics import hit_rate, ndcg, ranks_of_first
from ..settings import Settings
from ..workload import Gate, Workload
from .interactions import simulate

USERS = 1_000
ITEMS = 500
PICKS = 23_000
NEGATIVES = 4  # for each pick
CANDIDATES = 100  # the last pick and 99 others
AMONG = 10  # that the last pick should be among
TRAIN_SAMPLES = PICKS * (1 + NEGATIVES)

LEARNING_RATE = 5e-3
RATE_DECAY = 0.7  # after every epoch
BETAS = (0.9, 0.999)
EPSILON = 1e-8
EMBEDDING_DEVIATION = 0.01

DATA_SEED = 20240  # the interactions do not depend on the run's seed

WORKLOAD = Workload(
    name="recommender",
    summary="Neural collaborative filtering on picks out of a catalogue",
    package=__package__,
    data="115,000 interactions from a generator that the workload documents; nothing is downloaded",
    train_samples=TRAIN_SAMPLES,
    steps=1120,  # 5 epochs of 224 batches
    batch_size=512,
    size=16,
    size_unit="dimensions of an embedding",
    smallest_size=2,
    seconds=30,
    metrics=("val/ndcg_10", "val/hit_rate_10"),
    result="val/ndcg_10 0.35, val/hit_rate_10 0.60 (by popularity alone 0.14 and 0.28)",
    gate=Gate(steps=300, tolerance=1e-11),  # past the first drop of the learning rate
)


def measure(logits: NDArray[Any]) -> Mapping[str, float]:
    """The metrics of a validation, from the scores of all candidates: (users · candidates, 1)."""
    ranks = ranks_of_first(logits.reshape(USERS, CANDIDATES))
    return {f"hit_rate_{AMONG}": hit_rate(ranks, AMONG), f"ndcg_{AMONG}": ndcg(ranks, AMONG)}


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    data = simulate(USERS, ITEMS, PICKS, NEGATIVES, CANDIDATES, DATA_SEED)
    picked = data.picked[:, np.newaxis].astype(np.float32)  # (115000, 1)
    last = np.zeros((USERS, CANDIDATES), np.float32)
    last[:, 0] = 1
    return Problem(
        inputs=(data.users[: settings.samples], data.items[: settings.samples]),
        targets=(picked[: settings.samples],),
        validation_inputs=(np.repeat(np.arange(USERS), CANDIDATES), data.candidates.reshape(-1)),
        validation_targets=(last.reshape(-1, 1),),
        weights=initial_weights(settings.seed, settings.size),
        config={
            "learning_rate": LEARNING_RATE,
            "schedule": "exponential by epoch",
            "negatives": NEGATIVES,
            "data": {"name": "simulated picks"},
        },
    )


def initial_weights(seed: int, dimensions: int) -> Weights:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout.

    Returns:
        Embeddings as (users or items, dimensions), drawn as the paper does; matrices as (out, in), as PyTorch does.
    """
    generator = weight_generator(seed)
    weights = {}
    for name, rows in (("gmf_user", USERS), ("gmf_item", ITEMS), ("mlp_user", USERS), ("mlp_item", ITEMS)):
        weights[f"{name}.weight"] = normal(generator, rows, dimensions, deviation=EMBEDDING_DEVIATION)
    half = dimensions // 2
    layers = (
        ("hidden1", dimensions, 2 * dimensions),
        ("hidden2", half, dimensions),
        ("head", 1, dimensions + half),
    )
    for name, out, into in layers:
        weights[f"{name}.weight"] = uniform_by_fan_in(generator, out, into, fan_in=into)
        weights[f"{name}.bias"] = uniform_by_fan_in(generator, out, fan_in=into)
    return weights
