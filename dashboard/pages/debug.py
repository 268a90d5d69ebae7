"""The Debug page: what went wrong in some runs, where two of them part, and how their layers fared."""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.store import Store
from ...runs.debugging.layers import PREFIX, measured_layers
from ...runs.debugging.records import RecordedEvent, records
from ..badges import pending
from ..comparison import Comparison, load
from ..debug_query import DebugQuery
from ..query import CompareQuery
from ..source import StoreSource
from ..tensorboard import TensorBoardLinks
from . import compare_header, debug_divergence, debug_layers, debug_records, debug_timeline

POLL_MILLISECONDS = 2000
GROWTH = 1.1  # heatmaps are drawn anew when there are so many times the points, not at every poll

SNIPPET = """trackside.LightningTracker(debug=True)   # PyTorch Lightning
trackside.KerasTracker(debug=True)       # Keras"""


def layout(source: StoreSource, links: TensorBoardLinks, search: str) -> Component:
    """The page with its records; layers and the parting of two runs are read by callbacks."""
    store, query = source(), DebugQuery.parse(search)
    comparison = load(store, query.runs)
    if not comparison.runs:
        return _nothing_chosen(comparison)
    found = _records(store, comparison)
    return html.Div(
        [
            dcc.Interval(id="debug-tick", interval=POLL_MILLISECONDS, disabled=not comparison.live),
            dcc.Store(id="debug-runs", data=list(query.runs)),
            dcc.Store(id="debug-state", data=_state(store, comparison, found)),
            dcc.Store(id="debug-drawn"),
            dcc.Store(id="debug-parted"),
            dcc.Store(id="debug-shown"),
            html.Div(_header(comparison, links), id="debug-header"),
            html.Div(_overview(store, comparison, found, query), id="debug-records"),
            html.Div(pending("where they part") if len(comparison.runs) > 1 else None, id="debug-divergence"),
            html.Div(pending("the layers"), id="debug-layers"),
        ],
        className="debug",
    )


def register(app: Dash, source: StoreSource, links: TensorBoardLinks) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output("debug-header", "children"),
        Output("debug-records", "children"),
        Output("debug-state", "data"),
        Output("debug-tick", "disabled"),
        Input("debug-tick", "n_intervals"),
        Input("recovered", "data"),
        State("debug-runs", "data"),
        State("debug-state", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def follow(_: int, __: int, references: list[str], shown: dict[str, Any], search: str) -> tuple[Any, ...]:
        store = source()
        comparison = load(store, references)
        found = _records(store, comparison)
        now = _state(store, comparison, found)
        told = now["told"] != shown["told"]
        grown = now["points"] > GROWTH * shown["points"] or (told and now["points"] > shown["points"])
        query = DebugQuery.parse(search)
        return (
            _header(comparison, links) if told else no_update,
            _overview(store, comparison, found, query) if told else no_update,
            now if told or grown else no_update,
            not comparison.live,
        )

    @app.callback(
        Output("debug-layers", "children"),
        Output("debug-drawn", "data"),
        Input("debug-state", "data"),
        Input("url", "search"),
        State("debug-runs", "data"),
        State("debug-drawn", "data"),
    )
    def draw(state: dict[str, Any], search: str, references: list[str], drawn: list[Any] | None) -> tuple[Any, Any]:
        query = DebugQuery.parse(search)
        key = [query.statistic, state["points"]]
        if list(query.runs) != references or key == drawn:
            raise PreventUpdate
        store = source()
        return debug_layers.section(store, load(store, references), query), key

    @app.callback(
        Output("debug-divergence", "children"),
        Output("debug-parted", "data"),
        Input("debug-state", "data"),
        Input("url", "search"),
        State("debug-runs", "data"),
        State("debug-parted", "data"),
    )
    def compare(state: dict[str, Any], search: str, references: list[str], parted: list[Any] | None) -> tuple[Any, Any]:
        query = DebugQuery.parse(search)
        key = [query.pair, state["points"], state["told"]]
        if list(query.runs) != references or key == parted:
            raise PreventUpdate
        store = source()
        return debug_divergence.section(store, load(store, references), query), key

    app.clientside_callback(
        ClientsideFunction("debug", "show"),
        Output("debug-shown", "data"),
        Input("url", "search"),
        Input("debug-records", "children"),
    )


def _header(comparison: Comparison, links: TensorBoardLinks) -> list[Component]:
    runs = CompareQuery(runs=comparison.ids).search()
    return [
        html.Div(
            [
                html.H1("Debug"),
                html.Div(
                    [
                        dcc.Link("Compare", href="/compare" + runs, className="button"),
                        dcc.Link("Profile", href="/profile" + runs, className="button") if comparison.traced else None,
                    ],
                    className="page-links",
                ),
            ],
            className="page-head",
        ),
        html.Div([compare_header.chip(run, comparison, links, "/debug") for run in comparison.runs], className="chips"),
        *[compare_header.sentence(text) for text in comparison.unknown],
    ]


def _overview(
    store: Store, comparison: Comparison, found: dict[str, list[RecordedEvent]], query: DebugQuery
) -> list[Component | None]:
    recorded = any(found.values())
    if not recorded and not any(debug_records.first_not_finite(store, run) for run in comparison.runs):
        measured = any(measured_layers(store, comparison.runs).values())
        return [_healthy(comparison, measured)]
    return [
        debug_timeline.section(store, comparison, found, query) if recorded else None,
        debug_records.section(store, comparison, found),
    ]


def _healthy(comparison: Comparison, measured: bool) -> Component:
    """Nothing went wrong: that is good news, and says what more there would be to see."""
    several = len(comparison.runs) > 1
    return html.Section(
        [
            html.H2("Nothing went wrong in these runs" if several else "Nothing went wrong in this run"),
            html.P(
                "No exception, no loss and no gradient that was not finite: those are watched for in every training, "
                "and a record with layer, operator and line of code would stand here.",
                className="soft",
            ),
            *([] if measured else _more()),
        ],
        className="card section debug-healthy",
        **{"aria-label": "Records"},
    )


def _more() -> list[Component]:
    return [
        html.P(
            [
                html.Code("debug=True"),
                " adds what happens inside: gradient and activation norms of every layer, its share of zeros, and "
                "how far an update moves its weights, at every step. Layers that die, explode or never train are "
                "then recorded, and two runs are compared layer by layer.",
            ],
            className="soft",
        ),
        html.Pre(SNIPPET),
    ]


def _nothing_chosen(comparison: Comparison) -> Component:
    sentences = comparison.unknown or ("Choose one run or more to see what went wrong, and where.",)
    return html.Div(
        [
            html.H1("Debug"),
            *[html.P(sentence, className="soft") for sentence in sentences],
            dcc.Link("Choose runs", href="/", className="button primary"),
        ],
        className="empty",
    )


def _records(store: Store, comparison: Comparison) -> dict[str, list[RecordedEvent]]:
    return {run.id: records(store, run) for run in comparison.runs}


def _state(store: Store, comparison: Comparison, found: dict[str, list[RecordedEvent]]) -> dict[str, Any]:
    """What tells a poll whether there is anything new: what was recorded, and how many points layers have."""
    infos = store.series_infos(comparison.ids)
    return {
        "told": [[run.id, run.state, len(found[run.id])] for run in comparison.runs],
        "points": sum(info.count for info in infos if info.name.startswith(PREFIX)),
    }
