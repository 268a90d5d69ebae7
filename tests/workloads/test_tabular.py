"""Measurements of tumours: what both frameworks are given, and that they make the same of it."""

import numpy as np
import pytest

from trackside.workloads.gate import run_gate
from trackside.workloads.plan import Request
from trackside.workloads.settings import Settings
from trackside.workloads.tabular import problem


def load(**options):
    return problem.load(Settings(**{"mode": "eager", "steps": 10, "batch_size": 32, "size": 64} | options))


def test_every_tumour_is_in_one_part_and_only_training_decides_the_scale():
    tumours = problem.load_tumours()
    assert tumours.train_features.shape == (problem.TRAIN_SAMPLES, problem.FEATURES)
    assert tumours.validation_features.shape == (problem.VALIDATION_SAMPLES, problem.FEATURES)
    assert len(np.unique(np.concatenate([tumours.train_features, tumours.validation_features]), axis=0)) == 569
    np.testing.assert_allclose(tumours.train_features.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(tumours.train_features.std(axis=0), 1, atol=1e-6)
    assert np.abs(tumours.validation_features.mean(axis=0)).max() > 0.05


def test_labels_are_those_of_scikit_learn_in_both_parts():
    tumours = problem.load_tumours()
    labels = np.concatenate([tumours.train_labels, tumours.validation_labels])
    assert labels.sum() == 357  # benign
    assert 0.5 < tumours.validation_labels.mean() < 0.75
    # Malignant cells have larger nuclei: features and labels were shuffled together.
    features = np.concatenate([tumours.train_features, tumours.validation_features])
    assert features[labels[:, 0] == 0, 0].mean() > features[labels[:, 0] == 1, 0].mean() + 1


def test_only_weights_follow_the_seed():
    one, same, other = load(seed=1), load(seed=1), load(seed=2)
    for name in ("inputs", "targets", "validation_inputs", "validation_targets"):
        for mine, its in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(mine, its)
            assert mine.dtype == np.float32
    for name, array in one.weights.items():
        np.testing.assert_array_equal(array, same.weights[name])
        assert not np.array_equal(array, other.weights[name])


@pytest.mark.parametrize(("hidden", "parameters"), [(64, 6209), (8, 329)])
def test_size_is_the_hidden_units(hidden, parameters):
    weights = load(size=hidden).weights
    assert sum(array.size for array in weights.values()) == parameters
    assert weights["hidden2.weight"].shape == (hidden, hidden)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


def test_samples_limit_training_and_not_validation():
    limited = load(samples=100)
    assert len(limited.inputs[0]) == len(limited.targets[0]) == 100
    assert len(limited.validation_inputs[0]) == problem.VALIDATION_SAMPLES


def test_the_entry_fits_the_data():
    workload = problem.WORKLOAD
    assert workload.train_samples == load().samples
    assert workload.steps % load().steps_per_epoch(workload.batch_size) == 0


@pytest.mark.framework
def test_both_frameworks_compute_the_same_and_drop_the_rate_at_the_same_update():
    report = run_gate(Request(workload="tabular", size=16, steps=24))  # drops at steps 12 and 18
    assert report.passed, report.to_json()
