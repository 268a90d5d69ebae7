"""How long it takes to summarise a profiler's trace, by its number of events, and how much memory.

The traces are made up, in the form in which torch.profiler (with shapes) and tf.profiler (graph mode) write those of a
stack of dense layers that trackside's trackers recorded: marks, ranges around layers, forward and backward operators,
the optimizer. What `trackside profile` and the Profile page do with a trace the first time is timed: from the bytes of
the file to the profile. Beside it stands what parsing the bytes takes, without looking at any event: orjson on pieces
of the JSON, protobuf on the XPlane. Each trace is read in a process of its own, so that its memory can be told.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from report import Ratio, Report, Size, Table, Target, alternating, main, scratch

EVENTS = {"full": (10_000, 100_000, 1_000_000), "quick": (10_000, 100_000), "smoke": (2_000,)}
ROUNDS = {"full": 3, "quick": 3, "smoke": 1}
LAYERS = 100
WANTED_SECONDS = 6.0  # of a million events; of fewer in proportion
PIECE, EVENT_END = 2_000_000, b"\n  },"

Format = Literal["chrome", "xplane"]
NAMES: dict[Format, str] = {"chrome": "PyTorch", "xplane": "TensorFlow"}

NOTE = """Times are of the processor: one thread works. parse: the bytes into objects of Python, which are thrown away.
summarise: from the bytes to the profile. memory: the most that the process had at any time, the file included."""


@dataclass(frozen=True, slots=True)
class Found:
    """What reading one trace showed; a time a round, in seconds of the processor."""

    events: int
    file_bytes: int
    parse: list[float]
    summarise: list[float]
    memory_bytes: int


def chrome_events(events: int) -> Iterator[str]:
    """A PyTorch trace of about so many events, one after the other, as libkineto lays them out."""
    at, sequence, number = 1000.0, count(1), count(1)
    dims, weight = [128, 256], [256, 256]
    inputs = (
        '"Concrete Inputs": ["", "", ""], "Input type": ["float", "float", "float"], '
        f'"Input Strides": [[256, 1], [1, 256], [1]], "Input Dims": [{dims}, {weight}, [256]]'
    )

    def event(name: str, start: float, duration: float, category: str = "cpu_op", more: str = "") -> str:
        one = next(number)
        return (
            f'  {{\n    "ph": "X",\n    "cat": "{category}",\n    "name": "{name}",\n    "pid": 7,\n    "tid": 7,\n'
            f'    "ts": {start:.3f},\n    "dur": {duration:.3f}\n    ,\n    "args": {{\n'
            f'      "External id": {one},{more} "Record function id": 0, "Ev Idx": {one}\n    }}\n  }}'
        )

    def mark(name: str) -> str:
        return event(f"trackside::{name}", at, 0.0, "user_annotation")

    def autograd(node: str, tie: str) -> Iterator[str]:
        yield event(f"autograd::engine::evaluate_function: {node}", at, 30, more=tie)
        yield event(node, at + 1, 28, more=tie)

    for step in range(max(events // (13 * LAYERS), 2)):
        yield mark(f"step#{step}")
        yield mark("forward")
        ties = []
        for layer in range(LAYERS):
            ties.append(f'"Sequence number": {next(sequence)}, "Fwd thread id": ')
            yield event(f"trackside::layer::net.{layer}", at, 20, "user_annotation")
            yield event("aten::linear", at + 1, 18, more=f" {ties[-1]}0, {inputs},")
            yield event("aten::t", at + 2, 2, more=f' "Input Dims": [{weight}],')
            yield event("aten::addmm", at + 5, 12, more=f" {ties[-1]}0, {inputs},")
            at += 21
        yield mark("backward")
        for tie in reversed(ties):
            yield from autograd("AddmmBackward0", f" {tie}1,")
            yield event("aten::mm", at + 3, 10, more=f' "Input Dims": [{dims}, {weight}],')
            yield event("aten::mm", at + 15, 10, more=f' "Input Dims": [{weight}, {dims}],')
            at += 31
            yield from autograd("torch::autograd::AccumulateGrad", "")
            yield event("aten::add_", at + 3, 10, more=f' "Input Dims": [{weight}, {weight}],')
            at += 31
        yield mark("optimizer")
        for _ in range(2 * LAYERS):
            yield event("aten::_foreach_mul_", at, 3)
            at += 4
        yield mark("step_end")
        at += 5
    yield mark("end")


def write_chrome(path: Path, events: int) -> int:
    """Write a PyTorch trace; how many events it has."""
    written = 0
    with path.open("w") as file:
        file.write('{\n  "schemaVersion": 1,\n  "baseTimeNanoseconds": 0,\n  "traceEvents": [\n')
        for written, one in enumerate(chrome_events(events), 1):
            file.write(one if written == 1 else ",\n" + one)
        file.write('\n  ],\n  "traceName": "made.json"\n}\n')
    return written


def write_xplane(path: Path, events: int) -> int:
    """Write a TensorFlow trace; how many events it has."""
    from trackside.runs.traces.xplane_pb2 import XSpace

    space = XSpace()
    plane = space.planes.add(name="/host:CPU")
    names: dict[str, int] = {}

    def named(name: str) -> int:
        if name not in names:
            names[name] = len(names) + 1
            plane.event_metadata[names[name]].id, plane.event_metadata[names[name]].name = names[name], name
        return names[name]

    plane.stat_metadata[1].id, plane.stat_metadata[1].name = 1, "step_num"
    python = plane.lines.add(id=1, name="python", timestamp_ns=1000)
    compute = plane.lines.add(id=2, name="tf_Compute/2", timestamp_ns=1000)
    inside, at, written = "StatefulPartitionedCall", 0, 0
    for step in range(max(events // (10 * LAYERS), 2)):
        begin = at
        for backward in (False, True):
            for layer in range(LAYERS):
                scope = f"{inside}/{'gradient_tape/' if backward else ''}net_1/dense_{layer}_1"
                for operator in (
                    ("MatMul", "BiasAdd", "Relu") if not backward else ("ReluGrad", "BiasAddGrad", "MatMul")
                ):
                    event = named(f"{scope}/{operator}:{operator}")
                    compute.events.add(metadata_id=event, offset_ps=at, duration_ps=9_000_000)
                    at += 10_000_000
        for layer in range(4 * LAYERS):
            event = named(f"{inside}/adam/Sub_{layer}:Sub")
            compute.events.add(metadata_id=event, offset_ps=at, duration_ps=2_000_000)
            at += 3_000_000
        train = python.events.add(metadata_id=named("train"), offset_ps=begin, duration_ps=at - begin)
        train.stats.add(metadata_id=1, int64_value=step)
        at += 1_000_000
        written += 10 * LAYERS + 1
    path.write_bytes(space.SerializeToString())
    return written


def parse_chrome(raw: bytes) -> None:
    """Every event of a PyTorch trace as a dictionary, some thousands at a time."""
    import orjson

    at, stop = raw.index(b"[\n") + 1, raw.rindex(b"\n  ]")
    while at < stop:
        cut = raw.find(EVENT_END, at + PIECE, stop)
        end = stop if cut < 0 else cut + len(EVENT_END) - 1
        orjson.loads(b"[" + raw[at:end] + b"]")
        at = end + 1


def parse_xplane(raw: bytes) -> None:
    """A TensorFlow trace as protobuf's messages."""
    from trackside.runs.traces.xplane_pb2 import XSpace

    XSpace().ParseFromString(raw)


