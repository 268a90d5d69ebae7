"""PyTorch's traces: steps and phases, families, directions and layers, from events as torch.profiler exports them."""

import gzip
import json
from typing import Any

import pytest

from trackside.db.errors import TraceError
from trackside.runs.traces import chrome
from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.shapes import flops, shapes_text
from trackside.runs.traces.torch_names import family_of, family_of_kernel, fused
from trackside.runs.traces.torch_trace import interpret

from .chrome_events import (
    AUTOGRAD,
    annotation,
    backward,
    document,
    families,
    forward,
    interpreted,
    kernel,
    mark,
    op,
    profile,
    split,
)  # fmt: skip


def batch(at: float, n: int) -> list[Any]:
    """One batch of 100 µs as the tracker marks it, in Lightning: all inside the optimizer's step."""
    return [
        mark(f"step#{n}", at),
        mark("forward", at + 1),
        annotation("Optimizer.step#Adam.step", at + 2, 88),
        annotation("trackside::layer::net.conv", at + 4, 20),
        forward("aten::conv2d", at + 5, 18, 10 * n),
        op("aten::mkldnn_convolution", at + 6, 16),
        op("aten::empty", at + 7, 1),
        forward("aten::sub", at + 30, 5, 10 * n + 1),
        mark("zero_grad", at + 40),
        mark("backward", at + 42),
        backward("SubBackward0", at + 44, 5, 10 * n + 1),
        backward("ConvolutionBackward0", at + 50, 20, 10 * n),
        op("aten::convolution_backward", at + 52, 15),
        op(f"{AUTOGRAD}torch::autograd::AccumulateGrad", at + 71, 3),
        op("torch::autograd::AccumulateGrad", at + 72, 2),
        mark("after_backward", at + 75),
        mark("optimizer", at + 77),
        op("aten::mul_", at + 80, 5),
        mark("step_end", at + 90),
    ]


TWO_BATCHES = [
    *batch(0, 3),
    annotation("enumerate(DataLoader)#_Iter.__next__", 92, 6),
    *batch(100, 4),
    mark("end", 195),
]


WAIT = annotation("enumerate(DataLoader)#_Iter.__next__", 192, 2)


def test_a_last_step_without_its_wait_for_data_says_so_and_one_with_it_does_not() -> None:
    assert [note for note in profile(*TWO_BATCHES).notes if "last step" in note]
    assert not [note for note in profile(*TWO_BATCHES, WAIT).notes if "last step" in note]


def test_a_step_within_which_recording_ended_is_left_out() -> None:
    within = [mark("step#5", 200), mark("forward", 201), forward("aten::conv2d", 205, 9, 50), mark("end", 230)]
    found = profile(*TWO_BATCHES[:-1], WAIT, *within)
    assert [round(seconds * 1e6) for seconds in found.step_seconds] == [100, 100]


def test_markers_split_the_step_although_lightning_trains_inside_the_optimizer() -> None:
    found = profile(*TWO_BATCHES)
    assert [round(seconds * 1e6) for seconds in found.step_seconds] == [100, 95]
    # Forward to zero_grad, zero_grad and optimizer, backward; the rest of 97.5 is hooks and the loop.
    assert split(found) == {"data": 3.0, "forward": 40.0, "backward": 33.0, "optimizer": 15.0, "other": 6.5}
    assert sum(found.split.values()) == pytest.approx(sum(found.step_seconds) / 2)


def test_what_lies_between_batches_is_waiting_where_no_data_loader_is_named() -> None:
    found = profile(*batch(0, 0), *batch(100, 1), mark("end", 195))
    assert split(found)["data"] == pytest.approx(7.5)
    assert any("does not name the data loader" in note for note in found.notes)


def test_operators_have_family_direction_and_layer_and_gradients_those_of_their_operators() -> None:
    rows = {(one.name, one.family, one.direction, one.layer, one.inferred) for one in profile(*TWO_BATCHES).operators}
    assert rows == {
        ("aten::conv2d", "convolution", "forward", "net.conv", False),
        ("aten::mkldnn_convolution", "convolution", "forward", "net.conv", False),
        ("aten::empty", "convolution", "forward", "net.conv", False),
        ("aten::sub", "loss", "forward", None, True),  # after the last layer
        ("SubBackward0", "loss", "backward", None, True),
        ("ConvolutionBackward0", "convolution", "backward", "net.conv", False),
        ("aten::convolution_backward", "convolution", "backward", "net.conv", False),
        ("torch::autograd::AccumulateGrad", "other", "backward", "net.conv", False),
        ("aten::mul_", "optimizer", "none", None, False),
        ("enumerate(DataLoader)#_Iter.__next__", "data", "none", None, False),
    }


