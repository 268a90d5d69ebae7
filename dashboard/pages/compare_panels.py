"""Curve panels of the Compare page: one metric each, all on the page's axis and zoom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dash_mantine_components as dmc
from dash import Patch, dcc, html, no_update
from dash.development.base_component import Component

from ...db.store import Store
from ...runs.groups import grouped
from ...runs.labels import metric_label
from ...runs.splits import in_one_panel, joined
from ...runs.verdict import target_metric
from ...runs.views import CurvesView, curves_view, metric_names
from ..comparison import Comparison, chosen_starts, load, point_counts
from ..deltas import delta, digests
from ..figures import Figure, curves_figure, zoomed
from ..notes import panel_note
from ..query import CompareQuery
from .compare_header import download_menu

BUCKETS = 600  # about one a pixel of a panel's width: more would not be seen
AT_ONCE = 1  # panels drawn with the page; the others when they come near the window
GRAPH_CONFIG = {"displayModeBar": False, "responsive": True, "scrollZoom": False, "doubleClick": "reset+autosize"}


def panel_view(store: Store, comparison: Comparison, query: CompareQuery, metric: str) -> CurvesView:
    """The view that a panel draws, and that its download draws again."""
    if query.splits:
        logged = metric_names(store, comparison.runs)
        several = in_one_panel(metric, logged)
        if len(several) > 1:
            alone = replace(query, splits=False)
            return joined([panel_view(store, comparison, alone, one) for one in several])
    view = curves_view(
        store,
        comparison.runs,
        metric,
        axis=query.axis,
        x_range=query.x_range,
        buckets=BUCKETS,
        smoothing=query.smoothing,
        starts=chosen_starts(query, comparison),
    )
    if query.target is not None and metric == target_metric(store, comparison.runs):
        view = replace(view, target=query.target)
    return grouped(view, comparison.runs, query.group) if query.group else view


def first_panels(
    store: Store, comparison: Comparison, query: CompareQuery, metrics: Sequence[str], units: Mapping[str, str | None]
) -> tuple[list[Component], dict[str, Any]]:
    """Panels for these metrics, and the record of what they show.

    Only the first has its curves with it, so that the page is there at once; `filled_panels` brings the rest.

    Args:
        store: where the runs are.
        comparison: the runs.
        query: how to draw them.
        metrics: one a panel.
        units: by metric, for the titles.
    """
    counts = point_counts(store, comparison)
    panels, drawn = [], {}
    for place, metric in enumerate(metrics):
        content = None
        if place < AT_ONCE:
            content, drawn[metric] = _drawn(store, comparison, query, metric, counts)
        panels.append(panel(metric, units.get(metric), content))
    return panels, drawn


def filled_panels(
    store: Store, query: CompareQuery, places: Sequence[str], wanted: Sequence[str]
) -> tuple[list[Any], Any]:
    """What goes into each empty place that came near the window, and the addition to the record of what is shown.

    Args:
        store: where the runs are.
        query: how to draw them.
        places: metrics of all panels.
        wanted: those to draw now.
    """
    comparison = load(store, query.runs)
    counts = point_counts(store, comparison)
    contents: list[Any] = []
    record = Patch()
    for metric in places:
        if metric not in wanted:
            contents.append(no_update)
            continue
        content, record[metric] = _drawn(store, comparison, query, metric, counts)
        contents.append(content)
    return contents, record


def changed_panels(
    store: Store, query: CompareQuery, metrics: Sequence[str], drawn: dict[str, Any]
) -> tuple[list[Any], list[Any], Any]:
    """What each panel must be sent, and the change of the record of what is shown.

    A panel whose metric got no points and whose controls stand as they stood costs nothing: no point of it is read.

    Returns:
        For each metric `no_update`, a patch of the traces that changed, or a figure; for each the note below it or
        `no_update`; then a patch of the record or `no_update`.
    """
    comparison = load(store, query.runs)
    counts = point_counts(store, comparison)
    figures: list[Any] = []
    notes: list[Any] = []
    record = Patch()
    changed = False
    for metric in metrics:
        key, shown = _key(query, _count(query, counts, metric)), drawn.get(metric)
        if shown is not None and shown["key"] == key:
            figures.append(no_update)
            notes.append(no_update)
            continue
        view = panel_view(store, comparison, query, metric)
        figure = _figure(view, comparison, query)
        figures.append(delta(figure, shown["digests"] if shown else None))
        notes.append(panel_note(view, comparison.labels))
        record[metric] = {"key": key, "digests": digests(figure)}
        changed = True
    return figures, notes, record if changed else no_update


def panel(metric: str, unit: str | None, content: list[Component] | None = None) -> Component:
    """A card for one metric's curves.

    Args:
        metric: the metric's key.
        unit: its unit, for the title.
        content: chart and note; None leaves the place empty until it comes near the window.
    """
    return html.Section(
        [
            html.Div(
                [
                    html.H3([metric_label(metric, unit), html.Span(metric, className="key")]),
                    download_menu("curves", metric, ""),
                ],
                className="card-head",
            ),
            html.Div(content, id={"type": "place", "metric": metric}, className="place", **{"data-metric": metric}),
        ],
        className="card panel",
        tabIndex=-1,  # keys go from panel to panel
        **{"aria-label": f"Curves of {metric}"},
    )


def panel_bar(query: CompareQuery) -> Component:
    """Heading of the panels, and the field that finds some of them: the browser does the finding (`panels.js`)."""
    return html.Div(
        [
            html.H2("Curves"),
            dmc.TextInput(
                id="find",
                placeholder="Find a metric: loss, ^val/, grad|lr …",
                value=query.find,
                debounce=300,
                size="xs",
                className="find",
                **{"aria-label": "Find a metric"},
            ),
            html.P(id="found", className="soft", role="status"),
        ],
        className="section-title panel-bar",
    )


def system_section(metrics: Sequence[str], units: Mapping[str, str | None]) -> Component | None:
    """CPU, memory and GPU readings; None where nothing was sampled."""
    if not metrics:
        return None
    return html.Div(
        [
            html.H2("Machine", className="section-title"),
            html.Div([panel(metric, units.get(metric)) for metric in metrics], className="panels"),
        ]
    )


def _drawn(
    store: Store, comparison: Comparison, query: CompareQuery, metric: str, counts: Mapping[str, int]
) -> tuple[list[Component], dict[str, Any]]:
    """Chart and note of a panel, and its entry in the record of what is shown."""
    view = panel_view(store, comparison, query, metric)
    figure = _figure(view, comparison, query)
    content = [
        dcc.Graph(id={"type": "panel", "metric": metric}, figure=figure, config=GRAPH_CONFIG),
        html.P(panel_note(view, comparison.labels), id={"type": "note", "metric": metric}, className="note"),
    ]
    return content, {"key": _key(query, _count(query, counts, metric)), "digests": digests(figure)}


def _figure(view: CurvesView, comparison: Comparison, query: CompareQuery) -> Figure:
    starts = chosen_starts(query, comparison)
    last = max((run.last_step - starts.get(run.id, 0) for run in comparison.runs if run.last_step), default=0)
    figure = curves_figure(view, comparison.strokes, log_y=query.log_y, last_step=last)
    return zoomed(figure, query.axis, query.x_range)


def _count(query: CompareQuery, counts: Mapping[str, int], metric: str) -> int:
    """Points of all that a panel shows."""
    return sum(counts.get(one, 0) for one in (in_one_panel(metric, counts) if query.splits else (metric,)))


def _key(query: CompareQuery, count: int) -> str:
    drawn = (query.axis, query.smoothing, query.log_y, query.x_range, query.group, query.starts, query.splits)
    return "|".join(map(str, (*drawn, count)))
