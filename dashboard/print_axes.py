"""Axes of printed figures: units a reader thinks in, ticks, limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from ..db.records import Float64Array
from ..runs.views import Axis
from .print_style import Size, elided, text_width
from .print_ticks import CountTicks, LinearTicks, LogTicks, power_of_ten

LARGEST: Final = 1e290
"""Matplotlib overflows where it adds margins to numbers near the end of float64."""
SECONDS_A_DAY: Final = 86_400.0
# (from this many, one is so many, its name), the largest that fits is used.
_BYTES: Final = ((2.0**30, 2.0**30, "GiB"), (2.0**20, 2.0**20, "MiB"), (2.0**10, 2.0**10, "KiB"))
_SHORT_TIMES: Final = ((1.0, 1.0, "seconds"), (1e-3, 1e-3, "milliseconds"), (0.0, 1e-6, "microseconds"))
_LONG_TIMES: Final = ((3 * 3600.0, 3600.0, "hours"), (600.0, 60.0, "minutes"))


@dataclass(frozen=True, slots=True, kw_only=False)
class Scale:
    """What an axis says, and what a stored value is multiplied with to stand on it."""

    label: str
    factor: float
    axis: Axis | None = None


def value_scale(label: str, unit: str | None, values: Sequence[Float64Array]) -> Scale:
    """Label and factor of a y axis: bytes as GiB or MiB, short times as milliseconds or microseconds.

    Args:
        label: ends in the unit in brackets, as views have it.
        unit: of the values; None where they have none or several.
        values: all that will be drawn.
    """
    scales = {"bytes": _BYTES, "seconds": _SHORT_TIMES}.get(unit or "", ())
    largest = max((float(np.abs(array).max()) for array in values if len(array)), default=0.0)
    if largest > LARGEST:
        exponent = math.floor(math.log10(largest))
        return Scale(f"{label} (×{power_of_ten(exponent)})", 10.0**-exponent)
    return _scaled(label, unit or "", scales if largest > 0 else (), largest)


def axis_scale(axis: Axis, label: str, x_range: tuple[float, float] | None) -> Scale:
    """Label and factor of an x axis: long times as minutes or hours, wall-clock time as Matplotlib's days."""
    if axis == "wall":
        return Scale(label, 1 / SECONDS_A_DAY, axis)
    longest = max(map(abs, x_range)) if x_range is not None and axis in ("relative", "process") else 0.0
    scaled = _scaled(label, "seconds", _LONG_TIMES, longest)
    return Scale(scaled.label, scaled.factor, axis)


def _scaled(label: str, unit: str, scales: Sequence[tuple[float, float, str]], largest: float) -> Scale:
    for threshold, one, name in scales:
        if largest >= threshold:
            return Scale(f"{label.removesuffix(f'({unit})').rstrip()} ({name})", 1 / one)
    return Scale(label, 1.0)


def draw_x_axis(ax: Axes, scale: Scale, x_range: tuple[float, float] | None, size: Size, note: str = "") -> None:
    """Ticks, limits and label.

    Args:
        ax: the lowest panel.
        scale: of the axis.
        x_range: in stored units; None where there is nothing to draw.
        size: of the figure.
        note: sentences under the label, a line each.
    """
    low, high = (x_range[0] * scale.factor, x_range[1] * scale.factor) if x_range else (0.0, 1.0)
    if scale.axis == "wall":
        locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        # Numbers only: names of months would follow the machine's language.
        formats = ["%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M", "%S.%f"]
        offsets = ["", "%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"]
        zeros = ["", "%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M"]
        ax.xaxis.set_major_formatter(
            ConciseDateFormatter(  # type: ignore[no-untyped-call]
                locator, tz=UTC, formats=formats, offset_formats=offsets, zero_formats=zeros
            )
        )
        smallest = 1.0 / SECONDS_A_DAY
    else:
        ax.xaxis.set_major_formatter(CountTicks() if scale.axis in ("step", "samples", "tokens") else LinearTicks())
        smallest = 2.0
    if high <= low:
        low, high = low - smallest / 2, high + smallest / 2
    margin = 0.012 * (high - low)
    ax.set_xlim(low - margin, high + margin)
    if scale.axis != "wall":
        _fit_ticks(ax.xaxis, size, integer=scale.axis in ("step", "samples", "tokens"))
    notes = [elided(line, 0.9 * size.width, size) for line in note.splitlines() if line]
    ax.set_xlabel("\n".join([_with_power(scale.label, ax.xaxis), *notes]))


def _fit_ticks(axis: XAxis, size: Size, *, integer: bool) -> None:
    """As many ticks as have room for their labels."""
    for most in (6, 4, 3, 2, 1):
        axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10], integer=integer))
        labels = axis.get_major_formatter().format_ticks(list(axis.get_majorticklocs()))
        if sum(text_width(label, size) for label in labels) < 0.7 * size.width:
            return


def draw_y_axis(ax: Axes, scale: Scale, size: Size, room: float, *, log_y: bool = False, percent: bool = False) -> None:
    """Ticks, grid and label; call it once the curves are there.

    Args:
        ax: the panel.
        scale: of the axis.
        size: of the figure.
        room: height of the panel, inches.
        log_y: logarithmic.
        percent: a gauge that runs from 0 to 100, which an axis should show in full.
    """
    if not np.isfinite(ax.dataLim.minposy if log_y else ax.dataLim.height):
        ax.set_ylim((0.1, 10.0) if log_y else (0.0, 1.0))  # nothing to show, or nothing that this axis can
    low, high = ax.get_ylim()
    if log_y:
        ax.set_yscale("log", nonpositive="mask")
        low, high = ax.get_ylim()
    elif percent and high <= 110:
        ax.set_ylim(0, 100)
    # Within a decade powers of ten are too few ticks: plain numbers then, on a logarithmic axis too.
    if log_y and high / low >= 10:
        subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
        ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=7))
        ax.yaxis.set_major_formatter(LogTicks())
        ax.yaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=20))
    else:
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        ax.yaxis.set_major_formatter(LinearTicks())
        ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=True, axis="y")
    label = _with_power(scale.label, ax.yaxis)
    if text_width(label, size) > 0.7 * room:
        label = label.replace(" (", "\n(")
    ax.set_ylabel("\n".join(elided(line, 0.9 * room, size) for line in label.splitlines()))


def _with_power(label: str, axis: XAxis | YAxis) -> str:
    """The label with the power of ten that its ticks leave out: beside the axis it would lie on the legend."""
    formatter = axis.get_major_formatter()
    if not isinstance(formatter, LinearTicks):
        return label
    formatter.set_locs(axis.get_majorticklocs())
    if not formatter.power:
        return label
    if label.endswith(")"):
        start, _, unit = label.rpartition("(")
        return f"{start}({formatter.power} {unit}"
    return f"{label} (×{formatter.power})"
