"""Colours of a heatmap of layers and steps: from a view's rows to pixels and a colour bar.

A picture, not a chart: Plotly's bundle with heatmaps is 0.3 MB larger than the one the other pages use, and this page
needs no Plotly at all. A hundred layers of 256 columns make a picture of 10 to 70 KB.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..db.records import Float64Array
from ..runs.debugging.layers import FINITE, NAN, NEGATIVE, POSITIVE, LayersView, Row

STOPS: Final = ("#2d1e5f", "#31438f", "#2a6a99", "#238a8d", "#35b779", "#8fd744", "#fde725")
"""Viridis with its darkest end lifted, so that a cell is seen on near-black too: even in lightness, and told apart
without red or green receptors."""
NOT_FINITE: Final = {NAN: "#e5348b", POSITIVE: "#ff7a1a", NEGATIVE: "#b3541e"}
ZERO: Final = "#1b1533"
TICKS: Final = 5


def pixels(rows: Sequence[Row], view: LayersView) -> NDArray[np.uint8]:
    """(rows, columns, 4) uint8: the largest value of each cell as a colour; nothing where nothing was measured."""
    picture = np.zeros((max(len(rows), 1), max(len(view.starts), 1), 4), np.uint8)
    for place, row in enumerate(rows):
        finite = row.state == FINITE
        picture[place, finite, :3] = _colors(share(row.maximum[finite], view))
        picture[place, finite & (row.maximum <= 0) & view.logarithmic, :3] = _rgb(ZERO)
        for state, color in NOT_FINITE.items():
            picture[place, row.state == state, :3] = _rgb(color)
        picture[place, row.state > 0, 3] = 255
    return picture


def share(values: Float64Array, view: LayersView) -> Float64Array:
    """Where values lie between the ends of a view's scale, 0 to 1."""
    low, high = view.scale or (0.0, 1.0)
    if view.logarithmic:
        values = np.log(np.maximum(values, low))
        low, high = math.log(low), math.log(high)
    return np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.full(len(values), 0.5)


def gradient() -> str:
    """The colour bar as a CSS gradient, left to right."""
    return f"linear-gradient(90deg, {', '.join(STOPS)})"


def ticks(view: LayersView) -> list[tuple[float, float]]:
    """Places on the colour bar, 0 to 1, and the values there: the ends, and round numbers between where logarithmic."""
    if view.scale is None:
        return []
    low, high = view.scale
    if not view.logarithmic:
        return [(place, low + place * (high - low)) for place in (0.0, 0.5, 1.0)]
    if high <= low * 1.0001:
        return [(0.5, low)]
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    step = max(1, math.ceil((last - first + 1) / TICKS))
    powers = [10.0**power for power in range(first, last + 1, step)]
    if len(powers) < 2:
        powers = [low, high]
    return [(float(share(np.array([value]), view)[0]), value) for value in powers]


def readout(rows: Sequence[Row]) -> str:
    """The values of all cells for the pointer to read: float32, row by row, smallest then largest, as base64.

    A cell that is not finite has that value; one where nothing was measured the largest negative float32.
    """
    nothing = np.finfo(np.float32).min
    table = np.full((len(rows), 2, len(rows[0].state) if rows else 0), nothing, "<f4")
    for place, row in enumerate(rows):
        with np.errstate(over="ignore"):
            table[place, 0] = np.where(row.state == FINITE, row.minimum, nothing)
            table[place, 1] = np.where(row.state == FINITE, row.maximum, nothing)
        for state, value in ((NAN, np.nan), (POSITIVE, np.inf), (NEGATIVE, -np.inf)):
            table[place, :, row.state == state] = value
    return base64.b64encode(table.tobytes()).decode("ascii")


def _colors(shares: Float64Array) -> NDArray[np.uint8]:
    stops = np.array([_rgb(color) for color in STOPS], float)
    places = np.linspace(0, 1, len(STOPS))
    channels = [np.interp(shares, places, stops[:, channel]) for channel in range(3)]
    return np.column_stack(channels).round().astype(np.uint8)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
