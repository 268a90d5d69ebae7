"""Axes of a curve panel: titles, tick labels, and ranges where Plotly's own would mislead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .formats import plotly_text

if TYPE_CHECKING:
    from ..runs.views import CurvesView

SI_UNITS = {"bytes": "B", "seconds": "s", "watts": "W", "joules": "J"}
GAUGES = frozenset({"bytes", "percent", "watts"})  # readings of a machine: how much of it is used, counted from zero
INTEGER_AXES = ("step", "samples", "tokens")
FEW_TICKS = 6  # a span of so many steps would else be given ticks between steps


def axis_title(label: str, note: str) -> str:
    """The title of an axis, with a note below it in smaller letters."""
    return plotly_text(label) + (f'<br><span style="font-size:11px">{plotly_text(note)}</span>' if note else "")


def curve_x_axis(view: CurvesView, last_step: int | None) -> dict[str, Any]:
    """Title, kind and what the range must hold.

    Args:
        view: what is drawn.
        last_step: how far the runs went: a panel with a value an epoch then spans the same steps as one with a
            value a step, and a single value stands where it belongs.
    """
    axis: dict[str, Any] = {
        "title": {"text": axis_title(view.x_label, view.x_note), "font": {"size": 12}, "standoff": 10}
    }
    if view.axis == "wall":
        return axis | {"type": "date", "hoverformat": "%H:%M:%S.%L"}
    axis["hoverformat"] = ",.6~g"
    if view.x_range is None:
        return axis | {"showticklabels": False}
    axis["autorangeoptions"] = {"include": [0, last_step] if view.axis == "step" and last_step else [0]}
    low, high = view.x_range
    if view.axis in INTEGER_AXES and max(high - low, last_step or 0 if low == high else 0) <= FEW_TICKS:
        axis["dtick"] = 1
    return axis


def curve_y_axis(view: CurvesView, log_y: bool) -> dict[str, Any]:
    """Tick labels of the unit, and a range."""
    axis: dict[str, Any] = {"tickformat": "~s", "ticksuffix": SI_UNITS[view.unit]} if view.unit in SI_UNITS else {}
    if view.unit == "percent":
        axis["ticksuffix"] = " %"
    if log_y:
        axis |= {"type": "log", "dtick": 1}
    return axis | _y_range(view, log_y)


def _y_range(view: CurvesView, log_y: bool) -> dict[str, Any]:
    """Plotly fits what varies; values that are all the same it would put between v - 1 and v + 1, whatever v is."""
    parts = [values for curve in view.curves for values in (curve.minimum, curve.maximum)]
    values = np.concatenate(parts) if parts else np.empty(0)
    values = values[np.isfinite(values) & ((values > 0) | (not log_y))]
    if not len(values):
        return {"autorange": False, "range": [0, 1], "showticklabels": False}
    low, high = float(values.min()), float(values.max())
    gauge = view.unit in GAUGES and low >= 0
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return {"autorange": True, **({"rangemode": "tozero"} if gauge and not log_y else {})}
    if log_y:
        return {"autorange": False, "range": [math.log10(low) - 0.5, math.log10(low) + 0.5]}
    if gauge:
        return {"autorange": False, "range": [0, 1.1 * high or 1.0]}
    margin = 0.1 * abs(high) or 1.0
    return {"autorange": False, "range": [low - margin, high + margin]}
