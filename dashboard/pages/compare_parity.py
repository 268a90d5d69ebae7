"""The parity card: whether these runs are the same experiment, said before any number."""

from __future__ import annotations

from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from ...runs.parity import Check, ParityCard
from ..badges import icon, swatch
from ..comparison import Comparison
from ..formats import setting

GROUPS = {
    "data": "Same data",
    "start": "Same start",
    "arithmetic": "Same arithmetic",
    "conditions": "Same conditions",
}
ICONS = {"green": "check", "amber": "alert", "red": "cross"}
VERDICTS = {"green": "Like for like", "amber": "Not established", "red": "Not like for like"}
WORDS = {"green": "the same", "amber": "needs care", "red": "not the same"}
MOST_CHARACTERS = 160


def card(parity: ParityCard, comparison: Comparison) -> Component:
    """Verdict on top, checks by group below; each check opens to what every run has."""
    groups = [
        html.Div([html.H3(title), *[_check(check, comparison) for check in parity.checks if check.group == group]])
        for group, title in GROUPS.items()
        if any(check.group == group for check in parity.checks)
    ]
    return html.Section(
        [
            html.Div(_verdict(parity), className=f"verdict {parity.verdict}"),
            html.Div(groups, className="check-groups"),
        ],
        className="card section",
        **{"aria-label": "Parity of the runs"},
    )


def verdict_line(parity: ParityCard, href: str) -> Component:
    """The verdict alone, with a link to the checks behind it."""
    return html.Div(
        [*_verdict(parity), dcc.Link("See the checks", href=href)],
        className=f"verdict alone {parity.verdict}",
        role="status",
    )


def _verdict(parity: ParityCard) -> list[Component]:
    return [
        icon(ICONS[parity.verdict]),
        html.Span(VERDICTS[parity.verdict]),
        html.Span(_why(parity), className="why"),
    ]


def _why(parity: ParityCard) -> str:
    decisive = [check for check in parity.checks if check.verdict == parity.verdict]
    if parity.verdict == "green":
        return f"All {len(parity.checks)} checks agree."
    shown = "; ".join(check.name.lower() for check in decisive[:3])
    more = f" and {len(decisive) - 3} more" if len(decisive) > 3 else ""
    if parity.verdict == "red":
        return f"These runs differ in {shown}{more}: read their numbers as those of different experiments."
    return f"Could not be settled: {shown}{more}."


def _check(check: Check, comparison: Comparison) -> Component:
    values: list[Component] = []
    for text, run_ids in _shared(check, comparison).items():
        if len(run_ids) == len(comparison.ids):
            named: list[Any] = [f"All {len(run_ids)} runs"]
        else:
            named = [part for run_id in run_ids for part in _run(run_id, comparison)]
        values += [html.Dt(named), html.Dd(text)]
    return html.Details(
        [
            html.Summary(
                [
                    icon(ICONS[check.verdict]),
                    html.Span(
                        [
                            check.name,
                            html.Span(f" ({WORDS[check.verdict]})", className="visually-hidden"),
                            html.Span(f" – {check.reason}", className="reason") if check.verdict == "red" else None,
                        ]
                    ),
                ]
            ),
            html.Div(check.reason, className="reason") if check.verdict != "red" else None,
            html.Dl(values),
        ],
        className=f"check {check.verdict}",
    )


def _shared(check: Check, comparison: Comparison) -> dict[str, list[str]]:
    """The runs that have each value: one line for what ten runs share, not ten."""
    shared: dict[str, list[str]] = {}
    for run_id in comparison.ids:
        shared.setdefault(_text(check.values.get(run_id)), []).append(run_id)
    return shared


def _run(run_id: str, comparison: Comparison) -> tuple[Component, str]:
    return swatch(comparison.strokes[run_id]), comparison.labels[run_id]


def _text(value: Any) -> str:
    return "unknown" if value is None else setting(value, MOST_CHARACTERS)
