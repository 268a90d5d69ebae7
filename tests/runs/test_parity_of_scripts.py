"""The parity card of two users' own scripts: green for the same experiment, and for one thing changed its one reason.

The scripts lie in `parity_scripts`. They know nothing of trackside but its two trackers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackside.db.store import open_store
from trackside.runs.parity import check_parity

pytestmark = [pytest.mark.framework, pytest.mark.timeout(1800)]

SCRIPTS = Path(__file__).with_name("parity_scripts")
# What the machine that the tests run on is doing besides; the runs follow each other too closely to be told apart.
NOT_OF_THE_EXPERIMENT = {"Machine load", "Ran alone"}

RED, AMBER = "red", "amber"

# By what was changed in one of the scripts: the checks that are not green then, and what their reasons say.
CHANGES = {
    "again": {},
    "batch-size": {"Batch size": (RED, ("16 in", "20 in")), "Batch order": (RED, ("other samples", "batch 0"))},
    "data-order": {"Batch order": (RED, ("other samples", "batch 0"))},
    "other-data": {"Batch order": (RED, ("other samples", "batch 0"))},
    "other-validation": {"Evaluation data": (RED, ("other samples", "evaluation batch 0"))},
    "drop-last": {"Samples per epoch": (RED, ("160 in", "144 in"))},
    "keep-last": {"Samples per epoch": (RED, ("160 in", "152 in"))},
    "weights": {"Initial weights": (RED, ("12 of 12 tensors", "different weights"))},
    "frozen": {"Trainable parameters": (RED, ("908 in", "828 in", "conv1", "as they are"))},
    "frozen-dense": {"Trainable parameters": (RED, ("764 in", "fc1/kernel"))},
    "left-out-of-optimizer": {"Trainable parameters": (RED, ("828 in", "conv1.weight"))},
    "padding": {"First loss": (RED, ("padding of the convolutions", "0 × 0"))},
    "dilation": {"First loss": (RED, ("dilation of the convolutions", "2 × 2"))},
    "activation": {"First loss": (RED, ("activations are", "relu", "elu"))},
    "gelu": {"First loss": (RED, ("activations are", "relu", "gelu"))},
    "pooling": {"First loss": (RED, ("not compute the same function",))},
    "dropout": {"Dropout": (RED, ("none in", "0.5 in"))},
    "functional-dropout": {
        "Dropout": (AMBER, ("could not be established",)),
        "First loss": (AMBER, ("drew random numbers",)),
    },
    "norm-momentum": {"Normalization layers": (RED, ("momentum 0.1", "momentum 0.01"))},
    "norm-epsilon": {"Normalization layers": (RED, ("epsilon 1e-05", "epsilon 0.001"))},
    "stock-norm": {"Running variance": (AMBER, ("unbiased", "biased", "evaluation differs"))},
    "loss-sum": {"Loss": (RED, ("cross_entropy, mean in", "cross_entropy, sum in"))},
    "loss-sum-by-hand": {},
    "loss-mean-by-hand": {},
    "loss-own": {},
    "label-smoothing": {
        "Loss": (AMBER, ("could not be established",)),
        "First loss": (RED, ("the loss and its reduction",)),
    },
    "class-weights": {"Loss": (RED, ("cross_entropy, mean in", "cross_entropy, mean, weighted in"))},
    "learning-rate": {"Learning rate": (RED, ("0.05 in", "0.04 in"))},
    "schedule-late": {"Learning-rate schedule": (RED, ("from step 3 on", "0.05 in", "0.025 in"))},
    "momentum": {"Momentum": (RED, ("0 in", "0.9 in"))},
    "clip-norm": {"Gradient clipping": (RED, ("none in", "norm of all gradients at 0.1"))},
    "clip-variable-norm": {"Gradient clipping": (RED, ("none in", "each gradient by itself at 0.1"))},
    "decay": {"Weight decay": (RED, ("0 in", "0.01"))},
    "adam": {"Optimizer": (RED, ("SGD in", "Adam in"))},
    "float64": {"Precision": (RED, ("float32 in", "float64 in"))},
    "double": {"Precision": (RED, ("float32 in", "float64 in"))},
    "bf16": {"Precision": (RED, ("float32 in", "bf16-mixed in"))},
    "threads": {"Threads": (RED, ("1 in", "2 in"))},
}
# The same beside the runs with Adam.
CHANGES_OF_ADAM = {
    "adam-epsilon": {"Epsilon": (RED, ("1e-08 added", "1e-07 added"))},
    "adam-stock": {"Epsilon": (RED, ("bias-corrected root", "epsilon hat", "no pair of values"))},
    "adam-decay": {"Weight decay": (RED, ("0 in", "0.01 coupled in"))},
    "adamw": {"Weight decay": (RED, ("0 in", "0.01 decoupled in"))},
}
# A variant in PyTorch and one in Keras.
PAIRS = [
    ("float64", "float64", {}),
    ("double", "float64", {}),
    ("bf16", "bf16", {}),
    ("gelu", "gelu", {}),
    ("gelu-tanh", "gelu", {"First loss": (RED, ("gelu tanh in PyTorch", "gelu in TensorFlow"))}),
    ("keep-last", "keep-last", {}),
    ("frozen", "frozen", {}),
    ("left-out-of-optimizer", "frozen", {}),
    ("frozen", "frozen-dense", {"Trainable parameters": (RED, ("PyTorch leaves conv1", "TensorFlow leaves fc1"))}),
    # Frozen, Keras' batch normalization uses its running statistics, PyTorch's still those of the batch.
    ("frozen-other", "frozen-other", {"Normalization layers": (RED, ("statistics running) in TensorFlow",))}),
    ("dropout", "dropout", {"First loss": (AMBER, ("PyTorch and TensorFlow drew random numbers",))}),
    ("more-dropout", "dropout", {"Dropout": (RED, ("0.6 in PyTorch", "0.5 in TensorFlow"))}),
    ("loss-own", "loss-own", {}),
    ("loss-sum", "loss-sum", {}),
    ("label-smoothing", "label-smoothing", {}),
    # PyTorch divides by the sum of the weights, Keras by the number of samples.
    ("class-weights", "class-weights", {"First loss": (RED, ("divides a mean loss by their sum",))}),
    ("positive-weight", "positive-weight", {}),
    ("positive-weight", "positive-weight-unsaid", {}),
    ("other-positive-weight", "positive-weight", {"Loss": (RED, ("positive samples", "5 in PyTorch", "3 in TensorF"))}),
    (
        "positive-weight",
        "other-positive-weight-unsaid",
        {
            "Loss": (AMBER, ("could not be established",)),
            "First loss": (RED, ("the weight of positive samples is 3 in PyTorch",)),
        },
    ),
    # Neither comes to the end of its epoch; then only Keras does not, and then there are batches of another number.
    ("first-batches", "first-batches", {}),
    ("base", "first-batches", {"Samples per epoch": (AMBER, ("TensorFlow", "end of the first epoch"))}),
    ("first-of-fewer", "first-batches", {"Samples per epoch": (RED, ("128 in PyTorch", "10 batches of 16"))}),
    ("clip-norm", "clip-norm", {}),
    ("clip-norm", "clip-variable-norm", {"Gradient clipping": (RED, ("all gradients", "each gradient by itself"))}),
    ("momentum", "momentum", {"Momentum": (AMBER, ("keeps the rate inside it",))}),
    ("decay", "decay", {"Weight decay": (RED, ("0.01 coupled in PyTorch", "0.01 decoupled in TensorFlow"))}),
    ("adam", "adam", {}),
    ("adam-decay", "adamw", {"Weight decay": (RED, ("0.01 coupled in PyTorch", "0.01 decoupled in TensorFlow"))}),
    ("adamw", "adamw", {}),
    ("adamw-groups", "adamw-groups", {}),
    ("adamw", "adamw-groups", {"Weight decay": (RED, ("of 908 parameters in PyTorch", "of 840 parameters"))}),
    # Keras counts batches where PyTorch counts updates, so its schedule runs twice as fast.
    ("accumulation", "accumulation", {"Learning-rate schedule": (RED, ("0.05 in PyTorch", "0.025 in TensorFlow"))}),
    ("accumulation", "base", {"Gradient accumulation": (RED, ("2 in PyTorch", "1 in TensorFlow"))}),
]


def write_problem(path: Path) -> None:
    """Images, labels that follow from them, and initial weights; each twice, as `base` and `other`."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for which in ("base", "other"):
        for split, samples in (("train", 160), ("val", 48)):
            x = generator.normal(size=(samples, 8, 8, 1)).astype("float32")
            brighter = [x[:, :4].mean((1, 2, 3)) > 0, x[:, :, :4].mean((1, 2, 3)) > 0]
            arrays[f"{which}/{split}_x"] = x
            arrays[f"{which}/{split}_y"] = (2 * brighter[0] + brighter[1]).astype("int64")
        shapes = {"conv1": (8, 1, 3, 3), "conv2": (8, 8, 3, 3), "fc1": (16, 8), "fc2": (4, 16)}
        tensors: dict[str, tuple[float, float, tuple[int, ...]]] = {
            f"{layer}.weight": (0.0, float(np.prod(shape[1:])) ** -0.5, shape) for layer, shape in shapes.items()
        }
        tensors |= {f"{layer}.bias": (0.0, 0.1, shape[:1]) for layer, shape in shapes.items()}
        tensors |= {f"{layer}.weight": (1.0, 0.1, (8,)) for layer in ("bn1", "bn2")}
        tensors |= {f"{layer}.bias": (0.0, 0.1, (8,)) for layer in ("bn1", "bn2")}
        for name, (mean, spread, shape) in tensors.items():
            arrays[f"{which}/weights/{name}"] = generator.normal(mean, spread, shape).astype("float32")
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """All variants of both scripts, trained; what is not green of two of them, by check: verdict and reason."""
    directory = tmp_path_factory.mktemp("scripts")
    write_problem(directory / "problem.npz")
    url = f"sqlite:///{directory}/runs.db"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for script in ("train_lightning.py", "train_keras.py"):
        command = [sys.executable, SCRIPTS / script, "problem.npz", url]
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
    with open_store(url) as store:
        runs = {run.name: run for run in store.runs()}
        assert all(run.state == "finished" and not run.warnings for run in runs.values())

        def not_green(*names):
            checks = check_parity(store, [runs[name] for name in names]).checks
            assert {"First loss", "Batch order", "Loss", "Threads"} & {check.name for check in checks}
            return {
                check.name: (check.verdict, check.reason)
                for check in checks
                if check.verdict != "green" and check.name not in NOT_OF_THE_EXPERIMENT
            }

        not_green.runs = runs
        yield not_green


def assert_says(found, expected):
    assert {name: verdict for name, (verdict, _) in found.items()} == {name: said[0] for name, said in expected.items()}
    for name, (_, words) in expected.items():
        assert [word for word in words if word not in found[name][1]] == [], found[name][1]


def test_two_scripts_that_are_the_same_experiment_are_green(cards):
    assert cards("torch base", "keras base") == {}
    assert cards("torch adam", "keras adam") == {}


@pytest.mark.parametrize("variant", [*CHANGES, *CHANGES_OF_ADAM])
def test_one_thing_changed_is_the_one_reason(cards, variant):
    """In either script, beside the run without the change in the same framework and in the other."""
    base = "adam" if variant in CHANGES_OF_ADAM else "base"
    changed = [name for name in (f"torch {variant}", f"keras {variant}") if name in cards.runs]
    assert changed
    for name in changed:
        for reference in ("torch", "keras"):
            assert_says(cards(f"{reference} {base}", name), {**CHANGES, **CHANGES_OF_ADAM}[variant])


@pytest.mark.parametrize(("torch", "keras", "expected"), PAIRS)
def test_the_same_change_in_both_scripts(cards, torch, keras, expected):
    assert_says(cards(f"torch {torch}", f"keras {keras}"), expected)
