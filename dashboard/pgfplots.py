"""Figures as pgfplots pictures: a paper's own fonts and sizes, and the numbers in the file for whoever edits it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from ..db.records import Float64Array, RunInfo
from ..runs.curves import AXIS_LABELS
from ..runs.splits import entry
from ..runs.views import Curve, CurvesView, DifferenceView, StepTimesView, metric_label
from .figure_data import View, Width, drawn_difference
from .tables import tex_text
from .theme import run_colors

WIDTHS: Final[dict[Width, str]] = {"single": r"\columnwidth", "double": r"\textwidth", "slide": r"\textwidth"}
# As in the figures of Matplotlib: colour alone would be one grey in a copy.
DASHES: Final = ("solid", "dashed", "densely dotted", "dash dot")
SPLIT_DASHES: Final = {"train": "solid", "val": "dashed", "test": "densely dotted"}
HEAD: Final = "% needs \\usepackage{pgfplots} \\pgfplotsset{compat=1.16} \\usepgfplotslibrary{fillbetween}\n"


def figure_tex(
    view: View, *, width: Width = "single", runs: Sequence[RunInfo] | None = None, log_y: bool = False
) -> bytes:
    """A view as a `tikzpicture`, exactly the points that the other formats draw, in the store's own units.

    Args:
        view: what is drawn; of several panels each is a picture.
        width: of the picture: of a column or of the whole text.
        runs: the runs compared, for colours and the labels of a difference.
        log_y: logarithmic y axis of curves; what is not above zero is left out by pgfplots.
    """
    order = [run.id for run in runs or ()]
    if isinstance(view, StepTimesView):
        pictures = [_step_times(view, order, width)]
    elif isinstance(view, DifferenceView):
        pictures = [_difference(view, runs, width)]
    else:
        panels = (view,) if isinstance(view, CurvesView) else view
        pictures = [_curves(panel, order, width, log_y) for panel in panels]
    return (HEAD + "\n".join(pictures)).encode("utf-8", "replace")


def _picture(options: Iterable[str], content: Iterable[str]) -> str:
    lines = [r"\begin{tikzpicture}", r"\begin{axis}[", *(f"  {option}," for option in options), "]"]
    return "\n".join([*lines, *content, r"\end{axis}", r"\end{tikzpicture}", ""])


def _options(width: Width, x_label: str, y_label: str, *more: str, note: str = "") -> list[str]:
    title = tex_text(x_label) + (rf" \\ {{\footnotesize {tex_text(note)}}}" if note else "")
    return [
        f"width={WIDTHS[width]}",
        f"height=0.62{WIDTHS[width]}",
        f"xlabel={{{title}}}",
        *(["xlabel style={align=center}"] if note else []),
        f"ylabel={{{tex_text(y_label)}}}",
        "grid=major",
        "legend cell align=left",
        "legend columns=2",
        "legend style={at={(0.5,1.03)}, anchor=south, draw=none, fill=none}",
        *more,
    ]


def _colors(ids: Iterable[str], order: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """A colour's name by run id, and the lines that define them."""
    known = list(dict.fromkeys((*order, *ids)))
    names = {run_id: f"run{number}" for number, run_id in enumerate(known)}
    colors = run_colors(known)
    lines = [rf"\definecolor{{{names[one]}}}{{HTML}}{{{colors[one].lstrip('#').upper()}}}" for one in known]
    return names, lines


def _curves(view: CurvesView, order: Sequence[str], width: Width, log_y: bool) -> str:
    names, lines = _colors((curve.run_id for curve in view.curves), order)
    places = {run_id: place for place, run_id in enumerate(names)}
    for number, curve in enumerate(view.curves):
        color, dash = names[curve.run_id], DASHES[places[curve.run_id] % len(DASHES)]
        dash = SPLIT_DASHES[curve.split] if len(view.splits) > 1 else dash
        lines += _band(curve, color, f"{view.metric}{number}")
        if curve.smoothed is not None:
            lines += _plot(f"{color}, {dash}, opacity=0.35, thin, forget plot", curve.x, curve.last)
        lines += _plot(f"{color}, {dash}, thick", curve.x, curve.last if curve.smoothed is None else curve.smoothed)
        lines.append(rf"\addlegendentry{{{tex_text(entry(curve, view))}}}")
        lines += _marks(curve, color)
    if view.target is not None:
        across = " -- ".join(rf"({{rel axis cs:{end},0}} |- {{axis cs:0,{view.target!r}}})" for end in (0, 1))
        lines.append(rf"\draw[densely dotted] {across};")
    scale = ["ymode=log"] if log_y else []
    return _picture(_options(width, view.x_label, view.y_label, *scale, note=view.x_note), lines)


