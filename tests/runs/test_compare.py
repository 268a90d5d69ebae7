"""Two or more runs side by side, as `trackside compare --json` prints them, on both databases."""

from __future__ import annotations

import json
import math

import pytest

import trackside
from trackside.db.errors import RunNotFoundError, UsageError
from trackside.db.records import SeriesInfo
from trackside.db.store import open_store
from trackside.runs.best import best_of


def train(url, name, framework, losses, **properties):
    with trackside.start_run(
        name=name,
        store=url,
        config={"lr": 0.1},
        properties={"framework": framework, "precision": "float32", "device": "cpu", **properties},
    ) as run:
        run.describe("val/acc", reduction="epoch_mean")
        for step, loss in enumerate(losses):
            seconds = 3.0 if step == 0 else 0.02
            run.log({"train/loss": loss, "step/seconds": seconds}, step=step, epoch=0, samples=(step + 1) * 64)
        run.log({"val/loss": 0.5, "val/acc": 0.75}, step=len(losses) - 1)
        run.log({"val/loss": 0.6, "val/acc": 0.7}, step=len(losses))
    return run.id


LOSSES = [math.exp(-step / 30) for step in range(60)]


@pytest.fixture
def pair(store_url):
    later = [loss + (0.25 if step >= 40 else 0.0) for step, loss in enumerate(LOSSES)]
    return store_url, train(store_url, "one", "torch", LOSSES), train(store_url, "two", "tensorflow", later)


def test_the_whole_comparison(pair):
    url, one, two = pair
    with open_store(url) as store:
        found = trackside.compare(store, ["one", two[:8]])
    assert [run.id for run in found.runs] == [one, two]
    assert found.parted_at == 40
    assert [(view.metric, view.parted_at) for view in found.differences] == [("train/loss", 40), ("val/loss", None)]
    assert found.parity.verdict == "amber"
    first, second = found.summary
    assert (first.label, second.label) == ("PyTorch", "TensorFlow")
    assert first.median_step_seconds == second.median_step_seconds == 0.02
    assert first.first_step_seconds == 3.0
    assert first.samples_per_second == pytest.approx(3200)
    assert first.duration_seconds is not None
    assert first.duration_seconds >= 0
    assert first.last_step == 60
    assert list(first.metrics) == ["train/loss", "val/loss", "val/acc"]
    assert first.metrics["train/loss"].last == LOSSES[-1] == first.metrics["train/loss"].best
    assert (first.metrics["val/acc"].last, first.metrics["val/acc"].best) == (0.7, 0.75)
    assert (first.metrics["val/loss"].last, first.metrics["val/loss"].best) == (0.6, 0.5)


def test_the_json_has_the_promised_shape_and_is_strict(pair):
    url, one, two = pair
    broken = train(url, "three", "torch", [math.nan, math.inf, -math.inf])
    with open_store(url) as store:
        document = trackside.compare(store, [one, two, broken]).to_json()
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again == document
    assert [run["id"] for run in document["runs"]] == [one, two, broken]
    assert document["runs"][0]["config"] == {"lr": 0.1}
    assert document["runs"][0]["created"].endswith("+00:00")
    assert document["parity"]["verdict"] in ("green", "amber", "red")
    for check in document["parity"]["checks"]:
        assert check.keys() == {"name", "group", "verdict", "reason", "values"}
        assert set(check["values"]) == {one, two, broken}
    assert document["parted_at"] == 0
    rows = {row["run_id"]: row for row in document["summary"]}
    assert rows[broken]["metrics"]["train/loss"] == {"last": "-Infinity", "best": "NaN"}
    assert [len(row["counts"]) for row in document["step_times"]["rows"]] == [60, 60, 60]
    assert len(document["step_times"]["edges"]) == 61
    assert {view["metric"] for view in document["differences"]} == {"train/loss", "val/loss"}


def test_runs_that_agree_have_not_parted(store_url):
    ids = [
        train(store_url, "a", "torch", LOSSES),
        train(store_url, "b", "tensorflow", [x * (1 + 1e-7) for x in LOSSES]),
    ]
    with open_store(store_url) as store:
        found = trackside.compare(store, ids)
    assert found.parted_at is None
    assert found.to_json()["parted_at"] is None


def test_the_earliest_parting_of_several_runs_counts(sqlite_url):
    def parting_at(step):
        return [loss + (0.5 if at >= step else 0) for at, loss in enumerate(LOSSES)]

    ids = [train(sqlite_url, str(step), "torch", parting_at(step)) for step in (99, 30, 20)]
    with open_store(sqlite_url) as store:
        assert trackside.compare(store, ids).parted_at == 20


def test_a_run_without_points_is_compared_as_far_as_it_goes(sqlite_url):
    with trackside.start_run(name="empty", store=sqlite_url) as run:
        pass
    one = train(sqlite_url, "one", "torch", LOSSES)
    with open_store(sqlite_url) as store:
        found = trackside.compare(store, [run.id, one])
    assert found.differences == ()
    assert found.parted_at is None
    assert found.summary[0].metrics == {}
    assert math.isnan(found.summary[0].median_step_seconds)
    assert found.to_json()["summary"][0]["median_step_seconds"] == "NaN"


def test_wrong_requests_are_refused(sqlite_url):
    one = train(sqlite_url, "one", "torch", [1.0])
    with open_store(sqlite_url) as store:
        with pytest.raises(UsageError, match="two different runs"):
            trackside.compare(store, [one, "one"])
        with pytest.raises(RunNotFoundError, match="nobody"):
            trackside.compare(store, [one, "nobody"])


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        ("train/loss", 1.0),
        ("val/acc", 2.0),
        ("val/top5_accuracy", 2.0),
        ("val/mAP", 2.0),
        ("val/mean_absolute_error", 1.0),
    ],
)
def test_what_is_best_depends_on_the_metric(metric, best):
    info = SeriesInfo(id=1, run_id="r", name=metric, minimum=1.0, maximum=2.0)
    assert best_of(info) == best


def test_a_notebook_shows_a_run_and_a_comparison_and_escapes_what_users_wrote(pair):
    url, one, _ = pair
    evil = train(url, "<script>alert(1)</script>", None, LOSSES[:5])
    with open_store(url) as store:
        run = store.run(evil)._repr_html_()
        found = trackside.compare(store, [one, "two"])._repr_html_()
        named = trackside.compare(store, [one, evil])._repr_html_()
    assert "<caption>&lt;script&gt;alert(1)&lt;/script&gt;</caption>" in run
    assert "<tr><th>state</th><td>finished</td></tr>" in run
    assert "<tr><th>config.lr</th><td>0.1</td></tr>" in run
    assert "<caption>Parity: amber; training loss parts at step 40</caption>" in found
    assert "<tr><th>PyTorch</th><td>finished</td><td>60</td><td>0.02</td><td>3200</td>" in found
    assert "<th>val/acc, last</th>" in found
    for page in (run, found, named):
        assert "<script" not in page


def test_a_notebook_shows_the_first_settings_and_says_how_many_are_hidden(sqlite_url):
    config = {"api_key": "hunter2", "long": "x" * 5000, **{f"key_{n}": n for n in range(40)}}
    with trackside.start_run(store=sqlite_url, config=config) as run:
        pass
    with open_store(sqlite_url) as store:
        page = store.run(run.id)._repr_html_()
    assert page.count("<th>config.") == 30
    assert "<tr><th>config</th><td>… and 12 more keys: see run.config</td></tr>" in page
    assert "hunter2" not in page
    assert len(page) < 5000
