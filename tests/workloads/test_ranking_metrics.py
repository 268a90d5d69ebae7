"""The exact metrics of a ranking against scikit-learn's, and against lists counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from trackside.workloads.ranking_metrics import average_precision, hit_rate, ndcg, ranks_of_first, roc_auc

# Few distinct scores, so that most are tied.
SAMPLES = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


@given(SAMPLES)
def test_areas_are_scikit_learns_with_ties_and_all(pairs):
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_areas_take_any_shape():
    labels, scores = np.array([[0], [1], [0], [1]]), np.array([[0.1], [0.4], [0.5], [0.9]])
    assert roc_auc(labels, scores) == 0.75
    assert average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("area", [roc_auc, average_precision])
@pytest.mark.parametrize(
    ("labels", "scores"), [([0, 0], [1.0, 2.0]), ([], []), ([0, 1], [0.0, np.nan]), ([0, 1], [0.0, np.inf])]
)
def test_there_is_no_area_without_positives_or_with_scores_that_are_no_numbers(area, labels, scores):
    assert np.isnan(area(labels, scores))


def test_there_is_no_roc_without_negatives():
    assert np.isnan(roc_auc([1, 1], [1.0, 2.0]))


def test_a_rank_counts_those_that_score_at_least_as_high():
    scores = np.array([[3.0, 1.0, 2.0], [2.0, 2.0, 1.0], [0.0, 1.0, 2.0], [np.nan, 1.0, 2.0], [1.0, np.nan, 0.0]])
    assert ranks_of_first(scores).tolist() == [0, 1, 2, 2, 1]


def test_hit_rate_and_gain_of_lists():
    ranks = np.array([0, 1, 9, 10])
    assert hit_rate(ranks, 10) == 0.75
    assert hit_rate(ranks, 1) == 0.25
    assert ndcg(ranks, 10) == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(11)) / 4)


def test_the_gain_is_scikit_learns():
    scores = np.random.default_rng(0).normal(size=(50, 20))
    wanted = np.zeros_like(scores)
    wanted[:, 0] = 1
    assert ndcg(ranks_of_first(scores), 5) == pytest.approx(ndcg_score(wanted, scores, k=5), abs=1e-12)
