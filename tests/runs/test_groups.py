"""Means of repeats: against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import trackside
from trackside.dashboard.export import export
from trackside.db.errors import UsageError
from trackside.db.store import open_store
from trackside.runs.groups import grouped, interval, student
from trackside.runs.views import curves_view

NAN = np.nan


def of(*runs):
    return interval([(np.array(x, float), np.array(y, float)) for x, y in runs])


def test_student_agrees_with_the_tables():
    found = student(np.array([0, 1, 2, 30, 31, 40, 60, 120]))
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], [12.7062, 4.3027, 2.0423, 2.0395, 2.0211, 2.0003, 1.9799], atol=6e-5)


def test_mean_and_interval_of_three_runs():
    found = of(([0, 1], [1, 4]), ([0, 1], [2, 4]), ([0, 1], [3, 4]))
    np.testing.assert_array_equal(found.mean, [2, 4])
    half = 4.3027 * 1 / np.sqrt(3)  # standard deviation 1
    np.testing.assert_allclose(found.high, [2 + half, 4])
    np.testing.assert_allclose(found.low, [2 - half, 4])
    assert found.count.tolist() == [3, 3]


@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_left_out_and_nothing_else(bad):
    found = of(([0, 1, 2], [1, bad, 3]), ([0, 1, 2], [3, 7, 5]))
    assert found.count.tolist() == [2, 1, 2]
    np.testing.assert_array_equal(found.mean, [2, 7, 4])
    assert np.isnan(found.low[1])
    assert np.isfinite(found.low[[0, 2]]).all()


def test_a_shorter_run_stops_counting_where_it_ends():
    found = of(([0, 1, 2, 3], [1, 1, 1, 9]), ([0, 1], [3, 3]))
    assert found.count.tolist() == [2, 2, 1, 1]
    np.testing.assert_array_equal(found.mean, [2, 2, 1, 9])


def test_runs_with_other_places_meet_on_the_places_of_both():
    found = of(([0, 2, 4], [0, 2, 4]), ([0, 1, 4], [0, 3, 0]))
    assert found.x.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(found.mean, [0, 2, 2, 2])


def test_no_runs_and_empty_runs_give_nothing():
    assert not len(interval([]).x)
    assert not len(of(([], [])).x)


def test_runs_that_differ_in_their_seed_alone_are_one_curve(sqlite_url, tmp_path):
    for name, seed, lr in (("a", 1, 0.1), ("b", 2, 0.1), ("c", 1, 0.2)):
        with trackside.start_run(name=name, store=sqlite_url, config={"lr": lr, "seed": seed}) as run:
            for step in range(4):
                run.log({"train/loss": float(seed) if step != 2 or seed == 1 else NAN}, step=step)
    with open_store(sqlite_url) as store:
        runs = [store.run(name) for name in "abc"]
        view = grouped(curves_view(store, runs, "train/loss"), runs)
        two, one = view.curves
        assert two.members == (runs[0].id, runs[1].id)
        assert one.members == (runs[2].id,)
        assert two.count.tolist() == [2, 2, 1, 2]
        assert two.last.tolist() == [1.5, 1.5, 1.0, 1.5]
        assert two.nan_x.tolist() == [2.0]
        assert two.band is not None
        assert "n = 1–2" in two.label
        assert one.band is None
        assert "n = 1, no interval" in one.label
        export(store, list("abc"), figures=["loss"], formats=["csv", "svg", "tex"], directory=tmp_path, group="seed")
        lines = (tmp_path / "loss.csv").read_text().splitlines()
        assert lines[0] == "run,run_id,metric,axis,x,mean,low,high,n,kind"
        assert lines[3].endswith(",2.0,1.0,,,1,point")
        assert "95 % interval of the mean" in (tmp_path / "loss.svg").read_text()
        with pytest.raises(UsageError, match="group"):
            export(store, ["a"], figures=["loss"], formats=["csv"], directory=tmp_path, group="lr")
