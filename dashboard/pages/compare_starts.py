"""Where runs begin, on the Compare page: a menu on the chip of each run, and "start here" on a point of its curve.

The address holds it (`start=<run>:<step>`). `assets/starts.js` moves it between the address and the controls, and
draws the small menu at a point; which step lies at a place of another axis than `step` is looked up here.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import parse_qsl, urlencode

import dash_mantine_components as dmc
import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.dependencies import ALL
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.records import RunInfo
from ...db.store import Store
from ...runs.series import read_aligned
from ..badges import icon
from ..comparison import chosen_starts, load
from ..query import CompareQuery
from ..source import StoreSource


def stores() -> list[Component]:
    """What the browser and the callbacks of this module hand each other."""
    return [
        dcc.Store(id="start-asked"),  # a point of a curve at which its run is to begin
        dcc.Store(id="starts-shown"),
        dcc.Store(id="target-drawn"),
    ]


def start_menu(run: RunInfo, label: str) -> Component:
    """The menu on a run's chip: the step that it begins with. The browser fills it from the address."""
    return html.Details(
        [
            html.Summary(
                [icon("start"), html.Span(className="start-shown")],
                className="button quiet",
                title="Where this run begins",
                **{"aria-label": f"Where {label} begins"},
            ),
            html.Div(
                [
                    dmc.NumberInput(
                        id={"type": "start", "run": run.id},
                        label="Begin at step",
                        placeholder="its first",
                        allowDecimal=False,
                        debounce=400,
                        hideControls=True,
                        size="xs",
                    ),
                    html.P(
                        "What came before is left out, on every axis, and the rest moves to the left. "
                        "Or click on a point of the curve.",
                        className="soft",
                    ),
                ]
            ),
        ],
        className="menu start-menu",
        **{"data-run": run.id, "data-name": run.name},
    )


def register(app: Dash, source: StoreSource) -> None:
    """Add the callbacks."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("start-asked", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def start_here(asked: dict[str, Any] | None, search: str) -> str:
        if not asked:
            raise PreventUpdate
        step = step_at(source(), CompareQuery.parse(search), asked["run"], asked["metric"], float(asked["x"]))
        if step is None:
            raise PreventUpdate
        return with_start(search, asked["run"], step)

    app.clientside_callback(
        ClientsideFunction("starts", "offer"),
        Output("start-asked", "data"),
        Input({"type": "panel", "metric": ALL}, "clickData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("starts", "toAddress"),
        Output("url", "search", allow_duplicate=True),
        Input({"type": "start", "run": ALL}, "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("starts", "show"),
        Output("starts-shown", "data"),
        Input("url", "search"),
        Input("compare-header", "children"),
    )
    app.clientside_callback(
        ClientsideFunction("target", "draw"),
        Output("target-drawn", "data"),
        Input("verdict", "children"),
        Input({"type": "place", "metric": ALL}, "children"),
    )


def step_at(store: Store, query: CompareQuery, run_id: str, metric: str, x: float) -> int | None:
    """The step of the point of a curve that is nearest to a place on the axis; None where there is no such curve.

    Args:
        store: where the runs are.
        query: what the page shows.
        run_id: whose curve.
        metric: of the panel.
        x: the place, as the address has it.
    """
    comparison = load(store, query.runs)
    run = next((run for run in comparison.runs if run.id == run_id), None)
    infos = store.series_infos([run_id], [metric]) if run is not None else []
    if run is None or not infos or not math.isfinite(x):
        return None
    start = chosen_starts(query, comparison).get(run_id)
    points = read_aligned(store, run, infos[0], query.axis, None, start)
    return int(points.steps[np.argmin(np.abs(points.x - x))]) if len(points.x) else None


def with_start(search: str, run_id: str, step: int) -> str:
    """The address with a run beginning at a step; a zoom goes, for it was to places that have moved."""
    kept = [
        (key, value)
        for key, value in parse_qsl(search.removeprefix("?"), keep_blank_values=True)
        if key != "x" and not (key == "start" and value.rpartition(":")[0] == run_id)
    ]
    return "?" + urlencode([*kept, ("start", f"{run_id}:{step}")], safe=",/:")