def test_a_step_of_several_batches_is_one_step() -> None:
    found = profile(*batch(0, 0), *batch(100, 0), *batch(200, 1), mark("end", 295))
    assert [round(seconds * 1e6) for seconds in found.step_seconds] == [200, 95]


def own_loop(at: float, n: int) -> list[Any]:
    """One step of a loop of the user's own, as profiled without us."""
    return [
        annotation("enumerate(DataLoader)#_Iter.__next__", at, 10),
        forward("aten::stack", at + 2, 5, 10 * n),
        annotation("Optimizer.zero_grad#SGD.zero_grad", at + 12, 3),
        forward("aten::linear", at + 20, 10, 10 * n),
        forward("aten::mse_loss", at + 32, 8, 10 * n + 1),
        op("aten::mul", at + 33, 4),
        backward("MseLossBackward0", at + 45, 5, 10 * n + 1),
        backward("AddmmBackward0", at + 52, 20, 10 * n),
        annotation("Optimizer.step#SGD.step", at + 80, 10),
        op("aten::_foreach_add_", at + 82, 5),
        op("aten::item", at + 92, 2),
    ]


def test_without_markers_steps_are_the_schedule_and_phases_follow_from_the_operators() -> None:
    steps = [annotation("ProfilerStep#5", 0, 100), annotation("ProfilerStep#6", 100, 100)]
    found = profile(*steps, *own_loop(0, 1), *own_loop(100, 2))
    assert [round(seconds * 1e6) for seconds in found.step_seconds] == [100, 100]
    assert split(found) == {"data": 10.0, "forward": 20.0, "backward": 27.0, "optimizer": 13.0, "other": 30.0}
    assert families(found) == {
        ("data", "none"): 20.0, ("matmul", "forward"): 20.0, ("matmul", "backward"): 38.0,
        ("loss", "forward"): 16.0, ("loss", "backward"): 8.0, ("optimizer", "none"): 10.0, ("other", "none"): 4.0,
    }  # fmt: skip


def test_without_a_schedule_steps_are_the_optimizers_and_without_one_all_is_one_step() -> None:
    found = profile(*own_loop(0, 1), *own_loop(100, 2))
    assert [round(seconds * 1e6) for seconds in found.step_seconds] == [90, 100]
    assert any("calls of the optimizer" in note for note in found.notes)
    bare = profile(forward("aten::mm", 0, 10, 1), op("aten::mm", 30, 10))
    assert [round(seconds * 1e6) for seconds in bare.step_seconds] == [40]
    assert any("does not say where steps begin" in note for note in bare.notes)


def test_a_closure_leaves_the_optimizer_what_comes_after_the_gradients() -> None:
    found = profile(
        annotation("ProfilerStep#1", 0, 100),
        annotation("Optimizer.step#Adam.step", 10, 80),
        forward("aten::mm", 20, 20, 1),
        backward("MmBackward0", 45, 15, 1),
        op("aten::lerp_", 70, 10),
    )
    assert split(found) == {"forward": 20.0, "backward": 15.0, "optimizer": 30.0, "other": 35.0}


def test_what_a_composite_calls_is_the_composites() -> None:
    found = profile(
        forward("aten::lstm", 0, 20, 1), op("aten::linear", 2, 10), op("aten::addmm", 3, 8), op("aten::sigmoid", 14, 2),
        forward("aten::scaled_dot_product_attention", 30, 20, 2), op("aten::bmm", 31, 5), op("aten::_softmax", 40, 5),
        forward("aten::cross_entropy_loss", 60, 10, 3), forward("aten::log_softmax", 61, 5, 3),
        backward("LogSoftmaxBackward0", 80, 6, 3), op("aten::_log_softmax_backward_data", 82, 4),
        backward("MulBackward0", 90, 6, 9), op("aten::mul", 92, 4),
    )  # fmt: skip
    assert families(found) == {
        ("recurrent", "forward"): 20.0, ("attention", "forward"): 20.0, ("loss", "forward"): 10.0,
        ("loss", "backward"): 5.0, ("other", "backward"): 5.0,
    }  # fmt: skip


