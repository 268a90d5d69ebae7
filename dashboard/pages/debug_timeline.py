"""What went wrong when: a track a run, all on one axis of steps, behind each its training loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from ...db.store import Store
from ...runs.debugging.records import RecordedEvent
from ...runs.views import curves_view
from ..comparison import Comparison
from ..debug_query import DebugQuery
from ..sparkline import curve_style
from .compare_header import run_cell

KIND_NAMES = {
    "exception": "Exception",
    "non_finite": "Not finite",
    "exploding_layer": "Exploding layer",
    "dead_layer": "Dead layer",
    "frozen_layer": "Frozen layer",
}
BUCKETS = 300


def section(
    store: Store, comparison: Comparison, found: dict[str, list[RecordedEvent]], query: DebugQuery
) -> Component:
    """The card with all tracks and a legend of the kinds that occur."""
    view = curves_view(store, comparison.runs, "train/loss", buckets=BUCKETS)
    steps = [event.step for events in found.values() for event in events if event.step is not None]
    last = max([run.last_step or 0 for run in comparison.runs] + steps + [1])
    curves = {curve.run_id: curve for curve in view.curves if curve.rank == 0}
    kinds = [kind for kind in KIND_NAMES if any(event.kind == kind for events in found.values() for event in events)]
    tracks: list[Component] = []
    for run in comparison.runs:
        curve, color = curves.get(run.id), comparison.strokes[run.id].color
        style: dict[str, Any] = {"display": "none"}
        if curve is not None and len(curve.x):
            style = curve_style(color, curve.x.tolist(), curve.last.tolist(), (0.0, float(last)))
        tracks.append(html.Div(run_cell(run.id, comparison), className="track-name"))
        tracks.append(
            html.Div(
                [
                    html.Div(className="track-curve", style=style),
                    html.Ul(
                        [_mark(event, place, last, query) for place, event in _merged(found[run.id])],
                        **{"aria-label": f"Records of {comparison.labels[run.id]}"},
                    ),
                ],
                className="track",
            )
        )
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Over the steps"),
                    html.Ul([html.Li([_sign(kind), KIND_NAMES[kind]]) for kind in kinds], className="track-legend"),
                ],
                className="card-head",
            ),
            html.Div([*tracks, html.Div(), _axis(last)], className="tracks card-body"),
        ],
        className="card section",
        **{"aria-label": "Records over the steps"},
    )


def step_text(event: RecordedEvent) -> str:
    """Where on the axis a record lies, in words."""
    return "before the first step" if event.step is None else f"step {event.step:,}"


def _merged(events: Sequence[RecordedEvent]) -> list[tuple[int, RecordedEvent]]:
    """The records with their step; several of a kind at one step are one mark."""
    seen: dict[tuple[int, str], RecordedEvent] = {}
    for event in events:
        seen.setdefault((event.step or 0, event.kind), event)
    return [(step, event) for (step, _), event in seen.items()]


def _mark(event: RecordedEvent, step: int, last: int, query: DebugQuery) -> Component:
    name = KIND_NAMES[event.kind]
    return html.Li(
        dcc.Link(
            html.Span(f"{name}, {step_text(event)}", className="visually-hidden"),
            href="/debug" + query.search(record=(event.event.run_id, step)),
            className=f"mark {event.kind}",
            title=f"{name}, {step_text(event)}: {event.event.message}",
        ),
        style={"left": f"{100 * step / last:.3f}%"},
    )


def _sign(kind: str) -> Component:
    return html.Span(className=f"mark {kind}", **{"aria-hidden": "true"})


def _axis(last: int) -> Component:
    return html.Div(
        [html.Span(f"{step:,}", style={"left": f"{100 * step / last:.3f}%"}) for step in round_steps(0, last)]
        + [html.Span("step", className="unit")],
        className="track-axis",
    )


def round_steps(first: int, last: int, most: int = 6) -> list[int]:
    """Round step numbers between two, both ends included where they are round, at most `most`."""
    span, size = max(last - first, 1), 1
    for size in (factor * 10**power for power in range(19) for factor in (1, 2, 5)):
        if span // size < most:
            break
    return list(range(-(-first // size) * size, last + 1, size))
