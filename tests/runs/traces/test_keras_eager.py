"""Eager operators have no path: layers from the tracker's ranges, and gradients laid along them in reverse."""

from __future__ import annotations

from typing import Any

from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.xplane_trace import interpret

LAYERS = {
    "net/conv1": "Conv2D", "net/bn1": "BatchNormalization", "pool1": "MaxPooling2D", "net/conv2": "Conv2D",
    "net/bn2": "BatchNormalization", "pool2": "MaxPooling2D", "net/fc": "Dense",
}  # fmt: skip
NORMALISE = ("Mean", "SquaredDifference", "Mean", "Rsqrt", "Mul", "Sub", "AddV2")
NORMALISE_BACK = ("Sum", "Mul", "Sum", "Neg", "RsqrtGrad", "BroadcastTo", "RealDiv", "Mul", "Sub", "AddN")


class EagerStep:
    """One eager step on a clock that each operator moves on by a microsecond."""

    def __init__(self) -> None:
        self.clock = 0
        self.events: list[tuple[Any, ...]] = []

    def run(self, *types: str, around: str | None = None) -> None:
        begun = self.clock
        for type in types:
            self.events.append((f"EagerLocalExecute: {type}", self.clock + 1, 1))
            self.clock += 2
        if around:
            self.events.append((around, begun, self.clock - begun + 1))
        self.clock += 2

    def layer(self, path: str, *types: str) -> None:
        self.run(*types, around=f"trackside::layer::{path}")

    def of(self, made, **context):
        events = [("train", 0, self.clock, {"step_num": 1, "_r": 1}), *self.events]
        made.line("python", events)
        found = interpret(made.bytes(), TraceContext(framework="tensorflow", mode="eager", **context))
        lane, label = found.trace.lanes[0], found.labels[0]
        rows = zip(lane.names, label.family, label.direction, label.layer, label.inferred, lane.details, strict=True)
        return [row[:5] for row in rows if row[5] and "eager" in row[5]], found.notes


def network() -> EagerStep:
    step = EagerStep()
    step.run("IteratorGetNext")
    step.layer("net/conv1", "Conv2D", "BiasAdd")
    step.layer("net/bn1", *NORMALISE)
    step.layer("pool1", "MaxPool")
    step.layer("net/conv2", "Conv2D", "BiasAdd")
    step.layer("net/bn2", *NORMALISE)
    step.layer("pool2", "MaxPool")
    step.layer("net/fc", "MatMul", "BiasAdd", "Relu")
    step.run("SparseSoftmaxCrossEntropyWithLogits", "Mean", around="trackside::loss")
    return step


def backward(step: EagerStep, around: str | None) -> None:
    step.run(
        "BroadcastTo", "Mul",
        "ReluGrad", "BiasAddGrad", "MatMul", "MatMul",
        "MaxPoolGrad", *NORMALISE_BACK, "BiasAddGrad", "Conv2DBackpropInput", "Conv2DBackpropFilter",
        "MaxPoolGrad", *NORMALISE_BACK, "BiasAddGrad", "Conv2DBackpropInput", "Conv2DBackpropFilter",
        around=around,
    )  # fmt: skip


def check_backward(rows) -> None:
    found = [row for row in rows if row[2] == "backward"]
    layers = [(row[1], row[3]) for row in found]
    assert layers[:2] == [("loss", None)] * 2
    assert layers[2:6] == [("activation", "net/fc"), *[("matmul", "net/fc")] * 3]
    for start, number in ((6, 2), (20, 1)):
        assert layers[start] == ("pooling", f"pool{number}")
        assert layers[start + 1 : start + 11] == [("normalisation", f"net/bn{number}")] * 10
        assert layers[start + 11 : start + 14] == [("convolution", f"net/conv{number}")] * 3
    assert all(row[4] for row in found)


def test_gradients_get_the_layers_of_the_forward_pass_in_reverse(made):
    step = network()
    backward(step, "trackside::backward")
    step.run("Mul", "Sub", "AssignSubVariableOp", around="trackside::optimizer")
    step.run("ArgMax", "Equal")
    rows, notes = step.of(made, layers=LAYERS)
    assert rows[0][:3] == ("IteratorGetNext", "data", "none")
    assert ("Mul", "normalisation", "forward", "net/bn1", False) in rows
    assert ("Relu", "activation", "forward", "net/fc", False) in rows
    check_backward(rows)
    assert [row[1:4] for row in rows[-5:]] == [("optimizer", "none", None)] * 3 + [("other", "none", None)] * 2
    assert any("laid along" in note for note in notes)


def test_sums_at_the_end_of_the_tape_belong_to_no_layer(made):
    step = EagerStep()
    step.layer("net/conv1", "Conv2D")
    step.layer("net/fc", "MatMul")
    step.run("MatMul", "AddN", "Conv2DBackpropFilter", "AddN", "AddN", around="trackside::backward")
    rows = step.of(made, layers=LAYERS)[0][2:]
    assert [row[3] for row in rows] == ["net/fc", "net/fc", "net/conv1", None, None]
    assert [row[1:3] for row in rows[-2:]] == [("other", "backward")] * 2


def test_a_backward_pass_that_nobody_marked_is_between_loss_and_optimizer(made):
    step = network()
    backward(step, None)
    step.run("Sub", "AssignSubVariableOp", around="trackside::optimizer")
    check_backward(step.of(made, layers=LAYERS)[0])


def test_without_ranges_types_and_the_order_are_all_there_is(made):
    step = EagerStep()
    step.run("IteratorGetNext", "Conv2D", "Mul", "MaxPool", "SparseSoftmaxCrossEntropyWithLogits")
    step.run("MaxPoolGrad", "Mul", "Conv2DBackpropFilter", "Mul", "AssignSubVariableOp")
    rows, notes = step.of(made)
    assert [row[1:3] for row in rows] == [
        ("data", "none"), ("convolution", "forward"), ("other", "forward"), ("pooling", "forward"), ("loss", "forward"),
        ("pooling", "backward"), ("other", "backward"), ("convolution", "backward"), ("other", "none"),
        ("optimizer", "none"),
    ]  # fmt: skip
    assert any("nothing marked the layers" in note for note in notes)


def test_a_step_without_gradients_is_no_obstacle(made):
    step = EagerStep()
    step.layer("net/fc", "MatMul")
    step.run("Mul", around="trackside::backward")
    step.events += [("EagerLocalExecute: __inference_f_3", step.clock, 5)]
    rows, _ = step.of(made, layers={})
    assert [row[:4] for row in rows] == [
        ("MatMul", "matmul", "forward", "net/fc"),
        ("Mul", "other", "backward", None),
    ]
