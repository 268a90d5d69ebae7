"""The sections below the curves: difference of two runs, step times, configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...runs.views import ConfigRow, StepTimes, StepTimesView, config_rows, difference_view, step_times_view
from ..badges import pending
from ..comparison import Comparison, chosen_difference, chosen_pair, chosen_starts, load, split_metrics
from ..figures import difference_figure, step_times_figure, zoomed
from ..formats import seconds, setting
from ..query import CompareQuery
from ..source import StoreSource
from . import compare_header
from .compare_header import download_menu, run_cell
from .compare_panels import GRAPH_CONFIG

MOST_CHARACTERS = 200


def register(app: Dash, source: StoreSource) -> None:
    """Add the callbacks of these sections."""

    @app.callback(
        Output("step-times", "children"),
        Output("configuration", "children"),
        Input("begun", "data"),
        Input("steps-timed", "data"),
        Input("states", "data"),
        Input("recovered", "data"),
        State("compare-runs", "data"),
    )
    def time_steps(_: int, __: int, ___: str, ____: int, references: list[str]) -> tuple[Component, Component | None]:
        store = source()
        comparison = load(store, references)
        view = step_times_view(store, comparison.runs)
        return step_times_card(_step_times(view, comparison)), configuration_card(comparison)

    @app.callback(
        Output("difference", "children"),
        Input("begun", "data"),
        Input("url", "search"),
        Input("steps-timed", "data"),
        Input("recovered", "data"),
        State("compare-runs", "data"),
    )
    def subtract(_: int, search: str, __: int, ___: int, shown: list[str]) -> Any:
        query, store = CompareQuery.parse(search), source()
        if list(query.runs) != shown:
            raise PreventUpdate
        comparison = load(store, query.runs)
        pair, metric = chosen_pair(query, comparison), chosen_difference(query, split_metrics(store, comparison)[0])
        if pair is None or metric is None:
            raise PreventUpdate
        view = difference_view(store, *pair, metric, axis=query.axis, starts=chosen_starts(query, comparison))
        said = " ".join((view.reason, *view.begun))
        parts = [html.P(said, className="soft", role="status")]
        if np.isfinite(view.difference).any():
            figure = difference_figure(
                view,
                comparison.colors[view.a],
                x_label=compare_header.AXIS_NAMES[query.axis],
                y_label="A − B",
            )
            parts.append(
                dcc.Graph(id="difference-figure", figure=zoomed(figure, query.axis, query.x_range), config=GRAPH_CONFIG)
            )
        return parts


def difference_card(comparison: Comparison, query: CompareQuery, metrics: Sequence[str]) -> Component | None:
    """One run minus another, with pickers; None for a run alone."""
    pair = chosen_pair(query, comparison)
    if pair is None or not metrics:
        return None
    options = [{"value": run_id, "label": comparison.labels[run_id]} for run_id in comparison.ids]

    def picker(side: str, value: str) -> Component:
        return dmc.Select(
            id=f"pair-{side}", label=f"Run {side.upper()}", data=options, value=value, allowDeselect=False, size="xs"
        )

    return html.Section(
        [
            html.Div(
                [
                    html.H2("Difference A − B"),
                    picker("a", pair[0]),
                    picker("b", pair[1]),
                    dmc.Select(
                        id="difference-metric",
                        label="Metric",
                        data=list(metrics),
                        value=chosen_difference(query, metrics),
                        allowDeselect=False,
                        size="xs",
                    ),
                    download_menu("difference", None, ""),
                ],
                className="card-head",
            ),
            html.Div(pending("the difference"), id="difference", className="card-body"),
        ],
        className="card section panel",
    )


def step_times_card(content: Component) -> Component:
    """The frame of the step-time section."""
    return html.Section(
        [
            html.Div([html.H2("Step times"), download_menu("step-times", None, "")], className="card-head"),
            content,
        ],
        className="card",
    )


def _step_times(view: StepTimesView, comparison: Comparison) -> Component:
    if not view.rows:
        return html.Div("None of these runs recorded step times.", className="card-body soft")
    headings = ("Run", "Steps", "First step", "Median", "p95", "p99", "Mean", "Data wait", "Compute", "")
    head = html.Tr([html.Th(name, className="" if name == "Run" else "number", scope="col") for name in headings])
    body = [html.Tr(_step_cells(row, comparison)) for row in view.rows]
    left_out = "the first step is" if view.skipped == 1 else f"the first {view.skipped} steps are"
    return html.Div(
        [
            html.Div(html.Table([html.Thead(head), html.Tbody(body)], className="plain"), className="scroll tall"),
            html.P(
                f"Of every run {left_out} left out as warm-up. Dotted lines are medians.", className="soft card-body"
            ),
            html.Div(
                dcc.Graph(
                    id="step-times-figure", figure=step_times_figure(view, comparison.colors), config=GRAPH_CONFIG
                ),
                className="panel",
            )
            if any(row.count for row in view.rows)
            else None,
        ]
    )


def _step_cells(row: StepTimes, comparison: Comparison) -> list[Component]:
    times = (row.first_seconds, row.median, row.p95, row.p99, row.mean, row.data_median, row.compute_median)
    return [
        html.Td(run_cell(row.run_id, comparison)),
        html.Td(f"{row.count:,}", className="number"),
        *[html.Td(seconds(value), className="number") for value in times],
        html.Td(_split(row, comparison.colors[row.run_id])),
    ]


def _split(row: StepTimes, color: str) -> Component | None:
    """A bar of how a median step divides into waiting for data and computing; None where it was not recorded."""
    total = row.data_median + row.compute_median
    if not math.isfinite(total) or total <= 0:
        return None
    share = 100 * row.data_median / total
    return html.Div(
        [
            html.Div(className="data", style={"width": f"{share:.1f}%"}),
            html.Div(className="compute", style={"width": f"{100 - share:.1f}%", "--run-color": color}),
        ],
        className="split",
        title=f"{share:.0f} % waiting for data, {100 - share:.0f} % computing",
    )


def configuration_card(comparison: Comparison) -> Component | None:
    """What differs in the configurations; what is the same folds away. None where no run has one."""
    rows = config_rows(comparison.runs)
    if not rows:
        return None
    several = len(comparison.runs) > 1
    differing = [row for row in rows if row.differs and several]
    same = [row for row in rows if not row.differs or not several]
    content: list[Component] = []
    if differing:
        content.append(_config_table(differing, comparison))
    elif several:
        content.append(html.P("The configurations are identical.", className="card-body soft"))
    if same and several:
        label = f"{len(same)} identical {'entry' if len(same) == 1 else 'entries'}"
        content.append(
            html.Details(
                [html.Summary(label, className="soft"), _config_table(same, comparison)], className="card-body"
            )
        )
    elif same:
        content.append(_config_table(same, comparison))
    return html.Section([html.Div(html.H2("Configuration"), className="card-head"), *content], className="card section")


def _config_table(rows: Sequence[ConfigRow], comparison: Comparison) -> Component:
    head = html.Tr(
        [
            html.Th("Key", scope="col"),
            *[html.Th(run_cell(run_id, comparison), scope="col") for run_id in comparison.ids],
        ]
    )
    body = [
        html.Tr(
            [
                html.Td(row.key),
                *[
                    html.Td(
                        setting(row.values[run_id], MOST_CHARACTERS)
                        if run_id in row.values
                        else html.Span("not set", className="soft")
                    )
                    for run_id in comparison.ids
                ],
            ],
            className="differs" if row.differs else "",
        )
        for row in rows
    ]
    return html.Div(html.Table([html.Thead(head), html.Tbody(body)], className="plain config"), className="scroll")
