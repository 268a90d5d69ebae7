"""The Profile page's table: operators, or layers, of the runs side by side, narrowed to the chosen family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from ...runs.traces.records import Direction, Family, Profile
from ..profile_query import ProfileQuery
from ..profile_rows import difference_fields
from ..profile_text import family_name
from .grid import numeric_column
from .profile_families import dot

MOST_ROWS = 4000
NAMED: dict[str, str] = {"operator": "Operator", "layer": "Layer"}


def operators_card(query: ProfileQuery, search: str) -> Component:
    """The frame of the table; its rows come by a callback."""
    return html.Section(
        [
            html.Div(
                [
                    html.Div(head(query), id="operators-head", className="operators-head"),
                    html.Div(
                        dmc.TextInput(
                            id="operators-search",
                            placeholder="Search operator, layer, shape …",
                            value=search,
                            debounce=150,
                            size="xs",
                            **{"aria-label": "Search operators"},
                        ),
                        className="search",
                    ),
                ],
                className="card-head",
            ),
            dag.AgGrid(
                id="operators-grid",
                className="operators-grid",
                rowData=None,
                columnDefs=[],
                defaultColDef={
                    "sortable": True,
                    "resizable": True,
                    "suppressHeaderMenuButton": True,
                    "sortingOrder": ["desc", "asc", None],
                },
                getRowId="params.data.id",
                columnSize=None,
                dashGridOptions={
                    "rowHeight": 32,
                    "headerHeight": 32,
                    "groupHeaderHeight": 30,
                    "enableCellTextSelection": True,
                    "animateRows": False,
                    "tooltipShowDelay": 400,
                    "includeHiddenColumnsInQuickFilter": True,
                    "localeText": {"noRowsToShow": "No operator fits.", "noMatchingRows": "No operator fits."},
                },
                style={"height": None},
            ),
        ],
        className="card section",
        **{"aria-label": "Operators"},
    )


def head(query: ProfileQuery) -> list[Component]:
    """Title, what a row is, and the family to which the table is narrowed."""
    kinds = [
        html.Button(
            f"By {name.lower()}",
            type="button",
            className="button quiet",
            **{"data-set": f"by={kind}", "aria-pressed": "true" if query.by == kind else "false"},
        )
        for kind, name in NAMED.items()
    ]
    chosen: list[Component] = []
    if query.family is not None:
        name, _, direction = query.family.partition("/")
        family: Family = name  # type: ignore[assignment]  # the query knows families only
        way: Direction = direction or "none"  # type: ignore[assignment]
        chosen = [
            html.Button(
                [dot(family, way), family_name(family, way), html.Span(className="icon icon-close")],
                type="button",
                className="button chosen-family",
                title="Show all families again",
                **{"data-set": "family="},
            )
        ]
    return [html.H2("Operators"), html.Div(kinds, className="segmented", role="group"), *chosen]


def columns(profiles: Sequence[Profile], labels: Sequence[str], query: ProfileQuery) -> list[dict[str, Any]]:
    """Columns of the grid: what a row is, then each quantity with a column a run."""
    several = len(profiles) > 1
    named = NAMED[query.by]
    what: list[dict[str, Any]] = [
        {
            "field": "name",
            "headerName": named,
            "width": 330,
            "pinned": "left" if several else None,
            "cellRenderer": "Operator",
            "tooltipField": "names",
        },
    ]
    if query.by == "operator":
        what += [
            {"field": "family", "headerName": "Family", "width": 192, "cellRenderer": "Family"},
            {"field": "layer", "headerName": "Layer", "width": 150, "tooltipField": "layer"},
        ]
    what.append({"field": "names", "hide": True})  # searched, and what the name's tooltip shows
    if several:
        what.append({"field": "where", "headerName": "Found in", "width": 116, "tooltipField": "where"})
    own = _group("Self time a step", "self", labels, "stepTime", 92)
    beside = [own["children"][0]]
    for place, label in enumerate(labels[1:], 1):
        keys, against = difference_fields(place), (label, labels[0])
        beside += [
            own["children"][place],
            _numeric(keys[0], "Difference", 98, "signedTime", headerTooltip=" less ".join(against)),
            _numeric(keys[1], "Ratio", 76, "times", headerTooltip=" by ".join(against)),
        ]
    own["children"] = beside
    quantities = [
        own,
        _group("Share of self time", "share", labels, "percent", 92),
        _group("Calls a step", "calls", labels, "number", 92),
        _group("Total time a step", "total", labels, "stepTime", 92),
        _group("Self time a call", "mean", labels, "stepTime", 92),
    ]
    if any(one.flops is not None for profile in profiles for one in profile.operators):
        quantities.append(_group("FLOPs a step", "flops", labels, "amount", 92))
    if any(one.memory_bytes is not None for profile in profiles for one in profile.operators):
        quantities.append(_group("Memory a step", "memory", labels, "bytes", 92))
    if any(one.shapes for profile in profiles for one in profile.operators):
        shapes = [
            {"field": f"shapes{place}", "headerName": label, "width": 240, "tooltipField": f"shapes{place}"}
            for place, label in enumerate(labels)
        ]
        quantities.append({"headerName": "Input shapes", "children": shapes})
    return [*what, *quantities]


def _group(title: str, key: str, labels: Sequence[str], formatter: str, width: int) -> dict[str, Any]:
    wide = max(width, 34 + 8 * min(max(map(len, labels), default=0), 16))  # room for the label and its arrow
    children = [_numeric(f"{key}{place}", label, wide, formatter) for place, label in enumerate(labels)]
    return {"headerName": title, "children": children}


def _numeric(field: str, header: str, width: int, formatter: str, **more: Any) -> dict[str, Any]:
    return numeric_column(field, header, width, formatter, **{"headerTooltip": header, **more})
