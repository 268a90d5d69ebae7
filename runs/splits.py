"""Training and validation of one quantity in one panel: the colour says which run, the dash which split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from .curves import Curve, CurvesView
from .labels import metric_label

SPLITS: Final = {"train": "training", "val": "validation", "test": "test"}
"""Words for the splits, by the first part of a metric's key."""


def in_one_panel(metric: str, logged: Iterable[str]) -> tuple[str, ...]:
    """The metric, and the same quantity of other splits where it was logged: `train/loss` and `val/loss`."""
    split, _, quantity = metric.partition("/")
    if split not in SPLITS:
        return (metric,)
    known = set(logged)
    return tuple(one for other in SPLITS if (one := f"{other}/{quantity}") == metric or one in known)


def panels(metrics: Sequence[str]) -> list[str]:
    """The metrics whose panels are left where splits share one: each goes to the first of its quantity's."""
    return [metric for metric in metrics if in_one_panel(metric, metrics)[0] == metric]


def joined(views: Sequence[CurvesView]) -> CurvesView:
    """One panel of several: the same quantity of several splits, over the same runs.

    Args:
        views: one a split, in the order of `SPLITS`; a single one stays as it is.
    """
    first = views[0]
    if len(views) == 1:
        return first
    ranges = [view.x_range for view in views if view.x_range is not None]
    unit = first.unit if len({view.unit for view in views}) == 1 else None
    target = next((view.target for view in views if view.target is not None), None)
    return replace(
        first,
        y_label=metric_label(first.metric.partition("/")[2], unit),
        unit=unit,
        curves=tuple(curve for view in views for curve in view.curves),
        x_range=(min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None,
        missing=tuple(dict.fromkeys(entry for view in views for entry in view.missing)),
        begun=max((view.begun for view in views), key=len),
        x_note=next((view.x_note for view in views if view.x_note), ""),
        target=target,
        splits=tuple(dict.fromkeys(curve.split for view in views for curve in view.curves)),
    )


def entry(curve: Curve, view: CurvesView) -> str:
    """The label of a curve, with its split where the panel shows several."""
    if len(view.splits) < 2 or curve.split == "train":
        return curve.label
    return f"{curve.label}, {SPLITS.get(curve.split, curve.split)}"
