"""The same quantity of several splits in one panel."""

from __future__ import annotations

import pytest

import trackside
from trackside.runs.splits import entry, in_one_panel, joined, panels
from trackside.runs.views import curves_view

LOGGED = ("train/loss", "train/acc", "val/loss", "test/loss", "val/f1", "step/seconds", "loss")


def test_a_panel_has_the_splits_of_its_quantity_in_their_order():
    assert in_one_panel("train/loss", LOGGED) == ("train/loss", "val/loss", "test/loss")
    assert in_one_panel("val/loss", LOGGED) == ("train/loss", "val/loss", "test/loss")
    assert in_one_panel("train/acc", LOGGED) == ("train/acc",)
    assert in_one_panel("step/seconds", LOGGED) == ("step/seconds",)
    assert in_one_panel("loss", LOGGED) == ("loss",)
    assert panels(LOGGED) == ["train/loss", "train/acc", "val/f1", "step/seconds", "loss"]
    assert panels(["val/loss", "step/seconds"]) == ["val/loss", "step/seconds"]


@pytest.fixture
def store(sqlite_url):
    for name in ("one", "two"):
        with trackside.start_run(name=name, store=sqlite_url) as run:
            for step in range(10):
                run.log({"train/loss": 1.0 - step / 20}, step=step)
            if name == "one":
                run.log({"val/loss": 2.0}, step=12)
    with trackside.open_store(sqlite_url) as opened:
        yield opened


def test_a_joined_panel_holds_the_curves_of_all(store):
    views = [curves_view(store, ["one", "two"], metric) for metric in ("train/loss", "val/loss")]
    panel = joined(views)
    assert [(curve.label, curve.split) for curve in panel.curves] == [
        ("one", "train"),
        ("two", "train"),
        ("one", "val"),
    ]
    assert [entry(curve, panel) for curve in panel.curves] == ["one", "two", "one, validation"]
    assert (panel.x_range, panel.y_label, panel.splits) == ((0.0, 12.0), "Loss", ("train", "val"))
    assert [reason for _, reason in panel.missing] == ["two logged no val/loss."]


def test_one_split_alone_stays_as_it_is(store):
    view = curves_view(store, ["one"], "train/loss")
    assert joined([view]) is view
    assert entry(view.curves[0], view) == "one"
