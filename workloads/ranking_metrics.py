"""How well scores rank: exact statistics over all validation samples at once, for both frameworks. NumPy alone.

Keras' own `AUC` sorts the scores into 200 bins, which is another number than the one PyTorch users report.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..db.records import Float64Array, Int64Array


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """How likely a positive scores above a negative, ties counting half: the area under the ROC curve.

    Args:
        labels: 1 for a positive, 0 for a negative, of any shape.
        scores: larger is more likely positive, of the same shape.

    Returns:
        0…1; NaN unless all scores are finite and there are both positives and negatives.
    """
    positives, counts = _by_score(labels, scores)
    total = float(positives.sum())
    pairs = total * (float(counts.sum()) - total)
    if not pairs:
        return float("nan")
    negatives = counts - positives
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean precision over the positives, each at its own score: the area under the precision-recall curve.

    The curve is taken as steps: straight lines between its points would promise what no threshold reaches.

    Args:
        labels: 1 for a positive, 0 for a negative, of any shape.
        scores: larger is more likely positive, of the same shape.

    Returns:
        0…1; NaN unless all scores are finite and there are positives.
    """
    positives, counts = (values[::-1] for values in _by_score(labels, scores))  # best score first
    total = float(positives.sum())
    if not total:
        return float("nan")
    precision = np.cumsum(positives) / np.cumsum(counts)
    return float((precision * positives).sum() / total)


def ranks_of_first(scores: NDArray[Any]) -> Int64Array:
    """How many of the other candidates score at least as high as the first.

    Args:
        scores: (lists, candidates), the wanted one first.

    Returns:
        (lists,), 0 where the wanted one is on top. A score that is not a number puts it last.
    """
    wanted, others = scores[:, :1], scores[:, 1:]
    return np.asarray((~(others < wanted)).sum(axis=1), np.int64)


def hit_rate(ranks: Int64Array, among: int) -> float:
    """Share of lists whose wanted candidate is among the first so many."""
    return float(np.mean(ranks < among))


def ndcg(ranks: Int64Array, among: int) -> float:
    """Normalised discounted cumulative gain with one wanted candidate a list: 1 / log2(rank + 2), 0 beyond `among`."""
    return float(np.mean(np.where(ranks < among, 1.0 / np.log2(ranks + 2.0), 0.0)))


def _by_score(labels: ArrayLike, scores: ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Positives and samples at each distinct score, lowest first; none at all where a score is not finite."""
    flat, positive = np.ravel(scores), np.ravel(labels).astype(np.float64)
    if not np.isfinite(flat).all():
        return np.zeros(0), np.zeros(0)
    _, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    return np.bincount(place, weights=positive).astype(np.float64), counts.astype(np.float64)
