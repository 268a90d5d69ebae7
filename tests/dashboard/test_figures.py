"""Figures made of hand-made views: what is drawn is what the view holds, and nothing in a name is markup."""

from __future__ import annotations

import base64
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
from trackside.dashboard.theme import RUN_COLORS, run_colors
from trackside.runs.views import Curve, CurvesView, DifferenceView, StepTimes, StepTimesView

COLORS = {"a": "#112233", "b": "#445566"}
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
    traces = curves_figure(view(curve()), COLORS)["data"]
    assert [trace["visible"] for trace in (traces[BAND], traces[GHOST], traces[MARKS])] == [False] * 3
    assert decode(traces[LINE]["y"]).tolist() == list(range(100))
    assert traces[LINE]["line"]["color"] == "#112233"
    assert traces[LINE]["line"]["dash"] == "solid"


def test_bucketed_curve_has_a_band_of_its_extremes() -> None:
    band = curves_figure(view(curve(exact=False)), COLORS)["data"][BAND]
    y = decode(band["y"])
    assert band["visible"]
    assert y[:100].tolist() == (np.arange(100) + 1).tolist()
    assert y[100:].tolist() == (np.arange(100) - 1)[::-1].tolist()


def test_smoothed_curve_keeps_its_raw_values_behind_it() -> None:
    traces = curves_figure(view(curve(smoothed=np.full(100, 7.0))), COLORS)["data"]
    assert set(decode(traces[LINE]["y"])) == {7.0}
    assert traces[GHOST]["visible"]
    assert decode(traces[GHOST]["y"]).tolist() == list(range(100))


def test_values_that_are_not_finite_are_marked_on_the_edges() -> None:
    marks = curves_figure(
        view(curve(nan_x=np.array([3.0]), positive_infinity_x=np.array([5.0]), negative_infinity_x=np.array([8.0]))),
        COLORS,
    )["data"][MARKS]
    assert decode(marks["x"]).tolist() == [3, 5, 8]
    assert marks["text"] == ["NaN", "+∞", "−∞"]
    assert decode(marks["y"])[1] > 0.9 > 0.1 > decode(marks["y"])[0]
    assert marks["yaxis"] == "y2"


def test_validation_is_dashed_and_log_axis_drops_what_it_cannot_show() -> None:
    drawn = curves_figure(view(curve(metric="val/loss")), COLORS, log_y=True)
    assert drawn["data"][LINE]["line"]["dash"] == "dash"
    assert np.isnan(decode(drawn["data"][LINE]["y"])[0])
    assert drawn["layout"]["yaxis"]["type"] == "log"


def test_names_are_escaped_and_cut_before_escaping() -> None:
    hostile = "<b>" + "&" * 60
    name = curves_figure(view(curve(label=hostile)), COLORS)["data"][LINE]["name"]
    assert name == "&lt;b&gt;" + "&amp;" * 44 + "…"
    template = curves_figure(view(curve(label="%{y}")), COLORS)["data"][LINE]["hovertemplate"]
    assert "label" not in template
    assert template.startswith("%{y:")


def test_wall_clock_is_a_date_axis_in_milliseconds() -> None:
    drawn = zoomed(
        curves_figure(view(curve(x=np.arange(100) + 1.7e9), axis="wall"), COLORS), "wall", (1.7e9, 1.7e9 + 5)
    )
    assert drawn["layout"]["xaxis"]["type"] == "date"
    assert decode(drawn["data"][LINE]["x"])[0] == 1.7e12
    assert drawn["layout"]["xaxis"]["range"] == [1.7e12, 1.7e12 + 5000]


def test_zoom_survives_new_points_and_yields_to_a_new_range() -> None:
    def revisions(x_range: tuple[float, float] | None, points: int) -> tuple[str, str]:
        few: dict[str, Any] = {key: np.arange(float(points)) for key in ("x", "minimum", "maximum", "last")}
        layout = zoomed(curves_figure(view(curve(**few)), COLORS), "step", x_range)["layout"]
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
    before = curves_figure(view(curve("a"), curve("b")), COLORS)
    longer = np.arange(101.0)
    after = curves_figure(view(curve("a"), curve("b", x=longer, minimum=longer, maximum=longer, last=longer)), COLORS)
    assert delta(before, digests(before)) is no_update
    assert delta(after, None) is after
    assert delta(curves_figure(view(curve("a")), COLORS), digests(before))["data"]  # another number of curves: whole
    patch = delta(after, digests(before))
    assert isinstance(patch, Patch)
    touched = {
        tuple(operation["location"]) for operation in json.loads(json.dumps(patch.to_plotly_json()))["operations"]
    }
    assert touched == {("data", 4 + LINE), ("data", 4 + GHOST)} | {("data", 4 + BAND)} & touched


def test_colours_are_distinct_and_come_round_again() -> None:
    colors = run_colors([str(place) for place in range(len(RUN_COLORS) + 1)])
    assert len(set(RUN_COLORS)) == len(RUN_COLORS)
    assert colors["0"] == colors[str(len(RUN_COLORS))]
