"""Digests of batches and weights: equal where layout differs, unequal where content does."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.trackers.fingerprints import DataFingerprint, batch_digest, batch_size, weights_fingerprint

IMAGES = np.random.default_rng(0).normal(size=(6, 3, 5, 4)).astype(np.float32)
LABELS = np.arange(6)


def test_channels_first_and_last_agree() -> None:
    assert batch_digest([IMAGES, LABELS]) == batch_digest([IMAGES.transpose(0, 2, 3, 1), LABELS])


def test_width_of_numbers_and_order_of_arrays_do_not_matter() -> None:
    reference = batch_digest([IMAGES, LABELS])
    assert batch_digest([LABELS.astype(np.int32), IMAGES.astype(np.float64)]) == reference
    assert batch_digest([IMAGES, LABELS.astype(np.uint8).reshape(6, 1)]) == reference


@given(st.permutations(range(6)).filter(lambda order: order != list(range(6))))
def test_order_of_samples_matters(order: list[int]) -> None:
    assert batch_digest([IMAGES[order], LABELS[order]]) != batch_digest([IMAGES, LABELS])


def test_a_label_given_to_another_sample_matters() -> None:
    assert batch_digest([IMAGES, LABELS[::-1]]) != batch_digest([IMAGES, LABELS])


@given(
    st.integers(0, IMAGES.size - 1),
    st.floats(-1e3, 1e3, width=32).filter(lambda change: abs(change) > 1e-3),
)
def test_one_changed_value_matters(place: int, change: float) -> None:
    changed = IMAGES.copy()
    changed.flat[place] += np.float32(change)
    assert (batch_digest([changed]) == batch_digest([IMAGES])) == bool((changed == IMAGES).all())


def test_number_of_samples_matters_even_where_bytes_agree() -> None:
    values = np.zeros((4, 6), np.float32)
    assert batch_digest([values]) != batch_digest([values.reshape(6, 4)])


def test_zeros_and_nans_have_one_form() -> None:
    a = np.array([[0.0, np.nan, 1.0]], np.float32)
    b = np.array([[-0.0, -np.nan, 1.0]], np.float32)
    assert batch_digest([a]) == batch_digest([b])


def test_arrays_that_belong_to_the_whole_batch_are_taken_as_a_whole() -> None:
    assert batch_digest([IMAGES, np.array(3.0, np.float32)]) != batch_digest([IMAGES, np.array(4.0, np.float32)])
    assert batch_size([np.array(1.0), IMAGES]) == 6
    assert batch_size([np.array(1.0)]) == 1


def test_text_has_no_digest() -> None:
    with pytest.raises(TypeError, match="only numbers"):
        batch_digest([np.array(["a", "b"])])


def test_weights_survive_a_transpose_and_are_summed_in_float64() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 8, 16)).astype(np.float32)
    there = weights_fingerprint([kernel, np.zeros(16, np.float32)])
    back = weights_fingerprint([kernel.transpose(3, 2, 0, 1), np.zeros(16, np.float32)])
    assert there["parameter_count"] == kernel.size + 16
    for a, b in zip(there["tensors"], back["tensors"], strict=True):
        assert a["count"] == b["count"]
        assert a["norm"] == pytest.approx(b["norm"], rel=1e-12)
        assert a["mean"] == pytest.approx(b["mean"], rel=1e-9, abs=1e-15)
    large = np.full(1 << 20, 0.1, np.float32)
    assert weights_fingerprint([large])["tensors"][0]["mean"] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_empty_and_scalar_tensors() -> None:
    assert weights_fingerprint([np.zeros((0, 3)), np.array(2, np.float32)])["tensors"] == [
        {"count": 0, "norm": 0.0, "mean": 0.0},
        {"count": 1, "norm": 2.0, "mean": 2.0},
    ]


def test_first_batches_are_hashed_in_order_on_another_thread() -> None:
    records: list[tuple[str, dict[str, Any]]] = []
    data = DataFingerprint(lambda value: records.append((threading.current_thread().name, value)), limit=2)
    buffer = IMAGES.copy()
    data.add([buffer, LABELS])
    buffer[:] = 0  # a loader that reuses its buffer
    data.add([IMAGES[::-1], LABELS])
    assert not data.wanted
    data.add([IMAGES, LABELS])  # one too many
    data.close()
    data.count(1437)
    assert records[0][0] == "trackside-fingerprint"
    assert records[-1][1] == {
        "batch_size": 6,
        "digests": [batch_digest([IMAGES, LABELS]), batch_digest([IMAGES[::-1], LABELS])],
        "samples_per_epoch": 1437,
    }


def test_a_run_shorter_than_the_limit_still_records_its_batches() -> None:
    records: list[dict[str, Any]] = []
    data = DataFingerprint(records.append, samples_key="samples")
    data.add([IMAGES, LABELS])
    data.close()
    assert records == [{"batch_size": 6, "digests": [batch_digest([IMAGES, LABELS])]}]


def test_after_a_batch_without_digest_the_list_ends() -> None:
    records: list[dict[str, Any]] = []
    data = DataFingerprint(records.append)
    data.add([IMAGES])
    data.add([np.array(["a"])])
    assert not data.wanted
    data.add([IMAGES])
    data.close()
    assert records[-1]["digests"] == [batch_digest([IMAGES])]


def test_batches_with_weights_of_samples_are_known_without_them_too() -> None:
    records: list[dict[str, Any]] = []
    data = DataFingerprint(records.append)
    weights = np.linspace(0.5, 1.5, len(IMAGES))
    data.add([IMAGES, LABELS, weights], weights=1)
    data.close()
    assert records[-1]["digests"] == [batch_digest([IMAGES, LABELS, weights])]
    assert records[-1]["digests_without_weights"] == [batch_digest([IMAGES, LABELS])]


def test_frozen_tensors_are_listed_by_name() -> None:
    found = weights_fingerprint([np.ones(3)], [("conv.bias", np.zeros(2))])
    assert found["parameter_count"] == 3
    assert found["frozen"] == [{"name": "conv.bias", "count": 2, "norm": 0.0, "mean": 0.0}]
    assert "frozen" not in weights_fingerprint([np.ones(3)])
