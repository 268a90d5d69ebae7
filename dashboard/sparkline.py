"""Small curves without a chart library: a path that the style sheet fills with a run's colour.

The path is a CSS mask, so its colour follows light and dark, and a page with twenty of them stays light.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np

from ..db.records import Float64Array

WIDTH, HEIGHT, MARGIN = 1000.0, 100.0, 6.0
LOGARITHMIC_FROM = 50.0  # times the smallest value, which a linear scale would press onto the ground


def curve_mask(x: Float64Array, y: Float64Array, ends: tuple[float, float]) -> str:
    """CSS `url(…)` of a line through the finite points; the line breaks where a value is not finite.

    Args:
        x: (n,) float64, increasing.
        y: (n,) float64.
        ends: the x of the left and of the right edge.
    """
    left, right = ends
    across = (x - left) / (right - left) * WIDTH if right > left else np.full(len(x), WIDTH / 2)
    parts, pen_down = [], False
    for place, height in zip(across.tolist(), _heights(y).tolist(), strict=True):
        if not math.isfinite(height):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{place:.1f} {height:.1f}")
        pen_down = True
    if len(parts) == 1:
        parts.append("h0.1")  # a point by itself has no length, and no line
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none">'
        f'<path d="{"".join(parts)}" fill="none" stroke="#000" stroke-width="1.7" stroke-linejoin="round" '
        'stroke-linecap="round" vector-effect="non-scaling-stroke"/></svg>'
    )
    return f'url("data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode("ascii")}")'


def curve_style(color: str, x: Sequence[float], y: Sequence[float], ends: tuple[float, float]) -> dict[str, str]:
    """Style of a box that shows the curve in a colour."""
    mask = curve_mask(np.asarray(x, float), np.asarray(y, float), ends)
    return {"background": color, "maskImage": mask, "WebkitMaskImage": mask}


def _heights(y: Float64Array) -> Float64Array:
    """Distance from the top, NaN where the value is not finite."""
    finite = y[np.isfinite(y)]
    if not len(finite):
        return np.full(len(y), np.nan)
    values = np.where(np.isfinite(y), y, np.nan)
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and high > LOGARITHMIC_FROM * low:
        values, low, high = np.log(values), math.log(low), math.log(high)
    share = (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.5)
    heights: Float64Array = HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)
    return heights
