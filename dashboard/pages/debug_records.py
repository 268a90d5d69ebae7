"""Records of what went wrong as cards, a column a run, so that two frameworks' accounts stand side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from ...db.records import RunInfo
from ...db.store import Store
from ...runs.debugging.advice import advice
from ...runs.debugging.records import DebugRecord, RecordedEvent, Source
from ..badges import framework_badge
from ..comparison import Comparison
from ..formats import number
from ..sparkline import curve_style
from .compare_header import run_cell
from .debug_timeline import KIND_NAMES, step_text

MOST_CARDS = 40
GRAVE = ("non_finite", "exception")
MOST_TENSORS = 6
FOUND = {
    "watch": "by the watch over loss and gradients",
    "search": "by looking at every layer and operation",
    "anomaly": "by PyTorch's anomaly mode",
    "numerics": "by TensorFlow's numerics check",
    "traceback": "from the exception's traceback",
}
QUANTITIES = {"loss": "loss", "gradient": "gradient", "activation": "output of a layer", "weight": "weights"}
COUNTS = {"nan": "NaN", "positive_infinity": "+∞", "negative_infinity": "−∞"}


def section(store: Store, comparison: Comparison, found: dict[str, list[RecordedEvent]]) -> Component:
    """All records of the runs, those of a run below each other."""
    return html.Section(
        [
            html.Div(
                [_column(store, run, comparison, found[run.id]) for run in comparison.runs], className="record-columns"
            )
        ],
        className="section",
        **{"aria-label": "Records"},
    )


def _column(store: Store, run: RunInfo, comparison: Comparison, events: Sequence[RecordedEvent]) -> Component:
    head = html.H2([run_cell(run.id, comparison), framework_badge(run.framework, run.backend)], className="record-run")
    if not events:
        return html.Div([head, html.P(_nothing(store, run), className="card card-body soft record-none")])
    # Open are the first of the gravest kinds; what came after is usually their consequence.
    first_of = {kind: next((event for event in events if event.kind == kind), None) for kind in GRAVE}
    opened = [event for event in first_of.values() if event is not None] or [events[0]]
    cards: list[Component] = [_card(event, comparison, opened=event in opened) for event in events[:MOST_CARDS]]
    if len(events) > MOST_CARDS:
        cards.append(html.P(f"{len(events) - MOST_CARDS:,} more records are in the store.", className="soft"))
    return html.Div([head, *cards])


def _nothing(store: Store, run: RunInfo) -> str:
    """What to say of a run without a record; its series may know better."""
    bad = first_not_finite(store, run)
    if bad is None:
        return "Nothing went wrong in this run."
    step, name = bad
    return f"{name} is not finite at step {step:,}, and nothing was recorded of where that came from."


def first_not_finite(store: Store, run: RunInfo) -> tuple[int, str] | None:
    """Step and metric of the first value logged that is no finite number; None where all are."""
    bad = [
        (step, info.name)
        for info in store.series_infos([run.id])
        for step in (info.first_nan_step, info.first_positive_infinity_step, info.first_negative_infinity_step)
        if step is not None and info.rank == 0
    ]
    return min(bad, default=None)


def _card(event: RecordedEvent, comparison: Comparison, *, opened: bool) -> Component:
    record, event_step = event.record, event.step or 0
    return html.Details(
        [
            html.Summary(
                [
                    html.Span(className=f"mark {event.kind}", **{"aria-hidden": "true"}),
                    html.Strong(KIND_NAMES[event.kind]),
                    html.Span(step_text(event), className="soft"),
                    html.Span("exact", className="badge exact", title="Layer and line are where it happened.")
                    if record.exact
                    else None,
                    html.Span(event.event.message or record.message, className="record-sentence"),
                ]
            ),
            html.Div(
                [
                    _facts(event),
                    _code(record.source) if record.source is not None else None,
                    _history("Last losses", record.last_losses, comparison.colors[event.event.run_id]),
                    _history("Last gradient norms", record.last_gradient_norms, comparison.colors[event.event.run_id]),
                    _list("Look at first", advice(event), "advice"),
                    _list("What could not be told", record.cannot, "cannot"),
                    html.Details([html.Summary("Traceback"), html.Pre(record.traceback)]) if record.traceback else None,
                ],
                className="card-body",
            ),
        ],
        className=f"card record {event.kind}",
        open=opened,
        **{"data-run": event.event.run_id, "data-step": str(event_step)},
    )


def _facts(event: RecordedEvent) -> Component:
    record = event.record
    rows: list[tuple[str, Any]] = []
    if record.type:
        rows.append(("Type", html.Code(record.type)))
    if record.quantity:
        rows.append(("What", QUANTITIES[record.quantity]))
    if record.layer is not None:
        kind = [" ", html.Span(record.layer_class, className="soft")] if record.layer_class else []
        rows.append(("Layer", [html.Code(record.layer) if record.layer else "the model itself", *kind]))
    if record.operator:
        rows.append(("Operation", html.Code(record.operator)))
    if record.inputs:
        rows.append(("Took in", _tensors(record.inputs)))
    if record.outputs:
        rows.append(("Gave", _tensors(record.outputs)))
    if (counts := _counts(record)) is not None:
        rows.append(("Values", counts))
    if record.learning_rate is not None:
        rows.append(("Learning rate", number(record.learning_rate)))
    if record.batch_index is not None:
        digest = (
            html.Span(f" {record.batch_fingerprint[:12]}", className="mono soft") if record.batch_fingerprint else ""
        )
        rows.append(("Batch", [f"{record.batch_index:,} of the epoch", digest]))
    found = FOUND[record.how]
    where = "where it happened" if record.exact else "where it was noticed, which may be later than where it began"
    rows.append(("Found", f"{found}; {where}"))
    return html.Dl([part for term, value in rows for part in (html.Dt(term), html.Dd(value))], className="record-facts")


def _tensors(tensors: Sequence[dict[str, Any]]) -> list[Component]:
    """Shapes and types, one a line."""
    lines = []
    for tensor in tensors[:MOST_TENSORS]:
        shape = tensor.get("shape")
        sizes = " × ".join(str(size) for size in shape) if isinstance(shape, list) and shape else "a number"
        lines.append(
            html.Div([sizes, " ", html.Span(str(tensor.get("dtype", "")), className="soft")], className="mono")
        )
    if len(tensors) > MOST_TENSORS:
        lines.append(html.Div(f"and {len(tensors) - MOST_TENSORS} more", className="soft"))
    return lines


def _counts(record: DebugRecord) -> str | None:
    if not record.counts:
        return None
    bad = [f"{record.counts[name]:,} {word}" for name, word in COUNTS.items() if record.counts.get(name)]
    size = record.counts.get("size")
    return " and ".join(bad) + (f" of {size:,}" if size else "") if bad else None


def _code(source: Source) -> Component:
    """The user's own lines, the culprit marked; every line is text."""
    lines = source.code or ((source.line, "(the file could not be read)"),)
    return html.Figure(
        [
            html.Figcaption(
                [html.Span(f"{source.file}:{source.line}", className="mono", title=source.file),
                 html.Span(f" in {source.function}", className="soft") if source.function else None]
            ),
            html.Div(
                [
                    html.Div(
                        [html.Span(str(line), className="line-number"), html.Code(text or " ")],
                        className="line culprit" if line == source.line else "line",
                        **({"aria-current": "true"} if line == source.line else {}),
                    )
                    for line, text in lines
                ],
                className="code",
                tabIndex=0,
                role="group",
                **{"aria-label": "Lines of code"},
            ),
        ],
        className="source",
    )  # fmt: skip


def _history(title: str, points: Sequence[tuple[int, float]], color: str) -> Component | None:
    """The last values as a small curve, and the newest of them in figures."""
    if not points:
        return None
    steps, values = [step for step, _ in points], [value for _, value in points]
    first, last = steps[0], steps[-1]
    bad = [step for step, value in points if not math.isfinite(value)]
    return html.Figure(
        [
            html.Figcaption(title),
            html.Div(
                [
                    html.Div(className="curve", style=curve_style(color, steps, values, (float(first), float(last)))),
                    *[
                        html.Span(
                            className="not-finite",
                            style={"left": f"{100 * (step - first) / max(last - first, 1):.2f}%"},
                            title=f"not finite at step {step:,}",
                        )
                        for step in bad
                    ],
                ],
                className="history",
            ),
            html.Ol(
                [
                    html.Li([html.Span(f"{step:,}", className="soft"), html.Span(number(value))])
                    for step, value in points[-5:]
                ],
                className="history-values",
            ),
        ],
        className="last-values",
    )


def _list(title: str, sentences: Sequence[str], kind: str) -> Component | None:
    if not sentences:
        return None
    return html.Div([html.H3(title), html.Ul([html.Li(sentence) for sentence in sentences])], className=kind)
