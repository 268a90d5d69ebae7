"""LSTM and GRU: what both frameworks are given, and that they compute the same."""

import numpy as np
import pytest

from trackside.workloads.gate import run_gate
from trackside.workloads.gru import problem as gru
from trackside.workloads.lstm import problem as lstm
from trackside.workloads.plan import Request
from trackside.workloads.settings import Settings


def settings(**options) -> Settings:
    return Settings(**{"mode": "eager", "steps": 10, "batch_size": 4, "size": 16, **options})


def test_windows_of_text_and_the_character_that_follows_each():
    problem = lstm.load(settings())
    (inputs,), (targets,) = problem.inputs, problem.targets
    assert inputs.shape == targets.shape == (lstm.WINDOWS, lstm.CONTEXT)
    assert problem.validation_inputs[0].shape == (lstm.VALIDATION_WINDOWS, lstm.CONTEXT)
    np.testing.assert_array_equal(targets[:, :-1], inputs[:, 1:])
    assert lstm.WORKLOAD.train_samples == gru.WORKLOAD.train_samples == problem.samples
    assert lstm.load(settings(samples=7)).inputs[0].shape == (7, lstm.CONTEXT)


@pytest.mark.parametrize(("workload", "gates", "biases"), [(lstm, 4, 1), (gru, 3, 2)])
def test_initial_weights_follow_the_seed_and_pytorchs_bounds(workload, gates, biases):
    weights = workload.load(settings()).weights
    assert weights["rnn.weight_ih_l0"].shape == (gates * 16, lstm.EMBEDDING)
    assert weights["rnn.weight_hh_l0"].shape == (gates * 16, 16)
    assert [name for name in weights if "bias_" in name] == ["rnn.bias_ih_l0", "rnn.bias_hh_l0"][:biases]
    for name in ("rnn.weight_hh_l0", "rnn.bias_ih_l0", "head.weight"):
        assert weights[name].dtype == np.float32
        assert 0.2 < np.abs(weights[name]).max() <= 1 / np.sqrt(16)
    again, other = (workload.load(settings(seed=seed)).weights["head.weight"] for seed in (0, 1))
    np.testing.assert_array_equal(weights["head.weight"], again)
    assert not np.array_equal(again, other)


def test_both_are_trained_on_the_same_data():
    one, other = (workload.load(settings()).full_config(settings())["data"] for workload in (lstm, gru))
    assert one == other


@pytest.mark.framework
@pytest.mark.parametrize("workload", ["lstm", "gru"])
def test_both_frameworks_compute_the_same(workload):
    report = run_gate(Request(workload=workload, size=16, batch_size=4, steps=10))
    assert report.passed, [part for part in report.parts if not part.agrees]
    biases = {part.name for part in report.parts if "bias_" in part.name}
    assert biases == {"gradient/rnn.bias_ih_l0"} | ({"gradient/rnn.bias_hh_l0"} if workload == "gru" else set())
