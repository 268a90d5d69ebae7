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
from ..rows import Row, row_digest, run_rows, transaction
from ..source import StoreSource
from ..theme import FRAMEWORK_NAMES
from . import runs_groups, runs_trash, saved_views
from .runs_columns import column_definitions

POLL_MILLISECONDS = 2000

LIGHTNING_SNIPPET = """import trackside

Trainer(callbacks=[trackside.LightningTracker()])"""
KERAS_SNIPPET = """import trackside

model.fit(x, y, callbacks=[trackside.KerasTracker()])"""


def layout(source: StoreSource, search: str) -> Component:
    """The page with all its rows: filled in the first response, kept fresh by the callbacks."""
    rows, content = _content(source, search)
    return html.Div(
        [
            dcc.Store(id="runs-shown", data=_digests(rows)),
            html.Div(content, id="runs-content"),
        ]
    )


def register(app: Dash, source: StoreSource) -> None:
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
        rows = run_rows(source(), columns)
        change = transaction(rows, shown)
        definitions = column_definitions(columns) if ctx.triggered_id == "runs-columns" else no_update
        if change is None:
            return no_update, no_update, no_update, definitions
        return change | {"async": False}, _digests(rows), _count(rows), definitions

    @app.callback(
        Output("runs-content", "children"),
        Output("runs-shown", "data", allow_duplicate=True),
        Input("empty-tick", "n_intervals"),
        prevent_initial_call=True,
    )
    def first_run(_: int) -> tuple[Any, Any]:
        rows, content = _content(source, "")
        return (content, _digests(rows)) if rows else (no_update, no_update)

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
    runs_trash.register(app, source)


def _content(source: StoreSource, search: str) -> tuple[list[Row], Component | list[Component]]:
    store = source()
    runs = store.runs()
    if not runs:
        return [], _empty(len(Trash(store).runs()))
    columns = runs_groups.with_group(columns_of(search), runs_groups.by_of(search))
    # A column of the address that no run fills yet stays: the first value of a live run may be about to come.
    choices = tuple(dict.fromkeys((*available(runs, store.metric_names()), *columns)))
    rows = run_rows(store, columns, runs)
    return rows, _table(rows, search, choices, columns, saved_views.menu(store))


def _digests(rows: list[Row]) -> dict[str, str]:
    return {row["id"]: row_digest(row) for row in rows}


def _count(rows: list[Row]) -> str:
    running = sum(row["state"] == "running" for row in rows)
    total = f"{len(rows):,} run{'s' if len(rows) != 1 else ''}"
    return f"{total}, {running} running" if running else total


def _table(
    rows: list[Row], search: str, choices: Sequence[Column], columns: Sequence[Column], views: Component
) -> list[Component]:
    query = {key: values[-1] for key, values in parse_qs(search.removeprefix("?")).items()}
    selected = [run_id for run_id in query.get("selected", "").split(",") if run_id]
    return [
        dcc.Interval(id="runs-tick", interval=POLL_MILLISECONDS),
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
                _columns_choice(choices, columns),
                *runs_groups.by_choice(columns, runs_groups.by_of(search)),
                html.Div(className="spring"),
                dcc.Link("Compare", id="compare-link", href="/compare", className="button primary disabled"),
            ],
            className="filters",
        ),
        dag.AgGrid(
            id="runs-grid",
            className="runs-grid",
            rowData=rows,
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


def _columns_choice(choices: Sequence[Column], chosen: Sequence[Column]) -> Component:
    def items(wanted: Callable[[Column], bool]) -> list[dict[str, str]]:
        return [{"value": column.key, "label": column.title} for column in choices if wanted(column)]

    return html.Div(
        dmc.MultiSelect(
            id="runs-columns",
            placeholder="Add columns",
            data=[
                {"group": "Configuration", "items": items(lambda column: column.source == "config")},
                {"group": "Metrics", "items": items(lambda column: column.source in SUMMARIES)},
            ],
            value=[column.key for column in chosen],
            searchable=True,
            clearable=True,
            limit=200,  # of what fits the search; typing narrows it
            nothingFoundMessage="No run has such a metric or setting",
            **{"aria-label": "Add columns"},
        ),
        className="choice columns",
    )


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
