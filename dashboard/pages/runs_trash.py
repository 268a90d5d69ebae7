"""The trash of the Runs page: moving runs there with a way back, and the page that lists what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Any
from urllib.parse import parse_qs

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.records import RunInfo
from ...db.store import Store
from ...db.trash import Trash
from ..badges import icon
from ..rows import Row, row_digest, run_rows, transaction
from ..source import StoreSource
from .runs_columns import COLUMNS

POLL_MILLISECONDS = 5000
ADDRESS = "/?trash=1"


def is_trash(search: str) -> bool:
    """Whether an address of Runs asks for the trash."""
    return parse_qs(search.removeprefix("?")).get("trash", [""])[-1] == "1"


def runs_of(count: int) -> str:
    """A number of runs in words."""
    return f"{count:,} run{'s' if count != 1 else ''}"


# ---- On the Runs page ------------------------------------------------------------------------------------------------


def throw_button() -> Component:
    """Moves the ticked runs to the trash; `assets/trash.js` says how many."""
    return html.Button("Move to the trash", id="runs-throw", className="button", type="button", disabled=True)


def stores() -> list[Component]:
    """What the button needs on the page, and where it says what it did."""
    return [
        dcc.Store(id="runs-selected", data=[]),  # set by the browser: ids of the ticked runs
        dcc.Store(id="runs-thrown", data=[]),
        dcc.Store(id="runs-changed"),  # the table is read again at once
        html.Div(id="runs-said", role="status"),
    ]


def _register_button(app: Dash, source: StoreSource) -> None:
    app.clientside_callback(
        ClientsideFunction("trash", "throwable"),
        Output("runs-selected", "data"),
        Output("runs-throw", "children"),
        Output("runs-throw", "disabled"),
        Input("runs-grid", "selectedRows"),
    )

    @app.callback(
        Output("runs-said", "children"),
        Output("runs-thrown", "data"),
        Output("runs-changed", "data"),
        Input("runs-throw", "n_clicks"),
        State("runs-selected", "data"),
        prevent_initial_call=True,
    )
    def throw(clicks: int | None, selected: list[str] | None) -> tuple[Any, list[str], float]:
        if not clicks or not selected:
            raise PreventUpdate
        moved = Trash(source()).put(selected)
        return _moved(moved), [run.id for run in moved], time()

    @app.callback(
        Output("runs-said", "children", allow_duplicate=True),
        Output("runs-changed", "data", allow_duplicate=True),
        Input("runs-undo", "n_clicks"),
        State("runs-thrown", "data"),
        prevent_initial_call=True,
    )
    def undo(clicks: int | None, thrown: list[str] | None) -> tuple[Any, float]:
        if not clicks:  # the button has just appeared
            raise PreventUpdate
        restored = Trash(source()).restore(thrown or [])
        return _notice([f"{runs_of(len(restored))} restored."]), time()


def _moved(runs: Sequence[RunInfo]) -> Component:
    training = sum(run.state == "running" for run in runs)
    return _notice(
        [
            f"{runs_of(len(runs))} moved to the trash. ",
            html.Button("Undo", id="runs-undo", className="link", type="button"),
            f" ({runs_of(training)} still training: points go on arriving.)" if training else "",
        ]
    )


def _notice(content: list[Any]) -> Component:
    return html.Div([icon("check"), html.Div(content)], className="notice said")


# ---- The trash itself ------------------------------------------------------------------------------------------------


def layout(source: StoreSource) -> Component:
    """The page of the trash with all its rows."""
    rows = trash_rows(source())
    return html.Div(
        [
            dcc.Interval(id="trash-tick", interval=POLL_MILLISECONDS),
            dcc.Store(id="trash-shown", data=_digests(rows)),
            dcc.Store(id="trash-selected", data=[]),  # set by the browser: ids of the ticked runs
            dcc.Store(id="trash-asked", data=[]),  # set by the browser: ids of the runs that the dialog names
            dcc.Store(id="trash-changed"),
            dcc.Store(id="trash-found"),
            html.Div(
                [
                    html.H1("Trash"),
                    html.Span(runs_of(len(rows)), id="trash-count", className="soft", role="status"),
                    html.Div(className="spring"),
                    dcc.Link("Back to Runs", href="/", className="button"),
                ],
                className="page-head",
            ),
            html.Div(id="trash-said", role="status"),
            html.Div(
                [
                    html.Div(
                        dmc.TextInput(
                            id="trash-search", placeholder="Search", debounce=150, **{"aria-label": "Search the trash"}
                        ),
                        className="search",
                    ),
                    html.Div(className="spring"),
                    html.Button("Restore", id="trash-restore", className="button", type="button", disabled=True),
                    html.Button(
                        "Purge …",
                        id="trash-purge",
                        className="button danger",
                        type="button",
                        disabled=True,
                        **{"aria-haspopup": "dialog"},
                    ),
                ],
                className="filters",
            ),
            _grid(rows),
            _dialog(),
        ]
    )


def trash_rows(store: Store) -> list[Row]:
    """A row of each run in the trash, with when it was deleted; the last deleted first."""
    runs = Trash(store).runs()
    deleted = {run.id: run.deleted.timestamp() for run in runs if run.deleted}
    return [{**row, "deleted": deleted[row["id"]]} for row in run_rows(store, (), runs)]


def _digests(rows: list[Row]) -> dict[str, str]:
    return {row["id"]: row_digest(row) for row in rows}


def _grid(rows: list[Row]) -> Component:
    columns = {column["field"]: column for column in COLUMNS}
    deleted = {**columns["started"], "field": "deleted", "headerName": "Deleted", "width": 110}
    shown = ("framework", "project", "train_last", "val_last", "started", "duration", "workload", "tags")
    return dag.AgGrid(
        id="trash-grid",
        className="runs-grid",
        rowData=rows,
        columnDefs=[columns["state"], columns["name"], deleted, *(columns[field] for field in shown)],
        defaultColDef={"sortable": True, "resizable": True, "suppressHeaderMenuButton": True},
        getRowId="params.data.id",
        columnSize=None,
        dashGridOptions={
            "rowSelection": {"mode": "multiRow", "enableClickSelection": False, "selectAll": "filtered"},
            "selectionColumnDef": {"pinned": "left", "width": 44},
            "rowHeight": 38,
            "headerHeight": 36,
            "enableCellTextSelection": True,
            "animateRows": False,
            "suppressFieldDotNotation": True,
            "localeText": {"noRowsToShow": "The trash is empty.", "noMatchingRows": "No run fits this search."},
        },
        style={"height": None},
    )


def _dialog() -> Component:
    """Asks before runs are removed for good; `assets/trash.js` fills in which."""
    return html.Dialog(
        html.Div(
            [
                html.H2(id="purge-title"),
                html.P(id="purge-names", className="mono"),
                html.P(id="purge-training", className="error"),
                html.P(
                    "Their points, files, events and notes are removed from the store. This cannot be undone.",
                    id="purge-warning",
                ),
                html.Div(
                    [
                        html.Button("Cancel", id="purge-cancel", className="button", type="button"),
                        html.Button("Remove", id="purge-confirm", className="button danger", type="button"),
                    ],
                    className="dialog-buttons",
                ),
            ]
        ),
        id="purge-dialog",
        className="dialog",
        **{"aria-labelledby": "purge-title", "aria-describedby": "purge-warning"},
    )


def _register_page(app: Dash, source: StoreSource) -> None:
    app.clientside_callback(
        ClientsideFunction("trash", "chosen"),
        Output("trash-selected", "data"),
        Output("trash-restore", "disabled"),
        Output("trash-purge", "disabled"),
        Input("trash-grid", "selectedRows"),
    )
    app.clientside_callback(
        ClientsideFunction("trash", "search"), Output("trash-found", "data"), Input("trash-search", "value")
    )
    app.clientside_callback(
        ClientsideFunction("trash", "confirm"),
        Output("trash-asked", "data"),
        Input("trash-purge", "n_clicks"),
        State("trash-grid", "selectedRows"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("trash-grid", "rowTransaction"),
        Output("trash-shown", "data"),
        Output("trash-count", "children"),
        Input("trash-tick", "n_intervals"),
        Input("trash-changed", "data"),
        State("trash-shown", "data"),
        prevent_initial_call=True,
    )
    def refresh(_: int, __: float, shown: dict[str, str]) -> tuple[Any, Any, str]:
        rows = trash_rows(source())
        change = transaction(rows, shown)
        if change is None:
            raise PreventUpdate
        return change | {"async": False}, _digests(rows), runs_of(len(rows))

    @app.callback(
        Output("trash-said", "children"),
        Output("trash-changed", "data"),
        Input("trash-restore", "n_clicks"),
        State("trash-selected", "data"),
        prevent_initial_call=True,
    )
    def restore(clicks: int | None, selected: list[str] | None) -> tuple[Any, float]:
        if not clicks or not selected:
            raise PreventUpdate
        return _notice([f"{runs_of(len(Trash(source()).restore(selected)))} restored."]), time()

    @app.callback(
        Output("trash-said", "children", allow_duplicate=True),
        Output("trash-changed", "data", allow_duplicate=True),
        Input("purge-confirm", "n_clicks"),
        State("trash-asked", "data"),
        prevent_initial_call=True,
    )
    def purge(clicks: int | None, asked: list[str] | None) -> tuple[Any, float]:
        if not clicks or not asked:
            raise PreventUpdate
        purged = Trash(source()).purge(asked)
        said = f"{runs_of(len(purged.removed))} removed for good."
        if purged.training:
            said += f" {runs_of(len(purged.training))} still training: stop the training first, then purge."
        return _notice([said]), time()


def register(app: Dash, source: StoreSource) -> None:
    """Add the callbacks of the trash, on Runs and on its own page."""
    _register_button(app, source)
    _register_page(app, source)
