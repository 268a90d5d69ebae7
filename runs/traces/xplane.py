"""XPlane, the file that tf.profiler writes, as lanes of events; read without TensorFlow.

A plane is a device or a side of the host, a line is a thread or a stream, an event's name and the names of its
statistics stand in tables of the plane. What becomes of them:

| event | name | details |
|---|---|---|
| operator of a graph, `model/conv1/convolution:_MklNativeFusedConv2D` | `_MklNativeFusedConv2D` | `path` |
| operator run eagerly, `EagerLocalExecute: Conv2D` | `Conv2D` | `eager` |
| instruction of an XLA program, `multiply_add_fusion.28` | as is | `path`, `opcode`, `shapes`, `inferred`, `fused` |
| stage of tf.data, `Iterator::Root::Prefetch::Map[3]` | `Iterator::Map` | `data` |
| kernel or copy on a GPU's stream | as is | `path`, where TensorFlow says it |
| anything else: Python, TensorFlow's runtime, ranges of the trackers | as is | None |

An operator's path comes without the functions that call it (`StatefulPartitionedCall/`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...db.errors import TraceError
from ...db.records import Int64Array
from . import protocol
from .hlo import Origin, origins
from .trace import Lane, LaneKind, Trace

HOST = "/host:CPU"
METADATA = "/host:metadata"
ENVIRONMENT = "Task Environment"
DEVICE = re.compile(r"/device:(?!CPU)\w+:\d+")
DERIVED = frozenset({
    "Steps", "XLA Modules", "XLA TraceMe", "TensorFlow Name Scope", "TensorFlow Ops", "Framework Name Scope",
    "Framework Ops", "Source code", "Launch Stats",
})  # fmt: skip
"""Lines of a device that TensorFlow derives from its streams: the same time once more."""
BACKGROUND = ("tf_data", "tf_Data")
FETCHING = "tf_data_iterator_get_next"
"""The thread on which a graph waits for its batch, and goes on with the step's first operators."""
CALLS = re.compile(r"^(?:(?:\w*PartitionedCall|while|cond|body|then|else|)(?:_\d+)?/)+(?=.)")
"""What is before an operator's own path: functions that call it, and the loop of several steps in one execution."""
GRAPH_OPERATOR = re.compile(r"^(?P<path>[\w.][\w.\-/]*):(?P<type>_?[A-Z]\w*)$")
EAGER_OPERATOR = re.compile(r"^EagerLocalExecute: (?P<type>(?!__inference|__forward|__backward)\w+)$")
DATA_STAGE = re.compile(r"^Iterator::")
NOISE = re.compile(r"^(ThreadpoolListener::|end: |MemoryAllocation$|MemoryDeallocation$)")
"""Events without duration that say nothing of the time, up to half of a trace."""
STEP_RANGES = ("multi_step_on_iterator", "one_step_on_iterator", "train_function", "train_step")
"""Python ranges of Keras around one execution: the steps of a trace that nobody marked."""
END = "trackside::end"
EPOCH = 10**17
"""Nanoseconds: a line that starts later counts from 1970, as in old versions, another from the start of the profile."""

Details = Mapping[str, Any]


