"""Runs that begin at a step of their own: one place for it on every axis, and everything that counts from there."""

from __future__ import annotations

import math

import numpy as np
import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.db.records import Axes
from trackside.runs.align import AXES
from trackside.runs.compare import compare
from trackside.runs.starts import axis_note, chosen_starts, sentence, shift
from trackside.runs.verdict import target_metric, verdict_view
from trackside.runs.views import curves_view, difference_view

STEPS = 60
LATE = 20  # the step with which the second run really starts
TOKENS = 64


def loss(step: int) -> float:
    return 2.0 * math.exp(-step / 20)


@pytest.fixture
def pair(sqlite_url):
    """A run, and one that made the same training after twenty steps that do not count."""
    ids = []
    for name, late in (("plain", 0), ("late", LATE)):
        with trackside.start_run(name=name, config={"tokens_per_sample": TOKENS}, store=sqlite_url) as run:
            run.describe("val/loss", reduction="epoch_mean")
            for step in range(STEPS + late):
                value = 50.0 if step < late else loss(step - late)
                joules = {"gpu0/energy_joules": 10.0 * (step + 1)}
                epoch, samples = (step + 1) / 10, 32 * (step + 1)
                run.log({"train/loss": value, **joules}, step=step, epoch=epoch, samples=samples)
                if (step - late) % 10 == 9:
                    run.log({"val/loss": value}, step=step, epoch=epoch, samples=samples)
        ids.append(run.id)
    with trackside.open_store(sqlite_url) as store:
        yield store, [store.run(run_id) for run_id in ids]


@pytest.mark.parametrize("axis", ["step", "epoch", "samples", "tokens"])
def test_a_run_that_begins_late_lies_on_the_other_on_every_axis_that_counts(pair, axis):
    store, (plain, late) = pair
    view = curves_view(store, [plain, late], "train/loss", axis=axis, starts={late.id: LATE})
    one, other = view.curves
    np.testing.assert_allclose(other.x, one.x, atol=1e-9)
    np.testing.assert_array_equal(other.last, one.last)
    assert (one.start, other.start) == (None, LATE)
    apart = curves_view(store, [plain, late], "train/loss", axis=axis).curves[1]
    assert len(apart.x) == STEPS + LATE


@pytest.mark.parametrize("axis", AXES)
def test_what_came_before_is_left_out_on_every_axis_and_the_view_says_so(pair, axis):
    store, (plain, late) = pair
    view = curves_view(store, [plain, late], "train/loss", axis=axis, starts={late.id: LATE})
    assert view.curves[1].point_count == STEPS
    assert view.curves[1].maximum.max() == 2.0
    assert view.x_note == "late from its step 20"
    (said,) = view.begun
    assert said.startswith("late begins at its step 20")
    by = {"step": "20 steps are", "epoch": "2 epochs are", "samples": "640 samples are", "tokens": "40,960 tokens are"}
    assert by.get(axis, "") in said
    if axis == "wall":
        assert said == "late begins at its step 20; a clock is not shifted."
        assert view.curves[1].x[0] > 1e9
    if axis == "relative":
        assert view.curves[1].x[0] == pytest.approx(0.0, abs=1e-4)


def test_without_a_start_nothing_is_said(pair):
    store, runs = pair
    view = curves_view(store, runs, "train/loss")
    assert (view.x_note, view.begun) == ("", ())


def test_a_zoom_is_to_places_on_the_shifted_axis(pair):
    store, (_, late) = pair
    for axis, low, high in (("step", 10.0, 12.0), ("samples", 352.0, 416.0)):
        view = curves_view(store, [late], "train/loss", axis=axis, x_range=(low, high), starts={late.id: LATE})
        assert view.curves[0].last.tolist() == [loss(10), loss(11), loss(12)]


def test_a_run_may_begin_before_its_first_step_and_then_lies_behind(pair):
    store, (plain, _) = pair
    for axis, first in (("step", 100.0), ("samples", 101 * 32.0), ("epoch", 10.1)):
        view = curves_view(store, [plain], "train/loss", axis=axis, starts={plain.id: -100})
        assert view.curves[0].x[0] == pytest.approx(first)
        assert "are added to its x" in view.begun[0]
    view = curves_view(store, [plain], "train/loss", axis="relative", starts={plain.id: -100})
    assert view.curves[0].x[0] == pytest.approx(0.0, abs=1e-4)
    assert "is not known: it is not shifted" in view.begun[0]


def test_a_run_that_never_came_so_far_is_missing(pair):
    store, (plain, _) = pair
    view = curves_view(store, [plain], "train/loss", starts={plain.id: 1000})
    assert view.missing == ((plain.id, "plain logged no train/loss from its step 1,000 on."),)


