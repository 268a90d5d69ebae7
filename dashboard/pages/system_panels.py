"""Stacked panels of the System page: the loss and the machine's readings over one shared axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import dcc, html, no_update
from dash.development.base_component import Component

from ...db.store import Store
from ...runs.labels import metric_label
from ...runs.views import CurvesView
from ..comparison import Comparison, default_metrics, metric_units, point_counts, split_metrics
from ..deltas import delta, digests
from ..figures import Figure, curves_figure, zoomed
from ..notes import panel_note
from ..query import CompareQuery
from .compare_panels import GRAPH_CONFIG, panel_view
from .system_devices import device_of, panel_order

# "reset" would go back to the range that the server sent, which is the zoomed one.
CONFIG = {**GRAPH_CONFIG, "doubleClick": "autosize"}


def shown_metrics(store: Store, comparison: Comparison) -> list[str]:
    """The loss, then the machine's readings; empty where the machine was not sampled."""
    training, system = split_metrics(store, comparison)
    return [*default_metrics(training)[:1], *sorted(system, key=panel_order)] if system else []


def panels(
    store: Store, comparison: Comparison, query: CompareQuery, metrics: Sequence[str]
) -> tuple[list[Component], dict[str, Any]]:
    """A card for each metric with its curves, and the record of what they show."""
    units = metric_units(store, comparison)
    views, figures = _figures(store, comparison, query, metrics)
    cards = [
        _card(metric, units.get(metric), figures[metric], panel_note(views[metric], comparison.labels))
        for metric in metrics
    ]
    return cards, _record(store, comparison, query, metrics, figures)


def changes(
    store: Store, comparison: Comparison, query: CompareQuery, metrics: Sequence[str], drawn: Mapping[str, Any]
) -> tuple[list[Any], list[Any], Any]:
    """What each panel must be sent, its note, and the new record; nothing is read where no point came.

    Args:
        store: where the runs are.
        comparison: the runs.
        query: axis and zoom.
        metrics: of the panels, in order.
        drawn: the record of what they show.
    """
    if drawn.get("key") == _key(store, comparison, query, metrics):
        return [no_update] * len(metrics), [no_update] * len(metrics), no_update
    views, figures = _figures(store, comparison, query, metrics)
    shown = drawn.get("digests", {})
    return (
        [delta(figures[metric], shown.get(metric)) for metric in metrics],
        [panel_note(views[metric], comparison.labels) for metric in metrics],
        _record(store, comparison, query, metrics, figures),
    )


def shared_range(views: Sequence[CurvesView]) -> tuple[float, float] | None:
    """From the first to the last point of all panels; None where there are no two positions.

    A loss and the sampler begin and end at other times: panels fitted one by one would not line up.
    """
    ranges = [view.x_range for view in views if view.x_range is not None]
    if not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return (low, high) if high > low else None


def _figures(
    store: Store, comparison: Comparison, query: CompareQuery, metrics: Sequence[str]
) -> tuple[dict[str, CurvesView], dict[str, Figure]]:
    views = {metric: panel_view(store, comparison, query, metric) for metric in metrics}
    x_range = query.x_range or shared_range(list(views.values()))
    last = max((run.last_step or 0 for run in comparison.runs), default=0)
    figures = {}
    for metric, view in views.items():
        figure = zoomed(curves_figure(view, comparison.strokes, last_step=last), query.axis, x_range)
        figure["layout"]["xaxis"].pop("showticklabels", None)  # the axis is every panel's, also an empty one's
        figures[metric] = figure
    return views, figures


def _card(metric: str, unit: str | None, figure: Figure, note: str) -> Component:
    place = device_of(metric)
    title = metric_label(metric, unit)
    return html.Section(
        [
            html.Div(
                html.H3([title, html.Span(metric, className="key")]),
                className="card-head",
            ),
            dcc.Graph(id={"type": "system-panel", "metric": metric}, figure=figure, config=CONFIG),
            html.P(note, id={"type": "system-note", "metric": metric}, className="note"),
        ],
        className="card panel",
        **{"aria-label": f"Curves of {metric}", "data-device": place[0] if place else ""},
    )


def _record(
    store: Store, comparison: Comparison, query: CompareQuery, metrics: Sequence[str], figures: Mapping[str, Figure]
) -> dict[str, Any]:
    return {
        "key": _key(store, comparison, query, metrics),
        "digests": {metric: digests(figure) for metric, figure in figures.items()},
    }


def _key(store: Store, comparison: Comparison, query: CompareQuery, metrics: Sequence[str]) -> str:
    counts = point_counts(store, comparison)
    return f"{query.axis}|{query.x_range}|{[counts.get(metric, 0) for metric in metrics]}"
