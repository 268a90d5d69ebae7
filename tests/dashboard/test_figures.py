"""Figures made of hand-made views: what is drawn is what the view holds, and nothing in a name is markup."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import numpy as np
import pytest
from dash import Patch, no_update

from trackside.dashboard.deltas import delta, digests
from trackside.dashboard.figures import (
    curves_figure,
    difference_figure,
    step_times_figure,
    typed_array,
    zoomed,
)
from trackside.dashboard.notes import panel_note
from trackside.dashboard.theme import RUN_COLORS, Stroke, run_colors, run_strokes
from trackside.runs.views import Curve, CurvesView, DifferenceView, StepTimes, StepTimesView

COLORS = {"a": "#112233", "b": "#445566"}
STROKES = {run_id: Stroke(color) for run_id, color in COLORS.items()}
BAND, GHOST, LINE, MARKS = range(4)


def decode(array: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype="<" + array["dtype"]).astype(float)


def curve(run_id: str = "a", **changes: Any) -> Curve:
    x = np.arange(100.0)
    given: dict[str, Any] = {
        "run_id": run_id,
        "label": run_id,
        "framework": "torch",
        "metric": "train/loss",
        "rank": 0,
        "reduction": "batch",
        "unit": None,
        "x": x,
        "minimum": x - 1,
        "maximum": x + 1,
        "last": x,
        "smoothed": None,
        "nan_x": np.empty(0),
        "positive_infinity_x": np.empty(0),
        "negative_infinity_x": np.empty(0),
        "point_count": 100,
        "exact": True,
    }
    return Curve(**(given | changes))


def view(*curves: Curve, **changes: Any) -> CurvesView:
    given: dict[str, Any] = {
        "metric": "train/loss",
        "axis": "step",
        "x_label": "Step",
        "y_label": "train/loss",
        "unit": None,
        "curves": curves,
        "x_range": None,
        "missing": (),
    }
    return CurvesView(**(given | changes))


def test_coordinates_that_float32_cannot_hold_stay_exact() -> None:
    steps = np.array([20_000_001.0, 20_000_003.0])
    assert decode(typed_array(steps, exact=True)).tolist() == steps.tolist()
    assert typed_array(np.arange(9.0), exact=True)["dtype"] == "f4"


def test_exact_curve_is_one_line_of_its_points() -> None:
    traces = curves_figure(view(curve()), STROKES)["data"]
    assert [trace["visible"] for trace in (traces[BAND], traces[GHOST], traces[MARKS])] == [False] * 3
    assert decode(traces[LINE]["y"]).tolist() == list(range(100))
    assert traces[LINE]["line"]["color"] == "#112233"
    assert traces[LINE]["line"]["dash"] == "solid"


def test_bucketed_curve_has_a_band_of_its_extremes() -> None:
    band = curves_figure(view(curve(exact=False)), STROKES)["data"][BAND]
    y = decode(band["y"])
    assert band["visible"]
    assert y[:100].tolist() == (np.arange(100) + 1).tolist()
    assert y[100:].tolist() == (np.arange(100) - 1)[::-1].tolist()


def test_smoothed_curve_keeps_its_raw_values_behind_it() -> None:
    traces = curves_figure(view(curve(smoothed=np.full(100, 7.0))), STROKES)["data"]
    assert set(decode(traces[LINE]["y"])) == {7.0}
    assert traces[GHOST]["visible"]
    assert decode(traces[GHOST]["y"]).tolist() == list(range(100))


def test_values_that_are_not_finite_are_marked_on_the_edges() -> None:
    marks = curves_figure(
        view(curve(nan_x=np.array([3.0]), positive_infinity_x=np.array([5.0]), negative_infinity_x=np.array([8.0]))),
        STROKES,
    )["data"][MARKS]
    assert decode(marks["x"]).tolist() == [3, 5, 8]
    assert marks["text"] == ["NaN", "+∞", "−∞"]
    assert decode(marks["y"])[1] > 0.9 > 0.1 > decode(marks["y"])[0]
    assert marks["yaxis"] == "y2"


def test_log_axis_drops_what_it_cannot_show() -> None:
    drawn = curves_figure(view(curve(metric="val/loss")), STROKES, log_y=True)
    assert np.isnan(decode(drawn["data"][LINE]["y"])[0])
    assert drawn["layout"]["yaxis"]["type"] == "log"


def test_names_are_escaped_and_cut_before_escaping() -> None:
    hostile = "<b>" + "&" * 60
    name = curves_figure(view(curve(label=hostile)), STROKES)["data"][LINE]["name"]
    assert name == "&lt;b&gt;" + "&amp;" * 44 + "…"
    template = curves_figure(view(curve(label="%{y}")), STROKES)["data"][LINE]["hovertemplate"]
    assert "label" not in template
    assert template.startswith("%{y:")


def test_wall_clock_is_a_date_axis_in_milliseconds() -> None:
    drawn = zoomed(
        curves_figure(view(curve(x=np.arange(100) + 1.7e9), axis="wall"), STROKES), "wall", (1.7e9, 1.7e9 + 5)
    )
    assert drawn["layout"]["xaxis"]["type"] == "date"
    assert decode(drawn["data"][LINE]["x"])[0] == 1.7e12
    assert drawn["layout"]["xaxis"]["range"] == [1.7e12, 1.7e12 + 5000]


def test_zoom_survives_new_points_and_yields_to_a_new_range() -> None:
    def revisions(x_range: tuple[float, float] | None, points: int) -> tuple[str, str]:
        few: dict[str, Any] = {key: np.arange(float(points)) for key in ("x", "minimum", "maximum", "last")}
        layout = zoomed(curves_figure(view(curve(**few)), STROKES), "step", x_range)["layout"]
        return layout["uirevision"], layout["xaxis"]["uirevision"]

    assert revisions((1, 2), 50) == revisions((1, 2), 90)
    assert revisions((1, 2), 50) != revisions((1, 3), 50)


def test_difference_shows_tolerance_and_where_the_runs_part() -> None:
    x = np.arange(10.0)
    found = DifferenceView(
        a="a",
        b="b",
        metric="train/loss",
        axis="step",
        x=x,
        difference=x / 10,
        tolerance=np.full(10, 0.2),
        parted_at=3,
        reason="",
    )
    drawn = difference_figure(found, "#112233", x_label="Step", y_label="A − B")
    assert decode(drawn["data"][0]["y"]).tolist() == pytest.approx([0.2] * 10 + [-0.2] * 10)
    assert drawn["layout"]["shapes"][0]["x0"] == 3
    assert "step 3" in drawn["layout"]["annotations"][0]["text"]


def test_step_times_are_shares_so_that_runs_of_unequal_length_compare() -> None:
    def row(run_id: str, counts: list[int]) -> StepTimes:
        times = dict.fromkeys(("first_seconds", "median", "p95", "p99", "mean", "data_median", "compute_median"), 0.01)
        return StepTimes(
            run_id=run_id,
            label=run_id,
            framework=None,
            count=sum(counts),
            samples_per_second=1.0,
            counts=np.array(counts),
            **times,
        )

    found = StepTimesView(rows=(row("a", [1, 3]), row("b", [100, 300])), edges=np.array([0.0, 0.01, 0.02]), skipped=1)
    one, other = step_times_figure(found, COLORS)["data"]
    assert decode(one["y"]).tolist() == decode(other["y"]).tolist() == [0.25, 0.75, 0.75]


def test_live_update_sends_only_the_traces_that_changed() -> None:
    before = curves_figure(view(curve("a"), curve("b")), STROKES)
    longer = np.arange(101.0)
    after = curves_figure(view(curve("a"), curve("b", x=longer, minimum=longer, maximum=longer, last=longer)), STROKES)
    assert delta(before, digests(before)) is no_update
    assert delta(after, None) is after
    assert delta(curves_figure(view(curve("a")), STROKES), digests(before))["data"]  # another number of curves: whole
    patch = delta(after, digests(before))
    assert isinstance(patch, Patch)
    touched = {
        tuple(operation["location"]) for operation in json.loads(json.dumps(patch.to_plotly_json()))["operations"]
    }
    assert touched == {("data", 4 + LINE), ("data", 4 + GHOST)} | {("data", 4 + BAND)} & touched


def constant(value: float, **changes: Any) -> Curve:
    level = np.full(100, value)
    return curve(**{"minimum": level, "maximum": level, "last": level} | changes)


@pytest.mark.parametrize(
    ("value", "unit", "low", "high"),
    [
        (0.05, None, 0.045, 0.055),
        (-2.0, None, -2.2, -1.8),
        (0.0, None, -1, 1),
        (0.0, "percent", 0, 1),
        (50.0, "watts", 0, 55),
    ],
)
def test_a_value_that_never_changes_gets_a_range_of_its_own_size(
    value: float, unit: str | None, low: float, high: float
) -> None:
    axis = curves_figure(view(constant(value), unit=unit), STROKES)["layout"]["yaxis"]
    assert axis["range"] == pytest.approx([low, high])
    logarithmic = curves_figure(view(constant(10.0)), STROKES, log_y=True)["layout"]["yaxis"]
    assert logarithmic["range"] == [0.5, 1.5]


def test_what_varies_is_fitted_and_gauges_count_from_zero() -> None:
    assert curves_figure(view(curve()), STROKES)["layout"]["yaxis"]["autorange"] is True
    assert "rangemode" not in curves_figure(view(curve()), STROKES)["layout"]["yaxis"]
    memory = curve(minimum=np.full(100, 1e9), maximum=np.full(100, 2e9), unit="bytes")
    assert curves_figure(view(memory, unit="bytes"), STROKES)["layout"]["yaxis"]["rangemode"] == "tozero"


def test_nothing_to_fit_has_no_numbers_on_its_axes() -> None:
    none: dict[str, Any] = {key: np.empty(0) for key in ("x", "minimum", "maximum", "last")}
    layout = curves_figure(view(curve(**none, nan_x=np.array([4.0]))), STROKES)["layout"]
    assert layout["yaxis"]["showticklabels"] is False
    assert curves_figure(view(), STROKES)["layout"]["xaxis"]["showticklabels"] is False


def test_a_single_point_stands_among_all_the_steps_of_the_run() -> None:
    one: dict[str, Any] = {key: np.array([4.0]) for key in ("x", "minimum", "maximum", "last")}
    drawn = curves_figure(view(curve(**one), x_range=(4.0, 4.0)), STROKES, last_step=200)
    assert drawn["data"][LINE]["mode"] == "lines+markers"
    assert drawn["layout"]["xaxis"]["autorangeoptions"] == {"include": [0, 200]}
    assert "dtick" not in drawn["layout"]["xaxis"]
    assert curves_figure(view(curve(**one), x_range=(2.0, 5.0)), STROKES)["layout"]["xaxis"]["dtick"] == 1


@pytest.mark.parametrize("count", [2, 3])
def test_of_few_runs_each_is_wider_than_those_drawn_over_it(count: int) -> None:
    strokes = list(run_strokes([str(place) for place in range(count)]).values())
    assert all(under.width >= over.width + 2 for under, over in itertools.pairwise(strokes))
    assert strokes[-1].opacity == 1


def test_many_runs_are_thin_and_two_of_a_colour_differ() -> None:
    strokes = list(run_strokes([str(place) for place in range(2 * len(RUN_COLORS))]).values())
    assert len({stroke.width for stroke in strokes}) == 1
    assert len({(stroke.color, stroke.dash) for stroke in strokes}) == len(strokes)


def test_curves_on_each_other_are_said_to_be() -> None:
    labels = {"a": "PyTorch", "b": "TensorFlow"}
    named = [curve("a", label="PyTorch"), curve("b", label="TensorFlow", last=np.arange(100.0) + 0.1)]
    assert panel_note(view(*named), labels) == "PyTorch and TensorFlow lie on each other."
    apart = curve("b", label="TensorFlow", last=np.arange(100.0) + 5)
    assert panel_note(view(named[0], apart), labels) == ""


def test_what_could_not_be_drawn_is_said_with_the_runs_name() -> None:
    labels = {"a": "one", "b": "two", "c": "three", "d": "four"}
    assert panel_note(view(), labels) == "No points yet."
    found = panel_note(
        view(curve(), missing=(("b", "two logged no val/loss."), ("c", "3 of 9 points have no known epoch."))), labels
    )
    assert found == "two logged no val/loss. three: 3 of 9 points have no known epoch."
    many = tuple((run_id, f"{label} logged no val/loss.") for run_id, label in labels.items())
    assert panel_note(view(curve(), missing=many), labels).startswith("4 of 4 runs are not drawn in full")


def test_colours_are_distinct_and_come_round_again() -> None:
    colors = run_colors([str(place) for place in range(len(RUN_COLORS) + 1)])
    assert len(set(RUN_COLORS)) == len(RUN_COLORS)
    assert colors["0"] == colors[str(len(RUN_COLORS))]


def test_where_splits_share_a_panel_the_dash_is_the_split_and_the_name_says_so() -> None:
    alone = curves_figure(view(curve(), curve("b", metric="val/loss")), STROKES)
    assert [trace["line"]["dash"] for trace in alone["data"][LINE::4]] == ["solid", "solid"]
    both = view(curve(), curve(metric="val/loss"), splits=("train", "val"))
    lines = curves_figure(both, STROKES)["data"][LINE::4]
    assert [trace["line"]["dash"] for trace in lines] == ["solid", "dash"]
    assert [trace["name"] for trace in lines] == ["a", "a, validation"]
    assert {trace["line"]["color"] for trace in lines} == {COLORS["a"]}
    assert panel_note(both, {"a": "a"}).startswith("Full: training; dashed: validation.")


def test_a_shifted_run_is_named_under_the_axis_and_its_marks_lead_to_its_own_step() -> None:
    shifted = view(curve(nan_x=np.array([3.0]), start=10), x_note="a from its step 10", begun=("a begins there.",))
    figure = curves_figure(shifted, STROKES)
    assert "a from its step 10" in figure["layout"]["xaxis"]["title"]["text"]
    assert figure["layout"]["margin"]["b"] > curves_figure(view(curve()), STROKES)["layout"]["margin"]["b"]
    assert figure["data"][MARKS]["customdata"] == ["/debug?record=a:13"]
    assert "a begins there." in panel_note(shifted, {"a": "a"})
    many = view(curve(), begun=tuple(f"{n} begins there." for n in range(9)))
    assert panel_note(many, {"a": "a"}) == "0 begins there. 8 more runs begin at another step than their first."
