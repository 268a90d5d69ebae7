"""The section of the Run page with the script that the run was started from."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.store import Store
from ...runs.script import script_of
from ..source import StoreSource


def register(app: Dash, source: StoreSource) -> None:
    """Add the callback of this section: a run that has just begun has no script yet."""

    @app.callback(
        Output("run-source", "children"),
        Output("run-source", "data-shown"),
        Input("run-shown", "data"),
        State("run-id", "data"),
        State("run-source", "data-shown"),
        prevent_initial_call=True,
    )
    def show(_: str, run_id: str, shown: str | None) -> tuple[Any, str]:
        if shown:  # a script never changes
            raise PreventUpdate
        found = section(source(), run_id)
        if found is None:
            raise PreventUpdate
        return found, "yes"


def place(store: Store, run_id: str) -> Component:
    """The section, or where it will stand."""
    found = section(store, run_id)
    return html.Div(found, id="run-source", **{"data-shown": "yes" if found else ""})


def section(store: Store, run_id: str) -> Component | None:
    """The script, folded; None where none was kept."""
    script = script_of(store, run_id)
    if script is None:
        return None
    count = script.text.count("\n") + (not script.text.endswith("\n"))
    return html.Section(
        [
            html.Div(
                [html.H2("Source"), dcc.Clipboard(content=script.text, title="Copy the script", className="copy")],
                className="card-head",
            ),
            html.Div(
                [
                    html.P(["As it was when the run began: ", html.Code(script.path)], className="soft"),
                    html.Details(
                        [html.Summary(f"{script.name}, {count:,} lines"), html.Pre(script.text, className="script")]
                    ),
                ],
                className="card-body",
            ),
        ],
        className="card section",
    )
