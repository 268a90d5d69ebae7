"""Curve panels of the Compare page: one metric each, all on the page's axis and zoom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import dcc, html, no_update
from dash.development.base_component import Component

from ...db.store import Store
from ...runs.views import CurvesView, curves_view
from ..comparison import Comparison, load, point_counts
from ..deltas import delta, digests
from ..figures import Figure, curves_figure, zoomed
from ..query import CompareQuery
from ..theme import base_layout
from .compare_header import download_menu

BUCKETS = 600  # about one a pixel of a panel's width: more would not be seen
AT_ONCE = 1  # panels drawn with the page; the others follow a moment later
GRAPH_CONFIG = {"displayModeBar": False, "responsive": True, "scrollZoom": False, "doubleClick": "reset+autosize"}


def panel_view(store: Store, comparison: Comparison, query: CompareQuery, metric: str) -> CurvesView:
    """The view that a panel draws, and that its download draws again."""
    return curves_view(
        store,
        comparison.runs,
        metric,
        axis=query.axis,
        x_range=query.x_range,
        buckets=BUCKETS,
        smoothing=query.smoothing,
    )


def first_panels(
    store: Store,
    comparison: Comparison,
    query: CompareQuery,
    metrics: Sequence[str],
    counts: Mapping[str, int],
    *,
    every: bool = False,
) -> tuple[list[Component], dict[str, Any]]:
    """Panels for these metrics, and the record of what they show.

    Only the first have their curves with them, so that the page is there at once; `changed_panels` fills the rest.

    Args:
        store: where the runs are.
        comparison: the runs.
        query: how to draw them.
        metrics: one a panel.
        counts: points so far by metric, as `point_counts` gives them.
        every: draw all of them now.
    """
    panels, drawn = [], {}
    for place, metric in enumerate(metrics):
        if every or place < AT_ONCE:
            figure = _figure(panel_view(store, comparison, query, metric), comparison, query)
            drawn[metric] = {"key": _key(query, counts.get(metric, 0)), "digests": digests(figure)}
        else:
            figure = {"data": [], "layout": base_layout("pending")}
        panels.append(panel(metric, figure))
    return panels, drawn


def changed_panels(
    store: Store, query: CompareQuery, metrics: Sequence[str], drawn: dict[str, Any]
) -> tuple[list[Any], Any]:
    """What each panel must be sent, and the new record of what is shown.

    A panel whose metric got no points and whose controls stand as they stood costs nothing: no point of it is read.

    Returns:
        For each metric `no_update`, a patch of the traces that changed, or a figure; then the record or `no_update`.
    """
    comparison = load(store, query.runs)
    counts = point_counts(store, comparison)
    updates: list[Any] = []
    record = dict(drawn)
    for metric in metrics:
        key, shown = _key(query, counts.get(metric, 0)), drawn.get(metric)
        if shown is not None and shown["key"] == key:
            updates.append(no_update)
            continue
        figure = _figure(panel_view(store, comparison, query, metric), comparison, query)
        updates.append(delta(figure, shown["digests"] if shown else None))
        record[metric] = {"key": key, "digests": digests(figure)}
    return updates, record if record != drawn else no_update


def panel(metric: str, figure: Figure) -> Component:
    """A card with one metric's curves."""
    return html.Section(
        [
            html.Div([html.H3(metric), download_menu("curves", metric, "")], className="card-head"),
            dcc.Graph(id={"type": "panel", "metric": metric}, figure=figure, config=GRAPH_CONFIG),
        ],
        className="card panel",
        **{"aria-label": f"Curves of {metric}"},
    )


def system_section(metrics: Sequence[str]) -> Component | None:
    """CPU, memory and GPU readings; None where nothing was sampled."""
    if not metrics:
        return None
    empty = {"data": [], "layout": base_layout("pending")}
    return html.Div(
        [
            html.H2("Machine", className="section-title"),
            html.Div([panel(metric, empty) for metric in metrics], className="panels"),
        ]
    )


def _figure(view: CurvesView, comparison: Comparison, query: CompareQuery) -> Figure:
    return zoomed(curves_figure(view, comparison.colors, log_y=query.log_y), query.axis, query.x_range)


def _key(query: CompareQuery, count: int) -> str:
    return f"{query.axis}|{query.smoothing}|{query.log_y}|{query.x_range}|{count}"
