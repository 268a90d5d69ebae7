"""Traces in the form that torch.profiler exports, written by hand: times in microseconds."""

from __future__ import annotations

import json
from typing import Any

from trackside.runs.traces.interpreted import Interpreted
from trackside.runs.traces.records import Profile, TraceContext
from trackside.runs.traces.summary import summarise
from trackside.runs.traces.torch_trace import interpret

AUTOGRAD = "autograd::engine::evaluate_function: "


def op(name: str, start: float, duration: float, *, tid: int = 1, cat: str = "cpu_op", **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": tid, "ts": start, "dur": duration, "args": args}


def forward(name: str, start: float, duration: float, sequence: int, **args: Any) -> dict[str, Any]:
    return op(name, start, duration, **{"Sequence number": sequence, "Fwd thread id": 0, **args})


def backward(name: str, start: float, duration: float, sequence: int, **args: Any) -> list[dict[str, Any]]:
    """Autograd's range, and the node in it that ends with it."""
    named = {"Sequence number": sequence, "Fwd thread id": 1, **args}
    return [op(AUTOGRAD + name, start, duration, **named), op(name, start + 1, duration - 1, **named)]


def mark(name: str, start: float) -> dict[str, Any]:
    return op(f"trackside::{name}", start, 0, cat="user_annotation")


def annotation(name: str, start: float, duration: float) -> dict[str, Any]:
    return op(name, start, duration, cat="user_annotation")


def kernel(name: str, start: float, duration: float, **args: Any) -> dict[str, Any]:
    named = {"stream": 7, "cat": "kernel", "device": 0, **args}
    return op(name, start, duration, tid=named["stream"], **named)


def document(*events: Any) -> bytes:
    flat: list[Any] = []
    for one in events:
        flat += one if isinstance(one, list) else [one]
    return json.dumps({"schemaVersion": 1, "baseTimeNanoseconds": 10**18, "traceEvents": flat}).encode()


def interpreted(*events: Any, layers: dict[str, str] | None = None) -> Interpreted:
    return interpret(document(*events), TraceContext(framework="torch", layers=layers or {}))


def profile(*events: Any, layers: dict[str, str] | None = None) -> Profile:
    found = interpreted(*events, layers=layers)
    context = TraceContext(framework="torch", layers=layers or {})
    return summarise(found.trace, found.labels, context, "chrome", phases=found.phases, notes=found.notes)


def split(found: Profile) -> dict[str, float]:
    """Microseconds a step, the parts that took none left out."""
    return {part: round(seconds * 1e6, 3) for part, seconds in found.split.items() if seconds}


def families(found: Profile) -> dict[tuple[str, str], float]:
    """Microseconds of self time over all steps by family and direction."""
    sums: dict[tuple[str, str], float] = {}
    for one in found.operators:
        key = one.family, one.direction
        sums[key] = round(sums.get(key, 0.0) + one.self_seconds * 1e6, 3)
    return sums
