"""PyTorch's traces: the JSON that torch.profiler exports, plain or gzipped, into lanes.

Read are complete events (`ph` X) of the categories that torch.profiler writes: `cpu_op`, `user_annotation`,
`python_function`, the calls of CUDA's and HIP's runtime, and on accelerators `kernel`, `gpu_memcpy`, `gpu_memset`; and
the `[memory]` instants. The format is that of libkineto's `output_json.cpp`. What else a file holds is passed over.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from ...db.errors import TraceError
from ...db.records import Int64Array
from .shapes import flops, shapes_text
from .trace import Lane, LaneKind, nesting

AUTOGRAD = "autograd::engine::evaluate_function: "
DEVICE_CATEGORIES = frozenset({"kernel", "concurrent_kernel", "gpu_memcpy", "gpu_memset"})
CPU_CATEGORIES = frozenset({
    "cpu_op", "user_annotation", "python_function", "cuda_runtime", "cuda_driver", "privateuse1_runtime",
})  # fmt: skip
LOOP = ("ProfilerStep#", "trackside::", "Optimizer.")
"""Beginnings of what only the thread of the training loop records."""
EVENTS, EVENT_END = b'"traceEvents": [', b"\n  }"
LARGE, CHUNK = 16_000_000, 2_000_000  # bytes

COMPILED = "## Call CompiledFxGraph"
COMPILED_NAME = "CompiledFxGraph"
"""The range around the kernels of one compiled graph, without the hash that follows in its name."""

Detail = dict[str, Any]


@dataclass(slots=True)
class _Thread:
    """Events of one thread or stream as they come."""

    names: list[str] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    duration: list[float] = field(default_factory=list)
    details: list[Detail] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # when, bytes

    def lane(self, name: str, kind: LaneKind) -> Lane:
        made = Lane.of(
            name, kind, self.names, _nanoseconds(self.start), _duration(self.start, self.duration), self.details
        )
        _give_memory(made, self.memory)
        return made


_Sorted = tuple[dict[tuple[Any, Any], _Thread], dict[tuple[Any, Any], _Thread], dict[tuple[Any, Any], str]]
"""Events by thread (process and thread ids) and by stream (device and stream), and the threads' names."""


def read_lanes(raw: bytes) -> tuple[tuple[Lane, ...], float | None]:
    """The lanes of a trace, and when its clock began in seconds since the epoch, or None.

    An event's `details` hold its `category` and, where recorded: `shapes`, `memory_bytes`, `flops`; `sequence` and
    `backward`, which tie an operator to its gradient's; `external` and `correlation`, which tie a kernel to the
    operator that launched it. The training thread's lane comes first.

    Raises:
        TraceError: it is no trace of PyTorch's, or cut short.
    """
    data = decompress(raw)
    head: Any
    try:
        head, (threads, streams, names) = _in_chunks(data)
    except (orjson.JSONDecodeError, ValueError):  # not as PyTorch lays it out, or damaged: the whole tells which
        head = parse(data)
        events = head.get("traceEvents") if isinstance(head, dict) else head
        if not isinstance(events, list):
            raise TraceError(
                "This is no profiler trace: the file has no `traceEvents`. Give one that torch.profiler exported."
            ) from None
        threads, streams, names = _sort(events)
    if not any("category" in one for thread in threads.values() for one in thread.details):
        raise TraceError("The trace holds no operator of PyTorch's: record it with ProfilerActivity.CPU.")
    training = max(threads, key=lambda key: _loop_score(threads[key]))
    lanes = [threads.pop(training).lane(f"{names.get(training, f'thread {training[1]}')} · training", "training")]
    for key, thread in sorted(threads.items(), key=lambda item: str(item[0])):
        works = any(name.startswith(AUTOGRAD) for name in thread.names)
        lanes.append(thread.lane(names.get(key, f"thread {key[1]}"), "compute" if works else "background"))
    for (device, stream), thread in sorted(streams.items(), key=lambda item: str(item[0])):
        lanes.append(thread.lane(f"GPU {device} · stream {stream}", "device"))
    base = head.get("baseTimeNanoseconds") if isinstance(head, dict) else None
    return tuple(lanes), None if base is None else float(base) / 1e9


def parse(raw: bytes) -> Any:
    """A JSON document.

    Raises:
        TraceError: it is none, or cut short.
    """
    if not raw.strip():
        raise TraceError("The trace is empty: record it again.")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        cut = raw.lstrip()[:1] in (b"{", b"[") and error.pos >= len(raw) - 1
        what = "ends in the middle: the process was ended while it wrote" if cut else f"is no JSON ({error})"
        raise TraceError(f"The trace {what}. Record it again, or give the whole file.") from error


def decompress(raw: bytes) -> bytes:
    """What is in a gzipped file; any other as it is.

    Raises:
        TraceError: the gzipped file is damaged or cut short.
    """
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        unpacker = zlib.decompressobj(31)
        data = unpacker.decompress(raw)
    except zlib.error as error:
        raise TraceError(f"The compressed trace is damaged ({error}): give the whole file.") from error
    if not unpacker.eof:
        raise TraceError("The compressed trace ends in the middle: give the whole file.")
    return data