def test_the_class_of_a_layer_tells_what_its_nameless_operators_are_for() -> None:
    layers = {"norm": "RMSNorm", "att": "CausalSelfAttention", "att.out": "Linear", "block": "Block"}
    found = profile(
        annotation("trackside::layer::norm", 0, 10), forward("aten::pow", 1, 5, 1),
        annotation("trackside::layer::block", 20, 60),
        annotation("trackside::layer::att", 22, 30),
        forward("aten::linear", 23, 5, 2), forward("aten::softmax", 29, 5, 3),
        annotation("trackside::layer::att.out", 36, 10), forward("aten::linear", 37, 5, 4),
        forward("aten::add", 60, 5, 5),
        backward("PowBackward0", 90, 6, 1), backward("AddmmBackward0", 97, 3, 2),
        layers=layers,
    )  # fmt: skip
    assert families(found) == {
        ("normalisation", "forward"): 5.0, ("attention", "forward"): 10.0, ("matmul", "forward"): 5.0,
        ("other", "forward"): 5.0, ("normalisation", "backward"): 5.0, ("attention", "backward"): 2.0,
    }  # fmt: skip
    assert {one.layer for one in found.operators} == {"norm", "att", "att.out", "block"}


def test_layers_are_read_from_lightnings_ranges_and_from_stacks_too() -> None:
    found = profile(
        annotation("[pl][module]torch.nn.modules.conv.Conv2d: net.conv1", 0, 10), forward("aten::conv2d", 1, 5, 1),
        op("nn.Module: BatchNorm2d_0", 20, 10, cat="python_function"), forward("aten::add_", 21, 5, 2),
    )  # fmt: skip
    assert {(one.layer, one.family) for one in found.operators} == {
        ("net.conv1", "convolution"), ("BatchNorm2d_0", "normalisation"),
    }  # fmt: skip


def test_fused_kernels_count_as_the_dearest_in_their_name_and_are_inferred() -> None:
    assert fused("graph_0_cpp_fused_native_batch_norm_relu_3") == ("normalisation", "none")
    assert fused("triton_poi_fused_convolution_relu_threshold_backward_0") == ("activation", "backward")
    assert fused("triton_tem_fused_mm_relu_2") == ("matmul", "none")
    assert fused("triton_red_fused__log_softmax_nll_loss_forward_7") == ("loss", "none")
    assert fused("graph_0_cpp_fused_0") == ("other", "none")
    assert fused("aten::_fused_adam_") is None
    named = profile(
        op("Torch-Compiled Region: 0/0", 0, 100), forward("CompiledFunction", 2, 90, 1),
        annotation("## Call CompiledFxGraph fabc ##", 5, 80), op("graph_0_cpp_fused_native_batch_norm_relu_3", 10, 40),
        op("aten::convolution", 60, 10),
    )  # fmt: skip
    assert [(one.name, one.family, one.inferred) for one in named.operators] == [
        ("graph_0_cpp_fused_native_batch_norm_relu_3", "normalisation", True),
        ("aten::convolution", "convolution", False),
    ]  # fmt: skip
    assert any("fused kernel does the work of several" in note for note in named.notes)
    hidden = profile(annotation("## Call CompiledFxGraph fabc ##", 5, 80), forward("aten::convolution", 60, 10, 1))
    assert [(one.name, one.family, one.inferred) for one in hidden.operators] == [
        ("CompiledFxGraph", "other", True), ("aten::convolution", "convolution", False)
    ]  # fmt: skip
    assert any("TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE" in note for note in hidden.notes)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("aten::native_batch_norm_backward", "normalisation"), ("NativeLayerNormBackward0", "normalisation"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"), ("aten::mkldnn_rnn_layer", "recurrent"),
        ("aten::gru", "recurrent"), ("aten::embedding_dense_backward", "embedding"),
        ("aten::cosine_embedding_loss", "loss"), ("aten::nll_loss_forward", "loss"),
        ("aten::_foreach_addcdiv_", "optimizer"), ("aten::_fused_adamw_", "optimizer"), ("AddmmBackward0", "matmul"),
        ("aten::baddbmm", "matmul"), ("aten::max_pool2d_with_indices_backward", "pooling"),
        ("aten::leaky_relu_", "activation"), ("aten::native_dropout", "activation"),
        ("c10d::allreduce_", "communication"),
        ("aten::mul", None), ("aten::resolve_conj", None), ("aten::norm", None), ("aten::copy_", None),
    ],
)  # fmt: skip
def test_families_by_name(name, family) -> None:
    assert family_of(name) == family


