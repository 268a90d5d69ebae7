"""Traces as files for other tools: one for Perfetto, a folder for TensorBoard, each as it was recorded."""

import gzip
import json

import pytest

import trackside
from trackside.db.errors import TraceError, UsageError
from trackside.runs.traces.exporting import export_traces
from trackside.runs.traces.merged import Named, merged
from trackside.runs.traces.reading import import_trace, profiles
from trackside.runs.traces.torch_xplane import operator_name, to_xplane
from trackside.runs.traces.xplane_pb2 import XSpace

from .chrome_events import annotation, document, forward, interpreted, kernel, mark

EVENTS = [
    mark("step#4", 1000), mark("forward", 1000), annotation("trackside::layer::net.conv1", 1010, 40),
    forward("aten::conv2d", 1020, 20, 1, **{"Input Dims": [[1, 3, 8, 8]]}), mark("backward", 1100),
    mark("step#5", 1200), mark("end", 1300),
    kernel("sgemm", 1030, 5, **{"External id": 9}), kernel("k", 1050, 5, stream=8),
]  # fmt: skip


def test_all_traces_are_one_file_aligned_at_the_first_step() -> None:
    one, two = interpreted(*EVENTS), interpreted(annotation("ProfilerStep#0", 5, 90), forward("aten::mm", 15, 10, 1))
    made = merged([Named("torch run", one.trace, one.labels), Named("other", two.trace, two.labels)])
    events = json.loads(gzip.decompress(made))["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {1: "torch run", 2: "other"}
    conv = next(event for event in events if event["name"] == "aten::conv2d")
    assert (conv["ts"], conv["dur"], conv["cat"]) == (20.0, 20.0, "convolution")
    assert conv["args"] == {"direction": "forward", "layer": "net.conv1", "shapes": "[1, 3, 8, 8]"}
    assert next(event["ts"] for event in events if event["name"] == "aten::mm") == 10.0
    assert [(event["pid"], event["ts"], event["dur"]) for event in events if event.get("cat") == "step"] == [
        (1, 0.0, 200.0), (1, 200.0, 100.0), (2, 0.0, 90.0),
    ]  # fmt: skip
    threads = {(event["pid"], event["args"]["name"]) for event in events if event["name"] == "thread_name"}
    assert (1, "GPU 0 · stream 8") in threads
    assert all(event["ph"] == "i" for event in events if event["name"] == "trackside::backward")


def test_a_pytorch_trace_is_written_in_tensorflows_format() -> None:
    found = interpreted(*EVENTS)
    space = XSpace()
    space.ParseFromString(to_xplane(found.trace, found.labels, first_step=4))
    assert [plane.name for plane in space.planes] == ["/host:CPU", "/device:GPU:0"]
    host, gpu = space.planes
    assert [line.name for line in gpu.lines] == ["GPU 0 · stream 7", "GPU 0 · stream 8"]
    (line,) = host.lines
    names = {number: one.name for number, one in host.event_metadata.items()}
    stats = {number: one.name for number, one in host.stat_metadata.items()}
    steps = [
        {stats[stat.metadata_id]: stat.int64_value for stat in event.stats}
        for event in line.events
        if names[event.metadata_id] == "train"
    ]
    assert steps == [{"step_num": 4, "_r": 1}, {"step_num": 5, "_r": 1}]
    (conv,) = (one for one in line.events if names[one.metadata_id] == "net/conv1/aten/conv2d:Conv2d")
    begins = line.timestamp_ns * 1000 + conv.offset_ps
    assert (begins, conv.duration_ps) == (10**21 + 1020 * 10**6, 20 * 10**6)
    assert not [name for name in names.values() if name.count(":") > 1 or name.startswith("trackside:")]


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("aten::mm", None, "aten/mm:Mm"), ("aten::_softmax", "a.b", "a/b/aten/_softmax:Op_softmax"),
        ("MmBackward0", None, "MmBackward0:MmBackward0"), ("::", None, ":Operator"),
    ],
)  # fmt: skip
def test_operators_are_named_as_tensorboard_reads_them(name, layer, expected) -> None:
    assert operator_name(name, layer) == expected


@pytest.fixture
def run_and_store(sqlite_url):
    with trackside.start_run(name="../a b", store=sqlite_url) as run:
        pass
    with trackside.open_store(sqlite_url) as store:
        yield store.run(run.id), store


def test_files_for_other_tools_stay_in_their_folder_whatever_the_run_is_called(run_and_store, tmp_path) -> None:
    run, store = run_and_store
    raw = document(*EVENTS)
    import_trace(store, run, "../steps.json.gz", gzip.compress(raw))
    folder = tmp_path / "out"
    written = export_traces(store, [(run, run.name), (run, run.name)], folder)
    assert all(path.is_file() and folder in path.resolve().parents for path in written)
    names = [str(path.relative_to(folder)) for path in written]
    assert names[0] == f"raw/a-b-{run.id}/1-steps.json"
    assert written[0].read_bytes() == raw
    assert "merged.trace.json.gz" in names
    assert names[-1].startswith(f"tensorboard/a-b-{run.id}/plugins/profile/2")
    space = XSpace()
    space.ParseFromString(written[-1].read_bytes())
    assert space.planes[0].name == "/host:CPU"
    with pytest.raises(UsageError, match="Choose another folder"):
        export_traces(store, [(run, "x")], written[0])


def test_an_imported_trace_is_read_with_what_the_run_knows_and_a_broken_one_leaves_nothing(run_and_store) -> None:
    run, store = run_and_store
    object.__setattr__(run, "model", {"layers": [{"name": "net", "class": "RMSNorm"}]})
    made = import_trace(
        store, run, "t.json", document(annotation("trackside::layer::net", 0, 50), forward("aten::pow", 5, 10, 1))
    )
    assert made.operators[0].family == "normalisation"
    assert profiles(store, run) == [made]
    for raw, kind, sentence in (
        (b"", UsageError, "x is empty"), (b"junk", UsageError, "x is no profiler trace"),
        (b"\x1f\x8bjunk", TraceError, "x: The compressed trace is damaged"),
        (document()[:-3], TraceError, "x: The trace"),
    ):  # fmt: skip
        with pytest.raises(kind, match=sentence):
            import_trace(store, run, "x", raw)
    assert len(store.artifacts(run)) == 1
