"""View tuples drawn as Plotly figures. Nothing here loads a point: the page and the printed figure share the views.

Figures are plain dictionaries: they go straight into a response, and building `plotly.graph_objects` of ten runs
takes longer than reading them. Arrays travel as base64 typed arrays.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..db.records import Float64Array
from ..runs.splits import entry
from .axes import SI_UNITS, axis_title, curve_x_axis, curve_y_axis
from .formats import plotly_text
from .theme import MARKER_LIMIT, SPLIT_DASHES, Stroke, base_layout, translucent

if TYPE_CHECKING:
    from ..runs.views import Curve, CurvesView, DifferenceView, StepTimesView

Figure = dict[str, Any]

EMPTY = np.empty(0)
MOST_CHARACTERS = 48
MOST_HOVERED = 12  # curves in one hover box
MOST_FILLED = 5  # step-time distributions on top of each other
NOTE_HEIGHT = 15  # pixels of a note under the title of an axis


def typed_array(values: Float64Array, exact: bool = False) -> dict[str, str]:
    """An array as Plotly's typed array: float32, or float64 where that would move a coordinate.

    Args:
        values: (n,) float64, may hold NaN.
        exact: keep float64 whenever float32 does not hold every value exactly (axes: a step of 20,000,001).
    """
    narrow = values.astype("<f4")
    if exact and not np.array_equal(narrow.astype(np.float64), values, equal_nan=True):
        return {"dtype": "f8", "bdata": base64.b64encode(values.astype("<f8").tobytes()).decode("ascii")}
    return {"dtype": "f4", "bdata": base64.b64encode(narrow.tobytes()).decode("ascii")}


def trace_name(label: str) -> str:
    """A run's label for legend and hover box: shortened first, so that no cut falls into an escaped character."""
    return plotly_text(label if len(label) <= MOST_CHARACTERS else label[: MOST_CHARACTERS - 1] + "…")


