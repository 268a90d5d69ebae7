"""Groups and sorting of the run table as the address has them, and the control that chooses what to group by.

The grid's free edition groups no rows. `assets/groups.js` adds a row for each group and puts it before the runs of
the group, after the grid has sorted and filtered them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, html
from dash.development.base_component import Component

from ..columns import Column, parse_columns

GROUPS = {"project": "Project", "workload": "Workload", "group": "Group", "framework": "Framework", "state": "State"}
"""What rows can be grouped by besides a configuration key, by its name in the rows and in the address."""


def by_of(search: str) -> str | None:
    """What an address groups the rows by: `?by=framework`, `?by=config:optimizer.lr`; None where that is nothing."""
    by = _last(search, "by")
    return by if by in GROUPS or any(column.source == "config" for column in parse_columns([by])) else None


def with_group(columns: Sequence[Column], by: str | None) -> tuple[Column, ...]:
    """The columns of the table: a configuration key that rows are grouped by is one of them."""
    return tuple(dict.fromkeys((*columns, *parse_columns([by] if by else ()))))


def sorted_columns(definitions: Sequence[dict[str, Any]], search: str) -> list[dict[str, Any]]:
    """Column definitions with the order of an address: `?sort=-val_last&sort=name`, the most important first.

    Args:
        definitions: as the grid takes them.
        search: the address' query; a minus stands for descending.
    """
    keys = parse_qs(search.removeprefix("?")).get("sort", [])
    orders = {key.removeprefix("-"): (place, key.startswith("-")) for place, key in enumerate(keys)}
    return [
        {**column, "initialSort": "desc" if orders[field][1] else "asc", "initialSortIndex": orders[field][0]}
        if (field := column["field"]) in orders
        else column
        for column in definitions
    ]


def by_choice(columns: Sequence[Column], by: str | None) -> list[Component]:
    """The control that groups the rows, and the button that folds all groups."""
    options = [{"value": value, "label": label} for value, label in GROUPS.items()]
    options += [{"value": column.key, "label": column.name} for column in columns if column.source == "config"]
    return [
        html.Div(
            dmc.Select(
                id="runs-by",
                placeholder="Group by",
                data=options,
                value=by,
                clearable=True,
                **{"aria-label": "Group by"},
            ),
            className="choice",
        ),
        html.Button("Fold all", id="groups-fold", className="button", type="button", hidden=by is None),
    ]


def group_options() -> dict[str, Any]:
    """Options of the grid that groups need; they do nothing while there are none."""
    return {
        "postSortRows": {"function": "arrangeGroups(params.nodes)"},
        "rowClassRules": {"group-row": "isGroup(params.data)"},
    }


def register(app: Dash) -> None:
    """Add the callbacks: all of them run in the browser."""
    app.clientside_callback(
        ClientsideFunction("groups", "choose"),
        Output("runs-by", "data"),
        Output("groups-fold", "hidden"),
        Input("runs-by", "value"),
        Input("runs-columns", "value"),
        State("runs-by", "data"),
    )


def _last(search: str, key: str) -> str:
    return parse_qs(search.removeprefix("?")).get(key, [""])[-1]
