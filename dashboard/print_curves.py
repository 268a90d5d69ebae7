"""Curves with their bands, ghosts and marks, drawn into Matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..db.records import Float64Array
from ..runs.splits import SPLITS
from ..runs.views import Curve, CurvesView
from .print_axes import LARGEST, Scale, axis_scale, draw_x_axis, draw_y_axis, value_scale
from .print_style import INK, MUTED, SPLIT_DASHES, LineStyle, Size, line_styles

LegendEntry = tuple[Artist, str]
"""A sample, and what it stands for."""

ALL_MARKED = 20
SPARSE_MARKERS = 7
"""Markers along a curve of more than `ALL_MARKED` points: they tell curves apart without colour and hide no shape."""


def draw_panels(
    axes: list[Axes],
    panels: Sequence[CurvesView],
    size: Size,
    room: float,
    run_ids: Sequence[str],
    log_y: bool,
) -> list[LegendEntry]:
    """Draw every panel; returns one legend for all of them.

    Args:
        axes: one a panel, from above; they share x.
        panels: what to draw.
        size: of the figure.
        room: height that the panels have between them, inches.
        run_ids: the runs compared, in the page's order; may be empty.
        log_y: logarithmic y axes, but for gauges of the machine: those stay as they are.
    """
    # The same run and label is the same curve in all panels: it keeps its style, and has one entry.
    owners = list(dict.fromkeys((curve.run_id, curve.label) for panel in panels for curve in panel.curves))
    styles = dict(zip(owners, line_styles([run_id for run_id, _ in owners], run_ids), strict=True))
    splits = list(dict.fromkeys(split for panel in panels if len(panel.splits) > 1 for split in panel.splits))
    if splits:  # the dash is theirs then; markers and colours still tell the runs apart
        styles = {owner: replace(style, dash="-") for owner, style in styles.items()}
    ranges = [panel.x_range for panel in panels if panel.x_range is not None]
    x_range = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    x_scale = axis_scale(panels[0].axis, panels[0].x_label, x_range)
    notes = []
    for ax, panel in zip(axes, panels, strict=True):
        y_scale = value_scale(
            panel.y_label,
            panel.unit,
            [array for curve in panel.curves for array in curve.band or (curve.minimum, curve.maximum)],
        )
        gauge = bool(panel.curves) and all(curve.reduction == "sample" for curve in panel.curves)
        for place, curve in enumerate(panel.curves):
            draw_curve(
                ax,
                curve,
                _of_split(styles[curve.run_id, curve.label], curve, panel),
                size,
                x_scale,
                y_scale,
                log_y=log_y and not gauge,
                shift=place / len(panel.curves),
            )
        if panel.target is not None and (panel.target > 0 or not log_y):
            ax.axhline(panel.target * y_scale.factor, **_target_style(size))
        notes.append(_log_note(panel, y_scale.factor) if log_y and not gauge else "")
        draw_y_axis(
            ax,
            y_scale,
            size,
            room / len(panels),
            log_y=log_y and not gauge,
            percent=gauge and panel.unit == "percent",
        )
    draw_x_axis(axes[-1], x_scale, x_range, size, note="\n".join(filter(None, (panels[0].x_note, *notes))))
    for ax in axes[:-1]:
        ax.tick_params(labelbottom=False)
    curves = [curve for panel in panels for curve in panel.curves]
    entries: list[LegendEntry] = [(style.handle(size), label) for (_, label), style in styles.items()]
    colors = {style.color for style in styles.values()}
    for split in splits:
        line = Line2D([], [], color=MUTED, linestyle=SPLIT_DASHES[split], linewidth=size.line)
        entries.append((line, SPLITS[split]))
    for value in dict.fromkeys(panel.target for panel in panels if panel.target is not None):
        entries.append((Line2D([], [], **_target_style(size)), f"target {value:.4g}"))
    return entries + explanations(curves, colors.pop() if len(colors) == 1 else MUTED, size)


def _of_split(style: LineStyle, curve: Curve, panel: CurvesView) -> LineStyle:
    return replace(style, dash=SPLIT_DASHES[curve.split]) if len(panel.splits) > 1 else style


def _target_style(size: Size) -> dict[str, Any]:
    return {"color": INK, "linestyle": (0, (1, 1.4)), "linewidth": 0.8 * size.line, "zorder": 1.2}


def draw_curve(
    ax: Axes,
    curve: Curve,
    style: LineStyle,
    size: Size,
    x_scale: Scale,
    y_scale: Scale,
    *,
    log_y: bool = False,
    shift: float = 0.0,
) -> None:
    """Band of extremes, ghost of the raw values, line, and marks at the edge where a value was not finite.

    Args:
        ax: where to draw.
        curve: what to draw.
        style: of its line.
        size: of the figure.
        x_scale: of the axis.
        y_scale: of the axis.
        log_y: the y axis is logarithmic.
        shift: 0 to 1, by how much of their distance the markers are moved along, so that curves which lie on
            each other show the markers of all.
    """
    gaps = _gaps(curve)
    x = np.insert(curve.x, gaps, [(curve.x[gap - 1] + curve.x[gap]) / 2 for gap in gaps]) * x_scale.factor

    def placed(values: Float64Array) -> Float64Array:
        # What a logarithmic axis has no place for leaves a gap; Matplotlib's own ways move or join it.
        values = np.insert(values, gaps, np.nan) * y_scale.factor
        return np.where(_on_log_axis(values), values, np.nan) if log_y else values

    if curve.band is not None:
        low, high = map(placed, curve.band)
        ax.fill_between(x, low, high, where=np.isfinite(low), color=style.color, alpha=0.18, linewidth=0, zorder=1)
    if curve.smoothed is not None:
        ax.plot(x, placed(curve.last), color=style.color, alpha=0.35, linewidth=0.5 * size.line, zorder=1.5)
    values = placed(curve.last if curve.smoothed is None else curve.smoothed)
    ax.plot(
        x,
        values,
        color=style.color,
        linestyle=style.dash,
        linewidth=size.line,
        markevery=_marked(x, values, shift),
        zorder=2,
        **style.marks(size),
    )
    for positions, mark, y in (
        (curve.nan_x, "x", 0.03),
        (curve.positive_infinity_x, "^", 0.97),
        (curve.negative_infinity_x, "v", 0.03),
    ):
        if len(positions):
            _edge_marks(ax, positions * x_scale.factor, y, mark, style.color, size)


def _gaps(curve: Curve) -> list[int]:
    """Before which points the line is broken: nothing finite lies between them and the point before."""
    marks = np.sort(np.concatenate([curve.nan_x, curve.positive_infinity_x, curve.negative_infinity_x]))
    if not len(marks) or len(curve.x) < 2:
        return []
    distances = np.diff(curve.x)
    between = np.searchsorted(marks, curve.x[1:], "left") > np.searchsorted(marks, curve.x[:-1], "right")
    # A bucket that holds a NaN beside finite values is no gap, one that holds nothing else is.
    wide = distances > 1.5 * np.median(distances)
    return [int(place) + 1 for place in np.flatnonzero(between & (wide | curve.exact))]


def _marked(x: Float64Array, values: Float64Array, shift: float) -> list[int]:
    """Which points get a marker: all of a few, else some at even distances and those that no line reaches."""
    shown = np.flatnonzero(np.isfinite(values))
    if len(shown) <= ALL_MARKED:
        return [int(place) for place in shown]
    distance = (x[-1] - x[0]) / SPARSE_MARKERS
    wanted = x[0] + distance * (np.arange(SPARSE_MARKERS) + 0.15 + 0.7 * shift)
    even = shown[np.searchsorted(x[shown], wanted).clip(0, len(shown) - 1)]
    around = np.isfinite(np.concatenate(([np.nan], values, [np.nan])))
    alone = np.flatnonzero(around[1:-1] & ~around[:-2] & ~around[2:])
    return sorted({int(place) for place in (*even, *alone)})


def _edge_marks(ax: Axes, x: Float64Array, y: float, mark: str, color: str, size: Size) -> None:
    ax.plot(
        x,
        np.full(len(x), y),
        transform=ax.get_xaxis_transform(),
        clip_on=False,
        zorder=3,
        **_mark_style(mark, color, size),
    )


def _mark_style(mark: str, color: str, size: Size) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": mark,
        "markersize": 0.7 * size.font,
        "markerfacecolor": "white",
        "markeredgecolor": color,
        "markeredgewidth": size.line,
    }


def explanations(curves: Sequence[Curve], color: str, size: Size) -> list[LegendEntry]:
    """Legend entries for what is not a run: band, ghost and marks, each only where it occurs."""
    entries: list[LegendEntry] = []
    if any(curve.smoothed is not None for curve in curves):
        entries.append((Line2D([], [], color=color, alpha=0.5, linewidth=0.5 * size.line), "raw"))
    for name, bands in (
        ("min–max", [not curve.exact and curve.count is None for curve in curves]),
        ("95 % interval of the mean", [not curve.exact and curve.count is not None for curve in curves]),
    ):
        if any(bands):
            entries.append((Patch(facecolor=color, alpha=0.3, linewidth=0), name))
    for mark, name, positions in (
        ("x", "NaN", [curve.nan_x for curve in curves]),
        ("^", "+∞", [curve.positive_infinity_x for curve in curves]),
        ("v", "−∞", [curve.negative_infinity_x for curve in curves]),
    ):
        if any(map(len, positions)):
            entries.append((Line2D([], [], **_mark_style(mark, INK, size)), name))
    return entries


def _log_note(panel: CurvesView, factor: float) -> str:
    """How many of the drawn points a logarithmic axis leaves out."""
    ends = [(curve.minimum * factor, curve.maximum * factor) for curve in panel.curves]
    hidden = sum(int((~_on_log_axis(low) | ~_on_log_axis(high)).sum()) for low, high in ends)
    total = sum(len(curve.x) for curve in panel.curves)
    what = "points" if all(curve.exact for curve in panel.curves) else "intervals with values"
    tiny = any(((low > 0) & ~_on_log_axis(low)).any() for low, _ in ends)
    beyond = " or next to 0" if tiny else ""
    return f"{hidden:,} of {total:,} {what} ≤ 0{beyond} not shown" if hidden else ""


def _on_log_axis(values: Float64Array) -> NDArray[np.bool_]:
    placed: NDArray[np.bool_] = (values > 1 / LARGEST) & (values < LARGEST)
    return placed
