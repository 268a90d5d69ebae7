"""Where two runs begin to differ: the first step, and there the first layer."""

from __future__ import annotations

from dash import dcc, html
from dash.development.base_component import Component

from ...db.store import Store
from ...runs.debugging.divergence import DivergenceView, Finding, divergence_view
from ..badges import icon
from ..comparison import Comparison
from ..debug_query import DebugQuery
from ..formats import NOTHING, number
from .compare_header import run_cell

NAMES = {
    "activations": "Activations of layers",
    "loss": "Loss",
    "gradients": "Gradients of layers",
    "gradient norm": "Gradient norm",
}
MOST_NAMED = 8


def section(store: Store, comparison: Comparison, query: DebugQuery) -> Component | None:
    """The card for two of the runs; None for a run alone."""
    pair = _pair(comparison, query)
    if pair is None:
        return None
    view = divergence_view(store, *(run for chosen in pair for run in comparison.runs if run.id == chosen))
    compared = any(finding.compared for finding in view.findings)
    sign, tone = ("alert", "amber") if view.first is not None or not compared else ("check", "green")
    return html.Section(
        [
            html.Div([icon(sign), html.H2(view.reason)], className=f"verdict {tone}"),
            _others(comparison, query, pair),
            html.Div(_table(view, comparison), className="scroll"),
            _unmatched(view),
        ],
        className="card section divergence",
        **{"aria-label": "Where two runs part"},
    )


def _pair(comparison: Comparison, query: DebugQuery) -> tuple[str, str] | None:
    if query.pair is not None and set(query.pair) <= set(comparison.ids):
        return query.pair
    return (comparison.ids[0], comparison.ids[1]) if len(comparison.ids) > 1 else None


def _table(view: DivergenceView, comparison: Comparison) -> Component:
    head = html.Tr(
        [
            html.Th("In the order of a step", scope="col"),
            html.Th("Parts at", scope="col", className="number"),
            html.Th("Layer", scope="col"),
            *[html.Th(run_cell(run, comparison), scope="col", className="number") for run in (view.a, view.b)],
            html.Th("Why", scope="col"),
        ]
    )
    return html.Table(
        [html.Thead(head), html.Tbody([_row(finding, view) for finding in view.findings])],
        className="plain findings",
    )


def _row(finding: Finding, view: DivergenceView) -> Component:
    values = finding.values or (None, None)
    if finding.step is None:
        at = html.Span("nowhere" if finding.compared else NOTHING, className="soft")
    else:
        at = html.Span(f"step {finding.step:,}")
    layer: list[Component] = []
    for name in dict.fromkeys(finding.layers or ()):
        layer.append(html.Div(name, className="mono"))
    return html.Tr(
        [
            html.Th(
                [NAMES[finding.quantity], html.Div(f"{finding.compared} compared", className="soft small")]
                if finding.compared > 1
                else NAMES[finding.quantity],
                scope="row",
            ),
            html.Td(at, className="number"),
            html.Td(layer or NOTHING),
            *[html.Td(number(value, 6), className="number") for value in values],
            html.Td(finding.reason, className="why"),
        ],
        className="differs" if finding is view.first else "",
    )


def _others(comparison: Comparison, query: DebugQuery, pair: tuple[str, str]) -> Component | None:
    """With more than two runs: which two, each against the first."""
    first, *others = comparison.ids
    if len(others) < 2:
        return None
    return html.Nav(
        [
            dcc.Link(
                f"{comparison.labels[first]} and {comparison.labels[other]}",
                href="/debug" + query.search(pair=(first, other)),
                className="button" + (" chosen" if pair == (first, other) else ""),
            )
            for other in others
        ],
        className="debug-choice",
        **{"aria-label": "Which two runs"},
    )


def _unmatched(view: DivergenceView) -> Component | None:
    """Layers without a counterpart: they are in no comparison, which must be said."""
    sentences = []
    for run_id, paths in view.unmatched.items():
        if paths:
            more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
            sentences.append(f"Only in {view.labels[run_id]}: {', '.join(paths[:MOST_NAMED])}{more}.")
    return html.P(" ".join(sentences), className="soft card-body small") if sentences else None
