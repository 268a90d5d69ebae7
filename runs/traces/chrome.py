"""PyTorch's traces: the JSON that torch.profiler exports, plain or gzipped, into lanes.

Read are complete events (`ph` X) of the categories that torch.profiler writes: `cpu_op`, `user_annotation`,
`python_function`, the calls of CUDA's and HIP's runtime, and on accelerators `kernel`, `gpu_memcpy`, `gpu_memset`; and
the `[memory]` instants. The format is that of libkineto's `output_json.cpp`. What else a file holds is passed over.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import orjson

from ...db.errors import TraceError
from .coded import coded
from .torch_events import AUTOGRAD, Sorted, communicates, is_operator, sort
from .trace import Lane, LaneKind

EVENTS, EVENT_END = b'"traceEvents": [', b"\n  }"
LARGE, CHUNK = 16_000_000, 2_000_000  # bytes
LOOP = ("ProfilerStep#", "trackside::", "Optimizer.")
"""Beginnings of what only the thread of the training loop records."""


def read_lanes(raw: bytes) -> tuple[tuple[Lane, ...], float | None]:
    """The lanes of a trace, and when its clock began in seconds since the epoch, or None.

    An event's `details` hold its `category` and, where recorded: `shapes` and `flops`. The training thread's lane comes
    first.

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
        threads, streams, names = sort(events)
    if not threads:
        raise TraceError("The trace holds no operator of PyTorch's: record it with ProfilerActivity.CPU.")
    training = max(threads, key=lambda place: _loop_score(threads[place]))
    name = f"{names.get(training, f'thread {training[1]}')} · training"
    lanes = [replace(threads.pop(training), name=name, kind="training")]
    for place, lane in sorted(threads.items(), key=lambda item: str(item[0])):
        # The training thread waits for gradients, and for other processes.
        works = coded(lane.names).where(lambda name: name.startswith(AUTOGRAD)) | communicates(lane)
        kind: LaneKind = "compute" if works.any() else "background"
        lanes.append(replace(lane, name=names.get(place, f"thread {place[1]}"), kind=kind))
    for (device, stream), lane in sorted(streams.items(), key=lambda item: str(item[0])):
        lanes.append(replace(lane, name=f"GPU {device} · stream {stream}"))
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


def _in_chunks(data: bytes) -> tuple[Any, Sorted]:
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

    def chunks() -> Iterator[list[Any]]:
        at = start
        while at < end:
            cut = data.find(EVENT_END + b",", at + CHUNK, end)
            stop = end if cut < 0 else cut + len(EVENT_END)
            yield orjson.loads(b"[" + data[at:stop] + b"]")
            at = stop + 1  # behind the comma

    return head, sort(chain.from_iterable(chunks()))


def _loop_score(lane: Lane) -> tuple[int, int]:
    """How much a thread looks like the one of the training loop."""
    loop = coded(lane.names).where(lambda name: name.startswith(LOOP))
    operators = coded(lane.details, id).where(is_operator)
    if lane.links is not None:
        operators &= ~lane.links.backward
    return int(np.count_nonzero(loop)), int(np.count_nonzero(operators))