def _band(curve: Curve, color: str, name: str) -> list[str]:
    if curve.band is None:
        return []
    low, high = curve.band
    path = "".join(letter for letter in name if letter.isalnum())
    return [
        *_plot(f"draw=none, forget plot, name path=low{path}", curve.x, low),
        *_plot(f"draw=none, forget plot, name path=high{path}", curve.x, high),
        rf"\addplot[{color}, opacity=0.18, forget plot] fill between[of=low{path} and high{path}];",
    ]


def _marks(curve: Curve, color: str) -> list[str]:
    """NaN and infinities, at the edge of the axis where they came."""
    lines = []
    for positions, mark, edge in (
        (curve.nan_x, "x", "0.03"),
        (curve.positive_infinity_x, "triangle*", "0.97"),
        (curve.negative_infinity_x, "triangle*, mark options={rotate=180}", "0.03"),
    ):
        for x in positions.tolist():
            place = rf"({{axis cs:{x!r},0}} |- {{rel axis cs:0,{edge}}})"
            lines.append(rf"\draw[{color}] plot[only marks, mark={mark}] coordinates {{{place}}};")
    return lines


def _difference(view: DifferenceView, runs: Sequence[RunInfo] | None, width: Width) -> str:
    drawn = drawn_difference(view, runs)
    names, lines = _colors([view.a, view.b], [run.id for run in runs or ()])
    tolerance = np.where(np.isfinite(drawn.tolerance), drawn.tolerance, np.nan)
    lines += [
        *_plot("draw=none, forget plot, name path=below", drawn.curve.x, -tolerance),
        *_plot("draw=none, forget plot, name path=above", drawn.curve.x, tolerance),
        r"\addplot[gray, opacity=0.3] fill between[of=below and above];",
        r"\addlegendentry{tolerance}",
        *_plot(f"{names[view.a]}, thick", drawn.curve.x, drawn.curve.last),
        rf"\addlegendentry{{{tex_text(drawn.curve.label)}}}",
    ]
    label = f"Difference in {metric_label(drawn.metric, None).lower()}"
    return _picture(_options(width, AXIS_LABELS[view.axis], label, note=view.x_note), lines)


def _step_times(view: StepTimesView, order: Sequence[str], width: Width) -> str:
    names, lines = _colors((row.run_id for row in view.rows), order)
    places = {run_id: place for place, run_id in enumerate(names)}
    edges = view.edges
    for row in view.rows:
        if not row.count:
            continue
        share = 100.0 * row.counts / row.count
        dash = DASHES[places[row.run_id] % len(DASHES)]
        lines += _plot(f"{names[row.run_id]}, {dash}, const plot, thick", edges, np.append(share, 0.0))
        lines.append(rf"\addlegendentry{{{tex_text(f'{row.label}, median {row.median:.3g} s')}}}")
    logarithmic = len(edges) > 1 and edges[0] > 0 and not math.isclose(edges[1] - edges[0], edges[-1] - edges[-2])
    scale = ["xmode=log"] if logarithmic else []
    return _picture(
        _options(width, "Step time (seconds)", "Share of steps (%)", "ymin=0", "legend columns=1", *scale), lines
    )


def _plot(options: str, x: Float64Array, y: Float64Array) -> list[str]:
    """A curve with its numbers, which read back as the same float64; a value that is not finite breaks the line."""
    rows = [f"{a!r} {b!r}" if math.isfinite(b) else f"{a!r} nan" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return [rf"\addplot[{options}, mark=none, unbounded coords=jump] table {{", *rows, "};"]
