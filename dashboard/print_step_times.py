"""The step-time figure: how step times spread, and under it each run's median, split, and percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ..runs.views import StepTimes, StepTimesView
from .print_axes import Scale, value_scale
from .print_style import HATCH, INK, MUTED, LineStyle, Size, elided, line_styles, text_width
from .print_ticks import LinearTicks, LogTicks

_LINES_A_ROW = 2.1
"""Height of a run's row in lines of text: its name and numbers, and the bar under them."""
_MOST_FILLED = 3
"""Distributions of more runs than this are drawn as outlines: fills on fills hide where each is."""


def step_times_height(view: StepTimesView, size: Size) -> float:
    """Height of the rows under the distribution with their axis, inches."""
    return (_LINES_A_ROW * max(1, len(view.rows)) + 3.5) * size.text_line


def draw_step_times(
    figure: Figure, view: StepTimesView, size: Size, run_ids: Sequence[str]
) -> list[tuple[Axes, list[tuple[Artist, str]]]]:
    """Distribution above, a row a run below; returns both axes, each with what its legend should say."""
    rows_height = step_times_height(view, size)
    upper_height = size.panel if size.height is None else max(size.height - rows_height, 0.35 * size.height)
    upper, lower = figure.subplots(2, 1, height_ratios=[upper_height, rows_height])
    styles = line_styles([row.run_id for row in view.rows], run_ids)
    scale = value_scale("Step time (seconds)", "seconds", [view.edges if view.rows else np.empty(0)])
    _draw_distribution(upper, view, styles, scale, size)
    _draw_rows(lower, view, styles, scale, size)
    return [(upper, _legend_of_runs(view, styles, size)), (lower, _legend_of_rows(view, size))]


def _draw_distribution(ax: Axes, view: StepTimesView, styles: Sequence[LineStyle], scale: Scale, size: Size) -> None:
    """Share of each run's steps a bin: a run of 100 steps and one of 10,000 stand at the same height."""
    edges = view.edges * scale.factor
    # The view spaces its bins logarithmically where times range widely.
    logarithmic = len(edges) > 2 and edges[0] > 0 and edges[-1] - edges[-2] > 3 * (edges[1] - edges[0])
    peak = 0.0
    for place, (row, style) in enumerate(zip(view.rows, styles, strict=True)):
        if not row.count:
            continue
        share = 100.0 * row.counts / row.count
        peak = max(peak, float(share.max()))
        line: dict[str, Any] = {"color": style.color, "linewidth": 0.8 * size.line}
        ax.stairs(share, edges, linestyle=style.dash, zorder=2 + place / 50, **line)
        if len(view.rows) <= _MOST_FILLED:
            ax.stairs(share, edges, color=style.color, fill=True, alpha=0.14, linewidth=0, zorder=1)
        ax.axvline(row.median * scale.factor, linestyle=":", zorder=1.5, **line)
        # The run's own marker on top tells the medians apart without colour.
        ax.plot(
            [row.median * scale.factor],
            [1.0],
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            linestyle="none",
            zorder=4,
            **style.marks(size),
        )
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(numticks=7))
        ax.xaxis.set_major_formatter(LogTicks())
        ax.xaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=20))
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_formatter(LinearTicks())
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, 1.08 * peak or 1.0)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(LinearTicks())
    ax.grid(visible=True, axis="y")
    ax.set_xlabel(scale.label)
    ax.set_ylabel("Share of steps (%)")


def _draw_rows(ax: Axes, view: StepTimesView, styles: Sequence[LineStyle], scale: Scale, size: Size) -> None:
    """A bar a run as long as its median step, split into waiting for data and computing, with the numbers above."""
    shown = [(row, style) for row, style in zip(view.rows, styles, strict=True) if row.count]
    longest = max((max(_parts(row)[1], row.p99) for row, _ in shown), default=1.0) * scale.factor
    for place, (row, style) in enumerate(zip(view.rows, styles, strict=True)):
        if row.count:
            data, total = (part * scale.factor for part in _parts(row))
            ax.barh(place, total - data, left=data, height=0.34, color=style.color, linewidth=0)
            edge: dict[str, Any] = {"edgecolor": style.color, "linewidth": 0.6 * size.line}
            ax.barh(place, data, height=0.34, facecolor="white", hatch=HATCH, **edge)
            ax.plot([total, row.p99 * scale.factor], [place, place], color=INK, linewidth=0.6 * size.line)
            for seconds, mark in ((row.p95, "|"), (row.p99, "d")):
                ax.plot([seconds * scale.factor], [place], clip_on=False, zorder=3, **_percentile_mark(mark, size))
        numbers = _numbers(row, scale)
        room = size.width - 0.25 * size.width - text_width(numbers, size)
        line: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": size.font}
        ax.text(0.0, place - 0.42, elided(row.label, room, size), ha="left", **line)
        ax.text(1.0, place - 0.42, numbers, ha="right", **line)
    ax.set_ylim(max(1, len(view.rows)) - 0.7, -0.75)
    ax.set_xlim(0, 1.01 * longest or 1.0)
    ax.spines["left"].set_visible(False)
    ax.yaxis.set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(LinearTicks())
    ax.set_xlabel(scale.label)


def _parts(row: StepTimes) -> tuple[float, float]:
    """Seconds waiting for data, and of the whole bar; no data part where the split was not recorded."""
    if np.isfinite(row.data_median) and np.isfinite(row.compute_median):
        return row.data_median, row.data_median + row.compute_median
    return 0.0, row.median


def _numbers(row: StepTimes, scale: Scale) -> str:
    if not row.count:
        return "no steps after warm-up"
    median, p95, p99 = (f"{seconds * scale.factor:#.3g}".rstrip(".") for seconds in (row.median, row.p95, row.p99))
    return f"median {median} · p95 {p95} · p99 {p99}"


def _legend_of_runs(view: StepTimesView, styles: Sequence[LineStyle], size: Size) -> list[tuple[Artist, str]]:
    entries: list[tuple[Artist, str]] = [
        (style.handle(size), row.label) for row, style in zip(view.rows, styles, strict=True)
    ]
    if any(row.count for row in view.rows):
        entries.append((Line2D([], [], color=INK, linestyle=":", linewidth=size.line), "median"))
    return entries


def _legend_of_rows(view: StepTimesView, size: Size) -> list[tuple[Artist, str]]:
    shown = [row for row in view.rows if row.count]
    if not shown:
        return []
    if any(_parts(row)[0] for row in shown):
        edge: dict[str, Any] = {"facecolor": "white", "edgecolor": MUTED, "linewidth": 0.6 * size.line}
        bars: list[tuple[Artist, str]] = [
            (Patch(hatch=HATCH, **edge), "waiting for data"),
            (Patch(facecolor=MUTED, linewidth=0), "computing"),
        ]
    else:
        bars = [(Patch(facecolor=MUTED, linewidth=0), "median")]
    return [
        *bars,
        (Line2D([], [], **_percentile_mark("|", size)), "p95"),
        (Line2D([], [], **_percentile_mark("d", size)), "p99"),
    ]


def _percentile_mark(mark: str, size: Size) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": mark,
        "markersize": 0.7 * size.font,
        "markerfacecolor": "white",
        "markeredgecolor": INK,
        "markeredgewidth": 0.8 * size.line,
    }
