"""GPT: what both frameworks are given, that they compute the same, and that nothing looks ahead."""

import numpy as np
import pytest

from trackside.db.errors import UsageError
from trackside.workloads.gate import run_gate
from trackside.workloads.gpt import problem as gpt
from trackside.workloads.plan import Request
from trackside.workloads.settings import Settings
from trackside.workloads.text import SYMBOLS


def settings(**options) -> Settings:
    return Settings(**{"mode": "eager", "steps": 10, "batch_size": 4, "size": 16, **options})


def test_windows_of_text_and_the_character_that_follows_each():
    problem = gpt.load(settings(samples=100))
    (inputs,), (targets,) = problem.inputs, problem.targets
    assert inputs.shape == targets.shape == (100, gpt.CONTEXT)
    np.testing.assert_array_equal(targets[:, :-1], inputs[:, 1:])
    assert problem.validation_inputs[0].shape == (gpt.VALIDATION_WINDOWS, gpt.CONTEXT)
    assert gpt.WORKLOAD.train_samples == gpt.load(settings()).samples == gpt.WINDOWS


def test_initial_weights_are_those_of_gpt_2():
    weights = dict(gpt.initial_weights(seed=0, width=64))
    assert weights["tokens.weight"].shape == (SYMBOLS, 64)
    assert weights["blocks.1.attention.qkv.weight"].shape == (192, 64)
    assert weights["blocks.1.expand.weight"].std() == pytest.approx(0.02, rel=0.02)
    # Four additions to the stream, of half the size each.
    assert weights["blocks.1.contract.weight"].std() == pytest.approx(0.01, rel=0.02)
    assert all(array.dtype == np.float32 for array in weights.values())
    again, other = (dict(gpt.initial_weights(seed, 64))["positions.weight"] for seed in (0, 1))
    np.testing.assert_array_equal(weights["positions.weight"], again)
    assert not np.array_equal(again, other)


@pytest.mark.parametrize(
    ("width", "layers", "heads", "rate"), [(64, 2, 4, 6e-3), (384, 6, 6, 1e-3), (768, 12, 12, 5e-4)]
)
def test_a_wide_model_is_deep_and_learns_slowly(width, layers, heads, rate):
    assert (gpt.layers(width), gpt.heads(width)) == (layers, heads)
    assert gpt.learning_rate(width) == pytest.approx(rate)


@pytest.mark.parametrize("width", [30, 400])
def test_channels_that_heads_cannot_share_are_refused(width):
    with pytest.raises(UsageError, match="pass a multiple of 64"):
        gpt.WORKLOAD.check(settings(size=width))


@pytest.mark.framework
def test_both_frameworks_compute_the_same():
    report = run_gate(Request(workload="gpt", size=16, batch_size=4, steps=20))
    assert report.passed, [part for part in report.parts if not part.agrees]


@pytest.mark.framework
def test_no_character_sees_those_that_follow():
    torch = pytest.importorskip("torch")
    from trackside.workloads.gpt.torch_lightning import GPT

    model = GPT(width=16, steps=10)
    tokens = torch.arange(gpt.CONTEXT).remainder(SYMBOLS)[None]  # (1, T)
    changed = tokens.clone()
    changed[0, 40] = 0
    same = (model(tokens) == model(changed)).all(-1)[0]  # (T,)
    assert same[:40].all()
    assert not same[40:].any()
