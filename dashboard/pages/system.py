"""The System page: what the machine did while the runs trained, beside their loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.dependencies import ALL
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.store import Store
from ...runs.align import Axis
from ..comparison import Comparison, is_system, load, offered_axes, states_key
from ..query import AXES, CompareQuery
from ..source import StoreSource
from ..tensorboard import TensorBoardLinks
from .compare_header import axis_choice, chip, nothing_chosen, sentence
from .system_devices import device_rows, devices_table
from .system_panels import changes, panels, shown_metrics

POLL_MILLISECONDS = 2000


def system_query(search: str | None) -> CompareQuery:
    """Read `?runs=a,b&axis=step&x=0,10`: as on Compare, with the time since the start as its own default axis."""
    asked = parse_qs((search or "").removeprefix("?")).get("axis", [""])[-1]
    axis: Axis = next((known for known in AXES if known == asked), "relative")
    return replace(CompareQuery.parse(search), axis=axis, smoothing=0.0, log_y=False, starts=(), target=None)


def system_address(run_ids: Sequence[str]) -> str:
    """Address of the System page of some runs."""
    return "/system?" + urlencode({"runs": ",".join(run_ids)}, safe=",/")


def layout(source: StoreSource, links: TensorBoardLinks, search: str) -> Component:
    """The page with all its curves; a callback follows runs that still train."""
    store, query = source(), system_query(search)
    comparison = load(store, query.runs)
    if not comparison.runs:
        return nothing_chosen(comparison)
    metrics = shown_metrics(store, comparison)
    body, drawn = _body(store, comparison, query, metrics)
    return html.Div(
        [
            dcc.Interval(id="system-tick", interval=POLL_MILLISECONDS, disabled=not comparison.live),
            dcc.Store(id="system-runs", data=list(query.runs)),
            dcc.Store(id="system-metrics", data=metrics),
            dcc.Store(id="system-states", data=states_key(comparison)),
            dcc.Store(id="system-drawn", data=drawn),
            html.Div(_header(comparison, links), id="system-header"),
            _toolbar(query, offered_axes(store, comparison, query.axis)),
            html.Div(body, id="system-body"),
            html.Div(_table(store, comparison), id="system-table"),
        ]
    )


def _header(comparison: Comparison, links: TensorBoardLinks) -> list[Component]:
    compare = dcc.Link("Compare", href="/compare" + CompareQuery(runs=comparison.ids).search(), className="button")
    return [
        html.Div([html.H1("System"), html.Div(compare, className="page-links")], className="page-head"),
        html.Div([chip(run, comparison, links, "/system") for run in comparison.runs], className="chips"),
        *[sentence(text) for text in comparison.unknown],
    ]


def _toolbar(query: CompareQuery, axes: Sequence[Axis]) -> Component:
    reset = html.Button(
        "Reset zoom", id="system-reset", className="button", disabled=query.x_range is None, type="button"
    )
    return html.Div(
        [axis_choice("system-axis", query.axis, axes), reset],
        className="toolbar",
        role="toolbar",
        **{"aria-label": "How the curves are drawn"},
    )


def _body(
    store: Store, comparison: Comparison, query: CompareQuery, metrics: Sequence[str]
) -> tuple[list[Component], dict[str, Any]]:
    """Notices and panels, and the record of what the panels show."""
    if not metrics:
        return [_not_sampled(comparison)], {}
    cards, drawn = panels(store, comparison, query, metrics)
    stacked = html.Div(cards, className="panels stacked")
    return [*[sentence(text) for text in notices(store, comparison)], stacked], drawn


def _table(store: Store, comparison: Comparison) -> Component | None:
    """Mean, peak and energy of each device; None where nothing was read."""
    rows = device_rows(store, comparison.runs)
    if not rows:
        return None
    return html.Section(
        [html.Div(html.H3("Mean, peak and energy"), className="card-head"), *devices_table(rows, comparison)],
        className="card section",
        **{"aria-label": "Devices"},
    )


def notices(store: Store, comparison: Comparison) -> list[str]:
    """What is missing, and what to do about it: runs that were not sampled, runs without a GPU's readings."""
    read: dict[str, set[str]] = {run_id: set() for run_id in comparison.ids}
    for info in store.series_infos(comparison.ids):
        if is_system(info.name):
            read[info.run_id].add("gpu" if info.name.startswith("gpu") else "cpu")
    unread = [comparison.labels[run_id] for run_id, kinds in read.items() if not kinds]
    without = [comparison.labels[run_id] for run_id, kinds in read.items() if kinds and "gpu" not in kinds]
    found = []
    if unread:
        found.append(f"Not sampled: {', '.join(unread)}. Train with system=True, the trackers' default, to see more.")
    if without:
        found.append(
            f"No GPU was read: {', '.join(without)}. On a machine with an NVIDIA GPU, install trackside[gpu] for it."
        )
    return found


