"""ResNet-50: what both frameworks are given, and that they compute the same with it."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from trackside.workloads.gate import run_gate
from trackside.workloads.plan import Request, plan_jobs
from trackside.workloads.resnet50 import problem


@pytest.fixture(scope="module")
def weights():
    return problem.initial_weights(0)  # drawing 23.5 million numbers takes most of a second


def load(**options):
    (job,) = plan_jobs(Request(workload="resnet50", framework="torch", **options))
    return problem.load(job.settings)


def test_the_network_has_the_tensors_of_torchvisions(weights):
    assert len(weights) == 53 + 2 * 53 + 2  # convolutions, their normalisations, the head
    sizes = {name: weight.size for name, weight in weights.items()}
    assert sum(sizes.values()) == 23_528_522
    with_1000_classes = sum(size for name, size in sizes.items() if not name.startswith("fc.")) + 2048 * 1000 + 1000
    assert with_1000_classes == 25_557_032  # as torchvision documents it
    assert weights["conv1.weight"].shape == (64, 3, 7, 7)
    assert weights["layer3.0.downsample.0.weight"].shape == (1024, 512, 1, 1)
    assert weights["layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float32)}


def test_convolutions_are_drawn_by_fan_out_and_each_block_starts_as_its_shortcut(weights):
    for name, fan_out in (("conv1", 64 * 49), ("layer1.0.conv1", 64), ("layer4.2.conv2", 512 * 9)):
        assert weights[f"{name}.weight"].std() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    silent = [name for name, weight in weights.items() if not weight.any() and name.endswith(".weight")]
    assert len(silent) == 16
    assert all(name.endswith("bn3.weight") for name in silent)


def test_only_weights_follow_the_seed(weights):
    one, other = load(), load(seed=1)
    for name, weight in weights.items():
        np.testing.assert_array_equal(one.weights[name], weight)
    assert not np.array_equal(one.weights["conv1.weight"], other.weights["conv1.weight"])
    np.testing.assert_array_equal(one.inputs[0], other.inputs[0])


def test_the_gate_compares_gradients_that_are_not_zero_by_construction():
    loaded = load()
    assert len(loaded.probe_weights) == 16
    assert all(weight.all() for weight in loaded.probe_weights.values())
    assert not any(loaded.weights[name].any() for name in loaded.probe_weights)


@pytest.mark.parametrize("size", [32, 64, 100, 224])
def test_images_are_enlarged_to_the_nearest_pixel(size):
    small = problem.load_digits().train_images[:2]  # (2, 8, 8, 1)
    (large,) = problem.enlarge((small,), size)
    assert large.shape == (2, size, size, 3)
    assert large.dtype == np.float32
    for row in (0, size // 2, size - 1):
        for column in (0, size // 3, size - 1):
            pixel = small[:, row * 8 // size, column * 8 // size]  # (2, 1)
            np.testing.assert_array_equal(large[:, row, column], np.repeat(pixel, 3, axis=1))


def test_a_few_samples_still_hold_every_digit_and_stay_small():
    loaded = load(samples=200, size=224)
    assert loaded.inputs[0].shape == (200, 8, 8, 1)
    (large,) = loaded.expanded((loaded.inputs[0][:3],))
    assert large.shape == (3, 224, 224, 3)
    assert np.bincount(loaded.targets[0], minlength=10).min() >= 10
    assert np.bincount(loaded.validation_targets[0], minlength=10).min() >= 20
    assert len(loaded.validation_inputs[0]) % problem.VALIDATION_BATCH_SIZE == 0


@pytest.mark.parametrize(("steps", "warmup", "decay"), [(1, 1, 1), (2, 1, 1), (6, 1, 5), (89, 8, 81)])
def test_the_schedule_fits_into_any_number_of_steps(steps, warmup, decay):
    assert (problem.warmup_steps(steps), problem.decay_steps(steps)) == (warmup, decay)


@pytest.mark.framework
def test_both_frameworks_compute_the_same():
    """Three updates: the first at the start of the warm-up, the second at the highest rate, the third below it."""
    report = run_gate(Request(workload="resnet50", size=32, batch_size=4, steps=3, samples=12))
    assert report.passed, report.to_json()
    assert len(report.parts) == 2 + 161 + 1  # outputs, loss, gradients, losses of the updates


def narrow_copy(folder: Path, *, right: str, wrong: str) -> Path:
    """The workload's own files with a block of 8 channels a stage, and one line of the Keras half changed."""
    folder.mkdir()
    for source in Path(problem.__file__).parent.glob("*.py"):
        text = source.read_text(encoding="utf-8")
        text = text.replace("from ...db", "from trackside.db").replace(
            "from .. import", "from trackside.workloads import"
        )
        text = re.sub(r"from \.\.(\w)", r"from trackside.workloads.\1", text)
        text = re.sub(r"^STAGES = .*", "STAGES = (Stage(1, 8, 1), *[Stage(1, 8, 2)] * 3)", text, flags=re.M)
        if source.name == "keras_tensorflow.py":
            assert right in text
            text = text.replace(right, wrong)
        (folder / source.name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.framework
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("padding", "padding"),
        ("if stride > 1 and kernel_size > 1:", "if False:"),
        ("layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))", 'layers.MaxPooling2D(3, 2, padding="same")(x)'),
    ],
    ids=["as_it_is", "convolutions", "pooling"],
)
def test_the_gate_catches_keras_own_padding_where_it_strides(right, wrong, tmp_path, request):
    folder = narrow_copy(tmp_path / f"narrow_{request.node.callspec.id}", right=right, wrong=wrong)
    report = run_gate(Request(workload=str(folder), size=32, batch_size=4, steps=1, samples=4))
    apart = {part.name: part.difference for part in report.parts if not part.agrees}
    if right == wrong:
        assert apart == {}
        return
    assert {"outputs", "loss", "gradient/conv1.weight"} <= apart.keys()
    assert 1e-3 < apart["outputs"] < 10  # a number, and no rounding
