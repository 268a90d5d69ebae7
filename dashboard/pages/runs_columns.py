"""The columns of the run table: those it always has, and those that were added to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...runs.best import larger_is_better
from ..columns import Column
from .grid import numeric_column


def column_definitions(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The table's columns: the added ones follow the progress."""
    place = next(index for index, column in enumerate(COLUMNS) if column["field"] == "progress") + 1
    return [*COLUMNS[:place], *map(_added, columns), *COLUMNS[place:]]


def _added(column: Column) -> dict[str, Any]:
    return {
        "field": column.key,
        "headerName": column.title,
        "headerTooltip": f"Configuration: {column.name}" if column.source == "config" else column.title,
        "width": min(max(90, 8 * len(column.title) + 30), 200),
        "type": "rightAligned",
        "valueFormatter": {"function": f"{'setting' if column.source == 'config' else 'number'}(params.value)"},
        "comparator": {"function": "numbersThenText"},
        "cellDataType": False,
        **(_better(larger_is_better(column.name)) if column.source != "config" else {}),
    }


def _better(larger: bool) -> dict[str, Any]:
    """Tells the row of a group which value of its runs is the best."""
    return {"cellRendererParams": {"best": "max" if larger else "min"}}


def _numeric(
    field: str, header: str, width: int, formatter: str, *, larger: bool = False, **more: Any
) -> dict[str, Any]:
    return numeric_column(field, header, width, formatter, **_better(larger), **more)


COLUMNS: list[dict[str, Any]] = [
    {
        "field": "state",
        "headerName": "State",
        "width": 92,
        "cellRenderer": "State",
        "colSpan": {"function": "groupSpan(params)"},
    },
    {"field": "name", "headerName": "Name", "minWidth": 160, "flex": 2, "cellRenderer": "Name"},
    {"field": "framework", "headerName": "Framework", "width": 108, "cellRenderer": "Framework"},
    {"field": "project", "headerName": "Project", "width": 88},
    {
        "field": "progress",
        "headerName": "Progress",
        "width": 118,
        "cellRenderer": "Progress",
        "comparator": {"function": "numbersFirst"},
    },
    _numeric("train_last", "Train loss", 90, "number"),
    _numeric("train_best", "Best", 78, "number", headerTooltip="Smallest train/loss of any step"),
    _numeric("val_last", "Val loss", 82, "number"),
    _numeric("val_accuracy", "Val accuracy", 106, "number", larger=True),
    _numeric("step_seconds", "Mean step", 92, "stepTime", headerTooltip="Mean step time without the first step"),
    _numeric(
        "throughput",
        "Samples/s",
        90,
        "rate",
        larger=True,
        headerTooltip="Mean over the steps that recorded it",
    ),
    {
        "field": "started",
        "headerName": "Started",
        "width": 96,
        "valueFormatter": {"function": "ago(params.value)"},
        "tooltipValueGetter": {"function": "utc(params.value)"},
    },
    _numeric("duration", "Duration", 96, "duration"),
    {"field": "workload", "headerName": "Workload", "width": 104},
    {
        "field": "form",
        "headerName": "Form",
        "width": 190,
        "valueFormatter": {"function": "params.value.join(' · ')"},
        "cellDataType": False,
        "headerTooltip": "Execution mode, precision, devices",
    },
    {"field": "tags", "headerName": "Tags", "minWidth": 90, "flex": 1, "cellRenderer": "Tags", "cellDataType": False},
]
