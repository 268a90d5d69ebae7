"""What users picked: what both frameworks are given, and that they make the same of it."""

import numpy as np
import pytest

from trackside.workloads.gate import run_gate
from trackside.workloads.plan import Request
from trackside.workloads.recommender import interactions, problem
from trackside.workloads.settings import Settings

USERS, ITEMS, CANDIDATES = problem.USERS, problem.ITEMS, problem.CANDIDATES


def load(**options):
    return problem.load(Settings(**{"mode": "eager", "steps": 10, "batch_size": 512, "size": 16} | options))


@pytest.fixture(scope="module")
def drawn() -> interactions.Interactions:
    return interactions.simulate(USERS, ITEMS, problem.PICKS, problem.NEGATIVES, CANDIDATES, problem.DATA_SEED)


def test_four_items_not_picked_stand_beside_each_pick(drawn):
    assert len(drawn.users) == len(drawn.items) == len(drawn.picked) == problem.TRAIN_SAMPLES
    assert drawn.picked.sum() == problem.PICKS
    picks, all_of_them = (np.bincount(users, minlength=USERS) for users in (drawn.users[drawn.picked], drawn.users))
    np.testing.assert_array_equal(all_of_them, picks * (1 + problem.NEGATIVES))
    assert picks.min() >= interactions.FEWEST_PICKS
    assert 0.15 < drawn.picked[:1000].mean() < 0.25  # shuffled


def test_nobody_picks_twice_and_dislikes_what_they_picked(drawn):
    pair = drawn.users * ITEMS + drawn.items
    picks = pair[drawn.picked]
    assert len(np.unique(picks)) == len(picks)
    assert not np.isin(pair[~drawn.picked], picks).any()


def test_candidates_are_the_last_pick_and_items_never_picked(drawn):
    assert drawn.candidates.shape == (USERS, CANDIDATES)
    assert all(len(set(row)) == CANDIDATES for row in drawn.candidates.tolist())
    pair = np.arange(USERS)[:, np.newaxis] * ITEMS + drawn.candidates
    training = drawn.users * ITEMS + drawn.items
    assert not np.isin(pair, training[drawn.picked]).any()
    assert not np.isin(pair[:, 0], training).any()  # the last pick is held out altogether


def test_popularity_falls_off_and_alone_does_not_find_the_last_pick(drawn):
    popularity = np.bincount(drawn.items[drawn.picked], minlength=ITEMS)
    ranked = np.sort(popularity)[::-1]
    assert ranked[:50].sum() > 0.3 * problem.PICKS
    assert ranked[-1] > 0
    found = problem.measure(popularity[drawn.candidates].astype(np.float64))["hit_rate_10"]
    assert 0.2 < found < 0.35


def test_interactions_are_the_same_for_the_same_seed_only():
    one, same, other = (interactions.simulate(20, 60, 300, 2, 10, seed) for seed in (1, 1, 2))
    for mine, again, its in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(mine, again)
        assert not np.array_equal(mine, its)


def test_validation_lists_the_candidates_of_each_user_the_last_pick_first(drawn):
    loaded = load()
    users, items = loaded.validation_inputs
    (picked,) = loaded.validation_targets
    np.testing.assert_array_equal(users.reshape(USERS, CANDIDATES), np.arange(USERS)[:, np.newaxis] + np.zeros(100))
    np.testing.assert_array_equal(items.reshape(USERS, CANDIDATES), drawn.candidates)
    np.testing.assert_array_equal(picked.reshape(USERS, CANDIDATES)[:, 0], 1)
    assert picked.sum() == USERS
    assert problem.measure(picked) == {"hit_rate_10": 1.0, "ndcg_10": 1.0}
    assert problem.measure(-picked) == {"hit_rate_10": 0.0, "ndcg_10": 0.0}


@pytest.mark.parametrize(("dimensions", "parameters"), [(16, 48_689), (2, 6_017)])
def test_size_is_the_dimensions_of_an_embedding(dimensions, parameters):
    weights = load(size=dimensions).weights
    assert weights["gmf_user.weight"].shape == (USERS, dimensions)
    assert sum(array.size for array in weights.values()) == parameters
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


def test_only_weights_follow_the_seed():
    one, other = load(seed=1), load(seed=2)
    np.testing.assert_array_equal(one.inputs[1], other.inputs[1])
    assert all(not np.array_equal(array, other.weights[name]) for name, array in one.weights.items())


@pytest.mark.framework
def test_both_frameworks_compute_the_same_past_the_end_of_an_epoch():
    report = run_gate(Request(workload="recommender", size=4, batch_size=64, samples=640, steps=25))
    assert report.passed, report.to_json()