def curves_figure(
    view: CurvesView, strokes: Mapping[str, Stroke], *, log_y: bool = False, last_step: int | None = None
) -> Figure:
    """One metric of several runs: line, ghost of the raw values, band of extremes, marks where a value was not finite.

    Every curve gives the same four traces in the same order, so that a live update can replace single ones; those
    with nothing to show are invisible, which costs the browser nothing.

    Args:
        view: what `trackside.runs.views.curves_view` returned.
        strokes: how each run is drawn, by run id.
        log_y: logarithmic y axis; values of zero and below have no place on it and are left out.
        last_step: how far the runs went: panels of a few points and of many then span the same steps.
    """
    layout = base_layout(f"{view.metric}|{view.axis}|{log_y}")
    if len(view.curves) > MOST_HOVERED:
        layout["hovermode"] = "closest"  # one box with all of them would be larger than the panel
    layout["xaxis"] |= curve_x_axis(view, last_step)
    layout["yaxis"] |= curve_y_axis(view, log_y)
    layout["margin"]["b"] += NOTE_HEIGHT if view.x_note else 0
    # Marks sit on the panel's edge whatever the values are, hence an axis of their own from 0 to 1.
    layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "fixedrange": True, "visible": False}
    data = [trace for curve in view.curves for trace in _curve_traces(curve, view, strokes[curve.run_id], log_y)]
    if any(curve.count is not None for curve in view.curves):
        # The page's own legend names runs; a mean says here how many it is of.
        layout |= {"showlegend": True, "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}}
        layout["margin"]["t"] = 34
        for place, trace in enumerate(data):
            trace["showlegend"] = place % 4 == 2  # the line of each curve's four traces
    return {"data": data, "layout": layout}


def _curve_traces(curve: Curve, view: CurvesView, stroke: Stroke, log_y: bool) -> list[dict[str, Any]]:
    scale = 1e3 if view.axis == "wall" else 1.0  # Plotly's date axes count milliseconds
    x, color = curve.x * scale, stroke.color
    name = trace_name(entry(curve, view))
    dash = SPLIT_DASHES.get(curve.split, stroke.dash) if len(view.splits) > 1 else stroke.dash
    shared = {"type": "scatter", "name": name, "legendgroup": curve.run_id, "x": typed_array(x, exact=True)}
    seen = color if stroke.opacity == 1 else translucent(color, stroke.opacity)
    drawn = curve.last if curve.smoothed is None else curve.smoothed
    main = shared | {
        "mode": "lines+markers" if len(x) <= MARKER_LIMIT else "lines",
        "marker": {"size": 4 + stroke.width, "color": seen},
        "line": {"color": seen, "width": stroke.width, "dash": dash, "simplify": False},
        "y": typed_array(_for_axis(drawn, log_y)),
        "hovertemplate": _hover(curve, view.unit),
    }
    if not curve.exact or curve.smoothed is not None:
        counts = () if curve.count is None else (curve.count.astype(np.float64),)
        main["customdata"] = _table(curve.last, curve.minimum, curve.maximum, *counts)
    ghost = shared | {
        "mode": "lines",
        "line": {"color": translucent(color, 0.28), "width": 1, "simplify": False},
        "y": typed_array(_for_axis(curve.last, log_y) if curve.smoothed is not None else EMPTY),
        "hoverinfo": "skip",
        "visible": curve.smoothed is not None,
    }
    return [_band(curve, x, color, log_y), ghost, main, _marks(curve, view, scale, color)]


def _band(curve: Curve, x: Float64Array, color: str, log_y: bool) -> dict[str, Any]:
    """Polygon between the smallest and the largest value of every bucket, widened by the noise where it is known.

    Empty where buckets hold one point each and no noise was measured.
    """
    low, high = curve.band or (EMPTY, EMPTY)
    x = x[: len(low)]
    low, high = _for_axis(low, log_y), _for_axis(high, log_y)
    keep = np.isfinite(low) & np.isfinite(high)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": typed_array(np.concatenate([x[keep], x[keep][::-1]]), exact=True),
        "y": typed_array(np.concatenate([high[keep], low[keep][::-1]])),
        "fill": "toself",
        "fillcolor": translucent(color, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "legendgroup": curve.run_id,
        "name": "",
        "visible": bool(keep.any()),
    }


def _marks(curve: Curve, view: CurvesView, scale: float, color: str) -> dict[str, Any]:
    """Triangles where a value was not finite: NaN and −∞ on the lower edge, +∞ on the upper.

    Each carries the address of its record; `assets/debug.js` follows it at a click.
    """
    kinds = (
        (curve.nan_x, "triangle-up", 0.025, "NaN"),
        (curve.positive_infinity_x, "triangle-up-open", 0.975, "+∞"),
        (curve.negative_infinity_x, "triangle-down-open", 0.025, "−∞"),
    )
    x = np.concatenate([positions for positions, *_ in kinds]) * scale
    first = curve.start or 0
    steps = (
        x.astype(np.int64) + first if view.axis == "step" else np.zeros(len(x), np.int64)
    )  # elsewhere: the first record
    return {
        "type": "scatter",
        "mode": "markers",
        "name": trace_name(entry(curve, view)),
        "legendgroup": curve.run_id,
        "x": typed_array(x, exact=True),
        "y": typed_array(np.concatenate([np.full(len(positions), y) for positions, _, y, _ in kinds])),
        "yaxis": "y2",
        "marker": {
            "symbol": [symbol for positions, symbol, _, _ in kinds for _ in positions],
            "size": 10,
            "color": color,
            "line": {"width": 1.5, "color": color},
        },
        "text": [text for positions, _, _, text in kinds for _ in positions],
        # Of a mean it is not known here which run it was.
        "customdata": [f"/debug?record={curve.run_id}:{step}" for step in steps.tolist() if curve.count is None],
        "hovertemplate": "%{text}"
        + (", click for its record" if curve.count is None else "")
        + "<extra>%{fullData.name}</extra>",
        "cliponaxis": False,
        "visible": len(x) > 0,
    }


def _hover(curve: Curve, unit: str | None) -> str:
    """What the hover box says behind the curve's name: the value drawn, then what it stands for."""
    value = f":.4s}}{SI_UNITS[unit]}" if unit in SI_UNITS else ":.5g}"
    behind = []
    if curve.smoothed is not None:
        behind.append("raw %{customdata[0]" + value)
    if not curve.exact:
        behind.append("%{customdata[1]" + value + " … %{customdata[2]" + value)
        if curve.count is not None:
            behind.append("n = %{customdata[3]}")
    return "%{y" + value + (f" ({', '.join(behind)})" if behind else "")


def _for_axis(values: Float64Array, log_y: bool) -> Float64Array:
    return np.where(values > 0, values, np.nan) if log_y else values


def _table(*columns: Float64Array) -> dict[str, str]:
    table = np.column_stack(columns).astype("<f4")
    return {
        "dtype": "f4",
        "bdata": base64.b64encode(table.tobytes()).decode("ascii"),
        "shape": f"{table.shape[0]}, {table.shape[1]}",
    }


def zoomed(figure: Figure, axis: str, x_range: tuple[float, float] | None) -> Figure:
    """The figure with its x axis set to the range the page is zoomed to, or set free where that is None."""
    scale = 1e3 if axis == "wall" else 1.0
    figure["layout"]["xaxis"] |= {
        "uirevision": str(x_range),
        "autorange": x_range is None,
        **({} if x_range is None else {"range": [x_range[0] * scale, x_range[1] * scale]}),
    }
    return figure


def difference_figure(view: DifferenceView, color: str, *, x_label: str, y_label: str) -> Figure:
    """Run A minus run B: the curve, the band within which they count as equal, and the step where they part."""
    scale = 1e3 if view.axis == "wall" else 1.0
    x = view.x * scale
    layout = base_layout(f"{view.a}|{view.b}|{view.metric}|{view.axis}")
    layout["xaxis"] |= {"title": {"text": axis_title(x_label, view.x_note), "font": {"size": 12}, "standoff": 10}}
    layout["margin"]["b"] += NOTE_HEIGHT if view.x_note else 0
    layout["xaxis"] |= {"type": "date"} if view.axis == "wall" else {"hoverformat": ",.6~g"}
    layout["yaxis"] |= {"title": {"text": plotly_text(y_label), "font": {"size": 12}, "standoff": 8}, "zeroline": True}
    keep = np.isfinite(view.tolerance)
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": typed_array(np.concatenate([x[keep], x[keep][::-1]]), exact=True),
        "y": typed_array(np.concatenate([view.tolerance[keep], -view.tolerance[keep][::-1]])),
        "fill": "toself",
        "fillcolor": "rgba(128,134,145,0.22)",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "name": "tolerance",
    }
    curve = {
        "type": "scatter",
        "mode": "lines+markers" if len(x) <= MARKER_LIMIT else "lines",
        "name": "difference",
        "x": typed_array(x, exact=True),
        "y": typed_array(view.difference),
        "customdata": _table(view.tolerance),
        "line": {"color": color, "width": 1.6, "simplify": False},
        "marker": {"size": 5},
        "hovertemplate": "%{y:.4g} (tolerance ±%{customdata[0]:.3g})<extra></extra>",
    }
    if view.parted_at is not None and view.axis == "step":
        layout["shapes"] = [
            {
                "type": "line",
                "x0": view.parted_at,
                "x1": view.parted_at,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": "#d64545", "width": 1.5, "dash": "dash"},
            }
        ]
        layout["annotations"] = [
            {
                "x": view.parted_at,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "text": f"apart from step {view.parted_at:,}",
                "showarrow": False,
                "font": {"size": 11, "color": "#d64545"},
            }
        ]
        layout["margin"]["t"] = 26
    return {"data": [band, curve], "layout": layout}