def test_kernels_have_the_family_of_their_operator_and_fill_the_time_the_thread_waits_for_them() -> None:
    """A synthetic trace in the form that CUDA's profiler gives: no accelerator was at hand to record one."""
    found = profile(
        mark("step#0", 0), mark("forward", 0),
        annotation("trackside::layer::fc", 5, 10),
        forward("aten::linear", 5, 10, 1, **{"External id": 11}),
        op("cudaLaunchKernel", 8, 3, cat="cuda_runtime", correlation=100, **{"External id": 11}),
        mark("backward", 20),
        backward("AddmmBackward0", 21, 10, 1, tid=2, **{"External id": 12}),
        op("cudaLaunchKernel", 24, 3, cat="cuda_runtime", correlation=101, tid=2),
        mark("after_backward", 35), mark("optimizer", 35), mark("step_end", 40),
        op("cudaStreamSynchronize", 41, 49, cat="cuda_runtime"),
        mark("end", 100),
        kernel("ampere_sgemm_128x64_tn", 15, 20, correlation=100, **{"External id": 11}),
        kernel("ampere_sgemm_128x64_nn", 50, 20, correlation=101),
        kernel("ncclDevKernel_AllReduce_Sum_f32", 65, 15, stream=20),
        kernel("Memcpy DtoH (Device -> Pageable)", 75, 10, cat="gpu_memcpy"),
    )  # fmt: skip
    gpu = {(one.name, one.family, one.direction, one.layer) for one in found.operators if one.device == "gpu"}
    assert gpu == {
        ("ampere_sgemm_128x64_tn", "matmul", "forward", "fc"),
        ("ampere_sgemm_128x64_nn", "matmul", "backward", "fc"),
        ("ncclDevKernel_AllReduce_Sum_f32", "communication", "none", None),
        ("Memcpy DtoH (Device -> Pageable)", "other", "none", None),
    }
    assert found.classified_fraction == pytest.approx(55 / 65)
    # From 41 to 90 the thread waits: 20 for kernels, 10 for the copy, and 5 for communication that nothing hides.
    assert split(found) == {
        "forward": 20.0, "backward": 15.0, "optimizer": 5.0, "data": 11.0, "kernel": 20.0, "copy": 10.0,
        "communication": 5.0, "other": 14.0,
    }  # fmt: skip
    assert [(lane.name, lane.kind) for lane in interpreted(*TWO_BATCHES, kernel("k", 0, 1)).trace.lanes][-1] == (
        "GPU 0 · stream 7", "device"
    )  # fmt: skip
    assert family_of_kernel("cudnn::bn_fw_tr_1C11_kernel_NCHW") == "normalisation"
    assert family_of_kernel("void at::native::vectorized_elementwise_kernel") is None


def test_a_thread_that_runs_gradients_counts_and_one_that_loads_data_does_not() -> None:
    found = profile(
        *TWO_BATCHES, backward("AddBackward0", 50, 10, 999, tid=2), op("aten::pin_memory", 10, 50, tid=3)
    )  # fmt: skip
    (background,) = (one for one in found.operators if one.background)
    assert (background.name, background.family) == ("aten::pin_memory", "data")
    assert any(one.name == "AddBackward0" and not one.background for one in found.operators)


def test_waiting_for_other_processes_is_communication() -> None:
    """As DistributedDataParallel over gloo: another thread sums the gradients up, the backward pass waits for it."""
    reduced = [
        annotation("gloo:all_reduce", 60, 12),  # ends while the backward pass works, which waits for nothing
        annotation("gloo:all_reduce", 72, 2.5),
        annotation("gloo:all_reduce", 172, 2.5),
    ]
    for one in reduced:
        one["tid"] = 9
    found = profile(*TWO_BATCHES, WAIT, *reduced)
    # The backward pass' last operator ends at 74, the communication at 74.5.
    assert split(found)["communication"] == 0.5
    assert split(found)["backward"] == 32.5
    assert sum(found.split.values()) == pytest.approx(sum(found.step_seconds) / 2)
    (row,) = [one for one in found.operators if one.family == "communication"]
    assert (row.name, row.calls, row.background) == ("gloo:all_reduce", 3, False)
    # With an accelerator, waiting is what the accelerator does meanwhile.
    with_device = profile(*TWO_BATCHES, WAIT, *reduced, kernel("sgemm", 30, 5))
    assert "communication" not in split(with_device)


def test_memory_belongs_to_the_operator_that_took_it_and_shapes_tell_the_work() -> None:
    def memory(at: float, size: int) -> dict[str, Any]:
        args = {"Bytes": size, "Device Type": 0}
        return {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 7, "tid": 1, "ts": at, "args": args}

    product = {"Input Dims": [[8, 4], [4, 2], []], "Concrete Inputs": ["", "", ""]}
    found = profile(
        forward("aten::mm", 0, 10, 1, **product), op("aten::empty", 2, 3), memory(3, 64), memory(8, -16), memory(50, 5)
    )  # fmt: skip
    rows = {one.name: (one.memory_bytes, one.shapes, one.flops) for one in found.operators}
    assert rows == {"aten::mm": (-16, "[8, 4] × [4, 2]", 128.0), "aten::empty": (64, "", None)}


