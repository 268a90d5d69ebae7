"""The Compare page: are these runs the same experiment, and where do they differ?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.dependencies import ALL
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.store import Store
from ...runs.parity import check_parity
from ..badges import pending
from ..comparison import (
    Comparison,
    chosen_difference,
    chosen_pair,
    default_metrics,
    is_system,
    load,
    point_counts,
    split_metrics,
    states_key,
)
from ..query import CompareQuery
from ..source import StoreSource
from ..tensorboard import TensorBoardLinks
from . import compare_details, compare_header, compare_panels, compare_parity

POLL_MILLISECONDS = 2000
GROWTH = 1.05  # statistics over all steps are redone when the steps grew by this much, not at every poll


def layout(source: StoreSource, links: TensorBoardLinks, search: str) -> Component:
    """The page, with its verdict and its loss curves; the sections further down are read by callbacks."""
    store, query = source(), CompareQuery.parse(search)
    comparison = load(store, query.runs)
    if not comparison.runs:
        return compare_header.nothing_chosen(comparison)
    training, system = split_metrics(store, comparison)
    defaults = default_metrics(training)
    shown = [name for name in query.metrics if name in training] if query.metrics is not None else defaults
    counts = point_counts(store, comparison)
    panels, drawn = compare_panels.first_panels(store, comparison, query, shown, counts)
    return html.Div(
        [
            dcc.Interval(id="compare-tick", interval=POLL_MILLISECONDS, disabled=not comparison.live),
            dcc.Store(id="compare-runs", data=list(query.runs)),
            dcc.Store(id="compare-defaults", data=_defaults(training, comparison)),
            dcc.Store(id="drawn", data=drawn),
            dcc.Store(id="states", data=states_key(comparison)),
            dcc.Store(id="steps-timed", data=counts.get("step/seconds", 0)),
            html.Div(compare_header.header(comparison, links), id="compare-header"),
            compare_header.toolbar(query, training, shown),
            html.Div(_parity(store, comparison), id="parity"),
            html.Div(compare_header.summary_card(pending("the summary")), id="summary", className="section"),
            html.H2("Curves", className="section-title"),
            html.Div(panels, id="panels", className="panels"),
            compare_details.difference_card(comparison, query, training),
            html.Div(compare_details.step_times_card(pending("step times")), id="step-times", className="section"),
            compare_panels.system_section(system),
            compare_details.configuration_card(comparison),
        ]
    )


def _parity(store: Store, comparison: Comparison) -> Component | None:
    """The parity card; a run alone has nothing to be compared with."""
    if len(comparison.runs) < 2:
        return None
    return compare_parity.card(check_parity(store, comparison.runs), comparison)


def _defaults(training: Sequence[str], comparison: Comparison) -> dict[str, Any]:
    """What the controls show where the URL says nothing: the browser leaves these values out of it."""
    return {
        "metrics": default_metrics(training),
        "pair": chosen_pair(CompareQuery(), comparison),
        "difference": chosen_difference(CompareQuery(), training),
    }


def register(app: Dash, source: StoreSource, links: TensorBoardLinks) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output({"type": "panel", "metric": ALL}, "figure"),
        Output("drawn", "data"),
        Input("url", "search"),
        Input("compare-tick", "n_intervals"),
        State("drawn", "data"),
        State("compare-runs", "data"),
    )
    def redraw(search: str, _: int, drawn: dict[str, Any], shown: list[str]) -> tuple[list[Any], Any]:
        query = CompareQuery.parse(search)
        if list(query.runs) != shown:
            raise PreventUpdate  # the page is about to be replaced
        metrics = [output["id"]["metric"] for output in ctx.outputs_list[0]]
        return compare_panels.changed_panels(source(), query, metrics, drawn)

    @app.callback(
        Output("panels", "children"),
        Output("drawn", "data", allow_duplicate=True),
        Input("url", "search"),
        State("compare-runs", "data"),
        State("compare-defaults", "data"),
        State("drawn", "data"),
        State({"type": "panel", "metric": ALL}, "id"),
        prevent_initial_call=True,
    )
    def choose_panels(
        search: str, shown: list[str], defaults: dict[str, Any], drawn: dict[str, Any], panels: list[dict[str, str]]
    ) -> tuple[Any, Any]:
        query = CompareQuery.parse(search)
        wanted = defaults["metrics"] if query.metrics is None else list(query.metrics)
        present = [panel["metric"] for panel in panels if not is_system(panel["metric"])]
        if list(query.runs) != shown or wanted == present:
            raise PreventUpdate
        store = source()
        comparison = load(store, query.runs)
        fresh, digests = compare_panels.first_panels(
            store, comparison, query, wanted, point_counts(store, comparison), every=True
        )
        return fresh, drawn | digests

    @app.callback(
        Output("compare-header", "children"),
        Output("states", "data"),
        Output("steps-timed", "data"),
        Output("compare-tick", "disabled"),
        Input("compare-tick", "n_intervals"),
        State("compare-runs", "data"),
        State("states", "data"),
        State("steps-timed", "data"),
        prevent_initial_call=True,
    )
    def follow(_: int, references: list[str], states: str, timed: int) -> tuple[Any, Any, Any, Any]:
        store = source()
        comparison = load(store, references)
        steps = point_counts(store, comparison).get("step/seconds", 0)
        now = states_key(comparison)
        return (
            compare_header.header(comparison, links) if now != states else no_update,
            now if now != states else no_update,
            steps if steps > timed * GROWTH or (steps > timed and now != states) else no_update,
            no_update if comparison.live else True,
        )

    compare_details.register(app, source)
    # Optional, all of them: Dash calls this once more while the page with the controls is being taken away.
    app.clientside_callback(
        ClientsideFunction("compare", "toAddress"),
        Output("url", "search"),
        Input("axis", "value", allow_optional=True),
        Input("smoothing", "value", allow_optional=True),
        Input("log-y", "checked", allow_optional=True),
        Input("metrics", "value", allow_optional=True),
        Input("pair-a", "value", allow_optional=True),
        Input("pair-b", "value", allow_optional=True),
        Input("difference-metric", "value", allow_optional=True),
        Input("reset-zoom", "n_clicks", allow_optional=True),
        Input({"type": "panel", "metric": ALL}, "relayoutData"),
        State("url", "search"),
        State("compare-defaults", "data", allow_optional=True),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("compare", "fromAddress"),
        Output("reset-zoom", "disabled"),
        Input("url", "search"),
        State("url", "pathname"),
        State("compare-defaults", "data"),
        prevent_initial_call=True,
    )
