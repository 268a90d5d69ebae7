"""From an XPlane file to lanes, steps and details, without TensorFlow."""

from __future__ import annotations

import pytest

from trackside.db.errors import TraceError
from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.summary import summarise
from trackside.runs.traces.xplane import read
from trackside.runs.traces.xplane_trace import interpret

STEPS = [("train", 0, 100, {"step_num": 7, "_r": 1}), ("train", 110, 90, {"step_num": 8, "_r": 1})]
CONTEXT = TraceContext(framework="tensorflow", mode="graph", layers={"net/conv1": "Conv2D"}, optimizer="Adam")


def test_lanes_steps_and_what_an_operator_says_of_itself(made):
    made.line("python", [*STEPS, ("EagerLocalExecute: Mul", 5, 3), ("EagerLocalExecute: __inference_fn_12", 10, 60)])
    made.line(
        "tf_Compute/3",
        [
            ("StatefulPartitionedCall/net_1/conv1_1/convolution:_MklNativeFusedConv2D", 20, 9),
            ("ExecutorState::Process", 19, 12),
            ("while/body/_3/while/cond/then/_24/while/cond/StatefulPartitionedCall_1/net_1/Mul:Mul", 40, 1),
            ("ThreadpoolListener::StartRegion", 41, 0),
        ],
    )
    made.line(
        "tf_data_private_threadpool/9", [("Iterator::Root::Prefetch::MapV2[3]", 1, 2), ("GatherV2:GatherV2", 1, 1)]
    )
    trace = read(made.bytes())
    python, compute, data = trace.lanes
    assert [lane.kind for lane in trace.lanes] == ["training", "compute", "background"]
    assert trace.step_edges.tolist() == [1_000, 111_000, 201_000]
    assert list(python.names) == ["train", "Mul", "EagerLocalExecute: __inference_fn_12", "train"]
    assert python.details[1] == {"eager": True}
    assert list(compute.names) == ["ExecutorState::Process", "_MklNativeFusedConv2D", "Mul"]
    assert [one and one["path"] for one in compute.details] == [None, "net_1/conv1_1/convolution", "net_1/Mul"]
    assert list(data.names) == ["Iterator::MapV2", "GatherV2"]
    assert (compute.start[1], compute.duration[1]) == (21_000, 9_000)


def test_what_lies_in_another_event_lies_in_it_after_rounding(made):
    made.line("python", [("train", 0.0004, 10.0003, {"step_num": 1}), ("EagerLocalExecute: Mul", 0.0006, 10.0001)])
    lane = read(made.bytes()).lanes[0]
    assert lane.start[1] >= lane.start[0]
    assert lane.start[1] + lane.duration[1] <= lane.start[0] + lane.duration[0]


def test_a_file_that_is_no_trace_or_half_of_one_is_refused_in_a_sentence(made):
    whole = made.line("python", STEPS * 50).bytes()
    for wrong in (b"", b"PK\x03\x04 not a trace", b'{"traceEvents": []}', whole[: len(whole) // 2], b"\x00" * 64):
        with pytest.raises(TraceError, match=r"XPlane file of tf\.profiler"):
            read(wrong)


def test_a_trace_without_a_step_says_how_to_record_one(made):
    with pytest.raises(TraceError, match="KerasTracker"):
        read(made.line("python", [("EagerLocalExecute: Mul", 5, 3)]).bytes())
    made.space.Clear()
    made.plane("/host:CPU")
    with pytest.raises(TraceError, match="no event"):
        read(made.bytes())


def test_executions_that_nobody_marked_are_the_steps(made):
    made.line(
        "python", [("multi_step_on_iterator", 0, 50), ("EagerExecute", 1, 40), ("multi_step_on_iterator", 60, 50)]
    )
    assert read(made.bytes()).step_edges.tolist() == [1_000, 61_000, 111_000]


def test_a_mark_of_the_tracker_ends_the_last_step(made):
    made.line("python", [*STEPS, ("trackside::end", 205, 0)])
    assert read(made.bytes()).step_edges.tolist()[-1] == 206_000


def test_the_wall_clock_is_that_of_the_profile(made):
    made.line("python", STEPS)
    plane = made.plane("Task Environment")
    plane.stat_metadata[1].name = "profile_start_time"
    plane.stats.add(metadata_id=1, uint64_value=1_700_000_000_500_000_000)
    assert read(made.bytes()).wall_clock == pytest.approx(1_700_000_000.5)


def test_several_steps_in_one_execution_share_its_time(made):
    made.line("python", STEPS)
    context = TraceContext(framework="tensorflow", first_step=20, last_step=25)
    found = interpret(made.bytes(), context)
    assert len(found.trace.step_edges) == 7
    assert any("3 steps in one execution" in note for note in found.notes)
    other = TraceContext(framework="tensorflow", first_step=20, last_step=24)
    assert len(interpret(made.bytes(), other).trace.step_edges) == 3


def test_a_gpu_is_lanes_of_its_streams_and_nothing_is_counted_twice(made):
    # Made by hand in the documented format: there was no GPU to record one on.
    made.line("python", [("train", 0, 100, {"step_num": 1})])
    made.line("tf_Compute/1", [("net_1/conv1_1/convolution:Conv2D", 10, 5)])
    gpu = "/device:GPU:0"
    kernel = ("implicit_gemm_f32", 12, 50, {"tf_op": "net_1/conv1_1/convolution:Conv2D"})
    gradient = ("wgrad_x", 65, 10, {"tf_op": "gradient_tape/net_1/conv1_1/Conv2DBackpropFilter:Conv2DBackpropFilter"})
    made.line("Stream #13(Compute)", [kernel, gradient], plane=gpu)
    made.line("Stream #14(MemcpyH2D)", [("MemcpyH2D", 60, 20)], plane=gpu)
    made.line("TensorFlow Ops", [("Conv2D", 12, 50)], plane=gpu)
    made.line("Steps", [("1", 0, 100)], plane=gpu)
    found = interpret(made.bytes(), CONTEXT)
    assert [lane.kind for lane in found.trace.lanes] == ["training", "compute", "device", "device"]
    profile = summarise(found.trace, found.labels, CONTEXT, "xplane", phases=found.phases)
    on_gpu = {one.name: (one.family, one.direction, one.layer) for one in profile.operators if one.device == "gpu"}
    assert on_gpu == {
        "implicit_gemm_f32": ("convolution", "forward", "net/conv1"),
        "wgrad_x": ("convolution", "backward", "net/conv1"),
        "MemcpyH2D": ("other", "none", None),
    }
    split = {part: round(seconds * 1e6) for part, seconds in profile.split.items() if seconds}
    assert split == {"forward": 5, "kernel": 57, "copy": 8, "other": 30}


def test_reading_goes_by_the_format(made):
    from trackside.runs.traces import reading

    raw = made.line("python", STEPS).line("tf_Compute/1", [("net_1/conv1_1/c:Conv2D", 10, 5)]).bytes()
    assert reading.sniff(raw) == "xplane"
    profile = reading.analyse(raw, "xplane", CONTEXT)
    assert (profile.steps, profile.operators[0].layer) == (2, "net/conv1")
    bars = reading.timeline(raw, "xplane", CONTEXT, 0)
    assert [(one.name, one.family, one.layer) for one in bars if one.family] == [("Conv2D", "convolution", "net/conv1")]
