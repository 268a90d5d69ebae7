"""The Runs page: every run of the store in one table that keeps itself up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from ...db.records import STATES
from ...db.trash import Trash
from ..columns import SUMMARIES, Column, available, columns_of, parse_columns
from ..rows import Row, transaction
from ..run_table import RunTable, Table
from ..theme import FRAMEWORK_NAMES
from . import runs_groups, runs_trash, saved_views
from .runs_columns import column_definitions

POLL_MILLISECONDS = 2000
AT_ONCE = 60  # rows that come with the page: more than a window shows; the others follow once these are drawn
ANY_ROW = ("q", "state", "framework", "project", "form", "by", "sort")  # of an address: may bring any row to the top

LIGHTNING_SNIPPET = """import trackside

Trainer(callbacks=[trackside.LightningTracker()])"""
KERAS_SNIPPET = """import trackside

model.fit(x, y, callbacks=[trackside.KerasTracker()])"""


def layout(table: RunTable, search: str) -> Component:
    """The page with its first rows in the first response; a callback brings the others, and keeps all of them fresh."""
    shown, content = _content(table, search)
    return html.Div(
        [
            dcc.Store(id="runs-shown", data=shown),
            html.Div(content, id="runs-content"),
        ]
    )


def register(app: Dash, table: RunTable) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output("runs-grid", "rowTransaction"),
        Output("runs-shown", "data"),
        Output("runs-count", "children"),
        Output("runs-grid", "columnDefs"),
        Input("runs-tick", "n_intervals"),
        Input("runs-columns", "value"),
        Input("runs-changed", "data"),
        State("runs-shown", "data"),
        prevent_initial_call=True,
    )
    def refresh(_: int, keys: list[str] | None, __: float, shown: dict[str, str]) -> tuple[Any, Any, Any, Any]:
        columns = parse_columns(keys)
        now = table.read(columns)
        change = transaction(now.rows, shown, now.digests)
        definitions = column_definitions(columns) if ctx.triggered_id == "runs-columns" else no_update
        if change is None:
            return no_update, no_update, no_update, definitions
        return change | {"async": False}, now.digests, _count(now.rows), definitions

    @app.callback(
        Output("runs-grid", "rowData"),
        Output("runs-shown", "data", allow_duplicate=True),
        Output("runs-count", "children", allow_duplicate=True),
        Output("runs-columns", "data"),
        Output("runs-tick", "disabled"),
        Input("runs-begun", "data"),
        Input("recovered", "data"),
        State("runs-columns", "value"),
        State("runs-shown", "data"),
        prevent_initial_call=True,
    )
    def rest(_: float, __: int, keys: list[str] | None, shown: dict[str, str]) -> tuple[Any, ...]:
        """What the first paint did not wait for. Only then does the clock start, which tells what moved since."""
        columns = parse_columns(keys)
        now = table.read(columns)
        choices = _column_groups(_choices(table, now, columns))
        if now.digests == shown:
            return no_update, no_update, no_update, choices, False
        return now.rows, now.digests, _count(now.rows), choices, False

    @app.callback(
        Output("runs-content", "children"),
        Output("runs-shown", "data", allow_duplicate=True),
        Input("empty-tick", "n_intervals"),
        prevent_initial_call=True,
    )
    def first_run(_: int) -> tuple[Any, Any]:
        shown, content = _content(table, "")
        return (content, shown) if shown else (no_update, no_update)

    app.clientside_callback(
        ClientsideFunction("runs", "begin"), Output("runs-begun", "data"), Input("runs-opened", "data")
    )
    app.clientside_callback(
        ClientsideFunction("runs", "narrow"),
        Output("runs-filter", "data"),  # without an output Dash would not call it when the page appears
        Input("runs-search", "value"),
        Input("runs-states", "value"),
        Input("runs-frameworks", "value"),
        Input("runs-projects", "value"),
        Input("runs-forms", "value"),
        Input("runs-columns", "value"),
    )
    app.clientside_callback(
        ClientsideFunction("runs", "select"),
        Output("compare-link", "href"),
        Output("compare-link", "children"),
        Output("compare-link", "className"),
        Input("runs-grid", "selectedRows"),
    )
    runs_groups.register(app)
    runs_trash.register(app, table.source)


def _content(table: RunTable, search: str) -> tuple[dict[str, str], Component | list[Component]]:
    """Digests of the rows that come with the page, and the page."""
    columns = runs_groups.with_group(columns_of(search), runs_groups.by_of(search))
    now = table.read(columns)
    store = table.source()
    if not now.rows:
        return {}, _empty(len(Trash(store).runs()))
    query = {key: values[-1] for key, values in parse_qs(search.removeprefix("?")).items()}
    selected = [run_id for run_id in query.get("selected", "").split(",") if run_id]
    # Ticked rows come at once, wherever they stand: the grid forgets ticks of rows that it does not have.
    at_once = len(now.rows) if any(map(query.get, ANY_ROW)) else AT_ONCE
    first = [row for place, row in enumerate(now.rows) if place < at_once or row["id"] in selected]
    content = _table(now.rows, first, search, selected, columns, saved_views.menu(store))
    return {row["id"]: now.digests[row["id"]] for row in first}, content


def _choices(table: RunTable, now: Table, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that can be added."""
    # A column of the address that no run fills yet stays: the first value of a live run may be about to come.
    return tuple(dict.fromkeys((*available(now.runs, table.metric_names()), *columns)))


