"""Colours of runs and frameworks, and the frame every figure shares.

What depends on light or dark (text, grid lines, hover boxes) is not here: `assets/trackside.css` colours it through
custom properties, so that switching the scheme redraws nothing and needs no server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

RUN_COLORS: Final = (
    "#2b7fd4",  # blue
    "#e0641c",  # vermilion
    "#12997a",  # green
    "#c564a4",  # pink
    "#c99700",  # amber
    "#45a8e0",  # sky
    "#8b6fd8",  # violet
    "#8c8f96",  # grey
)
"""Okabe and Ito's order and hues, moved to a lightness that reads on white and on near-black alike."""

SPLIT_DASHES: Final = {"train": "solid", "val": "dash", "test": "dot"}
FRAMEWORK_NAMES: Final = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
FONT: Final = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', system-ui, sans-serif"
MARKER_LIMIT: Final = 60  # fewer points than this are drawn as points too: a line of three epochs is hard to see


def run_colors(run_ids: Sequence[str]) -> dict[str, str]:
    """Colour of each run by its place in the comparison; past the palette's end the colours come round again."""
    return {run_id: RUN_COLORS[place % len(RUN_COLORS)] for place, run_id in enumerate(run_ids)}


def split_dash(metric: str) -> str:
    """Dash of a metric's line: solid for training, dashed for validation, dotted for test."""
    return SPLIT_DASHES.get(metric.partition("/")[0], "solid")


def translucent(color: str, opacity: float) -> str:
    """`#rrggbb` as an `rgba(…)` colour of the given opacity."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def base_layout(revision: str) -> dict[str, Any]:
    """Plotly layout that all figures start from. Margins are fixed: fitting them draws every figure three times.

    Args:
        revision: while it stays the same, zoom and hidden curves survive a new figure (Plotly's `uirevision`).
    """
    axis = {
        "showgrid": True,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "exponentformat": "power",
        "title": {"font": {"size": 12}, "standoff": 10},
    }
    return {
        "uirevision": revision,
        "font": {"family": FONT, "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 58, "r": 16, "t": 10, "b": 44},
        "hovermode": "x unified",
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "namelength": -1},
        "showlegend": False,
        "dragmode": "zoom",
        "xaxis": dict(axis),
        "yaxis": dict(axis),
    }
