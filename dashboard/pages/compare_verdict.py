"""The verdict of the Compare page: which run is better, by how much, and whether that is more than noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...runs.parity import check_parity
from ...runs.protocol import protocol
from ...runs.verdict import Quantity, VerdictView, counted_from, verdict_view
from ...runs.verdict import default_base as unchosen_base
from ..badges import pending
from ..comparison import Comparison, chosen_starts, load
from ..formats import number
from ..formats import quantity as written
from ..query import CompareQuery
from ..source import StoreSource
from .compare_header import run_cell


def register(app: Dash, source: StoreSource) -> None:
    """Add the section's callback."""

    @app.callback(
        Output("verdict", "children"),
        Output("verdict-shown", "data"),
        Input("begun", "data"),
        Input("url", "search"),
        Input("steps-timed", "data"),
        Input("states", "data"),
        Input("recovered", "data"),
        State("compare-runs", "data"),
        State("verdict-shown", "data"),
    )
    def judge(
        _: int, search: str, __: int, ___: str, ____: int, runs: list[str], shown: list[Any] | None
    ) -> tuple[Component, list[Any]]:
        query = CompareQuery.parse(search)
        asked = [query.base, query.target, [list(one) for one in query.starts]]
        moved = ctx.triggered_id == "url" and len(ctx.triggered) == 1  # an axis, a zoom: nothing to do with this
        if list(query.runs) != runs or (moved and asked == shown):
            raise PreventUpdate
        store = source()
        comparison = load(store, runs)
        ids = comparison.ids
        parity = check_parity(store, comparison.runs).verdict if len(ids) > 1 else None
        view = verdict_view(
            store,
            comparison.runs,
            parity,
            base=query.base if query.base in ids else None,
            target=query.target,
            starts=chosen_starts(query, comparison),
        )
        return table(view, comparison, chosen=query.target is not None), asked


def section(comparison: Comparison, query: CompareQuery) -> Component:
    """The frame: heading, base run and target; the table comes by the callback."""
    several = len(comparison.runs) > 1
    options = [{"value": run_id, "label": comparison.labels[run_id]} for run_id in comparison.ids]
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Verdict" if several else "Summary"),
                    html.Div(
                        dmc.Select(
                            id="base",
                            label="Base run",
                            data=options,
                            value=default_base(comparison, query),
                            allowDeselect=False,
                            size="xs",
                        ),
                        style={} if several else {"display": "none"},
                    ),
                    dmc.NumberInput(
                        id="target",
                        label="Target",
                        value="" if query.target is None else query.target,
                        placeholder="best that all reached",
                        debounce=400,
                        hideControls=True,
                        size="xs",
                    ),
                ],
                className="card-head",
            ),
            html.Div(pending("the verdict", rows=len(comparison.runs)), id="verdict"),
        ],
        className="card section",
        id="summary",
    )


def default_base(comparison: Comparison, query: CompareQuery) -> str:
    """The run that ratios are taken to: of the URL, else the baseline, else the first."""
    if query.base in comparison.ids:
        return str(query.base)
    return unchosen_base(comparison.runs)


def table(view: VerdictView, comparison: Comparison, *, chosen: bool = False) -> Component:
    """A row a quantity, a column a run.

    Args:
        view: what it holds.
        comparison: the runs.
        chosen: somebody chose the target; the browser draws it as a line to drag (`target.js`) either way.
    """
    several = len(comparison.runs) > 1
    head = html.Tr(
        [
            html.Th("", scope="col"),
            *[
                html.Th(
                    [
                        run_cell(run_id, comparison),
                        html.Span(" base", className="soft") if several and run_id == view.base else None,
                    ],
                    className="number",
                    scope="col",
                )
                for run_id in comparison.ids
            ],
        ]
    )
    body = [_row(quantity, view, comparison) for quantity in view.quantities]
    if not body:
        return html.P("None of these runs has logged anything to judge by yet.", className="card-body soft")
    metric, value = view.target or ("", math.nan)
    target = {"data-target": metric, "data-value": repr(value), "data-chosen": "1" if chosen else ""}
    return html.Div(
        [
            html.Div(id="target-shown", hidden=True, **target),
            html.P(view.reason, className="card-body verdict-reason", role="status") if view.reason else None,
            html.Div(
                html.Table([html.Thead(head), html.Tbody(body)], className="plain quantities"), className="scroll"
            ),
            html.Div([html.P(sentence) for sentence in footnotes(view, comparison)], className="card-body soft"),
        ]
    )


def _row(quantity: Quantity, view: VerdictView, comparison: Comparison) -> Component:
    cells = []
    for run_id in comparison.ids:
        value, ratio = quantity.values[run_id], quantity.ratios[run_id]
        apart = quantity.apart.get(run_id)
        beside: list[Component | str] = []
        if run_id != view.base and not math.isnan(ratio):
            beside.append(html.Span(f"× {ratio:.3g}", className="soft ratio"))
        if apart is False:
            beside.append(
                html.Span("tie", className="tag tie", title="No further apart than the repeats of either run")
            )
        cells.append(
            html.Td(
                [html.Span(written(value, quantity.unit)), *beside],
                className="number best" if run_id == quantity.best else "number",
            )
        )
    return html.Tr([html.Th(quantity.label, scope="row"), *cells])


def footnotes(view: VerdictView, comparison: Comparison) -> list[str]:
    """What must be said under the numbers."""
    sentences = []
    if view.target is not None:
        metric, value = view.target
        smoothed = ", smoothed over a hundredth of the steps" if metric.startswith("train/") else ""
        sentences.append(f"To target: until {metric} is as good as {number(value)}{smoothed}.")
        if counted := counted_from(view, comparison.labels):
            sentences.append(counted)
    if len(comparison.runs) > 1:
        sentences.append(_about_repeats(view.repeats, comparison))
    sentences += [f"{comparison.labels[run.id]}: {protocol(run)}." for run in comparison.runs[:6]]
    return sentences


def _about_repeats(repeats: Mapping[str, int], comparison: Comparison) -> str:
    alone = [comparison.labels[run_id] for run_id, count in repeats.items() if count < 2]
    if not alone:
        least = min(repeats.values())
        return f"A tie is a difference no larger than the spread of the repeats (at least {least} of each)."
    some = ", ".join(alone[:4])
    return (
        f"Whether a difference is more than noise nobody can say for {some}: there is no repeat of it. "
        "Train it again (trackside run … --repeat 3), and ties are marked."
    )
