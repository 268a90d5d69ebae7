"""Traces of either framework as one Chrome trace, for Perfetto and chrome://tracing."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from .trace import Labels, Trace


class Named(NamedTuple):
    """A trace with what to call it."""

    name: str
    trace: Trace
    labels: Sequence[Labels]


def merged(traces: Sequence[Named]) -> bytes:
    """One gzipped Chrome trace of all: a process a trace, a row a thread or stream, a row with the steps.

    All are aligned at the start of their first step, which is time 0. Family, direction and layer of an operator are in
    its arguments; the family is its category too, by which Perfetto filters.
    """
    events = [event for process, one in enumerate(traces, 1) for event in _events(process, one)]
    return gzip.compress(orjson.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), compresslevel=4, mtime=0)


def _events(process: int, named: Named) -> Iterator[dict[str, Any]]:
    origin = int(named.trace.step_edges[0])
    yield _meta("process_name", process, 0, name=named.name)
    yield _meta("process_sort_index", process, 0, sort_index=process)
    yield _meta("thread_name", process, 0, name="steps")
    edges = ((named.trace.step_edges - origin) / 1000).tolist()
    for step, (start, end) in enumerate(pairwise(edges)):
        yield {
            "ph": "X", "cat": "step", "name": f"step {step}", "pid": process, "tid": 0, "ts": start, "dur": end - start,
        }  # fmt: skip
    for thread, (lane, label) in enumerate(zip(named.trace.lanes, named.labels, strict=True), 1):
        yield _meta("thread_name", process, thread, name=lane.name)
        yield _meta("thread_sort_index", process, thread, sort_index=thread)
        starts, durations = ((lane.start - origin) / 1000).tolist(), (lane.duration / 1000).tolist()
        labelled = zip(label.family, label.direction, label.layer, label.inferred, strict=True)
        rows = zip(lane.names, starts, durations, lane.details, labelled, strict=True)
        for name, start, duration, details, (family, direction, layer, inferred) in rows:
            event: dict[str, Any] = {
                "name": name, "cat": family or "none", "pid": process, "tid": thread, "ts": start,
            }  # fmt: skip
            event |= {"ph": "X", "dur": duration} if duration else {"ph": "i", "s": "t"}
            arguments = {
                "direction": None if direction == "none" else direction,
                "layer": layer,
                "shapes": (details or {}).get("shapes"),
                "inferred": inferred or None,
            }
            said = {key: value for key, value in arguments.items() if value is not None}
            yield event | {"args": said} if said else event


def _meta(kind: str, process: int, thread: int, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": args}
