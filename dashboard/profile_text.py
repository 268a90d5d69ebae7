"""What the Profile page says in words: times, ratios, names of parts and families."""

from __future__ import annotations

import math
from collections.abc import Callable

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


Writer = Callable[[float | None], str]
"""How the times of one table are written."""


def times_like(largest: float) -> Writer:
    """Times in one unit, the one that suits the largest of a table, so that its columns can be read downwards.

    `24.50 ms` and `0.31 ms`, or `4.843 ms` and `0.062 ms`.
    """
    scales = ((1e-3, 1e6, "µs", 1), (1e-2, 1e3, "ms", 3), (10.0, 1e3, "ms", 2))
    _, factor, unit, digits = next((one for one in scales if largest < one[0]), (math.inf, 1.0, "s", 2))
    smallest = 0.5 * 10.0**-digits

    def write(value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return NOTHING
        scaled = value * factor
        return f"<{2 * smallest:g} {unit}" if 0 < scaled < smallest else f"{scaled:,.{digits}f} {unit}"

    return write


def ratio(value: float | None, base: float | None) -> str:
    """How many times the base: `1.36×`; a dash where one of them is missing or zero."""
    if not value or not base or not math.isfinite(value) or not math.isfinite(base):
        return NOTHING
    times = value / base
    return f"{times:.3g}×" if times >= 0.01 else "<0.01×"


def difference(value: float | None, base: float | None, write: Writer) -> str:
    """Signed difference of two times: `+3.10 ms`; 0 where it would be written so."""
    if value is None or base is None:
        return NOTHING
    written = write(abs(value - base))
    if value == base or written.startswith("<"):
        return "0" if value == base else f"±{written}"
    return ("+" if value > base else "−") + written


def share(value: float | None, total: float) -> str:
    """`32 %`; below one percent with a digit more."""
    if value is None or not total:
        return NOTHING
    percent = 100 * value / total
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else f"{percent:.1f} %"
