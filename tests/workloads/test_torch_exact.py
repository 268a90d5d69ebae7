"""The torch-exact Keras pieces against torch itself, in double precision."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.framework

SIDES = Path(__file__).parent / "torch_exact"
CLIPPED_NORM = 4.0  # as in cases.py
OPTIMIZERS = [
    "sgd",
    "sgd_momentum",
    "sgd_nesterov",
    "sgd_decay",
    "sgd_everything",
    "adam",
    "adam_betas",
    "adam_decay",
    "adam_amsgrad",
    "adamw",
]


def compute(side: str, folder: Path) -> dict[str, np.ndarray]:
    output = folder / f"{side}.npz"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, SIDES / f"{side}_side.py", output], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(output) as file:
        return dict(file)


@pytest.fixture(scope="module")
def torch_results(tmp_path_factory) -> dict[str, np.ndarray]:
    return compute("torch", tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def keras_results(tmp_path_factory) -> dict[str, np.ndarray]:
    return compute("keras", tmp_path_factory.mktemp("keras"))


@pytest.mark.parametrize("size", ["", "_small"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_of_an_optimizer_is_torchs(name, size, torch_results, keras_results):
    expected = torch_results[name + size]
    assert np.ptp(expected) > 1e-6  # it moved
    np.testing.assert_allclose(keras_results[name + size], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("sgd_momentum", 1e-2),  # the rate in the velocity, seen after the drop
        ("sgd_everything", 1e-2),  # decay apart from the velocity
        ("adam_small", 1e-2),  # epsilon inside the bias correction
        ("adam_decay", 1e-2),
        ("embedding", 1e-3),  # squares of slices
    ],
)
def test_keras_own_optimizers_differ(name, least, torch_results, keras_results):
    """What the exact ones are there for: without the difference the tests above would prove nothing."""
    assert np.abs(keras_results[f"stock_{name}"] - torch_results[name]).max() > least


def test_stock_and_exact_sgd_agree_until_the_rate_changes(torch_results, keras_results):
    difference = np.abs(keras_results["stock_sgd_momentum"] - torch_results["sgd_momentum"]).max(axis=(1, 2))
    assert difference[:10].max() < 1e-6
    assert difference[10] > 1e-3


def test_repeated_rows_of_an_embedding_are_summed_before_they_are_squared(torch_results, keras_results):
    np.testing.assert_allclose(keras_results["embedding"], torch_results["embedding"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("form", ["clipping", "clipping_devices"])
def test_gradients_are_clipped_as_torch_clips_them_together(form, torch_results, keras_results):
    norms = torch_results["clipping_norms"]
    assert norms.min() < CLIPPED_NORM < norms.max()
    np.testing.assert_allclose(keras_results[form], torch_results["clipping"], rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["clipping", "clipping_devices"])
def test_keras_own_clipping_differs_for_repeated_rows_and_clips_each_devices_share(form, torch_results, keras_results):
    assert np.abs(keras_results[f"stock_{form}"] - torch_results["clipping"]).max() > 1e-2


@pytest.mark.parametrize("name", ["images", "rows"])
@pytest.mark.parametrize("part", ["train0", "train1", "train2", "mean", "variance", "evaluation"])
def test_batch_normalisation_is_torchs(name, part, torch_results, keras_results):
    np.testing.assert_allclose(keras_results[f"{name}_{part}"], torch_results[f"{name}_{part}"], rtol=0, atol=1e-13)


def test_keras_own_batch_normalisation_keeps_a_biased_variance(torch_results, keras_results):
    assert np.abs(keras_results["stock_rows_variance"] - torch_results["rows_variance"]).max() > 1e-3


@pytest.mark.parametrize("name", ["images", "rows"])
def test_a_frozen_layer_evaluates(name, keras_results):
    np.testing.assert_array_equal(keras_results[f"{name}_frozen"], keras_results[f"{name}_evaluation"])


def test_half_precision_is_normalised_in_single(keras_results):
    assert np.isfinite(keras_results["half"]).all()
    np.testing.assert_allclose(keras_results["half"].std(axis=(0, 1, 2)), 1, atol=1e-2)


@pytest.mark.parametrize("name", ["leaky_relu", "leaky_relu_gradient"])
def test_the_slope_of_a_leaky_relu_is_exact_in_double_precision(name, torch_results, keras_results):
    np.testing.assert_array_equal(keras_results[name], torch_results[name])
    assert np.abs(keras_results[f"stock_{name}"] - torch_results[name]).max() > 1e-9


def test_a_mask_is_refused(keras_results):
    assert keras_results["mask_refused"]
