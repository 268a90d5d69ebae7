"""What a TensorFlow operator is for, by its type and its path."""

from __future__ import annotations

import numpy as np
import pytest

from trackside.runs.traces.keras_labels import Labeller
from trackside.runs.traces.keras_notes import notes
from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.trace import Labels, Lane, Trace
from trackside.runs.traces.xplane_trace import interpret

LAYERS = {
    "net/conv1": "Conv2D",
    "net/batch_normalization": "BatchNormalization",
    "net/batch_normalization_1": "BatchNormalization",
    "net/separable_conv2d_1": "SeparableConv2D",
    "net/fc": "Dense",
    "net/lstm": "LSTM",
    "net/lstm/lstm_cell": "LSTMCell",
    "net/inner/attn": "MultiHeadAttention",
    "net/inner/attn/query": "EinsumDense",
    "net/tokens": "Embedding",
    "net/drop": "Dropout",
    "net/mine": "Scaled",
}


def label(type: str, path: str, *more: str, layers=LAYERS, optimizer="AdamW", kind="compute"):
    """The label of an operator among others of the same trace."""
    details = [{"path": one} for one in (path, *more)]
    n = len(details)
    lane = Lane("x", kind, [type] + ["Mul"] * (n - 1), np.arange(n), np.ones(n, np.int64), details)
    trace = Trace((lane,), np.array([0, n]))
    labeller = Labeller(trace, TraceContext(framework="tensorflow", layers=layers, optimizer=optimizer))
    return labeller.label(type, details[0], kind)


@pytest.mark.parametrize(
    ("type", "path", "expected"),
    [
        ("_MklNativeFusedConv2D", "net_1/conv1_1/BiasAdd", ("convolution", "forward", "net/conv1", False)),
        (
            "_MklNativeConv2DBackpropFilterWithBias",
            "gradient_tape/net_1/conv1_1/convolution/Conv2DBackpropFilter",
            ("convolution", "backward", "net/conv1", False),
        ),
        (
            "Mul",
            "net_1/batch_normalization_1/batchnorm/mul",
            ("normalisation", "forward", "net/batch_normalization", False),
        ),
        (
            "Mul",
            "net_1/batch_normalization_1_1/batchnorm/mul",
            ("normalisation", "forward", "net/batch_normalization_1", False),
        ),
        (
            "Conv2D",  # the function inside is called like another layer
            "net_1/separable_conv2d_1_1/separable_conv2d/Conv2D",
            ("convolution", "forward", "net/separable_conv2d_1", False),
        ),
        ("_MklNativeFusedMatMul", "net_1/fc_1/Relu", ("matmul", "forward", "net/fc", False)),
        ("Relu", "net_1/fc_1/Relu", ("activation", "forward", "net/fc", False)),
        ("Erfc", "net_1/fc_1/Gelu/Erfc", ("activation", "forward", "net/fc", False)),
        ("BiasAddGrad", "gradient_tape/net_1/fc_1/BiasAdd/BiasAddGrad", ("matmul", "backward", "net/fc", False)),
        (
            "_MklMatMul",
            "net_1/lstm_1/while/body/_17/net_1/lstm_1/while/lstm_cell_1/MatMul",
            ("recurrent", "forward", "net/lstm", False),
        ),
        (
            "Sigmoid",
            "gradient_tape/net_1/lstm_1/while/net_1/lstm_1/while_grad/body/_3/lstm_cell_1/Sigmoid",
            ("recurrent", "backward", "net/lstm", False),
        ),
        ("_MklEinsum", "net_1/inner_1/attn_1/einsum/Einsum", ("attention", "forward", "net/inner/attn", False)),
        ("_MklSoftmax", "net_1/inner_1/attn_1/Softmax", ("attention", "forward", "net/inner/attn", False)),
        (
            "_MklBatchMatMulV2",
            "net_1/inner_1/attn_1/query_1/MatMul",
            ("matmul", "forward", "net/inner/attn/query", False),
        ),
        ("GatherV2", "net_1/tokens_1/GatherV2", ("embedding", "forward", "net/tokens", False)),
        ("SelectV2", "net_1/drop_1/stateless_dropout/SelectV2", ("activation", "forward", "net/drop", False)),
        ("RealDiv", "net_1/mine_1/truediv", ("other", "forward", "net/mine", False)),
        ("Sub", "adam_w/Sub_34", ("optimizer", "none", None, False)),
        ("Mul", "clip_by_norm/mul", ("optimizer", "none", None, False)),
        ("Mul", "compile_loss/mse/mul", ("loss", "forward", None, False)),
        ("Mul", "gradient_tape/compile_loss/mse/mul/Mul", ("loss", "backward", None, False)),
        ("AddN", "AddN_3", ("other", "backward", None, False)),
        ("ArgMax", "ArgMax", ("other", "none", None, False)),
        ("IteratorGetNext", "IteratorGetNext", ("data", "none", None, False)),
        ("CollectiveReduceV2", "CollectiveReduceV2", ("communication", "none", None, False)),
    ],
)
def test_an_operator_by_its_type_and_path(type, path, expected):
    assert label(type, path, "net_1/conv1_1/mul") == expected


