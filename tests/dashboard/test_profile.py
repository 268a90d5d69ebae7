"""What the Profile page is made of, without a browser: rows, slices, words, and work in the background."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from trackside.dashboard.background import Background
from trackside.dashboard.pages.profile_operators import columns
from trackside.dashboard.profile_query import ProfileQuery
from trackside.dashboard.profile_rows import layer_cells, operator_cells, table_rows, within
from trackside.dashboard.profile_slices import MOST_LANES, StepSlices
from trackside.dashboard.profile_text import difference, ratio, share, times_like
from trackside.dashboard.theme import FAMILY_COLORS, PART_COLORS
from trackside.db.errors import StoreUnreachableError, UsageError
from trackside.runs.traces.comparison import compare_profiles
from trackside.runs.traces.records import FAMILIES, PARTS, Operator, Profile, Slice, TraceContext


def profile(*operators: Operator, steps: int = 2) -> Profile:
    return Profile(
        format="chrome",
        context=TraceContext(framework="torch"),
        step_seconds=(0.1,) * steps,
        split={"forward": 0.1},
        operators=operators,
        classified_fraction=1.0,
    )


CONVOLUTION = Operator(
    name="aten::conv2d", family="convolution", direction="forward", calls=4, self_seconds=0.4, total_seconds=0.5,
    layer="net.conv", flops=8e6, shapes="[1, 2] × [3]",
)  # fmt: skip
GRADIENT = Operator(name="aten::convolution_backward", family="convolution", direction="backward", self_seconds=0.2)
READER = Operator(name="Iterator", family="data", self_seconds=9.0, background=True)


def rows(by: str, *profiles: Profile, family: str | None = None) -> dict[str, dict[str, Any]]:
    labels = ["A", "B", "C"][: len(profiles)]
    cells = {"operator": operator_cells, "layer": layer_cells}[by]
    found = [tuple(within(cell, family) for cell in row) for row in cells(compare_profiles(profiles, labels), profiles)]
    return {row["name"]: row for row in table_rows(found, profiles, labels, by)}


def test_table_has_a_row_for_the_same_work_and_says_where_else_it_is() -> None:
    found = rows("operator", profile(CONVOLUTION, READER), profile(CONVOLUTION, GRADIENT, steps=1))
    both, only = found["aten::conv2d"], found["aten::convolution_backward"]
    assert (both["self0"], both["self1"], both["difference"], both["ratio"]) == pytest.approx((0.2, 0.4, 0.2, 2.0))
    assert (both["calls0"], both["mean0"], both["flops0"], both["total1"]) == pytest.approx((2, 0.1, 4e6, 0.5))
    assert both["where"] == "all runs"
    assert (only["where"], only["self0"]) == ("only B", None)
    assert "ratio" not in only
    assert both["share0"] == 1.0  # the background has no share of it
    assert found["Iterator"]["share0"] is None
    assert found["Iterator"]["background"]


def test_each_of_several_runs_has_its_difference_to_the_first() -> None:
    found = rows(
        "operator", profile(CONVOLUTION), profile(CONVOLUTION, steps=1), profile(CONVOLUTION, GRADIENT, steps=4)
    )
    both, only = found["aten::conv2d"], found["aten::convolution_backward"]
    assert (both["difference"], both["ratio"]) == pytest.approx((0.2, 2.0))
    assert (both["difference2"], both["ratio2"]) == pytest.approx((-0.1, 0.5))
    assert "difference2" not in only  # the first has nothing to differ from
    labels, profiles = ["A", "B", "C"], [profile(CONVOLUTION)] * 3
    (own,) = [one for one in columns(profiles, labels, ProfileQuery()) if one.get("headerName") == "Self time a step"]
    assert [one["field"] for one in own["children"]] == [
        "self0", "self1", "difference", "ratio", "self2", "difference2", "ratio2"
    ]  # fmt: skip
    assert own["children"][5]["headerTooltip"] == "C less A"


def test_the_same_work_of_both_frameworks_is_one_row_with_both_names() -> None:
    keras = Operator(name="Conv2D", family="convolution", direction="forward", self_seconds=0.8, layer="conv2d")
    (row,) = rows("operator", profile(CONVOLUTION), profile(keras)).values()
    assert (row["name"], row["layer"], row["ratio"]) == ("aten::conv2d ~ Conv2D", "net.conv ~ conv2d", pytest.approx(2))


def test_operators_of_a_row_are_called_by_the_longest_and_all_are_found() -> None:
    copy = Operator(name="aten::copy_", family="convolution", direction="forward", self_seconds=0.1, layer="net.conv")
    convolution = replace(CONVOLUTION, name="aten::convolution")
    row = next(iter(rows("layer", profile(copy, convolution)).values()))
    assert (row["name"], row["names"]) == ("net.conv", "aten::copy_, aten::convolution")
    cells = [((copy, convolution), (CONVOLUTION,))]
    both = [profile(copy, convolution), profile(CONVOLUTION)]
    assert table_rows(cells, both, ["A", "B"], "operator")[0]["name"] == "aten::convolution +1 ~ aten::conv2d"


def test_layers_sum_their_operators_and_a_family_narrows_them() -> None:
    one = profile(CONVOLUTION, GRADIENT)
    assert {name: row["self0"] for name, row in rows("layer", one).items()} == {"net.conv": 0.2, "no layer": 0.1}
    assert list(rows("layer", one, family="convolution/backward")) == ["no layer"]
    assert within([CONVOLUTION, GRADIENT, READER], "convolution") == (CONVOLUTION, GRADIENT)
    assert within([CONVOLUTION, GRADIENT, READER], "convolution/backward") == (GRADIENT,)
    assert within([CONVOLUTION, READER], None) == (CONVOLUTION, READER)


def slices(count: int, lane: str = "python") -> list[Slice]:
    return [
        Slice(
            name=f"operator {place % 3}", family="matmul" if place % 2 else None, direction="forward",
            layer="net" if place % 2 else None, start=place * 1e-3, duration=(1 + place % 7) * 1e-5, lane=lane, depth=0,
        )
        for place in range(count)
    ]  # fmt: skip


def test_a_window_has_the_longest_slices_in_it_and_counts_the_hidden() -> None:
    columns = StepSlices.of(slices(700))
    whole = columns.window(most=100)
    assert (whole["shown"], whole["hidden"]) == (100, 600)
    assert min(whole["duration"]) == pytest.approx(70.0)  # microseconds: a seventh of them are this long
    part = columns.window(0.1, 0.15, most=100)
    assert part["hidden"] == 0
    assert sorted(part["start"]) == pytest.approx(list(np.arange(100, 150) * 1e3))
    assert {part["names"][place] for place in part["name"]} == {"operator 0", "operator 1", "operator 2"}
    places = [at for at, family in enumerate(part["family"]) if family >= 0]
    named = [(FAMILIES[part["family"][at]], part["layers"][part["layer"][at]]) for at in places]
    assert set(named) == {("matmul", "net")}
    assert columns.window(5.0, 6.0)["start"] == []


def test_rows_of_a_lane_stay_the_same_in_every_window_and_many_lanes_are_cut() -> None:
    deep = Slice(name="deep", family=None, direction="none", layer=None, start=0.9, duration=1e-6, lane="b", depth=5)
    columns = StepSlices.of([*slices(10, "a"), deep])
    assert columns.window(0.0, 0.01)["depths"] == columns.window(0.9, 1.0)["depths"] == [1, 6]
    many = StepSlices.of([one for lane in range(MOST_LANES + 9) for one in slices(2, f"thread {lane}")])
    assert (len(many.lanes), many.left_out) == (MOST_LANES, 9)
    assert StepSlices.of([]).window()["lanes"] == []


def test_work_in_the_background_is_asked_for_again_and_done_once() -> None:
    background, go, done = Background(), threading.Event(), []

    def work() -> str:
        go.wait(5)
        done.append(1)
        return "result"

    assert background.ask("key", work, patience=0.01) is None
    assert background.ask("key", work, patience=0.01) is None
    go.set()
    assert background.ask("key", work, patience=5) == "result"
    assert background.ask("key", work, patience=0) == "result"
    assert done == [1]


def test_failed_work_is_a_sentence_and_a_store_that_was_away_is_asked_again() -> None:
    background, outcomes = Background(), [StoreUnreachableError("away"), None]

    def work() -> str:
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return "there"

    with pytest.raises(StoreUnreachableError):
        background.ask("store", work, patience=5)
    assert background.ask("store", work, patience=5) == "there"

    def broken() -> str:
        raise KeyError("a defect")

    with pytest.raises(Exception, match="could not be analysed"):
        background.ask("defect", broken, patience=5)

    def refused() -> str:
        raise UsageError("The trace has no step 9.")

    for _ in range(2):
        with pytest.raises(UsageError, match="no step 9"):
            background.ask("refused", refused, patience=5)


def test_only_the_last_results_are_kept() -> None:
    background, done = Background(most_kept=2), []

    def work(key: int) -> str:
        done.append(key)
        return "result"

    for key in (1, 2, 3, 1):
        background.ask(key, partial(work, key), patience=5)
    assert done == [1, 2, 3, 1]


@pytest.mark.parametrize(
    "search", ["?runs=a,b", "?runs=a,b&family=convolution/backward&by=layer&step=3&rank=1", "?runs=a&family=loss"]
)
def test_query_is_read_and_written_alike(search: str) -> None:
    assert ProfileQuery.parse(search).search() == search


def test_malformed_query_falls_back_to_defaults() -> None:
    assert ProfileQuery.parse("?runs=a,,a&family=bread/up&by=moon&step=-4") == ProfileQuery(runs=("a",))
    assert ProfileQuery.parse("?family=loss/up&step=99999999999999").step == 0
    assert ProfileQuery.parse(None) == ProfileQuery()


def test_words_for_what_is_missing_small_or_equal() -> None:
    write = times_like(0.3)
    assert [write(value) for value in (None, 0.0, 1e-9, 0.0245, 0.3)] == [
        "–", "0.00 ms", "<0.01 ms", "24.50 ms", "300.00 ms",
    ]  # fmt: skip
    assert [times_like(largest)(largest) for largest in (5e-4, 0.005, 12.0)] == ["500.0 µs", "5.000 ms", "12.00 s"]
    assert (ratio(2.0, 1.0), ratio(1e-9, 1.0), ratio(1.0, 0.0), ratio(None, 1.0)) == ("2×", "<0.01×", "–", "–")
    pairs = ((0.002, 0.005), (0.5, 0.5), (None, 1.0), (0.5, 0.5 + 1e-9))
    assert [difference(value, base, write) for value, base in pairs] == ["−3.00 ms", "0", "–", "±<0.01 ms"]
    assert (share(0.5, 1.0), share(0.004, 1.0), share(1.0, 0.0)) == ("50 %", "0.4 %", "–")


def test_every_family_and_part_has_a_colour_of_its_own() -> None:
    assert set(FAMILY_COLORS) == set(FAMILIES)
    assert set(PART_COLORS) == set(PARTS)
    assert len(set(FAMILY_COLORS.values())) == len(FAMILIES)
    assert len(set(PART_COLORS.values())) == len(PARTS)