def _not_sampled(comparison: Comparison) -> Component:
    several = len(comparison.runs) > 1
    return html.Div(
        [
            html.H2("None of these runs sampled the machine" if several else "This run did not sample the machine"),
            html.P(
                "Trackers read processor, memory and NVIDIA GPUs once a second unless system=False turns it off. Train "
                "again without it, or with system=0.2 to sample five times a second:",
                className="soft",
            ),
            html.Pre("LightningTracker(system=True)\nKerasTracker(system=True)"),
            html.P("It is still training: readings appear here by themselves.", className="soft", role="status")
            if comparison.live
            else None,
        ],
        className="empty",
    )


def register(app: Dash, source: StoreSource, links: TensorBoardLinks) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output({"type": "system-panel", "metric": ALL}, "figure"),
        Output({"type": "system-note", "metric": ALL}, "children"),
        Output("system-drawn", "data"),
        Output("system-table", "children"),
        Output("system-header", "children"),
        Output("system-body", "children"),
        Output("system-metrics", "data"),
        Output("system-states", "data"),
        Output("system-tick", "disabled"),
        Input("url", "search"),
        Input("system-tick", "n_intervals"),
        Input("recovered", "data"),
        State("system-drawn", "data"),
        State("system-runs", "data"),
        State("system-metrics", "data"),
        State("system-states", "data"),
        State("url", "pathname"),
        prevent_initial_call=True,
    )
    def follow(
        search: str,
        _: int,
        __: int,
        drawn: dict[str, Any],
        shown: list[str],
        known: list[str],
        states: str,
        path: str,
    ) -> tuple[Any, ...]:
        query = system_query(search)
        if list(query.runs) != shown or not _is_system_page(path):
            raise PreventUpdate  # the page is about to be replaced
        store = source()
        comparison = load(store, query.runs)
        metrics, now = shown_metrics(store, comparison), states_key(comparison)
        present = [output["id"]["metric"] for output in ctx.outputs_list[0]]
        if metrics != known or now != states:
            untouched = [no_update] * len(present)
            body, record = _body(store, comparison, query, metrics)
            page = (_header(comparison, links), body, metrics, now, not comparison.live)
            return untouched, untouched, record, _table(store, comparison), *page
        figures, notes, record = changes(store, comparison, query, present, drawn or {})
        if record is no_update or not present:
            raise PreventUpdate
        return figures, notes, record, _table(store, comparison), *[no_update] * 5

    app.clientside_callback(
        ClientsideFunction("system", "toAddress"),
        Output("url", "search", allow_duplicate=True),
        Input("system-axis", "value", allow_optional=True),
        Input("system-reset", "n_clicks", allow_optional=True),
        Input({"type": "system-panel", "metric": ALL}, "relayoutData"),
        State("url", "search"),
        State("url", "pathname"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("system", "fromAddress"),
        Output("system-reset", "disabled"),
        Input("url", "search"),
        State("url", "pathname"),
        prevent_initial_call=True,
    )


def _is_system_page(path: str | None) -> bool:
    return (path or "").rstrip("/") == "/system"
