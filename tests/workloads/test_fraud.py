"""Card payments with fraud among them: what both frameworks are given, and that they make the same of it."""

import numpy as np
import pytest

from trackside.workloads.fraud import payments, problem
from trackside.workloads.gate import run_gate
from trackside.workloads.plan import Request
from trackside.workloads.ranking_metrics import roc_auc
from trackside.workloads.settings import Settings


def load(**options):
    return problem.load(Settings(**{"mode": "eager", "steps": 10, "batch_size": 512, "size": 64} | options))


@pytest.fixture(scope="module")
def drawn() -> payments.Payments:
    count = problem.TRAIN_SAMPLES + problem.VALIDATION_SAMPLES
    return payments.simulate(count, problem.FRAUD, problem.DATA_SEED)


def test_five_payments_in_a_thousand_are_fraud_in_both_parts(drawn):
    assert drawn.features.shape == (60_000, problem.FEATURES)
    assert np.isfinite(drawn.features).all()
    assert drawn.fraud.sum() == 300
    np.testing.assert_array_equal(np.bincount(drawn.form[drawn.fraud]), [120, 105, 75])
    for part in (drawn.fraud[: problem.TRAIN_SAMPLES], drawn.fraud[problem.TRAIN_SAMPLES :]):
        assert 0.003 < part.mean() < 0.007


def test_payments_are_the_same_for_the_same_seed_only(drawn):
    again, other = (payments.simulate(500, 20, seed) for seed in (7, 8))
    np.testing.assert_array_equal(again.features, payments.simulate(500, 20, 7).features)
    assert not np.array_equal(again.features, other.features)
    assert again.fraud.sum() == other.fraud.sum() == 20


def test_no_single_feature_gives_fraud_away(drawn):
    areas = [roc_auc(drawn.fraud, column) for column in drawn.features.T]
    assert max(max(area, 1 - area) for area in areas) < 0.75


def test_each_form_of_fraud_shows_where_it_should(drawn):
    def mean(feature: str, form: int) -> float:
        return float(drawn.features[drawn.form == form, payments.FEATURES.index(feature)].mean())

    honest, testing, stolen, takeover = -1, 0, 1, 2
    assert mean("payments in the last hour", testing) > mean("payments in the last hour", honest) + 1
    assert mean("log km from home", stolen) > mean("log km from home", honest) + 2
    assert mean("new device", takeover) > mean("new device", honest) + 0.3
    assert mean("online", takeover) == 1
    assert mean("online", stolen) == 0


def test_a_bank_looks_back_and_never_ahead():
    """The features of the first payments are the same whatever comes after them."""
    world = payments._make_world(np.random.default_rng(0))
    drawn = payments._pay_honestly(world, 2000, np.random.default_rng(1))
    early = drawn.hours < np.median(drawn.hours)
    before = payments._look_back(world, payments._Drawn(*(array[early] for array in drawn)))
    np.testing.assert_allclose(payments._look_back(world, drawn)[early], before, atol=1e-9)


def test_velocities_are_counted_as_by_hand():
    world = payments._make_world(np.random.default_rng(0))
    customer = np.array([3, 5, 3, 3, 3])
    drawn = payments._Drawn(
        customer=customer,
        merchant=np.zeros(5, np.int64),
        hours=np.array([10.0, 10.1, 10.5, 30.0, 11.2]),
        amount=np.array([10.0, 99.0, 20.0, 5.0, 40.0]),
        place=np.array([[0.0, 0.0], [9.0, 9.0], [3.0, 4.0], [3.0, 4.0], [3.0, 4.0]]),
        new_device=np.zeros(5, bool),
        form=np.full(5, -1),
    )
    columns = dict(zip(payments.FEATURES, payments._look_back(world, drawn).T, strict=True))
    assert columns["payments in the last hour"].tolist() == [0, 0, 1, 0, 1]
    assert columns["payments in the last day"].tolist() == [0, 0, 1, 3, 2]
    np.testing.assert_allclose(np.expm1(columns["log km from last shop"]), [0, 0, 5, 0, 0], atol=1e-9)
    np.testing.assert_allclose(np.expm1(columns["log minutes since last payment"])[[2, 4]], [30, 42])
    mean = np.log([10 * 20]).sum() / 2
    assert columns["log amount to customer's mean"][4] == pytest.approx(np.log(40) - mean)


def test_only_training_decides_the_scale_and_only_weights_follow_the_seed():
    one, other = load(seed=1), load(seed=2)
    features = one.inputs[0].astype(np.float64)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(one.inputs[0], other.inputs[0])
    np.testing.assert_array_equal(one.validation_targets[0], other.validation_targets[0])
    assert {one.inputs[0].dtype, one.targets[0].dtype} == {np.dtype(np.float32)}
    assert all(not np.array_equal(array, other.weights[name]) for name, array in one.weights.items())
    assert sum(array.size for array in one.weights.values()) == 5249


@pytest.mark.framework
def test_both_frameworks_compute_the_same():
    # Small batches: with a fraud in them they are clipped, without they are not.
    report = run_gate(Request(workload="fraud", size=16, batch_size=32, samples=2000, steps=60))
    assert report.passed, report.to_json()