def test_work_of_a_convolution_is_given_to_the_operator_that_computes_it() -> None:
    dims = [[32, 3, 32, 32], [16, 3, 3, 3], [16], [], [], [], []]
    concrete = ["", "", "", "[0, 0]", "[1, 1]", "[1, 1]", "1"]
    assert flops("aten::mkldnn_convolution", dims, concrete) == 2 * 32 * 16 * 30 * 30 * 3 * 3 * 3
    assert flops("aten::convolution", dims, concrete) is None
    gradient = [[32, 16, 30, 30], [32, 3, 32, 32], [16, 3, 3, 3]]
    assert flops("aten::convolution_backward", gradient, []) == 2 * 2 * 32 * 16 * 30 * 30 * 3 * 3 * 3
    assert flops("aten::mm", [[3]], []) is None
    assert shapes_text([[[2, 3], [4]], [], [5]]) == "[2, 3] × [4] × [5]"
    assert shapes_text([[1]] * 200).endswith(" × …")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"hello", "is no JSON"),
        (document(*TWO_BATCHES)[:-20], "ends in the middle"),
        (gzip.compress(document(*TWO_BATCHES))[:-20], "ends in the middle"),
        (b"\x1f\x8b" + b"nonsense" * 9, "damaged"),
        (b'{"a": 1}', "has no `traceEvents`"),
        (b"[1, 2]", "no operator of PyTorch's"),
        (
            json.dumps({"traceEvents": [{"ph": "X", "cat": "other", "ts": 1, "dur": 1}]}).encode(),
            "no operator of PyTorch",
        ),
        (
            json.dumps({"traceEvents": [{"ph": "X", "cat": "cpu_op", "ts": "a", "dur": 1}]}).encode(),
            "no operator of PyTorch",
        ),
    ],
)
def test_what_is_no_trace_is_refused_in_one_sentence(raw, sentence) -> None:
    with pytest.raises(TraceError, match=sentence):
        interpret(raw, TraceContext(framework="torch"))


def laid_out(raw: bytes) -> bytes:
    """A document as libkineto writes it: each event's last bracket on a line of its own."""
    whole = json.loads(raw)
    events = ",".join(f"\n  {json.dumps(one)[:-1]}\n  }}" for one in whole.pop("traceEvents"))
    return f'{json.dumps(whole)[:-1]},\n    "traceEvents": [\n    {events}\n  ],\n    "traceName": "x"\n}}'.encode()


def test_a_large_trace_is_read_in_pieces_and_says_the_same(monkeypatch) -> None:
    raw = laid_out(document(*TWO_BATCHES, kernel("sgemm", 30, 5)))
    context = TraceContext(framework="torch")
    whole = interpret(raw, context)
    parsed: list[int] = []
    monkeypatch.setattr(chrome, "LARGE", 0)
    monkeypatch.setattr(chrome, "CHUNK", 300)
    monkeypatch.setattr(chrome, "parse", lambda data: parsed.append(len(data)))
    pieces = interpret(raw, context)
    assert parsed == []
    assert pieces.trace.wall_clock == whole.trace.wall_clock == 1e9
    assert [(lane.name, list(lane.names)) for lane in pieces.trace.lanes] == [
        (lane.name, list(lane.names)) for lane in whole.trace.lanes
    ]
    assert [list(lane.details) for lane in pieces.trace.lanes] == [list(lane.details) for lane in whole.trace.lanes]
    monkeypatch.undo()
    monkeypatch.setattr(chrome, "LARGE", 0)
    with pytest.raises(TraceError, match="ends in the middle"):
        interpret(raw[:-200], context)
    assert len(interpret(document(*TWO_BATCHES), context).trace.step_edges) == 3  # on one line: read whole


def test_a_compressed_trace_and_a_bare_list_of_events_are_read_too() -> None:
    context = TraceContext(framework="torch")
    packed = interpret(gzip.compress(document(*TWO_BATCHES)), context)
    assert packed.trace.wall_clock == 1e9
    bare = json.dumps(json.loads(document(*TWO_BATCHES))["traceEvents"]).encode()
    assert interpret(bare, context).trace.step_edges.tolist() == packed.trace.step_edges.tolist()
