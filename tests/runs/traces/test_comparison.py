"""Profiles of both frameworks side by side: what matches, what only one has, what differs, what must be said."""

from __future__ import annotations

import json
import math

import pytest

from trackside.runs.traces.comparison import compare_profiles
from trackside.runs.traces.operator_kinds import kind
from trackside.runs.traces.records import Operator, Profile, TraceContext

TORCH_LAYERS = {"net.conv1": "Conv2d", "net.bn": "BatchNorm2d", "net.pool": "MaxPool2d", "net.head": "Linear"}
KERAS_LAYERS = {
    "conv1": "Conv2D",
    "norm": "BatchNormalization",
    "pool": "MaxPooling2D",
    "dense": "Dense",
    "drop": "Dropout",
}


def operator(name, family, direction="forward", layer=None, ms=1.0, **more):
    seconds = ms / 1000
    return Operator(
        name=name, family=family, direction=direction, layer=layer, self_seconds=seconds, total_seconds=seconds, **more
    )  # fmt: skip


def profile(*operators, steps=1, split=None, framework="torch", layers=None, **context) -> Profile:
    step = 0.020
    return Profile(
        format="chrome" if framework == "torch" else "xplane",
        context=TraceContext(framework=framework, layers=layers or {}, **context),
        step_seconds=(step,) * steps,
        split=split or {"forward": 0.012, "other": 0.008},
        operators=operators,
        classified_fraction=1.0,
        notes=(),
    )


def torch(*more, **context):
    return profile(
        operator("aten::mkldnn_convolution", "convolution", layer="net.conv1", ms=4),
        operator("aten::convolution_backward", "convolution", "backward", "net.conv1", ms=9),
        operator("aten::native_batch_norm", "normalisation", layer="net.bn", ms=3),
        operator("aten::addmm", "matmul", layer="net.head", ms=1),
        operator("aten::_foreach_add_", "optimizer", "none", ms=2),
        *more,
        layers=TORCH_LAYERS,
        **context,
    )


def keras(*more, **context):
    return profile(
        operator("_MklNativeFusedConv2D", "convolution", layer="conv1", ms=2),
        operator("Conv2DBackpropInput", "convolution", "backward", "conv1", ms=2),
        operator("Conv2DBackpropFilter", "convolution", "backward", "conv1", ms=4),
        operator("Mul", "normalisation", layer="norm", ms=1),
        operator("SquaredDifference", "normalisation", layer="norm", ms=5),
        operator("MatMul", "matmul", layer="dense", ms=1),
        operator("AssignSubVariableOp", "optimizer", "none", ms=1),
        operator("StatelessRandomUniformV2", "activation", layer="drop", ms=1),
        *more,
        framework="tensorflow",
        layers=KERAS_LAYERS,
        **context,
    )


def rows(comparison):
    return {(row.kind, row.direction, row.layers): row for row in comparison.operators}


def test_operators_that_do_the_same_work_are_one_row():
    found = rows(compare_profiles([torch(), keras()]))
    backward = found["convolution", "backward", ("net.conv1", "conv1")]
    assert backward.names == ("aten::convolution_backward", "Conv2DBackpropInput, Conv2DBackpropFilter")
    assert backward.seconds == pytest.approx((0.009, 0.006))
    assert backward.difference(1) == pytest.approx(-0.003)
    assert backward.ratio(1) == pytest.approx(2 / 3)
    norm = found["normalisation", "forward", ("net.bn", "norm")]  # by position: the only one of each model
    assert norm.names == ("aten::native_batch_norm", "Mul, SquaredDifference")
    assert found["matmul", "forward", ("net.head", "dense")].only is None
    assert found["optimizer", "none", (None, None)].seconds == pytest.approx((0.002, 0.001))


def test_what_only_one_has_says_so():
    comparison = compare_profiles([torch(), keras()], ["a", "b"])
    dropout = rows(comparison)["dropout", "forward", (None, "drop")]
    assert (dropout.only, dropout.seconds, dropout.ratio(1)) == (1, (None, pytest.approx(0.001)), None)
    assert comparison.unmatched == (0, pytest.approx(1 / 17))
    assert any(
        one == "b: 6% of the operators' time is in work that another one does not have." for one in comparison.captions
    )


def test_a_layer_that_one_model_uses_twice_is_compared_with_both_of_the_other():
    pooled = torch(operator("aten::max_pool2d", "pooling", layer="net.pool", ms=3))
    twice = keras(*(operator("MaxPool", "pooling", layer=one, ms=1) for one in ("pool1", "pool2")))
    comparison = compare_profiles([pooled, twice])
    assert rows(comparison)["pooling", "forward", ("net.pool", "pool1, pool2")].seconds == pytest.approx((0.003, 0.002))
    layer = next(one for one in comparison.layers if one.family == "pooling")
    assert (layer.layers, layer.seconds) == (("net.pool", "pool1, pool2"), pytest.approx((0.003, 0.002)))


