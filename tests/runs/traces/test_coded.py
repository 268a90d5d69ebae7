"""Sequences with a table of their values say the same as the lists they stand for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trackside.runs.traces.coded import Coded, coded, taken


@given(st.lists(st.sampled_from(["a", "b", "c"])), st.data())
def test_it_is_the_sequence_that_it_was_made_of(values: list[str], data: st.DataObject) -> None:
    made = coded(values)
    assert list(made) == [made[place] for place in range(len(made))] == values
    assert sorted(made.values[code] for code in made.occurring()) == sorted(set(values))
    assert made.where("ab".__contains__).tolist() == [value in "ab" for value in values]
    assert [values[place] for place in made.places("b".__eq__)] == ["b"] * values.count("b")
    places = np.array(data.draw(st.lists(st.integers(0, len(values) - 1)) if values else st.just([])), np.int64)
    expected = [values[place] for place in places]
    assert list(made.take(places)) == list(taken(values, places)) == list(taken(made, places)) == expected
    assert list(made[1:]) == values[1:]


def test_objects_that_cannot_be_hashed_are_told_apart_by_identity() -> None:
    one, other = {"path": "a"}, {"path": "a"}
    made = coded([one, None, other, one], id)
    assert made.codes.tolist() == [0, 1, 2, 0]
    assert made.values[2] is other
    assert coded(made) is made


def test_a_value_that_does_not_occur_is_not_asked_about() -> None:
    asked: list[str] = []

    def holds(value: str) -> bool:
        asked.append(value)
        return True

    assert Coded(["never", "once"], np.array([1, 1], np.int32)).where(holds).all()
    assert asked == ["once"]