def test_the_step_where_runs_part_counts_from_where_each_begins(pair):
    store, (plain, late) = pair
    apart = difference_view(store, plain, late, "train/loss")
    assert apart.parted_at == 0
    same = difference_view(store, plain, late, "train/loss", starts={late.id: LATE})
    assert (same.parted_at, len(same.x), np.abs(same.difference).max()) == (None, STEPS, 0.0)
    assert same.begun
    assert same.x_note == "late from its step 20"
    later = difference_view(store, plain, late, "train/loss", starts={late.id: LATE + 5, plain.id: 5})
    assert (later.parted_at, len(later.x)) == (None, STEPS - 5)
    off = difference_view(store, plain, late, "train/loss", starts={late.id: LATE - 3})
    assert off.parted_at == 0
    assert off.reason.endswith("Steps are counted from where each run begins.")
    on_samples = difference_view(store, plain, late, "train/loss", axis="samples", starts={late.id: LATE})
    assert (on_samples.parted_at, np.abs(on_samples.difference).max()) == (None, 0.0)


def test_what_the_target_took_counts_from_where_a_run_begins(pair):
    store, runs = pair
    plain, late = runs
    assert target_metric(store, runs) == "val/loss"
    view = verdict_view(store, runs, "green", target=0.5, starts={late.id: LATE})
    rows = {quantity.name: quantity.values for quantity in view.quantities}
    for name in ("target_steps", "target_samples", "target_tokens", "target_joules"):
        assert rows[name][late.id] == rows[name][plain.id] > 0, name
    assert rows["target_steps"][plain.id] == 30  # exp(-29/20) is below a quarter, at the third validation
    whole = verdict_view(store, runs, "green", target=0.5)
    seconds = {quantity.name: quantity.values for quantity in whole.quantities}["target_seconds"]
    assert 0 < rows["target_seconds"][late.id] < seconds[late.id]
    assert rows["target_seconds"][plain.id] == seconds[plain.id]
    assert dict(view.starts) == {late.id: LATE}


def test_a_comparison_takes_starts(pair):
    store, (plain, late) = pair
    assert compare(store, [plain, late]).parted_at == 0
    found = compare(store, [plain, late], starts={late.id: LATE})
    assert found.parted_at is None
    assert found.to_json()["verdict"]["starts"] == {late.id: LATE}


def test_starts_are_read_from_a_command_line(pair):
    store, (plain, late) = pair
    assert chosen_starts(store, [plain, late], ["late:20", f"{plain.id[:6]}:-3"]) == {late.id: 20, plain.id: -3}
    for wrong in ("late", "late:", ":3", "late:1.5", "late:ten"):
        with pytest.raises(UsageError, match="write RUN:STEP"):
            chosen_starts(store, [plain, late], [wrong])
    with pytest.raises(UsageError, match="none of these"):
        chosen_starts(store, [plain], ["late:20"])


def test_a_run_that_logs_every_tenth_step_begins_between_two_records():
    steps = np.arange(9, 100, 10, dtype=np.int64)
    nothing = np.full(len(steps), np.nan)
    axes = Axes(steps, nothing, (steps + 1) * 8.0, steps + 1e9, steps + 1.0)
    assert shift(axes, "samples", 20) == 160
    assert shift(axes, "samples", 0) == 0
    assert shift(axes, "relative", 20) == 20.0  # the first record from there on is that of step 29
    assert shift(axes, "process", 20) == 20.0  # and the last before it that of step 19
    assert math.isnan(shift(axes, "epoch", 20))
    assert math.isnan(shift(axes, "tokens", 20))


def test_a_resumed_run_begins_where_it_first_made_the_step():
    steps = np.array([0, 1, 2, 3, 2, 3, 4], dtype=np.int64)
    times = 1e9 + np.array([0.0, 1, 2, 3, 100, 101, 102])
    axes = Axes(steps, np.full(7, np.nan), (steps + 1) * 8.0, times, np.array([1.0, 2, 3, 4, 5, 6, 7]))
    assert (shift(axes, "relative", 3), shift(axes, "process", 3), shift(axes, "samples", 3)) == (3.0, 3.0, 24.0)


def test_the_note_of_an_axis_is_short():
    labels = {f"r{n}": f"a run with a name {n}" for n in range(10)}
    assert axis_note(labels, {}) == ""
    assert axis_note(labels, {"r1": 1000}) == "a run with a name 1 from its step 1,000"
    assert axis_note(labels, dict.fromkeys(labels, 5)) == "each run from its step 5"
    assert axis_note(labels, dict.fromkeys(list(labels)[:4], 5)) == "4 of 10 runs from another step than their first"


@pytest.mark.parametrize(
    ("axis", "taken_off", "end"),
    [
        ("step", 1.0, "1 step is taken off its x."),
        ("epoch", 0.25, "0.25 epochs are taken off its x."),
        ("relative", 12.3456, "12.35 seconds are taken off its x."),
        ("samples", -3200.0, "3,200 samples are added to its x."),
    ],
)
def test_a_caption_says_by_how_much(axis, taken_off, end):
    assert sentence("a", axis, 1, taken_off).endswith(end)
