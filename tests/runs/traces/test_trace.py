"""Lanes of events: what lies in what, and how much of its time is its own."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.trace import Lane, nesting, self_time


def lane(*events: tuple[str, int, int]) -> Lane:
    names, starts, durations = zip(*events, strict=True)
    return Lane.of("main", "training", names, np.array(starts), np.array(durations), [None] * len(names))


def test_events_lie_in_one_another() -> None:
    made = lane(("add", 40, 10), ("step", 0, 100), ("forward", 0, 60), ("conv", 5, 30), ("marker", 60, 0))
    parent, depth = nesting(made.start, made.duration)
    assert list(made.names) == ["step", "forward", "conv", "add", "marker"]
    assert parent.tolist() == [-1, 0, 1, 1, 0]
    assert depth.tolist() == [0, 1, 2, 2, 1]
    assert self_time(made.start, made.duration, parent).tolist() == [40, 20, 30, 10, 0]


def test_a_range_that_outlasts_the_one_around_it_takes_only_what_they_share() -> None:
    made = lane(("hook", 0, 50), ("range", 30, 40))
    parent, _ = nesting(made.start, made.duration)
    assert self_time(made.start, made.duration, parent).tolist() == [30, 40]


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 300)), min_size=1, max_size=60))
def test_no_self_time_is_negative_or_longer_than_the_event(events: list[tuple[int, int]]) -> None:
    made = lane(*[("x", start, duration) for start, duration in events])
    parent, depth = nesting(made.start, made.duration)
    own = self_time(made.start, made.duration, parent)
    assert ((own >= 0) & (own <= made.duration)).all()
    assert all(parent[i] < i and depth[i] == (0 if parent[i] < 0 else depth[parent[i]] + 1) for i in range(len(made)))


def test_a_context_survives_json_and_unknown_keys() -> None:
    context = TraceContext(framework="torch", first_step=3, last_step=7, layers={"net.0": "Conv2d"})
    assert TraceContext.from_json({**context.to_json(), "later": 1}) == context
    assert TraceContext.from_json({}).framework == ""
