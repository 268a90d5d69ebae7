"""The first step and layer at which two trainings differ, and the measured noise as the judge of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.runs.debugging.divergence import divergence_view
from trackside.runs.derived import add_series
from trackside.runs.difference import difference_view
from trackside.runs.noise import first_beyond_noise

STEPS = 40
LAYERS = {
    "torch": [("net.0", "Conv2d", 448), ("net.1", "ReLU", 0), ("net.2", "Linear", 650)],
    "tensorflow": [("conv", "Conv2D", 448), ("act", "ReLU", 0), ("head", "Dense", 650)],
}


@pytest.fixture
def train(sqlite_url):
    """Logs a made-up training; `changed(name, step)` is a factor on a value."""

    def run(framework, changed=lambda name, step: 1.0, layers=True):
        names = [path for path, *_ in LAYERS[framework]]
        with trackside.start_run(name=framework, store=sqlite_url) as tracked:
            described = [{"name": path, "class": kind, "parameters": count} for path, kind, count in LAYERS[framework]]
            tracked.update(framework=framework, precision="float32", model={"layers": described})
            for step in range(STEPS):
                values = {"train/loss": 2.0 / (1 + step), "optimizer/gradient_norm": 3.0}
                for place, name in enumerate(names if layers else ()):
                    values[f"layers/{name}/activation_norm"] = 10.0 + place
                    values[f"layers/{name}/zero_fraction"] = 0.5
                    if place != 1:
                        values[f"layers/{name}/gradient_norm"] = 1.0 + place
                tracked.log({name: value * changed(name, step) for name, value in values.items()}, step=step)
        return tracked.id

    return run


def diverged(sqlite_url, one, other):
    with trackside.open_store(sqlite_url) as store:
        return divergence_view(store, one, other)


def test_runs_that_agree_do_not_part(sqlite_url, train):
    rounding = np.random.default_rng(0)
    other = train("tensorflow", lambda *_: 1 + rounding.normal() * 1e-7)
    view = diverged(sqlite_url, train("torch"), other)
    assert view.first is None
    assert "do not part" in view.reason
    assert [finding.compared for finding in view.findings] == [3, 1, 2, 1]


def test_the_first_layer_forward_is_named_not_what_it_carries_along(sqlite_url, train):
    # The second layer goes wrong; what comes behind it and the loss follow within the step.
    wrong = {"act", "head"}
    other = train(
        "tensorflow", lambda name, step: 1.5 if step >= 7 and (name.split("/")[1] in wrong or "loss" in name) else 1.0
    )
    view = diverged(sqlite_url, train("torch"), other)
    assert (view.first.quantity, view.first.step, view.first.layers) == ("activations", 7, ("net.1", "act"))
    assert "step 7" in view.reason
    assert "net.1 / act" in view.reason
    assert "1 more layer" in view.first.reason


def test_a_wrong_gradient_is_blamed_on_the_last_layer_for_the_backward_pass_begins_there(sqlite_url, train):
    other = train("tensorflow", lambda name, step: 2.0 if step >= 3 and "gradient_norm" in name else 1.0)
    view = diverged(sqlite_url, train("torch"), other)
    assert (view.first.quantity, view.first.step, view.first.layers) == ("gradients", 3, ("net.2", "head"))


def test_a_gradient_that_is_zero_but_for_rounding_parts_nothing(sqlite_url, train):
    def tiny(factor):
        return lambda name, step: factor if name.endswith(("net.0/gradient_norm", "conv/gradient_norm")) else 1.0

    view = diverged(sqlite_url, train("torch", tiny(1e-8)), train("tensorflow", tiny(7e-8)))
    assert view.first is None


def test_an_activation_that_is_fused_in_on_one_side_only_is_no_difference(sqlite_url, train):
    def rectified(zeros, size):
        def changed(name, step):
            fused = name.split("/")[1] in ("net.0", "conv")
            return size if fused and "activation" in name else zeros if fused and "zero_fraction" in name else 1.0

        return changed

    view = diverged(sqlite_url, train("torch", rectified(0.0, 1.0)), train("tensorflow", rectified(1.0, 0.6)))
    assert view.first is None
    assert "Not compared: net.0 / conv" in view.findings[0].reason
    assert view.findings[0].compared == 2


def test_of_an_activation_that_is_a_layer_in_one_run_only_what_agrees_at_first_is_compared(sqlite_url, train):
    """Fused in, or a mere function that is no layer: the model description does not say."""
    for fused in (True, False):
        with trackside.start_run(name=f"keras-{fused}", store=sqlite_url) as tracked:
            layers = [
                {"name": "conv", "class": "Conv2D", "parameters": 448},
                {"name": "head", "class": "Dense", "parameters": 650},
            ]
            tracked.update(framework="tensorflow", precision="float32", model={"layers": layers})
            for step in range(STEPS):
                first = 11.0 if fused else 10.0  # as behind the activation of the other, or as before it
                tracked.log({"layers/conv/activation_norm": first, "layers/head/activation_norm": 12.0}, step=step)
        assert diverged(sqlite_url, train("torch"), tracked.id).first is None


def test_nan_on_one_side_parts(sqlite_url, train):
    other = train("tensorflow", lambda name, step: math.nan if step >= 5 and "head" in name else 1.0)
    view = diverged(sqlite_url, train("torch"), other)
    assert (view.first.step, view.first.layers) == (5, ("net.2", "head"))


def test_without_layers_the_loss_still_counts_and_the_cure_is_said(sqlite_url, train):
    other = train("tensorflow", lambda name, step: 1.2 if step >= 11 else 1.0, layers=False)
    view = diverged(sqlite_url, train("torch"), other)
    assert (view.first.quantity, view.first.step) == ("loss", 11)
    assert "debug=True" in view.findings[0].reason


def test_a_run_cannot_differ_from_itself(sqlite_url, train):
    one = train("torch")
    with pytest.raises(UsageError, match="name two"):
        diverged(sqlite_url, one, one)


def test_where_the_noise_was_measured_it_decides_both_ways(sqlite_url, train):
    """A batch norm's loss leaves the general bound while within its own noise, and a quiet network's the reverse."""
    one, other = train("torch"), train("tensorflow", lambda name, step: 1 + 0.002 if "loss" in name else 1.0)
    with trackside.open_store(sqlite_url) as store:
        assert difference_view(store, one, other, "train/loss").parted_at == 0
    steps = np.arange(STEPS)
    with trackside.open_store(sqlite_url) as store:
        add_series(store, store.run(one), "noise/train/loss", steps, steps + 1.7e9, np.full(STEPS, 0.01))
        wide = difference_view(store, one, other, "train/loss")
        compared = trackside.compare(store, [one, other])
    assert (wide.parted_at, wide.basis) == (None, "noise")
    assert "noise that was measured of these runs" in wide.reason
    assert compared.parted_at is None


def test_a_lasting_offset_counts_sooner_than_a_single_outlier():
    envelope, quiet = np.ones(30), np.zeros(30, bool)
    assert first_beyond_noise(np.zeros(30), quiet, envelope) is None
    assert first_beyond_noise(np.where(np.arange(30) == 4, 19.0, 0.0), quiet, envelope) is None
    assert first_beyond_noise(np.where(np.arange(30) == 4, 21.0, 0.0), quiet, envelope) == 4
    assert first_beyond_noise(np.full(30, 3.5), quiet, envelope) == 0
    assert first_beyond_noise(10.0 * (-1.0) ** np.arange(30), quiet, envelope) is None
    assert first_beyond_noise(np.zeros(30), np.arange(30) == 6, envelope) == 6