def step_times_figure(view: StepTimesView, colors: Mapping[str, str]) -> Figure:
    """How the step times of each run spread: share of its steps a bin, and its median as a dotted line.

    Shares, not counts: a run of 100 steps and one of 10,000 then stand at the same height.
    """
    layout = base_layout("step-times")
    if len(view.rows) > MOST_HOVERED:
        layout["hovermode"] = "closest"
    layout["xaxis"] |= {
        "title": {"text": "step time (s)", "font": {"size": 12}, "standoff": 10},
        "tickformat": "~s",
        "ticksuffix": "s",
        "hoverformat": ".4s",
    }
    if len(view.edges) > 2 and np.diff(view.edges)[-1] > 3 * np.diff(view.edges)[0]:
        layout["xaxis"]["type"] = "log"  # the view spaces its bins logarithmically where times range widely
    layout["yaxis"] |= {
        "title": {"text": "share of steps", "font": {"size": 12}, "standoff": 8},
        "tickformat": "~%",
        "rangemode": "tozero",
    }
    data: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for row in view.rows:
        if not row.count:
            continue  # nothing left once the first step is taken off
        color = colors[row.run_id]
        share = row.counts / row.count
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": trace_name(row.label),
                "x": typed_array(view.edges, exact=True),
                "y": typed_array(np.append(share, share[-1:])),
                "line": {"shape": "hv", "color": color, "width": 1.5},
                "fill": "tozeroy" if len(view.rows) <= MOST_FILLED else "none",
                "fillcolor": translucent(color, 0.14),
                "hovertemplate": "%{y:.1%} of its steps",
            }
        )
        shapes.append(
            {
                "type": "line",
                "x0": row.median,
                "x1": row.median,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": color, "width": 1.2, "dash": "dot"},
            }
        )
    layout["shapes"] = shapes
    return {"data": data, "layout": layout}