WRITERS: dict[Format, Callable[[Path, int], int]] = {"chrome": write_chrome, "xplane": write_xplane}
PARSERS: dict[Format, Callable[[bytes], None]] = {"chrome": parse_chrome, "xplane": parse_xplane}


def read(format: Format, path: Path, events: int, rounds: int) -> Found:
    """Time one trace. Runs in a process of its own."""
    from trackside.runs.traces.reading import analyse
    from trackside.runs.traces.records import TraceContext

    raw = path.read_bytes()
    context = TraceContext(framework="torch" if format == "chrome" else "tensorflow")
    work: dict[str, Callable[[], object]] = {
        "summarise": lambda: analyse(raw, format, context), "parse": lambda: PARSERS[format](raw),
    }  # fmt: skip
    work["summarise"]()
    unit = 1 if sys.platform == "darwin" else 1024
    memory = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[float]] = {name: [] for name in work}
    for _, name in alternating(tuple(work), rounds):
        begin = time.process_time()
        work[name]()
        times[name].append(time.process_time() - begin)
    return Found(events, len(raw), times["parse"], times["summarise"], memory)


def measure(size: Size) -> Report:
    """All sizes of both formats, one after the other."""
    report = Report(name="trace_reading", notes=[NOTE])
    for format, title in NAMES.items():
        rows, found = [], None
        for events in EVENTS[size]:
            with scratch() as folder, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                written = WRITERS[format](folder / "trace", events)
                found = pool.submit(read, format, folder / "trace", written, ROUNDS[size]).result()
            rows.append((
                f"{found.events:,}",
                f"{found.file_bytes / 1e6:,.1f}",
                f"{statistics.median(found.parse):.2f}",
                f"{statistics.median(found.summarise):.2f}",
                f"{Ratio.of(found.summarise, found.parse)}",
                f"{found.memory_bytes / 2**20:,.0f}",
            ))  # fmt: skip
        assert found is not None
        headings = ("events", "file MB", "parse s", "summarise s", "summarise / parse", "memory MiB")
        report.tables.append(Table(f"{title}: {ROUNDS[size]} rounds, alternating", headings, rows))
        wanted = [WANTED_SECONDS * found.events / 1e6] * len(found.summarise)
        what = f"{title}, {found.events:,} events: seconds to summarise / {wanted[0]:.3g} s"
        report.targets.append(Target(what, Ratio.of(found.summarise, wanted), "at most", 1))
    return report


if __name__ == "__main__":
    main(measure, __doc__ or "")
