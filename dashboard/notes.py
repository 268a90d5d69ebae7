"""The quiet line below a panel: what could not be drawn, and which curves cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..runs.splits import SPLITS, entry
from ..runs.views import Curve, CurvesView

MOST_REASONS = 3
MOST_CURVES = 12  # more are a crowd, in which curves cross and touch anyway
SAME = 0.004  # of the panel's height: about one pixel


def panel_note(view: CurvesView, labels: Mapping[str, str]) -> str:
    """One line on a panel; empty where there is nothing to say.

    Args:
        view: what the panel draws.
        labels: label of every run that was asked for, by run id.
    """
    if not view.missing and not any(curve.point_count for curve in view.curves):
        return "No points yet."
    return " ".join(filter(None, (_dashes(view), _begun(view), _coinciding(view), _missing(view, labels))))


def _dashes(view: CurvesView) -> str:
    """What full and broken lines mean, where a panel shows several splits."""
    words = {"train": "full", "val": "dashed", "test": "dotted"}
    if len(view.splits) < 2:
        return ""
    said = "; ".join(f"{words[split]}: {SPLITS[split]}" for split in view.splits)
    return said[:1].upper() + said[1:] + "."


def _begun(view: CurvesView) -> str:
    if len(view.begun) > MOST_REASONS:
        return f"{view.begun[0]} {len(view.begun) - 1} more runs begin at another step than their first."
    return " ".join(view.begun)


def _missing(view: CurvesView, labels: Mapping[str, str]) -> str:
    if len(view.missing) > MOST_REASONS:
        affected = len({run_id for run_id, _ in view.missing})
        return f"{affected} of {len(labels)} runs are not drawn in full; the first: {view.missing[0][1]}"
    sentences = []
    for run_id, reason in view.missing:
        named = labels[run_id] in reason or len(labels) == 1
        sentences.append(reason if named else f"{labels[run_id]}: {reason}")
    return " ".join(sentences)


def _coinciding(view: CurvesView) -> str:
    """Says which curves lie on each other: one that hides another must not look like a run that is missing."""
    curves = [curve for curve in view.curves if len(curve.x) > 1]
    if not 1 < len(curves) <= MOST_CURVES:
        return ""
    height = max(curve.maximum.max() for curve in curves) - min(curve.minimum.min() for curve in curves)
    groups: list[list[Curve]] = []
    for curve in curves:
        group = next((group for group in groups if _same_line(group[0], curve, SAME * height)), None)
        if group is None:
            groups.append([curve])
        else:
            group.append(curve)
    return " ".join(
        f"{', '.join(entry(curve, view) for curve in group[:-1])} and {entry(group[-1], view)} lie on each other."
        for group in groups
        if len(group) > 1
    )


def _same_line(one: Curve, other: Curve, tolerance: float) -> bool:
    return np.array_equal(one.x, other.x) and bool((np.abs(one.last - other.last) <= tolerance).all())
