"""The point codec: everything that goes in comes out, bit for bit."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trackside.db.errors import StoreError
from trackside.db.segments import SEGMENT_POINTS, Progression, decode, encode, unpack

integers = hnp.arrays(np.int64, st.integers(0, 60))
floats = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(width=64))


@given(integers)
def test_integers_survive(column):
    (back,) = decode(encode([column]))
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, column)


@given(floats)
def test_floats_survive_bit_for_bit(column):
    (back,) = decode(encode([column]))
    assert back.tobytes() == column.tobytes()


def test_the_ends_of_the_number_range_survive():
    steps = np.array([-(2**63), 2**63 - 1, 0, -1, 2**63 - 1, -(2**63)], np.int64)
    odd_nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
    values = np.array([np.nan, odd_nan, np.inf, -np.inf, -0.0, 5e-324])
    back = decode(encode([steps, values]))
    np.testing.assert_array_equal(back[0], steps)
    assert back[1].tobytes() == values.tobytes()


def test_only_the_wanted_columns_are_unpacked():
    steps, values = np.arange(10), np.linspace(0, 1, 10)
    (only,) = decode(encode([steps, values]), wanted=[1])
    np.testing.assert_array_equal(only, values)


def test_even_steps_can_stay_a_progression():
    steps, values = np.arange(10, 40, 3), np.linspace(0, 1, 10)
    progression, numbers = unpack(encode([steps, values]))
    assert progression == Progression(10, 3, 10)
    np.testing.assert_array_equal(progression.column(), steps)
    np.testing.assert_array_equal(numbers, values)


def test_even_steps_cost_nothing_and_float32_values_half():
    rng = np.random.default_rng(0)
    steps = np.arange(SEGMENT_POINTS, dtype=np.int64) * 50 + 49
    assert len(encode([steps])) < 64
    losses = rng.lognormal(size=SEGMENT_POINTS).astype(np.float32).astype(np.float64)
    assert len(encode([losses])) < 0.6 * losses.nbytes


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x01\x01\x00\x00\x00\x00", b"nonsense" * 20])
def test_damage_is_reported_in_one_sentence(damage):
    with pytest.raises(StoreError, match="cannot be read|reads format"):
        decode(damage)


def test_a_cut_short_segment_is_reported():
    payload = encode([np.random.default_rng(1).normal(size=100)])
    with pytest.raises(StoreError, match="cannot be read"):
        decode(payload[:-20])


def test_a_newer_format_names_the_cure():
    with pytest.raises(StoreError, match="upgrade it"):
        decode(b"\x63" + encode([np.arange(3)])[1:])


def test_other_shapes_and_types_are_refused():
    with pytest.raises(ValueError, match="one-dimensional"):
        encode([np.arange(3), np.arange(4)])
    with pytest.raises(ValueError, match="int64 or float64"):
        encode([np.arange(3, dtype=np.int32)])
