"""Which way is better: what the best value of a metric is."""

from __future__ import annotations

from ..db.records import SeriesInfo

# Of everything else, losses and errors, the smallest is the best.
_LARGER_IS_BETTER = ("acc", "accuracy", "auc", "f1", "precision", "recall", "map", "iou", "psnr", "ssim", "bleu", "r2")


def larger_is_better(metric: str) -> bool:
    """Whether a metric is an accuracy or its like, by its name: `val/accuracy`, `val/roc_auc`, `val/top-5-acc`."""
    words = metric.rpartition("/")[2].lower().replace("-", "_").split("_")
    return any(word in _LARGER_IS_BETTER for word in words)


def best_of(info: SeriesInfo) -> float:
    """The best finite value of a metric; NaN where it has none."""
    return info.maximum if larger_is_better(info.name) else info.minimum
