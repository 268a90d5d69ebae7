"""View tuples drawn with Matplotlib for a page or a slide. Nothing here reads a store, and nothing is global.

The same view gives the same bytes: no dates, fixed identifiers, Matplotlib's own defaults and fonts.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from ..db.records import RunInfo
from ..runs.curves import AXIS_LABELS
from ..runs.views import CurvesView, DifferenceView, StepTimesView, metric_label
from .figure_data import View, Width, drawn_difference, has_points
from .print_axes import axis_scale, draw_x_axis, draw_y_axis, value_scale
from .print_curves import LegendEntry, draw_curve, draw_panels, explanations
from .print_step_times import draw_step_times, step_times_height
from .print_style import (
    INK,
    MUTED,
    SIZES,
    LineStyle,
    Size,
    elided,
    line_styles,
    print_settings,
    text_width,
)

VectorFormat = Literal["pdf", "svg", "png"]


def figure_bytes(
    view: View,
    format: VectorFormat,
    *,
    width: Width = "single",
    title: str | None = None,
    runs: Sequence[RunInfo] | None = None,
    log_y: bool = False,
    dpi: float = 300,
) -> bytes:
    """A figure as a file's bytes; see `trackside.dashboard.export.render`."""
    with print_settings(SIZES[width], dpi):
        return _save(drawn(view, width=width, title=title, runs=runs, log_y=log_y), format)


def drawn(
    view: View,
    *,
    width: Width,
    title: str | None = None,
    runs: Sequence[RunInfo] | None = None,
    log_y: bool = False,
) -> Figure:
    """A figure for whoever puts it on paper; call this, and draw it, within `print_settings` of the same width."""
    return _draw(view, SIZES[width], title, runs, log_y)


def _save(figure: Figure, format: VectorFormat) -> bytes:
    metadata: dict[str, dict[str, str | None]] = {
        "pdf": {"Creator": "trackside", "Producer": None, "CreationDate": None},
        "svg": {"Creator": "trackside", "Date": None},
        "png": {"Software": "trackside"},
    }
    output = io.BytesIO()
    figure.savefig(output, format=format, metadata=metadata[format])
    return output.getvalue()


def _draw(view: View, size: Size, title: str | None, runs: Sequence[RunInfo] | None, log_y: bool) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.04, hspace=0.0)
    figure = Figure(figsize=(size.width, size.panel), layout=layout)
    gap = size.font / 72
    run_ids = [run.id for run in runs or ()]
    if isinstance(view, StepTimesView):
        height = size.panel + step_times_height(view, size)
        legends = draw_step_times(figure, view, size, run_ids)
    elif isinstance(view, DifferenceView):
        height = size.panel
        ax = figure.add_subplot()
        legends = [(ax, _draw_difference(ax, view, size, runs))]
    else:
        panels = (view,) if isinstance(view, CurvesView) else view
        # Panels under the first have no legend, and but the last no axis label.
        height = size.panel + (len(panels) - 1) * 0.8 * size.panel
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        legends = [(axes[0], draw_panels(list(axes), panels, size, size.height or height, run_ids, log_y))]
    if not has_points(view):
        top = legends[0][0]
        top.text(0.5, 0.5, "nothing to show", transform=top.transAxes, ha="center", va="center", color=MUTED)
    rows = sum(
        _add_legend(ax, entries, size, title if place == 0 else None) for place, (ax, entries) in enumerate(legends)
    )
    figure.set_size_inches(size.width, size.height or height + rows * size.text_line + (gap if rows else 0.0))
    return figure


# ---- Difference ------------------------------------------------------------------------------------------------------


def _draw_difference(ax: Axes, view: DifferenceView, size: Size, runs: Sequence[RunInfo] | None) -> list[LegendEntry]:
    """A − B, the band within which the two count as equal, and the step from which they are apart."""
    difference = drawn_difference(view, runs)
    curve = difference.curve
    ends = [float(x) for x in view.x[[0, -1]]] if len(view.x) else []
    x_range = (ends[0], ends[1]) if ends else None
    x_scale = axis_scale(view.axis, AXIS_LABELS[view.axis], x_range)
    y_label = f"Difference in {_mid_sentence(metric_label(view.metric, None))}"
    y_scale = value_scale(y_label, None, [curve.minimum, curve.maximum])
    style = line_styles([view.a], [run.id for run in runs or ()])[0]
    solid = LineStyle(color=style.color, dash="-", marker="", hollow=False)

    ax.axhline(0, color=MUTED, linewidth=0.5 * size.line, zorder=0.5)
    known = np.isfinite(difference.tolerance)
    ax.fill_between(
        curve.x[known] * x_scale.factor,
        -difference.tolerance[known] * y_scale.factor,
        difference.tolerance[known] * y_scale.factor,
        facecolor=MUTED,
        alpha=0.25,
        linewidth=0,
        zorder=0.8,
    )
    draw_curve(ax, curve, solid, size, x_scale, y_scale)
    draw_y_axis(ax, y_scale, size, size.panel)
    draw_x_axis(ax, x_scale, x_range, size, note=view.x_note)

    entries: list[LegendEntry] = [
        (solid.handle(size), curve.label),
        (Patch(facecolor=MUTED, alpha=0.25, linewidth=0), "tolerance"),
    ]
    if difference.parted_at is not None:
        line: dict[str, Any] = {"color": INK, "linestyle": (0, (3, 1.5)), "linewidth": 0.8 * size.line}
        on_axis = view.axis == "step" and x_range is not None and x_range[0] <= difference.parted_at <= x_range[1]
        if on_axis:
            ax.axvline(difference.parted_at * x_scale.factor, zorder=1.2, **line)
        entries.append((Line2D([], [], **line if on_axis else {"linestyle": "none"}), _parted(difference.parted_at)))
    return entries + explanations([curve], style.color, size)


def _parted(step: int) -> str:
    return f"apart from step {step:,}"


def _mid_sentence(label: str) -> str:
    return label if label[:2].isupper() else label[:1].lower() + label[1:]


# ---- Legend ----------------------------------------------------------------------------------------------------------


def _add_legend(ax: Axes, entries: Sequence[LegendEntry], size: Size, title: str | None) -> int:
    """A legend above the axes, in as many columns as fit, so that it never lies on a curve; returns its lines."""
    if not entries and not title:
        return 0
    em = size.font / 72
    inside = size.width - 6.5 * em  # beside the y axis and its labels
    sample, between = 2.6 * em, 1.2 * em
    labels = [elided(label, inside - sample, size) for _, label in entries]
    widths = np.array([text_width(label, size) + sample for label in labels])
    columns = next(
        count
        for count in range(min(size.columns, len(entries)), -1, -1)
        # Matplotlib fills column by column, as array_split does.
        if count <= 1 or sum(column.max() for column in np.array_split(widths, count)) + (count - 1) * between <= inside
    )
    legend = ax.legend(
        [handle for handle, _ in entries],
        ["-"] * len(entries),  # some versions of Matplotlib drop a label that begins with an underscore
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=max(1, columns),
        borderaxespad=0.7,
        borderpad=0.0,
        labelspacing=0.35,
        handlelength=2.0,
        handletextpad=0.6,
        columnspacing=1.2,
        title=elided(title, inside, size) if title else None,
        alignment="left",
    )
    texts: list[Text] = legend.get_texts()
    for text, label in zip(texts, labels, strict=True):
        text.set_text(label)
    return -(-len(entries) // max(1, columns)) + bool(title)
