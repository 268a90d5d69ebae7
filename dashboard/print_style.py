"""How printed figures look: sizes, fonts, line styles, ticks, and text that any name survives.

Matplotlib's settings are global to the process: everything that draws runs inside `print_settings`, one at a time.
"""

from __future__ import annotations

import struct
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import matplotlib.style
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from .figure_data import Width
from .theme import run_colors


@dataclass(frozen=True, kw_only=True)
class Size:
    """Measures of one output width, in inches and points.

    Attributes:
        width: of the figure, inches.
        panel: height of one panel with its axis labels, inches; legends and rows come on top.
        height: of the whole figure where it is fixed, inches.
        font: points.
        line: width of a curve, points.
        columns: of the legend, at most.
    """

    width: float
    panel: float
    height: float | None
    font: float
    line: float
    columns: int

    @property
    def text_line(self) -> float:
        """Height of one line of text, inches."""
        return 1.45 * self.font / 72


SIZES: Final[dict[Width, Size]] = {
    "single": Size(width=3.35, panel=2.1, height=None, font=7.0, line=1.0, columns=3),
    "double": Size(width=7.0, panel=2.9, height=None, font=8.0, line=1.2, columns=4),
    "slide": Size(width=10.0, panel=5.0, height=5.6, font=14.0, line=2.2, columns=4),
}
"""A column of a two-column page (85 mm), its whole width, and a 16:9 slide."""

INK: Final = "#26282c"
MUTED: Final = "#6a6e76"
GRID: Final = "#e4e6ea"

# Curves differ in dash and marker as well as in colour: the palette's hues are about equally light, so that a copy
# without colour would show one grey. Seven markers and four dashes repeat together only after 28 curves.
DASHES: Final[tuple[Any, ...]] = ("-", (0, (4, 2.4)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)))
SPLIT_DASHES: Final[dict[str, Any]] = {"train": "-", "val": (0, (4, 2.4)), "test": (0, (1.2, 1.2))}
"""Instead, where a panel shows several splits of a quantity."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
HATCH: Final = "////////"

# Fonts that have what DejaVu Sans, which comes with Matplotlib, has not: Chinese, Japanese, Korean, more symbols.
FALLBACK_FAMILIES: Final = (
    "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS", "Noto Emoji", "Segoe UI Symbol", "Symbola",
)  # fmt: skip
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def print_settings(size: Size, dpi: float) -> Iterator[None]:
    """Matplotlib's defaults with ours on top, whatever the user's own settings are; one thread at a time."""
    settings = {
        "font.family": ["sans-serif", *fallback_families()],
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
        "font.size": size.font,
        "axes.titlesize": size.font,
        "axes.labelsize": size.font,
        "xtick.labelsize": size.font,
        "ytick.labelsize": size.font,
        "legend.fontsize": size.font,
        "text.parse_math": False,  # a run's name may hold $ signs
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.linewidth": size.font / 12,
        "xtick.major.width": size.font / 12,
        "ytick.major.width": size.font / 12,
        "xtick.major.size": size.font / 2.6,
        "ytick.major.size": size.font / 2.6,
        "xtick.minor.size": size.font / 4.5,
        "ytick.minor.size": size.font / 4.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": size.font / 14,
        "hatch.linewidth": size.font / 14,
        "legend.frameon": False,
        "savefig.dpi": dpi,
        "figure.dpi": 100,
        "pdf.fonttype": 42,  # TrueType: selectable text, and what publishers' checks accept
        "svg.fonttype": "none",  # real text with a list of fonts: searchable, editable, legible without DejaVu
        "svg.hashsalt": "trackside",
        "path.simplify": False,  # what is drawn is what the CSV holds
        "agg.path.chunksize": 0,
    }
    with _ONE_AT_A_TIME, matplotlib.style.context(settings, after_reset=True):
        yield


@cache
def fallback_families() -> tuple[str, ...]:
    """The installed ones of `FALLBACK_FAMILIES` that a PDF can embed.

    Naming a family that is not installed would make Matplotlib complain on standard error for each text.
    """
    names = set(fontManager.get_font_names())
    found = (name for name in FALLBACK_FAMILIES if name in names)
    return tuple(name for name in found if _has_truetype_outlines(Path(_font_file(name))))


def _font_file(family: str) -> str:
    return str(fontManager.findfont(FontProperties(family=[family])))


def _has_truetype_outlines(path: Path) -> bool:
    """Whether a font file can be embedded as TrueType: PostScript outlines (CFF) in its place break the PDF."""
    with path.open("rb") as file:
        tag = file.read(16)
        if tag[:4] == b"ttcf":  # a collection: its first font stands for all
            file.seek(struct.unpack(">I", tag[12:16])[0])
            tag = file.read(4)
    return tag[:4] in (b"\0\1\0\0", b"true")


@cache
def _known_characters() -> frozenset[int]:
    families = ("DejaVu Sans", *fallback_families())
    fonts = [fontManager.findfont(FontProperties(family=[family])) for family in families]
    return frozenset(code for font in fonts for code in get_font(font).get_charmap())


def printable(text: str) -> str:
    """`text` on one line with every character that no font has replaced by one mark, so that nothing warns.

    Line breaks become spaces; marks without a shape of their own (joiners, variation selectors, direction
    marks) are left out.
    """
    shown: list[str] = []
    for letter in " ".join(unicodedata.normalize("NFC", text).split()):
        category = unicodedata.category(letter)
        if category == "Cf" or 0xFE00 <= ord(letter) <= 0xFE0F:
            continue
        known = category not in ("Cc", "Cs") and ord(letter) in _known_characters()
        if known or shown[-1:] != [REPLACEMENT]:
            shown.append(letter if known else REPLACEMENT)
    return "".join(shown)


def text_width(text: str, size: Size) -> float:
    """Width of a printed text, inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size.font), ismath=False)
    return float(width) / 72