def test_scopes_without_a_number_are_taken_as_they_are():
    others = ("net/conv1/mul", "net/fc/mul")
    assert label("Mul", "net/batch_normalization_1/mul", *others)[2] == "net/batch_normalization_1"
    assert label("Mul", "net/batch_normalization/mul", *others)[2] == "net/batch_normalization"


def test_an_optimizer_under_a_name_of_ones_own_is_known_by_what_it_does():
    updates = ("rule/AssignSubVariableOp", "rule/AssignAddVariableOp_1", "net_1/batch_normalization_1/AssignVariableOp")
    assert label("Sqrt", "rule/Sqrt", *updates, optimizer=None)[0] == "optimizer"
    assert label("Mul", "net_1/batch_normalization_1/mul", *updates, optimizer=None)[0] == "normalisation"


def test_statistics_of_a_normalisation_make_no_optimizer_of_a_model_without_known_layers():
    statistics = ("f_1/bn_1/AssignVariableOp", "f_1/bn_1/AssignVariableOp_1", "gradient_tape/f_1/bn_1/mul/Mul")
    assert label("Mul", "f_1/bn_1/mul", *statistics, layers={})[0] == "normalisation"


def test_without_the_models_layers_families_are_guessed_and_said_to_be(made):
    assert label("Mul", "functional_1/batch_normalization_1/mul", layers={}) == ("normalisation", "forward", None, True)
    assert label("Mul", "gradient_tape/functional_1/bn2_1/mul", layers={}) == ("normalisation", "backward", None, True)
    assert label("Conv2D", "functional_1/c_1/Conv2D", layers={}) == ("convolution", "forward", None, False)
    made.line("python", [("train", 0, 9, {"step_num": 1})]).line("tf_Compute/1", [("f_1/bn_1/mul:Mul", 1, 2)])
    found = interpret(made.bytes(), TraceContext(framework="tensorflow"))
    assert any("without the model's layers" in note for note in found.notes)


def test_fusions_that_move_time_between_families_are_said():
    def said(*events):
        names, details, durations = zip(*events, strict=True)
        n = len(names)
        lane = Lane("x", "compute", names, np.arange(n), np.array(durations), details)
        labels = Labels(["convolution"] * n, ["forward"] * n, [None] * n, [False] * n)
        trace, context = Trace((lane,), np.array([0, n])), TraceContext(framework="tensorflow", layers=LAYERS)
        return " ".join(notes(trace, [labels], context, steps_per_execution=1, ranges=False))

    plain = ("Conv2D", {"path": "net_1/conv1_1/convolution"}, 1000)
    assert "in one operator" not in said(plain)
    assert "activation's time is in convolution" in said(
        plain, ("_MklNativeFusedConv2D", {"path": "net_1/c_1/Relu"}, 500)
    )
    biased = said(plain, ("_MklNativeFusedConv2D", {"path": "net_1/conv1_1/BiasAdd"}, 500))
    assert "added the bias" in biased
    assert "activation" not in biased
    assert "in one operator" not in said(plain, ("_MklNativeFusedConv2D", {"path": "net_1/c_1/Relu"}, 5))
    fusion = {"path": "net_1/relu_1/Relu", "fused": ("net_1/bn_1/mul", "net_1/relu_1/Relu")}
    assert "50 % of the time" in said(plain, ("add_fusion", fusion, 1000))