def test_layers_match_by_name_before_position_and_by_shape_before_order():
    def conv(layer, shapes, name="conv"):
        return operator(name, "convolution", layer=layer, shapes=shapes)

    small, large = "[8, 3, 9, 9] × [4, 3, 3, 3]", "[8, 4, 7, 7] × [6, 4, 3, 3]"
    named = [
        profile(conv("net.a", ""), conv("net.b", "")),
        profile(conv("b", ""), conv("a", ""), framework="tensorflow"),
    ]
    assert {row.layers for row in compare_profiles(named).operators} == {("net.a", "a"), ("net.b", "b")}
    shaped = [
        profile(conv("x.0", small), conv("x.1", large)),
        profile(
            conv("c", "[8, 7, 7, 4] × [3, 3, 4, 6]"), conv("d", "[8, 9, 9, 3] × [3, 3, 3, 4]"), framework="tensorflow"
        ),
    ]
    assert {row.layers for row in compare_profiles(shaped).operators} == {("x.0", "d"), ("x.1", "c")}
    ordered = [profile(conv("x.0", ""), conv("x.1", "")), profile(conv("c", ""), conv("d", ""), framework="tensorflow")]
    assert {row.layers for row in compare_profiles(ordered).operators} == {("x.0", "c"), ("x.1", "d")}


def test_a_trace_without_layers_is_compared_by_what_its_operators_do():
    bare = profile(operator("Conv2D", "convolution", ms=5), framework="tensorflow")
    (row,) = [
        one
        for one in compare_profiles([torch(), bare]).operators
        if one.kind == "convolution" and one.direction == "forward"
    ]
    assert row.seconds == pytest.approx((0.004, 0.005))
    assert row.layers == ("net.conv1", None)


def test_families_and_parts_are_side_by_side_and_the_parts_make_up_the_step():
    guessed = keras(operator("fusion.3", "convolution", "backward", "conv1", ms=6, inferred=True))
    comparison = compare_profiles([torch(), guessed])
    family = next(one for one in comparison.families if (one.family, one.direction) == ("convolution", "backward"))
    assert family.seconds == pytest.approx((0.009, 0.012))
    assert family.inferred == pytest.approx((0, 0.5))
    assert comparison.families[0].family == "convolution"
    for place in (0, 1):
        assert sum(one.seconds[place] or 0 for one in comparison.parts) == pytest.approx(comparison.step.seconds[place])


def test_times_are_means_of_a_step_and_different_numbers_of_steps_are_said():
    twice = profile(
        operator("aten::mm", "matmul", layer="net.head", ms=10), steps=2, layers=TORCH_LAYERS, first_step=3, last_step=4
    )
    comparison = compare_profiles(
        [torch(mode="eager", first_step=3, last_step=3, recording={"stop_seconds": 0.04}), twice]
    )
    assert comparison.labels == ("torch 1", "torch 2")
    assert rows(comparison)["matmul", "forward", ("net.head", "net.head")].seconds == pytest.approx((0.001, 0.005))
    assert comparison.captions[0] == (
        "torch 1: 1 step (updates 3 to 3), run eagerly; recording held up training for 40 ms in all."
    )
    assert any("different numbers of steps" in one for one in comparison.captions)


def test_background_work_and_launches_beside_kernels_are_no_rows():
    gpu = torch(
        operator("gemm", "matmul", layer="net.head", device="gpu", ms=3), operator("x", "data", "none", background=True)
    )
    found = compare_profiles([gpu, keras()])
    assert [one.names[0] for one in found.operators if one.seconds[0] is not None] == ["gemm"]


def test_one_profile_alone_and_an_empty_one_are_in_order():
    alone = compare_profiles([torch()])
    assert all(row.only is None for row in alone.operators)
    empty = compare_profiles([torch(), profile(framework="tensorflow")])
    assert math.isnan(empty.unmatched[1])
    assert any("no operator took time" in one for one in empty.captions)
    with pytest.raises(ValueError, match="no profile"):
        compare_profiles([])
    with pytest.raises(ValueError, match="as many labels"):
        compare_profiles([torch()], ["a", "b"])


def test_json_holds_every_view():
    made = compare_profiles([torch(), keras()], ["a", "b"]).to_json()
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    first = made["operators"][0]
    assert (first["kind"], first["direction"], first["only"], first["layers"]) == (
        "convolution",
        "backward",
        None,
        ["net.conv1", "conv1"],
    )
    assert first["ratio"] == [pytest.approx(2 / 3)]
    assert {"parts", "families", "layers", "captions", "unmatched", "steps", "step_seconds"} < set(made)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("aten::add_", "AddV2"),
        ("aten::_to_copy", "Cast"),
        ("aten::cat", "ConcatV2"),
        ("aten::reshape", "Reshape"),
        ("aten::zeros_like", "ZerosLike"),
    ],
)
def test_elementary_work_has_one_name(one, other):
    assert kind(one, "other") == kind(other, "other")