class _Plane:
    """The tables of a plane, and what each kind of event in it becomes."""

    def __init__(self, plane: Any, programs: Mapping[str, Mapping[str, Origin]], *, device: bool) -> None:
        self.programs, self.device = programs, device
        self.statistics = {id: one.name for id, one in plane.stat_metadata.items()}
        self.names = {id: one.name or one.display_name for id, one in plane.event_metadata.items()}
        self.meanings: dict[int, tuple[str, Details | None, bool]] = {}
        self.by_origin: dict[tuple[str, str], Details] = {}

    def meaning(self, event: Any) -> tuple[str, Details | None, bool]:
        """Name and details of all events of this kind, and whether each event has details of its own."""
        id = event.metadata_id
        if id not in self.meanings:
            self.meanings[id] = self._meaning(self.names.get(id, ""), event)
        return self.meanings[id]

    def _meaning(self, name: str, event: Any) -> tuple[str, Details | None, bool]:
        if not self.device:
            if found := GRAPH_OPERATOR.match(name):
                return found["type"], {"path": CALLS.sub("", found["path"])}, False
            if found := EAGER_OPERATOR.match(name):
                return found["type"], {"eager": True}, False
            if DATA_STAGE.match(name):
                return "Iterator::" + re.sub(r"\[\d+\]", "", name).rpartition("::")[2], {"data": True}, False
        stated = {self.statistics.get(one.metadata_id) for one in event.stats}
        return name, None, bool(stated & {"hlo_op", "tf_op", "step_num"})

    def details(self, event: Any) -> Details | None:
        """What is said of one event alone: its step, or where an instruction or a kernel came from."""
        stated = self.values(event.stats)
        if "step_num" in stated:
            return {"step_num": stated["step_num"]}
        module, instruction = str(stated.get("hlo_module", "")), str(stated.get("hlo_op", ""))
        operator = str(stated.get("tf_op", ""))
        key = (module + operator, instruction)
        if key not in self.by_origin:
            self.by_origin[key] = self._origin(module, instruction, operator)
        return self.by_origin[key]

    def _origin(self, module: str, instruction: str, operator: str) -> Details:
        origin = self.programs.get(module, {}).get(instruction)
        if origin is None:
            path = CALLS.sub("", operator.rpartition(":")[0] or operator)
            return {"path": path, "opcode": re.sub(r"[._]?\d+$", "", instruction) if instruction else ""}
        path = CALLS.sub("", origin.path)
        fused = tuple(CALLS.sub("", one) for one in origin.fused)
        return {
            "path": path, "opcode": origin.opcode, "shapes": origin.shapes, "inferred": origin.inferred, "fused": fused,
        }  # fmt: skip

    def values(self, stats: Any) -> dict[str | None, Any]:
        """Statistics by name; a reference is the string that it refers to."""
        found: dict[str | None, Any] = {}
        for one in stats:
            kind = one.WhichOneof("value")
            value = getattr(one, kind) if kind else None
            found[self.statistics.get(one.metadata_id)] = self.statistics.get(value) if kind == "ref_value" else value
        return found


def read(raw: bytes) -> Trace:
    """The lanes and steps of an XPlane file.

    Steps are the events with a `step_num`, as the tracker and Keras' own `TensorBoard` callback write them, else the
    executions that Keras names. The last step ends with its event, or at the tracker's mark.

    Raises:
        TraceError: it is no XPlane file, it is cut short, or it holds no training step.
    """
    space = _parsed(raw)
    programs = _programs(space)
    lanes: list[Lane] = []
    for plane in space.planes:
        device = DEVICE.search(plane.name) is not None
        if plane.name == HOST or device:
            lanes += _lanes(_Plane(plane, programs, device=device), plane)
    if not lanes:
        raise TraceError("The trace holds no event: record while steps are trained.")
    training = _training_lane(lanes)
    edges = _step_edges(lanes[training])
    lanes[training] = _as_training(lanes[training])
    return Trace(tuple(lanes), edges, _wall_clock(space))


def _parsed(raw: bytes) -> Any:
    from .xplane_pb2 import XSpace

    space = XSpace()
    try:
        space.ParseFromString(raw)
    except protocol.decode_error() as error:
        raise TraceError(
            "This is no XPlane file of tf.profiler, or only a part of one: "
            "copy `plugins/profile/<time>/<host>.xplane.pb` again, whole."
        ) from error
    if not any(plane.name for plane in space.planes):
        raise TraceError(
            "This is no XPlane file of tf.profiler: give `plugins/profile/<time>/<host>.xplane.pb` of a profile."
        )
    return space


def _programs(space: Any) -> dict[str, Mapping[str, Origin]]:
    """XLA programs by name: where each instruction came from."""
    found: dict[str, Mapping[str, Origin]] = {}
    for plane in space.planes:
        if plane.name != METADATA:
            continue
        for metadata in plane.event_metadata.values():
            for stat in metadata.stats:
                if stat.WhichOneof("value") == "bytes_value":
                    try:
                        name, instructions = origins(stat.bytes_value)
                    except protocol.decode_error():
                        continue  # its instructions stay nameless
                    found[name] = instructions
    return found