def elided(text: str, width: float, size: Size) -> str:
    """`text` as printed, its middle left out where it would be wider than `width` inches."""
    text = printable(text)
    keep = len(text)
    while keep > 2 and text_width(shown := _middle_out(text, keep), size) > width:
        # One step lands near the right length; the rest is a few letters.
        keep = max(2, min(keep - 1, int(keep * width / text_width(shown, size)) + 1))
    return _middle_out(text, keep)


def _middle_out(text: str, keep: int) -> str:
    return text if keep >= len(text) else f"{text[: (keep + 1) // 2].rstrip()}…{text[len(text) - keep // 2 :].lstrip()}"


@dataclass(frozen=True, kw_only=True)
class LineStyle:
    """How one curve is told from the others, with colour and without."""

    color: str
    dash: Any
    marker: str
    hollow: bool

    def marks(self, size: Size, scale: float = 1.0) -> dict[str, Any]:
        """Marker properties of a `Line2D`."""
        return {
            "marker": self.marker,
            "markersize": scale * 0.5 * size.font,
            "markerfacecolor": "white" if self.hollow else self.color,
            "markeredgecolor": self.color,
            "markeredgewidth": 0.7 * size.line,
        }

    def handle(self, size: Size) -> Line2D:
        """The curve's sample for a legend."""
        return Line2D([], [], color=self.color, linestyle=self.dash, linewidth=size.line, **self.marks(size))


def line_styles(run_ids: Sequence[str], all_runs: Sequence[str] = ()) -> list[LineStyle]:
    """A style for each curve: the colour is its run's, as on the page; dash and marker are its own.

    Args:
        run_ids: of the curves; a run may have several.
        all_runs: the runs compared, in the page's order; a figure may lack some of them.
    """
    runs = list(dict.fromkeys([*all_runs, *run_ids]))
    colors = run_colors(runs)
    places = [runs.index(run_id) for run_id in run_ids]
    # A run with several curves gets a dash for each; otherwise a run keeps its dash from figure to figure.
    numbers = places if len(set(places)) == len(places) else list(range(len(places)))
    return [
        LineStyle(
            color=colors[run_id],
            dash=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)],
            hollow=number % 2 == 1,
        )
        for run_id, number in zip(run_ids, numbers, strict=True)
    ]
