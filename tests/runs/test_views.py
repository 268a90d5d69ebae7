"""Views read from a real store: what a figure is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest

import trackside
from trackside.db.errors import RunNotFoundError, UsageError
from trackside.db.store import Store, open_store
from trackside.runs import step_times
from trackside.runs.align import align
from trackside.runs.tokens import with_tokens
from trackside.runs.views import (
    AXES,
    config_rows,
    curves_view,
    difference_view,
    metric_names,
    run_labels,
    step_times_view,
)

STEPS = 400
EPOCH = 100
NOTHING: Mapping[int, float] = MappingProxyType({})


@pytest.fixture
def store(sqlite_url):
    with open_store(sqlite_url) as opened:
        yield opened


def train(
    store: Store,
    name: str,
    framework: str | None = None,
    *,
    steps: int = STEPS,
    every: int = 1,
    add: Mapping[int, float] = NOTHING,
):
    """A run that logged as a tracker does; `add` is added to the loss, by step."""
    properties = {} if framework is None else {"framework": framework}
    url = store.url.render_as_string(hide_password=False)
    with trackside.start_run(name=name, store=url, config={"tokens_per_sample": 16}, properties=properties) as run:
        run.describe("step/seconds", "seconds")
        run.describe("gpu0/power_watts", "watts", "sample")
        for step in range(0, steps, every):
            loss = math.exp(-step / 100) + add.get(step, 0.0)
            run.log(
                {
                    "train/loss": loss,
                    "step/seconds": 2.0 if step == 0 else 0.01,
                    "step/data_seconds": 0.5 if step == 0 else 0.002,
                },
                step=step,
                epoch=step // EPOCH,
                samples=(step + 1) * 32,
            )
    return store.run(run.id)


def test_the_curve_of_a_short_run_is_what_was_logged(store):
    run = train(store, "one", add={7: math.nan, 8: math.inf, 9: -math.inf})
    view = curves_view(store, [run], "train/loss")
    (curve,) = view.curves
    assert curve.exact
    assert curve.point_count == STEPS
    assert curve.x.tolist() == [s for s in range(STEPS) if s not in (7, 8, 9)]
    assert np.array_equal(curve.last, np.array([math.exp(-s / 100) for s in curve.x]))
    assert np.array_equal(curve.minimum, curve.maximum)
    assert curve.nan_x.tolist() == [7]
    assert curve.positive_infinity_x.tolist() == [8]
    assert curve.negative_infinity_x.tolist() == [9]
    assert curve.smoothed is None
    assert view.x_range == (0.0, STEPS - 1.0)
    assert (view.x_label, view.y_label) == ("Step (optimizer updates)", "Training loss")
    assert view.missing == ()


def test_all_curves_of_a_panel_share_one_grid_and_keep_their_extremes(store):
    runs = [train(store, "a", add={123: 5.0}), train(store, "b", every=3, add={321: -5.0})]
    view = curves_view(store, runs, "train/loss", buckets=40)
    grids = []
    for curve in view.curves:
        assert not curve.exact
        assert len(curve.x) <= 40
        grids.append(set(np.floor(curve.x / 16)))  # 400 steps in at most 40 buckets: 16 steps each
        assert len(grids[-1]) == len(curve.x)
    assert grids[0] == grids[1]
    assert view.curves[0].maximum.max() == math.exp(-1.23) + 5.0
    assert view.curves[1].minimum.min() == math.exp(-3.21) - 5.0
    assert [curve.label for curve in view.curves] == ["a", "b"]


@pytest.mark.parametrize("axis", AXES)
def test_a_zoom_shows_every_point_of_its_range_on_every_axis(store, axis, monkeypatch):
    monkeypatch.setattr("trackside.runs.series._SHORT", 10)  # so that the range is looked up, as in a long series
    run = train(store, "one", add={205: 9.0})
    whole = align(store.series(run, "train/loss"), axis, with_tokens(store, run, store.axes(run)))
    low, high = float(whole.x[200]), float(whole.x[210])
    view = curves_view(store, [run], "train/loss", axis=axis, x_range=(low, high), buckets=10_000)
    (part,) = view.curves
    inside = (whole.x >= low) & (whole.x <= high)
    assert part.x.tolist() == np.unique(whole.x[inside]).tolist()  # two steps may fall into one microsecond
    assert part.maximum.max() == whole.values[inside].max() > 9
    assert part.point_count == inside.sum()
    assert view.x_range == (low, high)


def test_a_zoom_on_steps_reads_only_the_segments_that_it_needs(store, monkeypatch):
    run = train(store, "one")
    asked = []
    read = Store.series

    def recording(self, *arguments, **options):
        asked.append(options.get("steps"))
        return read(self, *arguments, **options)

    monkeypatch.setattr(Store, "series", recording)
    curves_view(store, [run], "train/loss", x_range=(100.0, 120.0))
    assert asked == [(100.0, 120.0)]


def test_smoothing_is_the_same_at_the_edge_of_a_zoom_as_in_its_middle(store):
    run = train(store, "one", add={step: (-1) ** step * 0.5 for step in range(STEPS)})
    (wide,) = curves_view(store, [run], "train/loss", x_range=(150, 250), smoothing=0.99).curves
    (shifted,) = curves_view(store, [run], "train/loss", x_range=(200, 300), smoothing=0.99).curves
    assert wide.smoothed is not None
    assert shifted.smoothed is not None
    shared = np.isin(wide.x, shifted.x)
    assert np.allclose(wide.smoothed[shared], shifted.smoothed[: shared.sum()], atol=1e-3)
    assert np.abs(np.diff(wide.smoothed)).max() < np.abs(np.diff(wide.last)).max() / 3


def test_smoothing_is_not_changed_by_how_many_buckets_are_drawn(store):
    run = train(store, "one")
    (fine,) = curves_view(store, [run], "train/loss", smoothing=0.9).curves
    (coarse,) = curves_view(store, [run], "train/loss", smoothing=0.9, buckets=20).curves
    assert fine.smoothed is not None
    assert coarse.smoothed is not None
    assert coarse.smoothed.tolist() == fine.smoothed[np.isin(fine.x, coarse.x)].tolist()


def test_runs_on_the_epoch_axis_end_at_the_same_place_whatever_they_log(store):
    view = curves_view(store, [train(store, "a"), train(store, "b", every=3)], "train/loss", axis="epoch")
    assert view.curves[0].x[-1] == 4.0
    assert view.curves[1].x[-1] == 4.0
    assert view.x_label == "Epoch"


def test_the_first_epoch_is_as_long_as_the_run_said_its_data_are(store):
    with trackside.start_run(store=store.url.render_as_string(hide_password=False)) as run:
        run.fingerprint("data/batches", {"batch_size": 32, "samples_per_epoch": 3200})
        for step in range(25):
            run.log({"train/loss": 1.0}, step=step, epoch=0, samples=(step + 1) * 32)
    (curve,) = curves_view(store, [run.id], "train/loss", axis="epoch").curves
    assert curve.x[-1] == 0.25


def test_measured_noise_is_a_band_around_its_metric_and_no_metric_of_its_own(store):
    run = train(store, "noisy", steps=50)
    with trackside.start_run(id=run.id, resume=True, store=store.url.render_as_string(hide_password=False)) as more:
        for step in range(50):
            more.log({"noise/train/loss": 0.001 * step}, step=step)
    (curve,) = curves_view(store, [run.id], "train/loss").curves
    assert curve.exact
    assert curve.noise is not None
    np.testing.assert_allclose(curve.noise, 0.001 * np.arange(50))
    low, high = curve.band
    np.testing.assert_allclose(high - low, 2 * curve.noise)
    assert "noise/train/loss" not in metric_names(store, [run.id])
    (plain,) = curves_view(store, [run.id], "step/seconds").curves
    assert plain.noise is None
    assert plain.band is None


def test_what_cannot_be_drawn_is_named(store):
    with trackside.start_run(name="plain", store=store.url.render_as_string(hide_password=False)) as run:
        run.log({"train/loss": 1.0}, step=0, epoch=0)
        run.log({"train/loss": 1.0}, step=1)
    other = train(store, "other")
    view = curves_view(store, [run.id, other], "train/loss", axis="epoch")
    assert view.missing == ((run.id, "1 of 2 points have no known epoch."),)
    view = curves_view(store, [run.id, other], "train/loss", axis="samples")
    assert view.missing == ((run.id, "2 of 2 points have no known samples."),)
    assert [curve.run_id for curve in view.curves] == [other.id]
    view = curves_view(store, [run.id, other], "val/loss")
    assert view.curves == ()
    assert view.x_range is None
    assert view.missing == ((run.id, "plain logged no val/loss."), (other.id, "other logged no val/loss."))


def test_a_range_without_points_has_an_empty_curve(store):
    view = curves_view(store, [train(store, "one")], "train/loss", x_range=(5000, 6000), smoothing=0.9)
    assert [len(curve.x) for curve in view.curves] == [0]
    assert view.x_range == (5000, 6000)


def test_a_resumed_run_shows_a_repeated_step_once_on_steps_and_twice_in_time(store):
    url = store.url.render_as_string(hide_password=False)
    with trackside.start_run(name="r", store=url) as first:
        for step in range(10):
            first.log({"train/loss": 1.0}, step=step)
    with trackside.start_run(id=first.id, resume=True, store=url) as second:
        for step in range(6, 12):
            second.log({"train/loss": 2.0}, step=step)
    (curve,) = curves_view(store, [first.id], "train/loss").curves
    assert curve.x.tolist() == list(range(12))
    assert curve.last.tolist() == [1.0] * 6 + [2.0] * 6
    (curve,) = curves_view(store, [first.id], "train/loss", axis="wall").curves
    assert curve.point_count == 16


def test_each_rank_has_a_curve_of_its_own(store):
    url = store.url.render_as_string(hide_password=False)
    with (
        trackside.start_run(name="ddp", id="abc", store=url) as zero,
        trackside.start_run(name="ddp", id="abc", rank=1, store=url) as one,
    ):
        zero.log({"step/seconds": 0.1}, step=0)
        one.log({"step/seconds": 0.2}, step=0)
    view = curves_view(store, ["abc"], "step/seconds")
    assert [(curve.rank, curve.label, curve.last.tolist()) for curve in view.curves] == [
        (0, "ddp, rank 0", [0.1]),
        (1, "ddp, rank 1", [0.2]),
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"axis": "batches"}, "choose one of step"),
        ({"x_range": (5, 5)}, "smaller first"),
        ({"x_range": (0, math.inf)}, "smaller first"),
        ({"smoothing": 1.0}, "below 1"),
        ({"buckets": 1}, "at least 2"),
    ],
)
def test_wrong_requests_are_refused_with_the_cure(store, options, sentence):
    run = train(store, "one", steps=3)
    with pytest.raises(UsageError, match=sentence):
        curves_view(store, [run], "train/loss", **options)


def test_an_unknown_run_is_refused(store):
    with pytest.raises(RunNotFoundError, match="nothing-like-it"):
        curves_view(store, ["nothing-like-it"], "train/loss")


def test_step_times_leave_the_warm_up_out_and_clip_nothing(store):
    runs = [train(store, "demo", "torch"), train(store, "demo", "tensorflow", every=2)]
    view = step_times_view(store, runs)
    assert view.skipped == 1
    for row, count in zip(view.rows, (STEPS - 1, STEPS // 2 - 1), strict=True):
        assert row.first_seconds == 2.0
        assert row.count == row.counts.sum() == count
        assert row.median == row.p95 == row.p99 == 0.01
        assert row.mean == pytest.approx(0.01)
        assert row.data_median == 0.002
        assert math.isnan(row.compute_median)
        assert row.samples_per_second == pytest.approx(3200)
        assert len(view.edges) == len(row.counts) + 1
    assert [row.label for row in view.rows] == ["PyTorch", "TensorFlow"]
    everything = step_times_view(store, runs, skip=0)
    assert everything.rows[0].count == STEPS
    assert everything.edges[-1] >= 2.0


def test_throughput_comes_from_the_recorded_rate_where_there_is_one(store):
    with trackside.start_run(store=store.url.render_as_string(hide_password=False)) as run:
        for step in range(20):
            seconds = 0.01 if step % 2 else 0.03
            run.log({"step/seconds": seconds, "step/samples_per_second": 64 / seconds}, step=step)
    (row,) = step_times_view(store, [run.id], skip=2).rows
    assert row.samples_per_second == pytest.approx(64 / 0.02)


def test_a_run_that_is_still_warming_up_has_no_statistics(store):
    view = step_times_view(store, [train(store, "one", steps=1)])
    assert view.rows[0].count == 0
    assert view.rows[0].first_seconds == 2.0
    assert math.isnan(view.rows[0].median)


def test_runs_without_step_times_have_no_row(store):
    with trackside.start_run(store=store.url.render_as_string(hide_password=False)) as run:
        run.log({"train/loss": 1.0}, step=0)
    view = step_times_view(store, [run.id])
    assert view.rows == ()
    assert np.all(np.diff(view.edges) > 0)
    with pytest.raises(UsageError, match="0 or more"):
        step_times_view(store, [run.id], skip=-1)


def test_more_steps_than_the_longest_warm_up_are_never_taken_for_it():
    assert step_times.warm_up_steps(np.full(1000, 0.01)) == 1
    assert step_times.warm_up_steps(np.geomspace(100, 0.001, 1000)) <= step_times.MOST_WARM_UP


def test_the_difference_of_two_runs_and_where_they_part(store):
    a = train(store, "a")
    b = train(store, "b", every=2, add=dict.fromkeys(range(300, STEPS), 0.2))
    view = difference_view(store, a, b, "train/loss")
    assert view.x.tolist() == list(range(0, STEPS, 2))
    assert view.parted_at == 300
    assert view.difference[150] == pytest.approx(-0.2)
    assert (view.difference[:150] == 0).all()
    assert len(view.tolerance) == len(view.x)
    assert "from step 300 on" in view.reason
    same = difference_view(store, a, a, "train/loss")
    assert same.parted_at is None
    assert "nowhere further apart" in same.reason


def test_a_tolerance_of_ones_own_is_a_bound(store):
    a, b = train(store, "a"), train(store, "b", add={40: 0.002})
    assert difference_view(store, a, b, "train/loss").parted_at is None
    view = difference_view(store, a, b, "train/loss", tolerance=0.001)
    assert view.parted_at == 40
    assert (view.tolerance == 0.001).all()
    with pytest.raises(UsageError, match="0 or more"):
        difference_view(store, a, b, "train/loss", tolerance=-1)


def test_nan_in_one_run_is_where_they_part(store):
    view = difference_view(store, train(store, "a"), train(store, "b", add={5: math.nan}), "train/loss")
    assert view.parted_at == 5
    assert "not finite in one of the runs at step 5" in view.reason
    assert "nan in b" in view.reason


def test_on_the_epoch_axis_runs_of_two_rates_are_interpolated_and_part_at_a_step(store):
    a = train(store, "a")
    b = train(store, "b", every=4, add=dict.fromkeys(range(200, STEPS), 0.2))
    view = difference_view(store, a, b, "train/loss", axis="epoch")
    assert view.axis == "epoch"
    assert len(view.x) == STEPS // 4
    assert view.parted_at == 200


def test_at_the_same_time_runs_of_two_speeds_differ_without_having_parted(store):
    view = difference_view(store, train(store, "a"), train(store, "b"), "train/loss", axis="relative")
    assert view.parted_at is None


def test_a_metric_that_one_run_lacks_makes_no_difference(store):
    view = difference_view(store, train(store, "a"), train(store, "b"), "val/loss")
    assert len(view.x) == 0
    assert view.parted_at is None
    assert view.reason == "a and b logged no val/loss."


def test_configurations_side_by_side(store):
    url = store.url.render_as_string(hide_password=False)
    configs = [
        {"lr": 0.1, "model": {"width": 8, "name": "cnn"}},
        {"lr": 0.1, "model": {"width": 16, "name": "cnn"}, "x": 1},
    ]
    runs = []
    for config in configs:
        with trackside.start_run(name="c", store=url, config=config) as run:
            pass
        runs.append(store.run(run.id))
    rows = {row.key: row for row in config_rows(runs)}
    assert [row.key for row in config_rows(runs) if row.differs] == ["model.width", "x"]
    assert rows["model.width"].values == {runs[0].id: 8, runs[1].id: 16}
    assert rows["x"].values == {runs[1].id: 1}
    assert list(run_labels(runs).values()) == ["c (model.width=8)", "c (model.width=16)"]
    assert config_rows([]) == ()


def test_metric_names_of_all_runs_in_the_order_people_look(store):
    runs = [train(store, "a", steps=2)]
    assert metric_names(store, runs) == ("train/loss", "step/data_seconds", "step/seconds")
