"""Names that XLA lost are found along the data flow."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.runs.traces.hlo import origins
from trackside.runs.traces.hlo_pb2 import HloProto
from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.summary import summarise
from trackside.runs.traces.xplane_trace import interpret

CONV = "net_1/conv1_1/convolution"


class Program:
    """A compiled step in the making."""

    def __init__(self) -> None:
        self.proto = HloProto()
        self.module = self.proto.hlo_module
        self.module.name = "a_inference_step_1"
        self.ids: dict[str, int] = {}

    def computation(self, *instructions: tuple[Any, ...]) -> Any:
        """Add `(name, opcode, path, operands, shape, called)`, all but the first two at choice."""
        made = self.module.computations.add(name="c", id=len(self.module.computations) + 1)
        for name, opcode, path, operands, shape, called in (
            (*one, *("", (), (), ())[len(one) - 2 :]) for one in instructions
        ):
            self.ids[name] = 1000 + len(self.ids)
            row = made.instructions.add(name=name, opcode=opcode, id=self.ids[name])
            row.metadata.op_name = path
            row.operand_ids.extend(self.ids[one] for one in operands)
            row.shape.dimensions.extend(shape)
            row.called_computation_ids.extend(called)
        return made.id

    def bytes(self) -> Any:
        return self.proto.SerializeToString()


def training_step() -> Program:
    program = Program()
    norm = program.computation(
        ("p", "parameter"),
        ("m", "multiply", "net_1/bn1_1/batchnorm/mul", ("p",)),
        ("r", "maximum", "net_1/relu_1/Relu", ("m",)),
    )
    summed = program.computation(
        ("q", "parameter"),
        ("n", "multiply", "gradient_tape/net_1/bn1_1/mul/Mul", ("q",)),
        ("s", "add", "AddN_3", ("n",)),
    )
    random = program.computation(("seed", "parameter"), ("bits", "fusion", "", ("seed",)))
    program.computation(
        ("image", "parameter", "", (), (32, 32, 32, 3)),
        ("kernel", "parameter", "", (), (3, 3, 3, 16)),
        ("moment", "parameter", "", (), (3, 3, 3, 16)),
        ("kernel.copy", "copy", "", ("kernel",), (3, 3, 3, 16)),
        ("convolution.2", "convolution", CONV, ("image", "kernel.copy"), (32, 30, 30, 16)),
        ("broadcast_fusion", "fusion", "net_1/relu_1/Relu", ("convolution.2",), (32, 30, 30, 16), (norm,)),
        ("random.call", "call", "", ("image",), (), (random,)),
        ("random.part", "get-tuple-element", "net_1/drop_1/RandomUniform", ("random.call",)),
        ("window.3", "reduce-window", "", ("broadcast_fusion",)),
        ("window.part", "get-tuple-element", "", ("window.3",)),
        ("scatter", "scatter", "gradient_tape/net_1/pool_1/MaxPool2d/MaxPoolGrad", ("window.part",)),
        ("sum_fusion", "fusion", "AddN_3", ("scatter",), (32, 30, 30, 16), (summed,)),
        ("transpose.7", "fusion", "", ("sum_fusion",)),
        ("convolution.4", "convolution", "", ("image", "transpose.7"), (3, 3, 3, 16)),
        ("moment_fusion", "fusion", "adam/AssignAddVariableOp_1", ("moment", "convolution.4")),
        ("update_fusion", "fusion", "adam/AssignSubVariableOp", ("kernel.copy", "moment_fusion")),
    )  # fmt: skip
    return program


def test_an_instruction_with_a_name_keeps_it():
    name, found = origins(training_step().bytes())
    assert name == "a_inference_step_1"
    assert (found["convolution.2"].path, found["convolution.2"].inferred) == (CONV, False)
    assert found["convolution.2"].shapes == "[32, 32, 32, 3] × [3, 3, 3, 16]"
    assert found["broadcast_fusion"].path == "net_1/relu_1/Relu"
    assert set(found["broadcast_fusion"].fused) == {"net_1/bn1_1/batchnorm/mul", "net_1/relu_1/Relu"}


def test_a_sum_of_gradients_belongs_to_the_layer_whose_gradients_are_in_it():
    assert origins(training_step().bytes())[1]["sum_fusion"].path == "gradient_tape/net_1/bn1_1/mul/Mul"


@pytest.mark.parametrize(
    ("instruction", "path"),
    [
        ("window.3", "gradient_tape/net_1/pool_1/MaxPool2d/MaxPoolGrad"),  # what its result is for
        ("convolution.4", f"gradient_tape/{CONV}"),  # updates the variable that the layer uses
        ("transpose.7", f"gradient_tape/{CONV}"),
        ("kernel.copy", CONV),
        ("random.call", "net_1/drop_1/RandomUniform"),
        ("bits", "net_1/drop_1/RandomUniform"),  # in a computation that is called
    ],
)
def test_a_lost_name_is_inferred(instruction, path):
    origin = origins(training_step().bytes())[1][instruction]
    assert (origin.path, origin.inferred) == (path, True)


def test_a_gradient_fused_into_an_optimizers_update_names_what_feeds_it():
    program = Program()
    path = "gradient_tape/net_1/conv1_1/convolution/Conv2DBackpropFilter"
    update = program.computation(("p", "parameter"), ("t", "copy", path, ("p",)), ("a", "add", "SGD/add", ("t",)))
    program.computation(
        ("kernel", "parameter"),
        ("forward", "convolution", CONV, ("kernel",)),
        ("lost", "convolution", "", ("forward",)),
        ("update_fusion", "fusion", "SGD/add", ("lost",), (), (update,)),
        ("rate", "copy", "", ("kernel",)),
        ("decayed", "multiply", "SGD/mul", ("rate",)),
    )
    found = origins(program.bytes())[1]
    assert (found["lost"].path, found["lost"].inferred) == (path, True)
    assert found["update_fusion"].path == "SGD/add"
    assert found["decayed"].path == "SGD/mul"


def test_rows_of_a_compiled_step_say_what_is_inferred(made):
    made.program("a_inference_step_1(7)", training_step().bytes())

    def thunk(name, start, duration):
        return name, start, duration, {"hlo_op": name, "hlo_module": "a_inference_step_1", "program_id": 7}

    made.line("python", [("train", 0, 100, {"step_num": 1})])
    made.line(
        "tf_numa_-1_Eigen/1", [thunk("convolution.2", 5, 10), thunk("convolution.4", 20, 30), thunk("gone.1", 60, 1)]
    )
    made.program("half(8)", training_step().bytes()[:50])
    context = TraceContext(framework="tensorflow", mode="xla", layers={"net/conv1": "Conv2D"}, optimizer="Adam")
    found = interpret(made.bytes(), context)
    rows = summarise(found.trace, found.labels, context, "xplane", phases=found.phases).operators
    assert [(one.name, one.family, one.direction, one.layer, one.inferred) for one in rows] == [
        ("convolution.4", "convolution", "backward", "net/conv1", True),
        ("convolution.2", "convolution", "forward", "net/conv1", False),
        ("gone.1", "other", "none", None, False),
    ]