def _count(rows: list[Row]) -> str:
    running = sum(row["state"] == "running" for row in rows)
    total = runs_trash.runs_of(len(rows))
    return f"{total}, {running} running" if running else total


def _table(
    rows: list[Row],
    first: list[Row],
    search: str,
    selected: list[str],
    columns: Sequence[Column],
    views: Component,
) -> list[Component]:
    """The page of a store with runs.

    Args:
        rows: all rows of the table.
        first: those that come with the page.
        search: the address' query.
        selected: ids of the ticked runs.
        columns: those that were added.
        views: the menu of saved views.
    """
    query = {key: values[-1] for key, values in parse_qs(search.removeprefix("?")).items()}
    return [
        dcc.Interval(id="runs-tick", interval=POLL_MILLISECONDS, disabled=True),
        dcc.Store(id="runs-opened", data=True),
        dcc.Store(id="runs-begun"),  # set by the browser once the first rows are on the screen
        dcc.Store(id="runs-filter"),
        html.Div(
            [
                html.H1("Runs"),
                html.Span(_count(rows), id="runs-count", className="soft", role="status"),
                html.Div(className="spring"),
                runs_trash.throw_button(),
                views,
                dcc.Link("Trash", href=runs_trash.ADDRESS, className="button"),
            ],
            className="page-head",
        ),
        *runs_trash.stores(),
        html.Div(
            [
                html.Div(
                    dmc.TextInput(
                        id="runs-search",
                        placeholder="Search name, project, workload, tag …",
                        value=query.get("q", ""),
                        debounce=150,
                        **{"aria-label": "Search runs"},
                    ),
                    className="search",
                ),
                _choice("runs-states", "State", {state: state for state in STATES}, query.get("state")),
                _choice(
                    "runs-frameworks", "Framework", FRAMEWORK_NAMES | {"none": "plain loop"}, query.get("framework")
                ),
                _choice(
                    "runs-projects",
                    "Project",
                    {name: name for name in sorted({row["project"] for row in rows})},
                    query.get("project"),
                ),
                _choice("runs-forms", "Form", {word: word for word in _forms(rows)}, query.get("form")),
                _columns_choice(columns),
                *runs_groups.by_choice(columns, runs_groups.by_of(search)),
                html.Div(className="spring"),
                dcc.Link("Compare", id="compare-link", href="/compare", className="button primary disabled"),
            ],
            className="filters",
        ),
        dag.AgGrid(
            id="runs-grid",
            className="runs-grid",
            rowData=first,
            columnDefs=runs_groups.sorted_columns(column_definitions(columns), search),
            defaultColDef={
                "sortable": True,
                "resizable": True,
                "suppressHeaderMenuButton": True,
                "cellRendererSelector": {"function": "groupCell(params)"},
            },
            getRowId="params.data.id",
            selectedRows={"ids": selected},
            columnSize=None,
            dashGridOptions={
                "rowSelection": {
                    "mode": "multiRow",
                    "enableClickSelection": False,
                    "selectAll": "filtered",
                    "isRowSelectable": {"function": "isRun(params.data)"},
                    "hideDisabledCheckboxes": True,
                },
                "selectionColumnDef": {"pinned": "left", "width": 44},
                "rowHeight": 38,
                "headerHeight": 36,
                "suppressCellFocus": False,
                "enableCellTextSelection": True,
                "animateRows": False,
                "suppressFieldDotNotation": True,  # the dots of a configuration key are part of its name
                "isExternalFilterPresent": {"function": "filtered()"},
                "doesExternalFilterPass": {"function": "passes(params.data)"},
                "localeText": {
                    "noMatchingRows": "No run fits these filters.",
                    "noRowsToShow": "All runs are in the trash.",
                },
                **runs_groups.group_options(),
            },
            style={"height": None},  # dash-ag-grid would set 400 px; the style sheet fills the window
        ),
    ]


