"""What is read off Keras objects, in the words both frameworks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from trackside.trackers import keras_layers, keras_model, keras_settings  # noqa: E402

pytestmark = pytest.mark.framework

optimizers = keras.optimizers
layers = keras.layers


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (
            optimizers.SGD(0.1, momentum=0.9, nesterov=True),
            {"name": "SGD", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0,
             "weight_decay_kind": None},
        ),
        (
            optimizers.SGD(0.1, weight_decay=0.01),
            {"name": "SGD", "learning_rate": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.01,
             "weight_decay_kind": "decoupled"},
        ),
        (
            optimizers.Adam(0.001, beta_1=0.8, amsgrad=True),
            {"name": "Adam", "learning_rate": 0.001, "betas": [0.8, 0.999], "epsilon": 1e-7, "epsilon_kind": "hat",
             "amsgrad": True, "weight_decay": 0.0, "weight_decay_kind": None},
        ),
        (
            optimizers.RMSprop(0.001),
            {"name": "RMSprop", "learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7,
             "epsilon_kind": "inside", "weight_decay": 0.0, "weight_decay_kind": None},
        ),
        (
            optimizers.Adagrad(0.01),
            {"name": "Adagrad", "learning_rate": 0.01, "initial_accumulator_value": 0.1, "epsilon": 1e-7,
             "epsilon_kind": "inside", "weight_decay": 0.0, "weight_decay_kind": None},
        ),
    ],
)  # fmt: skip
def test_optimizers_are_described_with_their_constants(optimizer: Any, expected: dict[str, Any]) -> None:
    assert keras_model.describe_optimizer(optimizer) == expected


def test_an_optimizer_that_computes_otherwise_is_taken_at_its_word() -> None:
    class Declared(optimizers.Adam):  # type: ignore[misc, name-defined]
        weight_decay_kind = "coupled"
        epsilon_kind = "outside"

    class Undeclared(optimizers.Adam):  # type: ignore[misc, name-defined]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            self.assign_sub(variable, gradient)

    declared = keras_model.describe_optimizer(Declared(0.1, weight_decay=0.1))
    assert (declared["weight_decay_kind"], declared["epsilon_kind"]) == ("coupled", "outside")
    assert "epsilon_kind" not in keras_model.describe_optimizer(Undeclared(0.1))
    assert declared["name"] == "Adam"
    assert keras_model.describe_optimizer(Undeclared(0.1))["name"] == "Undeclared"


def test_loss_scaling_is_looked_under() -> None:
    scaled = optimizers.LossScaleOptimizer(optimizers.SGD(0.1, gradient_accumulation_steps=4, clipvalue=2.0))
    assert keras_model.describe_optimizer(scaled)["name"] == "SGD"
    assert keras_model.accumulation(scaled) == 4
    assert keras_model.batches_seen(scaled) == 0
    assert keras_model.describe_clipping(scaled) == {"kind": "value", "value": 2.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, None),
        ({"global_clipnorm": 0.5}, {"kind": "norm", "value": 0.5}),
        ({"clipnorm": 0.5}, {"kind": "variable_norm", "value": 0.5}),
    ],
)
def test_clipping(arguments: dict[str, Any], expected: Any) -> None:
    assert keras_model.describe_clipping(optimizers.SGD(0.1, **arguments)) == expected


def test_learning_rate_is_the_one_that_a_warm_up_ends_at() -> None:
    schedule = optimizers.schedules.CosineDecay(0.01, decay_steps=90, warmup_target=0.1, warmup_steps=10)
    assert keras_model.describe_optimizer(optimizers.SGD(schedule))["learning_rate"] == 0.1


def test_schedules() -> None:
    def describe(rate: Any, *callbacks: Any) -> Any:
        return keras_model.describe_schedule(optimizers.SGD(rate), callbacks)

    cosine = describe(optimizers.schedules.CosineDecay(0.1, decay_steps=100))
    assert (cosine["name"], cosine["decay_steps"], cosine["initial_learning_rate"]) == ("CosineDecay", 100, 0.1)
    assert describe(0.1) is None
    plateau = describe(0.1, keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=2))
    assert (plateau["name"], plateau["factor"], plateau["patience"]) == ("ReduceLROnPlateau", 0.3, 2)
    assert describe(0.1, keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)) == {"name": "LearningRateScheduler"}


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", ("mean_squared_error", "mean")),
        ("sparse_categorical_crossentropy", ("cross_entropy", "mean")),
        (keras.losses.CategoricalCrossentropy(reduction="sum"), ("cross_entropy", "sum")),
        (keras.losses.BinaryCrossentropy(from_logits=True), ("binary_cross_entropy", "mean")),
        (keras.losses.MeanAbsoluteError(reduction="mean_with_sample_weight"), ("mean_absolute_error", "mean")),
        (lambda y_true, y_pred: y_pred, ("<lambda>", "mean")),
    ],
)
def test_losses(loss: Any, expected: tuple[str, str]) -> None:
    described = keras_model.describe_one_loss(loss)
    assert (described["name"], described["reduction"]) == expected


def make_network() -> Any:
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.GroupNormalization(2),
            layers.Flatten(),
            layers.LayerNormalization(epsilon=1e-4),
            keras.Sequential([layers.Dense(2, name="last")], name="head"),
        ]
    )
    model.compile("sgd", "mse", jit_compile=False)
    return model


def test_normalization_in_pytorchs_convention() -> None:
    model = make_network()
    assert keras_model.describe_normalization(model) == [
        {"kind": "batch", "momentum": 0.1, "epsilon": 1e-5, "variance": "biased"},
        {"kind": "group", "epsilon": 1e-3},
        {"kind": "layer", "epsilon": 1e-4},
    ]
    model.layers[1].running_variance = "unbiased"
    assert keras_model.describe_normalization(model)[0]["variance"] == "unbiased"
    model.layers[1].trainable = False
    assert keras_model.describe_normalization(model)[0]["statistics"] == "running"


def test_the_two_biases_of_a_gru_are_two_tensors() -> None:
    model = keras.Sequential(
        [keras.Input((None, 2)), layers.GRU(3, return_sequences=True), layers.GRU(3, reset_after=False)]
    )
    shapes = [array.shape for array in keras_model.trainable_arrays(model)]
    assert shapes == [(2, 9), (3, 9), (9,), (9,), (3, 9), (3, 9), (9,)]


def test_parameters_are_what_can_be_trained_frozen_or_not_and_no_statistics() -> None:
    model = make_network()
    described = keras_model.describe_model(model)
    kernels = (9 * 4 + 4) + 2 * 4 + 2 * 4 + 2 * 144 + (144 * 2 + 2)
    assert described["parameters"] == described["trainable_parameters"] == kernels
    assert described["layers"][-1] == {"name": "head/last", "class": "Dense", "parameters": 290}
    assert [layer["class"] for layer in described["layers"]].count("Sequential") == 0
    model.layers[0].trainable = False
    frozen = keras_model.describe_model(model)
    assert (frozen["parameters"], frozen["trainable_parameters"]) == (kernels, kernels - 40)
    arrays = list(keras_model.trainable_arrays(model))
    assert sum(array.size for array in arrays) == kernels - 40
    assert all(isinstance(array, np.ndarray) for array in arrays)
    frozen = dict(keras_model.frozen_arrays(model))
    assert [name.rpartition("/")[2] for name in frozen] == ["kernel", "bias"]
    assert sum(array.size for array in frozen.values()) == 40


def test_weight_decay_says_of_how_many_parameters() -> None:
    model = make_network()
    optimizer = optimizers.AdamW(0.1, weight_decay=0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    found = keras_model.describe_optimizer(optimizer, model.trainable_variables)
    assert found["weight_decay_parameters"] == 9 * 4 + 144 * 2


def test_losses_that_have_more_to_them() -> None:
    smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert keras_model.describe_one_loss(smooth)["label_smoothing"] == 0.1
    model = keras.Sequential([layers.Input((3,)), layers.Dense(2, kernel_regularizer="l2")])
    model.compile("sgd", "mse")
    assert keras_model.describe_loss(model) == {"name": "mean_squared_error", "reduction": "mean", "penalties": True}


def test_a_loss_of_ones_own_goes_by_its_own_name_whatever_it_is_derived_from() -> None:
    class WeightedCrossentropy(keras.losses.BinaryCrossentropy):  # type: ignore[misc]
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return 2 * super().call(y_true, y_pred)

    class WeightedOutside(keras.losses.BinaryCrossentropy):  # type: ignore[misc]
        def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            return super().__call__(y_true, y_pred, 2.0)

    class Renamed(keras.losses.BinaryCrossentropy):  # type: ignore[misc]
        pass

    assert keras_model.describe_one_loss(WeightedCrossentropy())["name"] == "WeightedCrossentropy"
    assert keras_model.describe_one_loss(WeightedOutside())["name"] == "WeightedOutside"
    assert keras_model.describe_one_loss(Renamed())["name"] == "binary_cross_entropy"


def test_convolutions_with_the_padding_that_comes_before_them() -> None:
    model = keras.Sequential(
        [
            layers.Input((16, 16, 2)),
            layers.Conv2D(2, 3, padding="same", dilation_rate=2, activation="gelu"),
            layers.Conv2D(2, 3, padding="same", strides=2),
            layers.ZeroPadding2D((2, 1)),
            layers.DepthwiseConv2D(3, strides=2),
            layers.ZeroPadding2D(((0, 1), (0, 1))),
            layers.Conv2D(2, 2, activation="relu"),
            layers.SeparableConv2D(2, 3),
            layers.LeakyReLU(0.2),
            layers.Conv2DTranspose(2, 2),
        ]
    )
    rows = keras_layers.describe_convolutions(model)
    assert rows[0] == {"kernel": [3, 3], "stride": [1, 1], "dilation": [2, 2], "padding": [2, 2]}
    assert [row["padding"] for row in rows] == [[2, 2], None, [2, 1], None, [0, 0], [0, 0], None]
    assert rows[2]["stride"] == [2, 2]
    assert rows[5]["kernel"] == [1, 1]
    assert keras_layers.describe_activations(model) == ["gelu", "leaky_relu 0.2", "relu"]


def test_random_layers() -> None:
    model = keras.Sequential(
        [layers.Input((4, 3)), layers.LSTM(3, recurrent_dropout=0.1), layers.Dropout(0.5), layers.Dropout(0.0)]
    )
    assert keras_layers.dropout_rates(model) == [0.1, 0.5]
    before = keras_layers.random_draws(model)
    model(np.zeros((1, 4, 3)), training=True)
    assert keras_layers.random_draws(model) != before
    quiet = keras.Sequential([layers.Input((4, 3)), layers.LSTM(3)])
    before = keras_layers.random_draws(quiet)
    quiet(np.zeros((1, 4, 3)), training=True)
    assert keras_layers.random_draws(quiet) == before


def test_a_layer_that_keras_never_builds_has_its_name_all_the_same() -> None:
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, name="dense"), layers.LeakyReLU(name="leaky")])
    described = keras_model.describe_model(model)
    assert [layer["name"] for layer in described["layers"]] == ["dense", "leaky"]


def test_how_a_model_runs() -> None:
    model = make_network()
    assert (keras_settings.mode(model), keras_settings.precision(model)) == ("graph", "float32")
    model.compile("sgd", "mse", jit_compile=True)
    assert keras_settings.mode(model) == "xla"
    model.compile("sgd", "mse", run_eagerly=True)
    assert keras_settings.mode(model) == "eager"
    assert keras_settings.total_steps({"steps": 10, "epochs": 3}, model) == 30
    assert keras_settings.total_steps({"steps": None, "epochs": 3}, model) is None
