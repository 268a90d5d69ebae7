"""Events of a PyTorch trace, sorted by thread and by stream into columns.

The loop of `sort` touches each event once, which is what a million of them cost: it makes no object for an event, and
what events have in common is worked out once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from ...db.records import Float64Array, Int64Array
from .coded import Coded, coded
from .shapes import COUNTED, flops, shapes_text
from .torch_names import family_of
from .trace import Lane, LaneKind, Links, nesting

AUTOGRAD = "autograd::engine::evaluate_function: "
DEVICE_CATEGORIES = frozenset({"kernel", "concurrent_kernel", "gpu_memcpy", "gpu_memset"})
CPU_CATEGORIES = frozenset({
    "cpu_op", "user_annotation", "python_function", "cuda_runtime", "cuda_driver", "privateuse1_runtime",
})  # fmt: skip

COMPILED = "## Call CompiledFxGraph"
COMPILED_NAME = "CompiledFxGraph"
"""The range around the kernels of one compiled graph, without the hash that follows in its name."""

Place = tuple[Any, Any]
"""Process and thread, or device and stream."""
Detail = dict[str, Any]


class Sorted(NamedTuple):
    """Lanes by thread and by stream, named and of their kind only for the time being, and the threads' names."""

    threads: dict[Place, Lane]
    streams: dict[Place, Lane]
    names: dict[Place, str]


def sort(events: Iterable[Any]) -> Sorted:
    """Events of a trace, whatever is none passed over, by thread and by stream."""
    threads: dict[Place, _Events] = {}
    streams: dict[Place, _Events] = {}
    titles: dict[Place, str] = {}
    known = _Known()
    names, details = known.names, known.details
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
                place, lanes = (event.get("pid"), event.get("tid")), threads
            elif category in DEVICE_CATEGORIES:
                place = (args.get("device", event.get("pid")), args.get("stream", event.get("tid")))
                lanes = streams
            else:
                continue
            mine = lanes.get(place)
            if mine is None:
                mine = lanes[place] = _Events()
            name = str(event.get("name"))
            code = names.get(name)
            mine.names.append(known.name(name) if code is None else code)
            mine.start.append(start)
            mine.duration.append(duration)
            # What is said of it, as a key that takes less time than to write it out.
            key = category if "Input Dims" not in args else (category, *_shaped(name, args))
            code = details.get(key)
            mine.details.append(known.detail(key, name, category, args) if code is None else code)
            mine.sequence.append(args.get("Sequence number", -1))
            mine.backward.append(bool(args.get("Fwd thread id")))
            mine.external.append(args.get("External id"))
            mine.correlation.append(args.get("correlation"))
        elif category == "cpu_instant_event" and event.get("name") == "[memory]" and args.get("Device Type") == 0:
            mine = threads.setdefault((event.get("pid"), event.get("tid")), _Events())
            mine.memory.append((float(event["ts"]), int(args.get("Bytes", 0))))
        elif kind == "M" and event.get("name") == "thread_name":
            titles[event.get("pid"), event.get("tid")] = str(args.get("name"))
    return Sorted(
        {place: one.lane("background", known) for place, one in threads.items() if len(one.names)},
        {place: one.lane("device", known) for place, one in streams.items()},
        titles,
    )


def is_operator(detail: Mapping[str, Any] | None) -> bool:
    """Whether an event is one of PyTorch's operators, by its details."""
    return detail is not None and detail["category"] == "cpu_op"


def communicates(lane: Lane) -> NDArray[np.bool_]:
    """(n,) which events exchange data with other processes: operators and ranges, but no function of Python's."""
    said = coded(lane.details, id).where(
        lambda one: one is not None and one["category"] in ("cpu_op", "user_annotation")
    )
    named: NDArray[np.bool_] = coded(lane.names).where(lambda name: family_of(name) == "communication")
    return said & named


def _shaped(name: str, args: Mapping[str, Any]) -> tuple[Any, ...]:
    """What shapes and FLOPs depend on."""
    dims = orjson.dumps(args["Input Dims"])
    return (dims, name, orjson.dumps(args.get("Concrete Inputs"))) if name in COUNTED else (dims,)


class _Known:
    """Names and details that occurred, each with its code."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.details: dict[Any, int] = {}
        self.name_table: list[str] = []
        self.detail_table: list[Detail] = []

    def name(self, name: str) -> int:
        """The code of a name that is new."""
        short = COMPILED_NAME if name.startswith(COMPILED) else name
        code = self.names.get(short)
        if code is None:
            code = self.names[short] = len(self.name_table)
            self.name_table.append(short)
        self.names[name] = code
        return code

    def detail(self, key: Any, name: str, category: str, args: Mapping[str, Any]) -> int:
        """The code of what is said of an event, where it is new."""
        detail: Detail = {"category": category}
        if "Input Dims" in args:
            dims = args["Input Dims"]
            if text := shapes_text(dims):
                detail["shapes"] = text
            count = flops(name, dims, args.get("Concrete Inputs") or ())
            if count is not None:
                detail["flops"] = count
        code = self.details[key] = len(self.detail_table)
        self.detail_table.append(detail)
        return code


@dataclass(slots=True)
class _Events:
    """Events of one thread or stream as they come, in columns; times in microseconds."""

    names: array[int] = field(default_factory=lambda: array("i"))
    start: array[float] = field(default_factory=lambda: array("d"))
    duration: array[float] = field(default_factory=lambda: array("d"))
    details: array[int] = field(default_factory=lambda: array("i"))
    sequence: array[int] = field(default_factory=lambda: array("q"))
    backward: array[int] = field(default_factory=lambda: array("b"))
    external: list[int | None] = field(default_factory=list)
    correlation: list[int | None] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # when, bytes

    def lane(self, kind: LaneKind, known: _Known) -> Lane:
        """A lane of these."""
        start = np.frombuffer(self.start)
        begin = _nanoseconds(start)
        # From the rounded ends, so that what ends where another begins still does.
        duration = _nanoseconds(start + np.frombuffer(self.duration)) - begin
        sequence = np.frombuffer(self.sequence, np.int64)
        backward = np.frombuffer(self.backward, bool) & (sequence >= 0)
        links = Links(sequence, backward, self.external, self.correlation)
        names = Coded(known.name_table, np.frombuffer(self.names, np.int32))
        details = Coded(known.detail_table, np.frombuffer(self.details, np.int32))
        made = Lane.of("", kind, names, begin, duration, details, links)
        return replace(made, memory=_memory(made, self.memory)) if self.memory else made


def _nanoseconds(microseconds: Float64Array) -> Int64Array:
    return np.rint(microseconds * 1000).astype(np.int64)


def _memory(lane: Lane, instants: Sequence[tuple[float, int]]) -> Float64Array:
    """Bytes of each event: an allocation is the innermost operator's in which it happened."""
    memory = np.full(len(lane), np.nan)
    operators = np.flatnonzero(coded(lane.details, id).where(is_operator))
    if not len(operators):
        return memory
    start, duration = lane.start[operators], lane.duration[operators]
    parent, _ = nesting(start, duration)
    when = _nanoseconds(np.array([at for at, _ in instants], np.float64))
    found = np.searchsorted(start, when, side="right") - 1
    while len(over := np.flatnonzero((found >= 0) & ((start + duration)[found] < when))):
        found[over] = parent[found[over]]
    inside = found >= 0
    sizes = np.array([size for _, size in instants], np.float64)
    owners = operators[found[inside]]
    memory[owners] = 0.0
    np.add.at(memory, owners, sizes[inside])
    return memory
