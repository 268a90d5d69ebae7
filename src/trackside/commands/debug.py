"""`trackside debug`: what went wrong in a run, where, and what to look at first."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..db.records import RunInfo
from ..runs.debugging.advice import advice
from ..runs.debugging.records import RecordedEvent, Source
from .shared import JSONOption, Reference, StoreOption, number, out, print_json, the_store

HEADINGS = {
    "exception": "Exception", "non_finite": "Not finite", "exploding_layer": "Exploding layer",
    "dead_layer": "Dead layer", "frozen_layer": "Frozen layer",
}  # fmt: skip
HOW = {
    "watch": "noticed by the watch; where it began was not searched",
    "search": "found by looking at each operation of the step",
    "anomaly": "found by anomaly mode",
    "numerics": "found by TensorFlow's numerics check",
    "traceback": "read off the traceback",
}


def debug(
    run: Reference,
    traceback: Annotated[bool, typer.Option("--traceback", help="Print the whole traceback too.")] = False,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """What went wrong in a run: where, in which of your lines, and what to look at first.

    Example: trackside debug torch-3f2a
    """
    from ..runs.debugging.records import records

    with the_store(store) as opened:
        info = opened.run(run)
        found = records(opened, info)
    if json:
        print_json({"run": {"id": info.id, "name": info.name, "state": info.state}, "events": list(map(_json, found))})
        return
    out.print(f"[bold]{escape(info.name)}[/]  {info.id}  {info.state}")
    if not found:
        _print_healthy(info)
    for event in found:
        _print_event(event, traceback)


def _json(event: RecordedEvent) -> dict[str, Any]:
    absent = {"quantity": None, "layer": None, "operator": None, "source": None}
    at = {"kind": event.kind, "step": event.step, "time": event.event.time, "rank": event.event.rank}
    record = {**absent, **event.record.to_json()}
    return {**at, **record, "message": record.get("message") or event.event.message, "advice": advice(event)}


def _print_healthy(info: RunInfo) -> None:
    if info.state == "failed":
        error = info.error or {}
        said = f": {error['type']}: {error['message']}" if error.get("type") else ""
        out.print(f"It failed, and left no record of why{said}.", markup=False, soft_wrap=True)
        return
    out.print("Nothing went wrong: no exception, and no loss or gradient that was not finite.")
    out.print("With debug=True the tracker also measures each layer at each step.", style="dim")


def _print_event(event: RecordedEvent, traceback: bool) -> None:
    record = event.record
    when = "" if event.step is None else f" at step {event.step}"
    out.print()
    out.print(f"[bold red]{HEADINGS.get(event.kind, event.kind)}{when}[/]")
    said = f"{record.type}: {record.message}" if record.type else record.message or event.event.message
    out.print(f"  {said}", markup=False, soft_wrap=True)
    for name, value in _facts(event):
        out.print(f"  [dim]{name:<15}[/]{escape(value)}", soft_wrap=True)
    if record.source is not None:
        _print_source(record.source)
    for sentence in advice(event):
        out.print(f"  [green]→[/] {escape(sentence)}", soft_wrap=True)
    for sentence in record.cannot:
        out.print(f"  [yellow]?[/] {escape(sentence)}", soft_wrap=True)
    if traceback and record.traceback:
        out.print()
        out.print(record.traceback, markup=False, soft_wrap=True)


def _facts(event: RecordedEvent) -> list[tuple[str, str]]:
    record = event.record
    layer = None
    if record.layer is not None or record.layer_class:
        layer = " ".join(filter(None, (record.layer or "", f"({record.layer_class})" if record.layer_class else "")))
    batch = None if record.batch_index is None else f"{record.batch_index} of its epoch"
    if batch and record.batch_fingerprint:
        batch += f", fingerprint {record.batch_fingerprint[:12]}"
    facts = (
        ("quantity", record.quantity if event.kind == "non_finite" else None),
        ("layer", layer),
        ("operator", record.operator),
        ("inputs", _tensors(record.inputs)),
        ("outputs", _tensors(record.outputs)),
        ("values", _counts(record.counts)),
        ("last losses", _points(record.last_losses)),
        ("gradient norms", _points(record.last_gradient_norms)),
        ("learning rate", None if record.learning_rate is None else number(record.learning_rate)),
        ("batch", batch),
        ("known by", HOW[record.how] if event.kind == "non_finite" else None),
    )
    return [(name, value) for name, value in facts if value]


def _print_source(source: Source) -> None:
    out.print(f"  [bold]{escape(source.file)}:{source.line}[/]  {escape(source.function)}", soft_wrap=True)
    for line, text in source.code:
        culprit = line == source.line
        mark, style = (">", "bold red") if culprit else (" ", "dim")
        out.print(f"  {mark} {line:>5} │ {text}", style=style, markup=False, soft_wrap=True)


def _tensors(described: tuple[dict[str, Any], ...]) -> str:
    return ", ".join(f"{one.get('dtype')} {tuple(one.get('shape') or ())}" for one in described)


def _points(points: tuple[tuple[int, float], ...]) -> str:
    return ", ".join(number(value) if math.isfinite(value) else str(value) for _, value in points[-5:])


def _counts(counts: dict[str, int] | None) -> str | None:
    if not counts:
        return None
    names = (("nan", "NaN"), ("positive_infinity", "+Inf"), ("negative_infinity", "-Inf"))
    parts = [f"{counts[key]} {name}" for key, name in names if counts.get(key)]
    return f"{', '.join(parts)} of {counts['size']}" if parts and "size" in counts else None
