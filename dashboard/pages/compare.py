"""The Compare page: are these runs the same experiment, and where do they differ?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, Patch, State, ctx, dcc, html, no_update
from dash.dependencies import ALL
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.store import Store
from ...runs.parity import check_parity
from ...runs.splits import panels as in_panels
from ..badges import pending
from ..comparison import (
    Comparison,
    chosen_difference,
    chosen_pair,
    default_metrics,
    is_system,
    load,
    metric_units,
    offered_axes,
    point_counts,
    split_metrics,
    states_key,
)
from ..query import CompareQuery
from ..source import StoreSource
from ..tensorboard import TensorBoardLinks
from . import (
    compare_code,
    compare_details,
    compare_header,
    compare_panels,
    compare_parity,
    compare_starts,
    compare_verdict,
    saved_views,
)

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
    units = metric_units(store, comparison)
    own_panel = in_panels(shown) if query.splits else shown
    panels, drawn = compare_panels.first_panels(store, comparison, query, own_panel, units)
    return html.Div(
        [
            dcc.Interval(id="compare-tick", interval=POLL_MILLISECONDS, disabled=not comparison.live),
            dcc.Store(id="compare-runs", data=list(query.runs)),
            dcc.Store(id="compare-defaults", data=_defaults(training, comparison)),
            dcc.Store(id="drawn", data=drawn),
            dcc.Store(id="followed"),
            dcc.Store(id="begun"),  # set by the browser once the first curves are on the screen
            dcc.Store(id="near", data=[]),  # set by the browser: metrics whose panels came near the window
            dcc.Store(id="metric-names", data=[*training, *system]),
            dcc.Store(id="states", data=states_key(comparison)),
            dcc.Store(id="steps-timed", data=point_counts(store, comparison).get("step/seconds", 0)),
            html.Div(
                [html.Div(compare_header.header(comparison, links), id="compare-header"), saved_views.menu(store)],
                className="with-views",
            ),
            compare_header.toolbar(query, offered_axes(store, comparison, query.axis), training, shown),
            html.Div(_parity(store, comparison), id="parity"),
            dcc.Store(id="verdict-shown"),
            *compare_starts.stores(),
            dcc.Store(id="wanted"),  # set by the browser: metrics whose panels there should be
            compare_panels.panel_bar(query),
            html.Div(panels, id="panels", className="panels"),
            _no_panels(training),
            compare_verdict.section(comparison, query),
            html.Div(compare_details.difference_card(comparison, query, training), id="difference-card"),
            html.Div(compare_details.step_times_card(pending("step times")), id="step-times", className="section"),
            html.Div(compare_panels.system_section(system, units), id="system"),
            html.Div(id="configuration"),
            compare_code.place(),
        ]
    )


def _parity(store: Store, comparison: Comparison) -> Component | None:
    """The parity card; a run alone has nothing to be compared with."""
    if len(comparison.runs) < 2:
        return None
    return compare_parity.card(check_parity(store, comparison.runs), comparison)


def _no_panels(training: Sequence[str]) -> Component:
    """What the style sheet shows in the place of the panels while there is none."""
    sentence = "Choose a metric above." if training else "None of these runs has logged a metric yet."
    return html.P(sentence, className="soft no-panels")


def _is_compare(path: str | None) -> bool:
    """Whether an address is still this page's: another page of the same runs changes the query, too."""
    return (path or "").rstrip("/") == "/compare"


def _metrics(outputs: Sequence[dict[str, Any]]) -> list[str]:
    """Metrics of the components that a callback's outputs matched."""
    return [output["id"]["metric"] for output in outputs]


def _defaults(training: Sequence[str], comparison: Comparison) -> dict[str, Any]:
    """What the controls show where the URL says nothing: the browser leaves these values out of it."""
    return {
        "metrics": default_metrics(training),
        "all": list(training),
        "pair": chosen_pair(CompareQuery(), comparison),
        "difference": chosen_difference(CompareQuery(), training),
        "base": compare_verdict.default_base(comparison, CompareQuery()),
    }