def _in_chunks(data: bytes) -> tuple[Any, _Sorted]:
    """What is around the events of a large document, and the events sorted.

    Parsed whole, a million events take 4 GB and most of the time goes to the garbage collector. PyTorch writes each
    event's last bracket on a line of its own, indented by two.

    Raises:
        ValueError: the document is small, or laid out in another way.
    """
    start = data.index(EVENTS) + len(EVENTS) if len(data) > LARGE else -1
    end = data.rindex(EVENT_END) + len(EVENT_END) if start >= 0 else -1
    if end < start or start < 0:
        raise ValueError
    head = orjson.loads(data[:start] + data[end:])  # the events left out

    def events() -> Iterator[Any]:
        at = start
        while at < end:
            cut = data.find(EVENT_END + b",", at + CHUNK, end)
            stop = end if cut < 0 else cut + len(EVENT_END)
            yield from orjson.loads(b"[" + data[at:stop] + b"]")
            at = stop + 1  # behind the comma

    return head, _sort(events())


def _sort(
    events: Iterable[Any],
) -> _Sorted:
    """Events by thread and by stream, and the threads' names."""
    threads: dict[tuple[Any, Any], _Thread] = {}
    streams: dict[tuple[Any, Any], _Thread] = {}
    names: dict[tuple[Any, Any], str] = {}
    interned: dict[str, str] = {}
    texts: dict[str, str] = {}
    for event in events:
        if not isinstance(event, dict):
            continue
        kind, category = event.get("ph"), event.get("cat")
        args = event.get("args") or {}
        if kind == "X":
            start, duration = event.get("ts"), event.get("dur")
            if not isinstance(start, (int, float)) or not isinstance(duration, (int, float)) or duration < 0:
                continue
            if category in CPU_CATEGORIES:
                lane = threads.setdefault((event.get("pid"), event.get("tid")), _Thread())
            elif category in DEVICE_CATEGORIES:
                place = (args.get("device", event.get("pid")), args.get("stream", event.get("tid")))
                lane = streams.setdefault(place, _Thread())
            else:
                continue
            name = str(event.get("name"))
            if name.startswith(COMPILED):
                name = COMPILED_NAME
            lane.names.append(interned.setdefault(name, name))
            lane.start.append(start)
            lane.duration.append(duration)
            lane.details.append(_detail(name, category, args, texts))
        elif category == "cpu_instant_event" and event.get("name") == "[memory]" and args.get("Device Type") == 0:
            lane = threads.setdefault((event.get("pid"), event.get("tid")), _Thread())
            lane.memory.append((float(event["ts"]), int(args.get("Bytes", 0))))
        elif kind == "M" and event.get("name") == "thread_name":
            names[event.get("pid"), event.get("tid")] = str(args.get("name"))
    return {key: one for key, one in threads.items() if one.names}, streams, names


def _detail(name: str, category: str, args: Mapping[str, Any], texts: dict[str, str]) -> Detail:
    """What `read_lanes` promises of an event; `texts` are the shapes that were written out before."""
    detail: Detail = {"category": category}
    if "Input Dims" in args:
        dims = args["Input Dims"]
        key = str(dims)
        text = texts.get(key)
        if text is None:
            text = texts[key] = shapes_text(dims)
        if text:
            detail["shapes"] = text
        count = flops(name, dims, args.get("Concrete Inputs") or ())
        if count is not None:
            detail["flops"] = count
    if args.get("Sequence number", -1) >= 0:
        detail["sequence"] = args["Sequence number"]
        detail["backward"] = bool(args.get("Fwd thread id"))
    for ours, theirs in (("external", "External id"), ("correlation", "correlation")):
        if theirs in args:
            detail[ours] = args[theirs]
    return detail


def _loop_score(thread: _Thread) -> tuple[int, int]:
    """How much a thread looks like the one of the training loop."""
    loop = sum(name.startswith(LOOP) for name in thread.names)
    return loop, sum(one.get("category") == "cpu_op" and not one.get("backward") for one in thread.details)


def _nanoseconds(microseconds: Iterable[float]) -> Int64Array:
    return np.rint(np.array(list(microseconds), np.float64) * 1000).astype(np.int64)


def _duration(start: list[float], duration: list[float]) -> Int64Array:
    # From the rounded ends, so that what ends where another begins still does.
    ends = np.array(start, np.float64) + np.array(duration, np.float64)
    return _nanoseconds(ends.tolist()) - _nanoseconds(start)


def _give_memory(lane: Lane, memory: list[tuple[float, int]]) -> None:
    """Add each allocation to the operator in which it happened."""
    if not memory:
        return
    operators = np.array([i for i, one in enumerate(lane.details) if one and one["category"] == "cpu_op"], np.int64)
    if not len(operators):
        return
    parent, _ = nesting(lane.start[operators], lane.duration[operators])
    end = lane.start[operators] + lane.duration[operators]
    when = _nanoseconds(at for at, _ in memory)
    found = np.searchsorted(lane.start[operators], when, side="right") - 1
    for at, moment, (_, size) in zip(found.tolist(), when.tolist(), memory, strict=True):
        while at >= 0 and end[at] < moment:
            at = parent[at]
        if at >= 0:
            detail: Any = lane.details[operators[at]]
            detail["memory_bytes"] = detail.get("memory_bytes", 0) + size
