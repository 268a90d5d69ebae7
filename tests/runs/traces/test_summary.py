"""Labelled lanes become a profile: the parts of a step add up to it, operators keep their own time."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.db.errors import TraceError, UsageError
from trackside.runs.traces.records import PARTS, Profile, TraceContext
from trackside.runs.traces.summary import Phase, split_of_steps, summarise
from trackside.runs.traces.timeline import slices
from trackside.runs.traces.trace import Labels, Lane, LaneKind, Trace

CONTEXT = TraceContext(framework="torch")
MS = 1_000_000


def lane(kind: LaneKind, *events: tuple[str, int, int, str | None], name: str = "main", details=None, memory=None):
    """A lane of (name, start, duration, family), times in milliseconds, and its labels."""
    names, starts, durations, families = zip(*sorted(events, key=lambda one: (one[1], -one[2])), strict=True)
    n = len(names)
    made = Lane.of(name, kind, names, np.array(starts) * MS, np.array(durations) * MS, details or [None] * n)
    made = replace(made, memory=memory if memory is None else np.array(memory))
    return made, Labels(families, ["none"] * n, [None] * n, [False] * n)


def profile(*lanes, edges=(0, 100), phases=()) -> Profile:
    trace = Trace(tuple(one for one, _ in lanes), np.array(edges) * MS)
    phases = [Phase(start * MS, end * MS, part) for start, end, part in phases]
    return summarise(trace, [label for _, label in lanes], CONTEXT, "chrome", phases=phases)


def milliseconds(found: Profile) -> dict[str, float]:
    return {part: round(1000 * seconds, 6) for part, seconds in found.split.items()}


def test_phases_and_the_rest_make_up_the_step() -> None:
    main = lane("training", ("aten::mm", 10, 20, "matmul"))
    found = profile(main, phases=[(0, 5, "data"), (5, 40, "forward"), (40, 70, "backward"), (80, 90, "optimizer")])
    assert milliseconds(found) == {"data": 5, "forward": 35, "backward": 30, "optimizer": 10, "other": 20}
    assert found.step_seconds == (0.1,)


def test_a_later_phase_covers_an_earlier_one_and_other_uncovers() -> None:
    main = lane("training", ("x", 0, 1, None))
    found = profile(main, phases=[(-50, 150, "optimizer"), (10, 60, "forward"), (20, 30, "other")])
    assert milliseconds(found) == {"data": 0, "forward": 40, "backward": 0, "optimizer": 50, "other": 10}


def test_an_accelerator_fills_what_the_training_thread_left_and_kernels_come_first() -> None:
    streams = (
        lane("device", ("gemm", 50, 20, "matmul"), ("Memcpy HtoD", 60, 20, "data"), name="stream 7"),
        lane("device", ("ncclAllReduce", 75, 15, "communication"), ("gemm", 0, 5, "matmul"), name="stream 20"),
    )
    found = profile(lane("training", ("x", 0, 1, None)), *streams, phases=[(0, 40, "forward"), (40, 55, "backward")])
    assert milliseconds(found) == {
        "data": 0, "forward": 40, "backward": 15, "optimizer": 0, "kernel": 15, "copy": 10, "communication": 10,
        "other": 10,
    }  # fmt: skip
    assert {(one.name, one.device) for one in found.operators} == {
        ("gemm", "gpu"), ("Memcpy HtoD", "gpu"), ("ncclAllReduce", "gpu")
    }  # fmt: skip


def test_time_of_what_is_no_operator_belongs_to_the_operator_around_it() -> None:
    main = lane(
        "training",
        ("step", 0, 90, None), ("conv", 10, 50, "convolution"), ("launch", 20, 10, None), ("copy", 40, 5, "other"),
        ("late", 100, 10, "matmul"), ("early", -10, 5, "matmul"),
    )  # fmt: skip
    found = profile(main)
    assert [(one.name, round(one.self_seconds, 9), round(one.total_seconds, 9)) for one in found.operators] == [
        ("conv", 0.045, 0.05), ("copy", 0.005, 0.005)
    ]  # fmt: skip
    assert found.classified_fraction == pytest.approx(0.9)


def test_calls_are_added_up_and_threads_that_nobody_waits_for_stay_apart() -> None:
    details = [{"shapes": "[2]", "flops": 10.0}, {"shapes": "[2]"}, None]
    adds = [("add", 0, 5, "other"), ("add", 10, 10, "other"), ("add", 30, 1, "other")]
    main = lane("training", *adds, details=details, memory=[8, -4, np.nan])
    found = profile(main, lane("background", ("add", 0, 90, "other"), name="prefetch"))
    assert [(one.calls, one.background, one.shapes, one.memory_bytes, one.flops) for one in found.operators] == [
        (1, True, "", None, None), (2, False, "[2]", 4, 10.0), (1, False, "", None, None)
    ]  # fmt: skip
    assert found.classified_fraction == 0.0


def test_an_operator_that_calls_itself_is_counted_once_in_its_total() -> None:
    found = profile(lane("training", ("to", 0, 10, "other"), ("to", 2, 5, "other")))
    (row,) = found.operators
    assert (row.calls, round(row.self_seconds, 9), round(row.total_seconds, 9)) == (2, 0.01, 0.01)


def test_a_trace_without_operators_has_no_classified_share_and_one_without_steps_is_refused() -> None:
    main = lane("training", ("x", 0, 1, None))
    assert math.isnan(profile(main).classified_fraction)
    with pytest.raises(TraceError, match="no whole training step"):
        profile(main, edges=(0,))


intervals = st.tuples(st.integers(-50, 400), st.integers(0, 200))


@given(
    edges=st.lists(st.integers(0, 300), min_size=2, max_size=6, unique=True).map(sorted),
    phases=st.lists(st.tuples(intervals, st.sampled_from(PARTS)), max_size=12),
    kernels=st.lists(st.tuples(intervals, st.sampled_from(["gemm", "Memcpy DtoH"])), max_size=12),
)
def test_the_parts_add_up_to_every_step_and_to_every_nanosecond_of_it(edges, phases, kernels) -> None:
    painted = [Phase(start, start + length, part) for (start, length), part in phases]
    streams = [
        Lane.of("s", "device", [name], np.array([start]), np.array([length]), [None])
        for (start, length), name in kernels
    ]
    labels = [Labels([None], ["none"], [None], [False])] * len(streams)
    trace = Trace(tuple(streams), np.array(edges))
    split = split_of_steps(trace, labels, painted)
    assert split.sum(axis=1).tolist() == np.diff(edges).tolist()
    expected = np.zeros_like(split)
    for step, (begin, end) in enumerate(pairwise(edges)):
        for now in range(begin, end):
            part = next((one.part for one in reversed(painted) if one.start <= now < one.end), "other")
            if part == "other":
                at_work = {
                    "copy" if name.startswith("Mem") else "kernel"
                    for (start, length), name in kernels
                    if start <= now < start + length
                }
                part = next((one for one in ("kernel", "copy") if one in at_work), "other")
            expected[step, PARTS.index(part)] += 1
    assert split.tolist() == expected.tolist()


def test_a_timeline_shows_one_step_cut_at_its_ends() -> None:
    main = lane(
        "training",
        ("loop", 0, 250, None), ("trackside::layer::net", 100, 20, None), ("conv", 105, 10, "convolution"),
        ("trackside::forward", 100, 0, None), ("next", 200, 10, "matmul"), ("over", 195, 10, "matmul"),
    )  # fmt: skip
    made = Trace((main[0],), np.array([0, 100, 200, 300]) * MS)
    found = [
        (one.name, round(one.start, 9), round(one.duration, 9), one.depth, one.family)
        for one in slices(made, [main[1]], 1)
    ]
    assert found == [
        ("loop", 0.0, 0.1, 0, None),
        ("layer::net", 0.0, 0.02, 1, None),
        ("conv", 0.005, 0.01, 2, "convolution"),
        ("over", 0.095, 0.005, 1, "matmul"),
    ]
    with pytest.raises(UsageError, match="from 0 to 2"):
        slices(made, [main[1]], 3)
