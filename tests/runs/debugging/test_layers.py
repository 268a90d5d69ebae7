"""Layers of two frameworks in one order, their statistics on one grid, and what is wrong with a layer."""

from __future__ import annotations

import math

import numpy as np
import pytest

import trackside
from trackside.runs.debugging.layers import EMPTY, FINITE, NAN, POSITIVE, layers_view, marks, step_width
from trackside.runs.debugging.matching import Layer, match

TORCH = [
    Layer("net.conv1", "Conv2d", 448),
    Layer("net.bn1", "BatchNorm2d", 32),
    Layer("net.relu1", "ReLU"),
    Layer("net.pool", "MaxPool2d"),
    Layer("net.conv2", "Conv2d", 4640),
    Layer("net.relu2", "ReLU"),
    Layer("net.lstm", "LSTM", 1200),
    Layer("net.fc", "Linear", 650),
]
KERAS = [
    Layer("conv2d", "Conv2D", 448),
    Layer("batch_normalization", "BatchNormalization", 32),
    Layer("activation", "Activation"),
    Layer("max_pooling2d", "MaxPooling2D"),
    Layer("conv2d_1", "Conv2D", 4640),  # with its activation fused in
    Layer("lstm", "LSTM", 1100),  # one bias instead of two
    Layer("extra", "Dense", 99),
    Layer("dense", "Dense", 650),
]


def test_layers_are_matched_by_place_parameters_and_class_across_frameworks():
    pairs = [(row.paths.get("t"), row.paths.get("k")) for row in match({"t": TORCH, "k": KERAS})]
    assert pairs == [
        ("net.conv1", "conv2d"),
        ("net.bn1", "batch_normalization"),
        ("net.relu1", "activation"),
        ("net.pool", "max_pooling2d"),
        ("net.conv2", "conv2d_1"),
        ("net.relu2", None),
        ("net.lstm", "lstm"),
        (None, "extra"),
        ("net.fc", "dense"),
    ]


def test_an_activation_that_is_fused_in_elsewhere_speaks_for_the_layer_before_it():
    rows = {row.paths.get("t"): row for row in match({"t": TORCH, "k": KERAS})}
    assert rows["net.conv2"].outputs == {"t": "net.relu2", "k": "conv2d_1"}
    assert rows["net.conv1"].outputs == {"t": "net.conv1", "k": "conv2d"}


def test_a_cell_keeps_the_extremes_and_what_is_not_finite(sqlite_url):
    with trackside.start_run(name="one", store=sqlite_url) as run:
        run.update(model={"layers": [{"name": "a", "class": "Linear", "parameters": 2}]})
        for step in range(64):
            value = math.nan if step == 9 else math.inf if step == 40 else 100.0 if step == 21 else 1.0 + step / 64
            run.log({"layers/a/gradient_norm": value}, step=step)
        run.log({"layers/model/a.b/gradient_norm": 3.0}, step=63)  # a path with both kinds of separator
    with trackside.open_store(sqlite_url) as store:
        view = layers_view(store, [run.id], columns=16)
    assert (view.width, len(view.starts)) == (4, 16)
    assert [row.paths[run.id] for row in view.layers] == ["a", "model/a.b"]
    first, second = view.rows[run.id]
    assert first.maximum[5] == 100.0
    assert first.minimum[5] == 1.0 + 20 / 64
    assert (first.state[2], first.state[10], first.state[3]) == (NAN, POSITIVE, FINITE)
    assert (second.state[0], second.state[15]) == (EMPTY, FINITE)
    assert view.scale == (1.0 + 3 / 64, 100.0)
    assert [(mark.kind, mark.step) for mark in first.marks] == [("not_finite", 9)]


def test_a_run_without_statistics_is_named_and_draws_nothing(sqlite_url):
    with trackside.start_run(name="bare", store=sqlite_url) as run:
        run.log({"train/loss": 1.0}, step=0)
    with trackside.open_store(sqlite_url) as store:
        view = layers_view(store, [run.id])
    assert view.layers == ()
    assert view.scale is None
    assert "bare" in view.missing[0]


@pytest.mark.parametrize(
    ("statistic", "values", "expected"),
    [
        ("gradient_norm", [1.0] * 10 + [5000.0, 1.0], [("exploding", 10)]),
        ("gradient_norm", [1.0] * 10 + [500.0, 1.0], []),
        ("gradient_norm", [1.0] * 5 + [0.0] * 5, [("no_gradient", 5)]),
        ("gradient_norm", [0.0] * 5 + [1.0] * 5, []),
        ("gradient_norm", [1.0] * 8 + [0.0] * 2, []),  # not for long
        ("zero_fraction", [0.5, 1.0, 0.5, 1.0, 1.0, 1.0], [("dead", 3)]),
        ("activation_norm", [1.0, math.inf, math.nan], [("not_finite", 1)]),
        ("update_ratio", [1e-3] * 10 + [1e3], []),
    ],
)
def test_dead_and_exploding_layers_are_marked(statistic, values, expected):
    found = marks(statistic, np.arange(len(values)), np.array(values))
    assert [(mark.kind, mark.step) for mark in found] == expected


def test_columns_are_powers_of_two_wide_and_never_too_many():
    for last in (0, 1, 255, 256, 257, 10_000, 10_000_000):
        width = step_width(0, last, 256)
        assert width & (width - 1) == 0
        assert last // width + 1 <= 256
    assert step_width(0, 255, 256) == 1
