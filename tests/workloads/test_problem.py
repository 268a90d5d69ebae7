"""What both frameworks are given, whatever the workload: order, weights, precision, layouts."""

import numpy as np
import pytest

from trackside.workloads import layout
from trackside.workloads.problem import Problem, channels_first, in_precision, perturbed, sample_order
from trackside.workloads.settings import Settings


def settings(**options) -> Settings:
    return Settings(**{"mode": "eager", "steps": 10, "batch_size": 4, "size": 1, **options})


def problem(samples: int = 10) -> Problem:
    images = np.arange(samples * 12, dtype=np.float32).reshape(samples, 2, 3, 2)
    labels = np.arange(samples, dtype=np.int64)
    return Problem(
        inputs=(images,),
        targets=(labels,),
        validation_inputs=(images[:2],),
        validation_targets=(labels[:2],),
        weights={"layer.weight": np.linspace(-1, 1, 7, dtype=np.float32)},
        config={"learning_rate": 0.1, "data": {"name": "numbers"}},
    )


def test_the_order_is_a_permutation_an_epoch_and_does_not_depend_on_the_length():
    order = sample_order(seed=3, samples=50, epochs=4)
    assert order.shape == (4, 50)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(50), (4, 1)))
    np.testing.assert_array_equal(order[:2], sample_order(seed=3, samples=50, epochs=2))
    assert not np.array_equal(order[0], order[1])
    assert not np.array_equal(order, sample_order(seed=4, samples=50, epochs=4))


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (2, 1), (3, 2), (10, 5)])
def test_what_is_left_over_of_an_epoch_is_dropped(steps, epochs):
    assert problem(10).epochs(settings(steps=steps)) == epochs


def test_a_perturbation_moves_every_weight_by_one_unit_in_the_last_place():
    weights = {"a": np.array([1.0, -2.0, 0.0, 1e-3] * 8, np.float32)}
    moved = perturbed(weights, 1)["a"]
    ones, twos = weights["a"].view(np.int32), moved.view(np.int32)
    nonzero = weights["a"] != 0
    assert set(np.abs(ones - twos)[nonzero]) == {1}
    assert set(np.sign(moved[nonzero] - weights["a"][nonzero])) == {-1.0, 1.0}
    np.testing.assert_array_equal(moved, perturbed(weights, 1)["a"])
    assert not np.array_equal(moved, perturbed(weights, 2)["a"])


def test_a_configuration_names_the_data_by_its_content():
    one = problem().full_config(settings())
    assert one["data"]["name"] == "numbers"
    assert one["data"]["samples"] == 10
    assert one == problem().full_config(settings())
    assert one["data"]["sha256"] != problem(11).full_config(settings())["data"]["sha256"]
    assert "perturbation" not in one
    assert problem().full_config(settings(perturb=2))["perturbation"] == 2


def test_only_floats_change_their_precision():
    floats, whole = in_precision((np.ones(2, np.float32), np.ones(2, np.int64)), "float64")
    assert (floats.dtype, whole.dtype) == (np.float64, np.int64)
    assert in_precision((floats,), "float32")[0].dtype == np.float64


def test_images_become_channels_first_and_nothing_else_does():
    images, labels = channels_first((problem().inputs[0], problem().targets[0]))
    assert images.shape == (10, 2, 2, 3)
    assert images.flags["C_CONTIGUOUS"]
    assert labels.shape == (10,)


@pytest.mark.parametrize(
    ("way", "shape", "in_keras"),
    [
        (layout.SAME, (5,), (5,)),
        (layout.DENSE, (5, 3), (3, 5)),
        (layout.CONV2D, (7, 4, 3, 2), (3, 2, 4, 7)),
        (layout.CONV2D_TRANSPOSE, (4, 7, 3, 2), (3, 2, 7, 4)),
        (layout.flattened_images(2, 3, 4), (5, 24), (24, 5)),
        (layout.LSTM, (8, 3), (3, 8)),
        (layout.GRU, (6, 3), (3, 6)),
        (layout.GRU_BIASES, (2, 6), (2, 6)),
    ],
)
def test_a_layout_leads_there_and_back(way, shape, in_keras):
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    there = way.to_keras(array)
    assert there.shape == in_keras
    np.testing.assert_array_equal(way.to_torch(there), array)


def test_a_flattened_image_keeps_its_channel_and_place():
    array = np.arange(24.0).reshape(1, 24)  # one output; element c·12 + h·4 + w
    kernel = layout.flattened_images(2, 3, 4).to_keras(array)[:, 0]
    assert kernel[(1 * 4 + 2) * 2 + 1] == 1 * 12 + 1 * 4 + 2  # Keras: (h·4 + w)·2 + c


def test_gru_gates_change_places():
    array = np.array([[0.0], [1.0], [2.0]])  # r, z, n of one unit
    assert layout.GRU.to_keras(array).tolist() == [[1.0, 0.0, 2.0]]  # z, r, h
    biases = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    assert layout.GRU_BIASES.to_keras(biases).tolist() == [[1.0, 0.0, 2.0], [4.0, 3.0, 5.0]]
