"""What the Profile page says in words: times, ratios, names of parts and families."""

from __future__ import annotations

import math

from ..runs.traces.records import Direction, Family, Part
from .formats import NOTHING

PART_NAMES: dict[Part, str] = {
    "data": "Waiting for data",
    "forward": "Forward",
    "backward": "Backward",
    "optimizer": "Optimizer",
    "kernel": "GPU kernels",
    "copy": "GPU copies",
    "communication": "Communication",
    "other": "Other, Python",
}
PART_MEANINGS: dict[Part, str] = {
    "data": "the training thread waits for the next batch",
    "forward": "the training thread works on the forward pass",
    "backward": "the training thread works on the backward pass",
    "optimizer": "the training thread works on the optimizer's update",
    "kernel": "the accelerator computes while the training thread does none of those",
    "copy": "the accelerator copies while the training thread does none of those",
    "communication": "devices exchange data while the training thread does none of those",
    "other": "the rest: Python, the framework's loop, hooks",
}


def family_name(family: Family, direction: Direction) -> str:
    """`Convolution, backward`."""
    return family.capitalize() if direction == "none" else f"{family.capitalize()}, {direction}"


def milliseconds(value: float | None) -> str:
    """A time in the one unit of a table of times, so that its column can be read downwards: `24.5 ms`, `0.31 ms`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value) * 1e3
    if 0 < size < 0.005:
        return "<0.01 ms"
    return f"{value * 1e3:,.0f} ms" if size >= 1000 else f"{value * 1e3:.{1 if size >= 100 else 2}f} ms"


def ratio(value: float | None, base: float | None) -> str:
    """How many times the base: `1.36×`; a dash where one of them is missing or zero."""
    if not value or not base or not math.isfinite(value) or not math.isfinite(base):
        return NOTHING
    times = value / base
    return f"{times:.3g}×" if times >= 0.01 else "<0.01×"


def difference(value: float | None, base: float | None) -> str:
    """Signed difference of two times: `+3.1 ms`."""
    if value is None or base is None:
        return NOTHING
    change = value - base
    return "0" if change == 0 else ("+" if change > 0 else "−") + milliseconds(abs(change))


def share(value: float | None, total: float) -> str:
    """`32 %`; below one percent with a digit more."""
    if value is None or not total:
        return NOTHING
    percent = 100 * value / total
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else f"{percent:.1f} %"