def _forms(rows: list[Row]) -> list[str]:
    """Every mode, precision and number of devices that a run has; each kind by itself, in alphabetical order."""
    kinds: list[set[str]] = [set(), set(), set()]
    for row in rows:
        for kind, word in zip(kinds, row["form"], strict=False):
            kind.add(word)
    return list(dict.fromkeys(word for kind in kinds for word in sorted(kind)))


def _choice(component_id: str, label: str, names: dict[str, str], chosen: str | None) -> Component:
    return html.Div(
        dmc.MultiSelect(
            id=component_id,
            placeholder=label,
            data=[{"value": value, "label": name} for value, name in names.items()],
            value=[value for value in (chosen or "").split(",") if value in names],
            clearable=True,
            **{"aria-label": f"Filter by {label.lower()}"},
        ),
        className="choice",
    )


def _columns_choice(chosen: Sequence[Column]) -> Component:
    return html.Div(
        dmc.MultiSelect(
            id="runs-columns",
            placeholder="Add columns",
            data=_column_groups(chosen),  # all others follow
            value=[column.key for column in chosen],
            searchable=True,
            clearable=True,
            limit=200,  # of what fits the search; typing narrows it
            nothingFoundMessage="No run has such a metric or setting",
            **{"aria-label": "Add columns"},
        ),
        className="choice columns",
    )


def _column_groups(choices: Sequence[Column]) -> list[dict[str, Any]]:
    def items(wanted: Callable[[Column], bool]) -> list[dict[str, str]]:
        return [{"value": column.key, "label": column.title} for column in choices if wanted(column)]

    return [
        {"group": "Configuration", "items": items(lambda column: column.source == "config")},
        {"group": "Metrics", "items": items(lambda column: column.source in SUMMARIES)},
    ]


def _empty(thrown: int) -> Component:
    """The page of a store without runs.

    Args:
        thrown: how many there are in the trash.
    """
    return html.Div(
        [
            dcc.Interval(id="empty-tick", interval=POLL_MILLISECONDS),
            html.H1("No runs yet"),
            html.P("Add one callback to your training script; the run appears here while it trains.", className="soft"),
            html.Div(
                [
                    html.Div([html.H3("PyTorch Lightning"), html.Pre(LIGHTNING_SNIPPET)]),
                    html.Div([html.H3("Keras"), html.Pre(KERAS_SNIPPET)]),
                ],
                className="pair",
            ),
            html.P(["Nothing at hand to train? ", html.Code("trackside demo"), " trains a small network in both."]),
            html.P(dcc.Link(f"{runs_trash.runs_of(thrown)} in the trash", href=runs_trash.ADDRESS)) if thrown else None,
        ],
        className="empty",
    )