def register(app: Dash, source: StoreSource, links: TensorBoardLinks) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output({"type": "panel", "metric": ALL}, "figure"),
        Output({"type": "note", "metric": ALL}, "children"),
        Output("drawn", "data"),
        Input("url", "search"),
        Input("compare-tick", "n_intervals"),
        Input("begun", "data"),
        Input("recovered", "data"),
        State("drawn", "data"),
        State("compare-runs", "data"),
        State("url", "pathname"),
    )
    def redraw(
        search: str, _: int, __: int, ___: int, drawn: dict[str, Any], shown: list[str], path: str
    ) -> tuple[list[Any], list[Any], Any]:
        query = CompareQuery.parse(search)
        if list(query.runs) != shown or not _is_compare(path):
            raise PreventUpdate  # the page is about to be replaced
        return compare_panels.changed_panels(source(), query, _metrics(ctx.outputs_list[0]), drawn)

    @app.callback(
        Output({"type": "place", "metric": ALL}, "children"),
        Output("drawn", "data", allow_duplicate=True),
        Input("near", "data"),
        Input("recovered", "data"),
        State("url", "search"),
        State("compare-runs", "data"),
        State({"type": "panel", "metric": ALL}, "id"),
        prevent_initial_call=True,
    )
    def fill(
        near: list[str], _: int, search: str, shown: list[str], panels: list[dict[str, str]]
    ) -> tuple[list[Any], Any]:
        query, present = CompareQuery.parse(search), {panel["metric"] for panel in panels}
        places = _metrics(ctx.outputs_list[0])
        wanted = [metric for metric in near if metric in places and metric not in present]
        if list(query.runs) != shown or not wanted:
            raise PreventUpdate
        return compare_panels.filled_panels(source(), query, places, wanted)

    @app.callback(
        Output("panels", "children"),
        Input("wanted", "data"),
        State("url", "search"),
        State("compare-runs", "data"),
        State({"type": "place", "metric": ALL}, "id"),
        State("url", "pathname"),
        prevent_initial_call=True,
    )
    def choose_panels(
        wanted: list[str] | None, search: str, shown: list[str], places: list[dict[str, str]], path: str
    ) -> Any:
        query = CompareQuery.parse(search)
        present = [place["metric"] for place in places if not is_system(place["metric"])]
        if wanted is None or list(query.runs) != shown or wanted == present or not _is_compare(path):
            raise PreventUpdate
        store = source()
        units = metric_units(store, load(store, query.runs))
        # Panels that stay keep their curves; the browser then says which of the empty ones it can see.
        change = Patch()
        if wanted[: len(present)] == present:
            change.extend([compare_panels.panel(metric, units.get(metric)) for metric in wanted[len(present) :]])
            return change
        if [metric for metric in present if metric in wanted] == wanted:
            for place in reversed(range(len(present))):
                if present[place] not in wanted:
                    del change[place]
            return change
        return [compare_panels.panel(metric, units.get(metric)) for metric in wanted]

    @app.callback(
        Output("compare-header", "children"),
        Output("states", "data"),
        Output("steps-timed", "data"),
        Output("compare-tick", "disabled"),
        Output("metric-names", "data"),
        Input("compare-tick", "n_intervals"),
        State("compare-runs", "data"),
        State("states", "data"),
        State("steps-timed", "data"),
        State("metric-names", "data"),
        prevent_initial_call=True,
    )
    def follow(_: int, references: list[str], states: str, timed: int, known: list[str]) -> tuple[Any, ...]:
        store = source()
        comparison = load(store, references)
        training, system = split_metrics(store, comparison)
        steps = point_counts(store, comparison).get("step/seconds", 0)
        now = states_key(comparison)
        return (
            compare_header.header(comparison, links) if now != states else no_update,
            now if now != states else no_update,
            steps if steps > timed * GROWTH or (steps > timed and now != states) else no_update,
            no_update if comparison.live else True,
            [*training, *system] if [*training, *system] != known else no_update,
        )

    @app.callback(
        Output("metrics", "data"),
        Output("metrics", "value"),
        Output("compare-defaults", "data"),
        Output("system", "children"),
        Output("difference-card", "children"),
        Input("metric-names", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def add_metrics(_: list[str], search: str) -> tuple[Any, ...]:
        store, query = source(), CompareQuery.parse(search)
        comparison = load(store, query.runs)
        training, system = split_metrics(store, comparison)
        defaults = _defaults(training, comparison)
        return (
            training,
            defaults["metrics"] if query.metrics is None else no_update,
            defaults,
            compare_panels.system_section(system, metric_units(store, comparison)),
            compare_details.difference_card(comparison, query, training),
        )

    compare_details.register(app, source)
    compare_code.register(app, source)
    compare_verdict.register(app, source)
    compare_starts.register(app, source)
    app.clientside_callback(
        ClientsideFunction("debug", "follow"),
        Output("followed", "data"),
        Input({"type": "panel", "metric": ALL}, "clickData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("compare", "begin"), Output("begun", "data"), Input("compare-runs", "data")
    )
    app.clientside_callback(
        ClientsideFunction("compare", "watch"),
        Output("near", "data"),
        Input("begun", "data"),
        Input({"type": "place", "metric": ALL}, "id"),
    )
    app.clientside_callback(
        ClientsideFunction("panels", "want"),
        Output("wanted", "data"),
        Input("url", "search"),
        Input("compare-defaults", "data"),
        Input({"type": "place", "metric": ALL}, "id"),
        State("wanted", "data"),
    )
    # Optional, all of them: Dash calls this once more while the page with the controls is being taken away.
    app.clientside_callback(
        ClientsideFunction("compare", "toAddress"),
        Output("url", "search"),
        Input("axis", "value", allow_optional=True),
        Input("smoothing", "value", allow_optional=True),
        Input("log-y", "checked", allow_optional=True),
        Input("group", "checked", allow_optional=True),
        Input("splits", "checked", allow_optional=True),
        Input("metrics", "value", allow_optional=True),
        Input("pair-a", "value", allow_optional=True),
        Input("pair-b", "value", allow_optional=True),
        Input("difference-metric", "value", allow_optional=True),
        Input("base", "value", allow_optional=True),
        Input("target", "value", allow_optional=True),
        Input("find", "value", allow_optional=True),
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