def _lanes(tables: _Plane, plane: Any) -> Iterator[Lane]:
    lines = [line for line in plane.lines if line.events]
    if tables.device:
        kept = [line for line in lines if line.name not in DERIVED and line.name not in ("XLA Ops", "Async XLA Ops")]
        lines = kept or [line for line in lines if line.name == "XLA Ops"]
    for line in lines:
        kind: LaneKind = "compute"
        if tables.device:
            kind = "device"
        elif line.name.startswith(BACKGROUND) and not line.name.startswith(FETCHING):
            kind = "background"
        name = line.display_name or line.name or str(line.id)
        lane = _lane(tables, line, f"{plane.name} {name}" if tables.device else name, kind)
        if len(lane):
            yield lane


def _lane(tables: _Plane, line: Any, name: str, kind: LaneKind) -> Lane:
    """One line's events; a loop that touches each event once, which is what a million of them cost."""
    names: list[str] = []
    details: list[Details | None] = []
    numbers: list[tuple[int, int]] = []
    noise = {id for id, one in tables.names.items() if NOISE.match(one)}
    meanings, meaning = tables.meanings, tables.meaning
    for event in line.events:
        id = event.metadata_id
        if id in noise:
            continue
        title, said, own = meanings.get(id) or meaning(event)
        names.append(title)
        details.append(tables.details(event) if own else said)
        numbers.append((event.offset_ps, event.duration_ps))
    offset, duration = np.array(numbers, np.int64).reshape(-1, 2).T
    # Rounded ends, not rounded durations: what lies inside another event stays inside it.
    start = line.timestamp_ns + offset // 1000
    end = line.timestamp_ns + (offset + duration) // 1000
    return Lane.of(name, kind, names, start, end - start, details)


def _training_lane(lanes: Sequence[Lane]) -> int:
    """Which lane is the thread that trains: the one with the steps, else with most of what Python asks for."""
    found = [sum(1 for one in lane.details if one and "step_num" in one) for lane in lanes]
    if not any(found):
        found = [sum(1 for name in lane.names if name in STEP_RANGES) for lane in lanes]
    if not any(found):
        found = [sum(1 for name in lane.names if name.startswith("EagerExecute")) for lane in lanes]
    return max(range(len(lanes)), key=found.__getitem__)


def _as_training(lane: Lane) -> Lane:
    return Lane(lane.name, "training", lane.names, lane.start, lane.duration, lane.details)


def _step_edges(lane: Lane) -> Int64Array:
    """Where the steps begin, and where the last one ends."""
    steps = [i for i, one in enumerate(lane.details) if one and "step_num" in one]
    for name in STEP_RANGES:
        steps = steps or [i for i, one in enumerate(lane.names) if one == name]
    if not steps:
        raise TraceError(
            "The trace holds no training step: train inside tf.profiler.experimental.Trace('train', step_num=n, _r=1), "
            "or let KerasTracker(profile=True) record it."
        )
    starts = lane.start[steps]
    last = int(lane.start[steps[-1]] + lane.duration[steps[-1]])
    marks = [int(lane.start[i]) for i, name in enumerate(lane.names) if name == END]
    end = min((one for one in marks if one >= last), default=last)
    return np.append(starts, end).astype(np.int64)


def _wall_clock(space: Any) -> float | None:
    """Seconds since 1970 of nanosecond 0."""
    for plane in space.planes:
        for line in plane.lines:
            if line.timestamp_ns > EPOCH:
                return 0.0
        if plane.name == ENVIRONMENT:
            names = {id: one.name for id, one in plane.stat_metadata.items()}
            for stat in plane.stats:
                if names.get(stat.metadata_id) == "profile_start_time":
                    return float(getattr(stat, stat.WhichOneof("value") or "uint64_value")) * 1e-9
    return None
