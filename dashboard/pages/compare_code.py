"""The section of the Compare page about code: the scripts of two runs and their checkouts, line by line."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...runs.code_difference import CodeView, DiffLine, TextDifference, code_view
from ..comparison import Comparison, chosen_pair, load
from ..query import CompareQuery
from ..source import StoreSource

SHOWN_LINES = 60  # a screen of them; the rest folds away
MOST_LINES = 2000  # a browser lays out no more of them with ease

_SIGNS = {"same": " ", "removed": "−", "added": "+", "gap": ""}
_WORDS = {"removed": "removed", "added": "added"}


def register(app: Dash, source: StoreSource) -> None:
    """Add the callback of this section."""

    @app.callback(
        Output("code", "children"),
        Output("code", "data-shown"),
        Input("begun", "data"),
        Input("url", "search"),
        Input("states", "data"),
        Input("recovered", "data"),
        State("compare-runs", "data"),
        State("code", "data-shown"),
    )
    def compare_code(
        _: int, search: str, states: str, __: int, references: list[str], shown: str | None
    ) -> tuple[Any, str]:
        query = CompareQuery.parse(search)
        if list(query.runs) != references:
            raise PreventUpdate
        store = source()
        comparison = load(store, references)
        pair = chosen_pair(query, comparison)
        now = f"{pair}|{states}"
        if pair is None or now == shown:
            raise PreventUpdate
        runs = {run.id: run for run in comparison.runs}
        return card(code_view(store, runs[pair[0]], runs[pair[1]]), comparison), now


def place() -> Component:
    """Where the section will stand."""
    return html.Div(id="code")


def card(view: CodeView, comparison: Comparison) -> Component | None:
    """What differs between the code of two runs; None where nothing was kept of either."""
    if view.script is None and view.git.commits == (None, None) and view.sentence.startswith("Neither"):
        return None
    a, b = comparison.labels[view.a], comparison.labels[view.b]
    content: list[Component | None] = [html.P(view.sentence, className="soft")]
    if view.script is not None:
        content.append(difference(view.script, f"Script of {a} against that of {b}"))
    content.append(html.P(view.git.sentence, className="soft"))
    if view.git.changes is not None:
        content.append(difference(view.git.changes, f"Uncommitted changes of {a} against those of {b}"))
    head = html.Div(
        [html.H2("Code"), html.Span(f"− {a}", className="removed"), html.Span(f"+ {b}", className="added")],
        className="card-head",
    )
    return html.Section([head, html.Div(content, className="card-body")], className="card section code-card")


def difference(compared: TextDifference, label: str) -> Component | None:
    """Changed lines with the lines around them; the first screen of them at once. None where nothing differs."""
    if compared.same:
        return None
    first, rest = compared.lines[:SHOWN_LINES], compared.lines[SHOWN_LINES:MOST_LINES]
    left = len(compared.lines) - MOST_LINES
    more = html.Details([html.Summary(f"{len(rest):,} more lines"), _lines(rest, f"{label}, continued")])
    return html.Div(
        [
            _lines(first, label),
            more if rest else None,
            html.P(f"And {left:,} more: trackside compare --diff prints them.", className="soft") if left > 0 else None,
        ],
        className="diff-block",
    )


def _lines(lines: tuple[DiffLine, ...], label: str) -> Component:
    table = html.Table(html.Tbody([_line(line) for line in lines]), className="diff", **{"aria-label": label})
    return html.Div(table, className="scroll", tabIndex=0, role="region", **{"aria-label": label})


def _line(line: DiffLine) -> Component:
    if line.kind == "gap":
        return html.Tr(html.Td(f"… {line.text}", colSpan=4, className="soft"), className="gap")
    return html.Tr(
        [
            html.Td("" if line.first is None else line.first, className="number"),
            html.Td("" if line.second is None else line.second, className="number"),
            html.Td(
                [
                    html.Span(_SIGNS[line.kind], **{"aria-hidden": "true"}),
                    html.Span(_WORDS[line.kind], className="visually-hidden") if line.kind in _WORDS else None,
                ],
                className="sign",
            ),
            html.Td(html.Code(line.text)),
        ],
        className=line.kind,
    )
