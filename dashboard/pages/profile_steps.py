"""The Profile page's timeline: one recorded step of each run, aligned at its start. `assets/timeline.js` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from ...runs.traces.records import DIRECTIONS, FAMILIES
from ..comparison import Comparison
from ..formats import NOTHING, seconds
from ..profile_query import ProfileQuery
from ..profile_reader import RunProfile
from ..theme import FAMILY_COLORS
from .profile_families import dot


def timeline_card(shown: Sequence[RunProfile], comparison: Comparison, query: ProfileQuery) -> Component:
    """The frame of the timeline with its controls."""
    most = max(one.profile.steps for one in shown if one.profile is not None)
    return html.Section(
        [
            html.Div(
                [
                    html.H2("One step, thread by thread"),
                    dmc.Select(
                        id="timeline-step",
                        data=[{"value": str(place), "label": _step(place, shown)} for place in range(most)],
                        value=str(min(query.step, most - 1)),
                        allowDeselect=False,
                        size="xs",
                        **{"aria-label": "Recorded step"},
                    ),
                    html.Div(
                        [
                            _control("out", "−", "Zoom out"),
                            _control("in", "+", "Zoom in"),
                            _control("reset", "Whole step", "Show the whole step"),
                        ],
                        className="zooms",
                    ),
                ],
                className="card-head",
            ),
            html.Div(_legend(shown), className="card-body legend"),
            dcc.Store(id="timeline-runs", data=_runs(shown, comparison, query.rank)),
            dcc.Store(id="timeline-drawn"),  # without an output Dash would not call the drawing
            html.Div(id="timeline", className="timeline"),
            html.P(
                "Drag to zoom, double-click for the whole step; with the keyboard: arrows move, + and − zoom, 0 shows "
                "the whole step. Every run starts at its own step's start. Hatched: backward.",
                className="soft card-body caption",
            ),
        ],
        className="card section",
        **{"aria-label": "Timeline of a step"},
    )


def _control(action: str, text: str, label: str) -> Component:
    return html.Button(
        text, type="button", className="button quiet", title=label, **{"data-zoom": action, "aria-label": label}
    )


def _step(place: int, shown: Sequence[RunProfile]) -> str:
    """`Step 12 · 24.5 ms / 33.8 ms`: its number, each run's own where they differ, and its time in each run."""
    numbers = []
    for one in shown:
        first = one.profile.context.first_step if one.profile is not None else None
        numbers.append("–" if first is None else f"{first + place:,}")
    times = [one.profile.step_seconds[place : place + 1] for one in shown if one.profile is not None]
    took = " / ".join(seconds(time[0]) if time else NOTHING for time in times)
    name = f"Step {' / '.join(dict.fromkeys(numbers))}" if "–" not in numbers else f"Recorded step {place + 1}"
    return f"{name} · {took}"


def _legend(shown: Sequence[RunProfile]) -> list[Component]:
    seen = {one.family for run in shown if run.profile is not None for one in run.profile.operators}
    return [
        html.Span([dot(family), family.capitalize()], className="legend-entry") for family in FAMILIES if family in seen
    ] + [
        html.Span(
            [html.Span(className="dot plain", **{"aria-hidden": "true"}), "Python and ranges"], className="legend-entry"
        )
    ]


def _runs(shown: Sequence[RunProfile], comparison: Comparison, rank: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "runs": [
            {
                "id": one.run.id,
                "label": comparison.labels[one.run.id],
                "color": comparison.colors[one.run.id],
                "steps": list(one.profile.step_seconds) if one.profile is not None else [],
            }
            for one in shown
        ],
        "families": list(FAMILIES),
        "directions": list(DIRECTIONS),
        "colors": [FAMILY_COLORS[family] for family in FAMILIES],
    }
