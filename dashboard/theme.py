"""Colours of runs and frameworks, and the frame every figure shares.

What depends on light or dark (text, grid lines, hover boxes) is not here: `assets/trackside.css` colours it through
custom properties, so that switching the scheme redraws nothing and needs no server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..runs.traces.records import Family, Part

RUN_COLORS: Final = (
    "#4966c1",  # blue
    "#c34a28",  # vermilion
    "#10946b",  # green
    "#a3428c",  # pink
    "#b98e05",  # amber
    "#179ddf",  # sky
    "#9c4dfa",  # violet
    "#8c8f96",  # grey
)
"""Okabe and Ito's order of hues. Each has a contrast of 3 on white and on near-black alike, and of the first seven the
two that are most alike, also as seen without a kind of receptors, are as far apart as a search could move them."""

MOST_CASED: Final = 3  # of more runs, the first would be drawn too wide
THINNEST: Final = 1.6
CROWD_WIDTH: Final = 1.2
CASING: Final = {2: 3.0, 3: 2.3}  # pixels by which a line is wider than the next, by the number of runs
FAMILY_COLORS: Final[dict[Family, str]] = {
    "convolution": "#4d7ff1",
    "matmul": "#e8b543",
    "attention": "#92339b",
    "normalisation": "#35c883",
    "activation": "#dca2ff",
    "pooling": "#4ba4c9",
    "embedding": "#a19e1a",
    "recurrent": "#2b59c8",
    "loss": "#944a47",
    "optimizer": "#4e986c",
    "data": "#6b7380",
    "communication": "#906f23",
    "other": "#b4bac4",
}
"""Searched for the largest smallest difference of any two, also as seen without red, green or blue receptors."""

PART_COLORS: Final[dict[Part, str]] = {
    "data": FAMILY_COLORS["data"],
    "forward": "#4ba4c9",
    "backward": "#8a5fc4",
    "optimizer": FAMILY_COLORS["optimizer"],
    "kernel": "#e8b543",
    "copy": "#a19e1a",
    "communication": FAMILY_COLORS["communication"],
    "other": FAMILY_COLORS["other"],
}
FRAMEWORK_NAMES: Final = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
FONT: Final = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', system-ui, sans-serif"
SPLIT_DASHES: Final = {"val": "dash", "test": "dot"}  # where a panel shows several splits; training is a full line
MARKER_LIMIT: Final = 60  # fewer points than this are drawn as points too: a line of three epochs is hard to see


def run_colors(run_ids: Sequence[str]) -> dict[str, str]:
    """Colour of each run by its place in the comparison; past the palette's end the colours come round again."""
    return {run_id: RUN_COLORS[place % len(RUN_COLORS)] for place, run_id in enumerate(run_ids)}


@dataclass(frozen=True, slots=True)
class Stroke:
    """How a run's curves are drawn, and how its swatch shows it.

    Attributes:
        color: `#rrggbb`.
        width: of the line, in pixels.
        opacity: of the line; markers and fills have their own.
        dash: Plotly's name of the line's pattern.
    """

    color: str
    width: float = THINNEST
    opacity: float = 1.0
    dash: str = "solid"


def run_strokes(run_ids: Sequence[str]) -> dict[str, Stroke]:
    """Stroke of each run by its place in the comparison.

    Two runs that agree give one and the same line, and the last one drawn would hide the others: the best outcome
    of a comparison would look like a missing run. So few runs are drawn wide first and thin last, and where
    they agree all of their colours are seen. None is translucent: it would fade into the page. Of many runs each is
    thin, and once the palette has come round a pattern tells the two of a colour apart.
    """
    colors, last = run_colors(run_ids), len(run_ids) - 1
    if last >= 2 * len(RUN_COLORS):
        return {run_id: Stroke(color, CROWD_WIDTH) for run_id, color in colors.items()}
    if last >= MOST_CASED:
        return {
            run_id: Stroke(colors[run_id], THINNEST, dash="dot" if place >= len(RUN_COLORS) else "solid")
            for place, run_id in enumerate(run_ids)
        }
    casing = CASING.get(last + 1, 0.0)
    return {run_id: Stroke(colors[run_id], THINNEST + casing * (last - place)) for place, run_id in enumerate(run_ids)}


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
