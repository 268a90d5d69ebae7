"""A PyTorch trace as an XPlane, so that TensorBoard's Profile tab shows both frameworks.

TensorBoard has one maintained profiler plugin, which reads TensorFlow's format. It counts as an operator what is called
`path:Type`, with one colon and a type that begins with a capital letter, and as steps the events with the numbers
`step_num` and `_r`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .trace import Labels, Lane, Trace

HOST_PLANE = "/host:CPU"
TRAINING_LINE = "python"


def to_xplane(trace: Trace, labels: Sequence[Labels], first_step: int | None = None) -> bytes:
    """The trace as bytes of an `.xplane.pb` file; steps are numbered from `first_step`.

    Raises:
        TraceError: the package protobuf is missing.
    """
    from .xplane_pb2 import XSpace

    space = XSpace()
    host = _Plane(space.planes.add(id=1, name=HOST_PLANE))
    devices: dict[str, _Plane] = {}
    origin = round((trace.wall_clock or 0.0) * 1e9)
    for number, (lane, label) in enumerate(zip(trace.lanes, labels, strict=True), 1):
        if lane.kind == "device":
            device = lane.name.partition(" · ")[0].rpartition(" ")[2]
            if device not in devices:
                devices[device] = _Plane(space.planes.add(id=len(space.planes) + 1, name=f"/device:GPU:{device}"))
            plane = devices[device]
        else:
            plane = host
        begin = int(lane.start[0]) if len(lane) else 0
        name = TRAINING_LINE if lane.kind == "training" else lane.name
        line = plane.message.lines.add(id=number, name=name, timestamp_ns=origin + begin)
        if lane.kind == "training":
            _add_steps(plane, line, trace, begin, first_step or 0)
        _add_events(plane, line, lane, label, begin)
    data: bytes = space.SerializeToString()
    return data


def operator_name(name: str, layer: str | None) -> str:
    """An operator's name as the profiler of TensorBoard reads it.

    `aten::mkldnn_convolution` in the layer `net.conv1` is `net/conv1/aten/mkldnn_convolution:Mkldnn_convolution`.
    """
    parts = [part for part in name.replace(":", " ").split() if part]
    kind = parts[-1] if parts else "Operator"
    path = "/".join([*(layer.split(".") if layer else ()), *parts])
    capital = kind[:1].upper() if kind[:1].isalpha() else f"Op{kind[:1]}"
    return f"{path}:{capital}{kind[1:]}"


class _Plane:
    """A plane and the numbers of the names in it."""

    def __init__(self, message: Any) -> None:
        self.message = message
        self._events: dict[str, int] = {}
        self._stats: dict[str, int] = {}

    def event(self, name: str) -> int:
        if name not in self._events:
            number = self._events[name] = len(self._events) + 1
            self.message.event_metadata[number].id = number
            self.message.event_metadata[number].name = name
        return self._events[name]

    def stat(self, name: str) -> int:
        if name not in self._stats:
            number = self._stats[name] = len(self._stats) + 1
            self.message.stat_metadata[number].id = number
            self.message.stat_metadata[number].name = name
        return self._stats[name]


def _add_steps(plane: _Plane, line: Any, trace: Trace, begin: int, first_step: int) -> None:
    edges = trace.step_edges.tolist()
    for step, (start, end) in enumerate(pairwise(edges), first_step):
        made = line.events.add(
            metadata_id=plane.event("train"), offset_ps=1000 * (start - begin), duration_ps=1000 * (end - start)
        )
        made.stats.add(metadata_id=plane.stat("step_num"), int64_value=step)
        made.stats.add(metadata_id=plane.stat("_r"), int64_value=1)


def _add_events(plane: _Plane, line: Any, lane: Lane, labels: Labels, begin: int) -> None:
    names: dict[tuple[str, bool, str | None], int] = {}
    times = (lane.start - begin).tolist(), lane.duration.tolist()
    for name, start, duration, family, layer in zip(lane.names, *times, labels.family, labels.layer, strict=True):
        operator = family is not None
        key = name, operator, layer if operator else None
        if key not in names:
            names[key] = plane.event(operator_name(key[0], key[2]) if operator else key[0].replace(":", " "))
        line.events.add(metadata_id=names[key], offset_ps=1000 * start, duration_ps=1000 * duration)
