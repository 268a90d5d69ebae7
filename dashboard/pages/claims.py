"""The Claims page: what is commonly said of the two frameworks, and what was measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from ...db.store import Store
from ...runs.claim_records import read_records, sessions
from ...runs.claim_text import EXPLANATION, evidence_table
from ...runs.claims import ClaimVerdict, Part, claim_verdicts
from ..badges import icon, pending
from ..formats import moment
from ..query import CompareQuery
from ..source import StoreSource

POLL_MILLISECONDS = 5000
COLORS = {"supported": "green", "contradicted": "red", "undecided here": "amber"}
ICONS = {"supported": "check", "contradicted": "cross", "undecided here": "alert"}


def layout(source: StoreSource, search: str) -> Component:
    """The page; the verdicts are read by a callback, for a long session takes seconds to compare."""
    source().runs(state="running")  # raises while the store is away, which is said instead of an empty page
    return html.Div(
        [
            dcc.Interval(id="claims-tick", interval=POLL_MILLISECONDS),
            dcc.Store(id="claims-shown"),
            html.Div([html.H1("Claims")], className="page-head"),
            html.Div(pending("the claims"), id="claims-content"),
        ]
    )


def register(app: Dash, source: StoreSource) -> None:
    """Add the page's callback."""

    @app.callback(
        Output("claims-content", "children"),
        Output("claims-shown", "data"),
        Input("claims-tick", "n_intervals"),
        Input("recovered", "data"),
        State("claims-shown", "data"),
    )
    def refresh(_: int, __: int, shown: str | None) -> tuple[Any, Any]:
        store = source()
        state = _state(store)
        if state == shown:
            return no_update, no_update  # what somebody opened stays open
        return _content(store), state


def _state(store: Store) -> str:
    """Changes when there is anything new to show."""
    records = read_records(store)
    known = [
        (number, one.session.id, one.complete, len(one.run_ids), len(one.failed), len(one.measured))
        for number, one in sorted(records.items())
    ]
    return repr((known, [(run.id, run.state) for run in sessions(store)[:1]]))


def _content(store: Store) -> list[Component]:
    verdicts = claim_verdicts(store)
    if not any(one.measured for one in verdicts):
        return [_empty()]
    return [_overview(verdicts), *[_card(one) for one in verdicts]]


def _empty() -> Component:
    return html.Div(
        [
            html.H2("Nothing has been measured yet"),
            html.P(
                "Which framework is faster, easier to debug, better with several devices? "
                "One command runs the experiments behind what is commonly said, and shows what supports it here.",
                className="soft",
            ),
            html.Pre("trackside claims --quick"),
            html.P(
                "It takes about a quarter of an hour on two idle cores. The page fills while it runs.", className="soft"
            ),
        ],
        className="empty",
    )


def _overview(verdicts: Sequence[ClaimVerdict]) -> Component:
    rows = [
        html.Tr(
            [
                html.Td(_verdict(one.verdict)),
                html.Td(html.A(f"{one.number}. {one.claim}", href=f"#claim-{one.number}")),
            ]
        )
        for one in verdicts
    ]
    head = html.Tr([html.Th("Verdict", scope="col"), html.Th("Claim", scope="col")])
    return html.Section(
        [
            html.P(EXPLANATION, className="soft card-body claim-explanation"),
            html.Div(
                html.Table([html.Thead(head), html.Tbody(rows)], className="plain claim-overview"), className="scroll"
            ),
        ],
        className="card",
        **{"aria-label": "All claims"},
    )


def _card(one: ClaimVerdict) -> Component:
    return html.Section(
        [
            html.Div([html.H2(f"{one.number}. {one.claim}"), _verdict(one.verdict)], className="card-head"),
            html.Div(
                [
                    html.P(one.reason, className="claim-reason") if len(one.parts) != 1 else None,
                    html.Ul([_part(part) for part in one.parts], className="claim-parts") if one.parts else None,
                    html.P(f"Protocol: {one.protocol}.", className="soft claim-protocol") if one.protocol else None,
                    html.P(f"Measured {moment(one.measured)}.", className="soft") if one.measured else None,
                    *[html.P(note, className="soft claim-note") for note in one.notes],
                    _links(one),
                ],
                className="card-body",
            ),
            _evidence(one),
        ],
        className="card section claim",
        id=f"claim-{one.number}",
        **{"aria-label": f"Claim {one.number}"},
    )


def _part(part: Part) -> Component:
    return html.Li([_verdict(part.verdict), html.Span([html.Strong(f"{part.statement}. "), part.reason])])


def _verdict(verdict: str) -> Component:
    sign = icon(ICONS[verdict]) if verdict in ICONS else None
    return html.Span([sign, verdict], className=f"badge claim-verdict {COLORS.get(verdict, '')}".strip())


def _links(one: ClaimVerdict) -> Component | None:
    """A link a workload: a run of each form side by side."""
    links = [
        dcc.Link(f"Compare {workload}", href="/compare" + CompareQuery(runs=run_ids).search(), className="button")
        for workload, run_ids in one.comparable.items()
        if len(run_ids) > 1
    ]
    return html.Div(links, className="claim-links") if links else None


def _evidence(one: ClaimVerdict) -> Component | None:
    if not one.rows:
        return None
    table = evidence_table(one.rows)
    classes = ["number" if numeric else "" for numeric in table.numeric]
    head = html.Tr(
        [
            html.Th(name.capitalize(), scope="col", className=kind)
            for name, kind in zip(table.headings, classes, strict=True)
        ]
    )
    body = [
        html.Tr([html.Td(text, className=kind) for text, kind in zip(cells, classes, strict=True)])
        for cells in table.rows
    ]
    return html.Details(
        [
            html.Summary(f"What was measured ({len(one.rows)} rows)", className="soft"),
            html.Div(
                html.Table([html.Thead(head), html.Tbody(body)], className="plain claim-table"), className="scroll tall"
            ),
        ],
        className="claim-evidence",
    )
