"""Runs of other trackers, brought in from files that those trackers wrote.

`recorded/` holds an offline run of W&B 0.31, and a folder and a SQLite file of MLflow 3.17; the others are made here.
"""

from __future__ import annotations

import gzip
import math
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.runs.imports.csv_logs import read_csv
from trackside.runs.imports.mlflow import read_mlflow
from trackside.runs.imports.records import FoundRun, FoundSeries, keys
from trackside.runs.imports.tensorboard import read_tensorboard
from trackside.runs.imports.wandb import read_wandb
from trackside.runs.imports.write import write_run

RECORDED = Path(__file__).parent / "recorded"


def by_name(found: FoundRun) -> dict[str, FoundSeries]:
    return {series.name: series for series in found.series}


def test_names_of_other_loggers_become_ours_and_none_is_lost():
    found = keys(["train_loss_step", "train_loss_epoch", "val_accuracy", "lr-Adam", "loss", "train/loss"])
    assert {name: key for name, (key, _) in found.items()} == {
        "train_loss_step": "train_loss_step",  # train/loss had that key first
        "train_loss_epoch": "train/loss_epoch",
        "val_accuracy": "val/acc",
        "lr-Adam": "lr-Adam",
        "loss": "loss",
        "train/loss": "train/loss",
    }
    assert found["val_accuracy"][1] == "epoch_mean"
    assert keys(["train_loss_step", "train_loss_epoch"])["train_loss_step"][0] == "train/loss"


def test_an_offline_run_of_wandb_keeps_everything_that_is_a_number():
    (found,) = read_wandb(RECORDED / "offline-run.wandb")
    assert (found.name, found.state, found.config) == ("base line", "finished", {"lr": 0.1, "model": {"depth": 3}})
    assert found.properties["project"] == "digits <b>"
    assert found.properties["tags"] == ("paper", "final")
    assert (found.properties["notes"], found.properties["group_name"]) == ("warm-up too short", "g1")
    series = by_name(found)
    loss = series["train/loss"].values
    assert len(loss) == 30
    assert math.isnan(loss[7])
    assert loss[8] == math.inf
    np.testing.assert_allclose(np.delete(loss, [7, 8]), [1 / (step + 1) for step in range(30) if step not in (7, 8)])
    assert series["val/loss"].steps.tolist() == [9, 19, 29]
    assert (np.diff(series["acc"].times) >= 0).all()
    assert any("only numbers" in sentence for sentence in found.left_out)  # the histogram


def test_a_log_of_wandb_that_was_cut_short_gives_what_came_before(tmp_path):
    whole = (RECORDED / "offline-run.wandb").read_bytes()
    (tmp_path / "cut.wandb").write_bytes(whole[: len(whole) // 2])
    (found,) = read_wandb(tmp_path)
    assert found.state == "lost"
    assert 0 < len(by_name(found)["train/loss"].values) < 30
    (tmp_path / "cut.wandb").write_bytes(b"no log at all")
    with pytest.raises(UsageError, match="no log of W&B"):
        list(read_wandb(tmp_path))


@pytest.fixture(params=["folder", "database"])
def mlflow_store(request, tmp_path):
    if request.param == "folder":
        with tarfile.open(RECORDED / "mlruns.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / "mlruns"
    (tmp_path / "mlflow.db").write_bytes(gzip.decompress((RECORDED / "mlflow.db.gz").read_bytes()))
    return tmp_path / "mlflow.db"


def test_mlflow_keeps_steps_nan_and_infinity(mlflow_store):
    (found,) = read_mlflow(mlflow_store)
    assert (found.name, found.state) == ("base line", "finished")
    assert found.config == {"lr": 0.1, "depth": 3, "aug": True}
    assert found.properties["project"] == "digits"
    assert found.properties["tags"] == ("team=a",)
    loss = by_name(found)["train/loss"]
    assert loss.steps.tolist() == list(range(12))
    assert math.isnan(loss.values[7])
    assert loss.values[8] == math.inf
    assert by_name(found)["val/loss"].steps.tolist() == [3, 7, 11]


def test_what_is_no_store_of_mlflow_is_refused(tmp_path):
    (tmp_path / "notes.db").write_text("hello")
    with pytest.raises(UsageError, match="no database of MLflow"):
        list(read_mlflow(tmp_path / "notes.db"))
    with pytest.raises(UsageError, match="no run of MLflow"):
        list(read_mlflow(tmp_path))


def test_a_csv_of_lightning_and_one_of_keras(tmp_path):
    version = tmp_path / "lightning_logs" / "version_0"
    version.mkdir(parents=True)
    (version / "metrics.csv").write_text(
        "epoch,step,train_loss_step,train_loss_epoch,val_loss\n0,49,0.5,,\n0,99,nan,,\n0,99,,,0.7\n0,99,,0.6,\n1,149,x,,\n"
    )
    (version / "hparams.yaml").write_text("lr: 0.1\n")
    (found,) = read_csv(tmp_path)
    assert (found.name, found.config) == ("lightning_logs-version_0", {"lr": 0.1})
    series = by_name(found)
    assert series["train/loss"].steps.tolist() == [49, 99]
    assert math.isnan(series["train/loss"].values[1])
    assert series["train/loss_epoch"].values.tolist() == [0.6]
    assert found.epochs[99] == 0
    assert any("1 × a cell that is no number" in sentence for sentence in found.left_out)
    keras = tmp_path / "training.log"
    keras.write_text(
        "epoch;accuracy;loss;val_accuracy;val_loss;learning_rate\n0;0.5;1.5;0.4;1.6;0.01\n1;0.6;1.2;0.5;1.4;0.01\n"
    )
    (found,) = read_csv(keras)
    series = by_name(found)
    assert set(series) == {"train/acc", "train/loss", "val/acc", "val/loss", "optimizer/learning_rate"}
    assert series["val/loss"].values.tolist() == [1.6, 1.4]
    assert found.epochs == {0: 1.0, 1: 2.0}
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="neither a column step nor epoch"):
        list(read_csv(tmp_path / "other.csv"))


def event_files(folder: Path, scalars: dict[str, list[float]], **more: object) -> None:
    from tensorboard.summary import Writer

    writer = Writer(str(folder))
    for tag, values in scalars.items():
        for step, value in enumerate(values):
            writer.add_scalar(tag, value, step=step)
    writer.flush()
    writer.close()


def test_event_files_keep_steps_and_times_and_kerass_two_folders_are_one_run(tmp_path):
    event_files(tmp_path / "lightning" / "version_0", {"train_loss": [3.0, math.nan, 1.0], "epoch": [0, 0, 1]})
    event_files(tmp_path / "keras" / "train", {"epoch_loss": [2.0, 1.0], "epoch_accuracy": [0.5, 0.6]})
    event_files(tmp_path / "keras" / "validation", {"epoch_loss": [2.5, 1.5]})
    keras, lightning = read_tensorboard(tmp_path)
    assert (keras.name, lightning.name) == ("keras", "lightning/version_0")
    assert {name: series.values.tolist() for name, series in by_name(keras).items()} == {
        "train/loss": [2.0, 1.0],
        "train/acc": [0.5, pytest.approx(0.6)],
        "val/loss": [2.5, 1.5],
    }
    assert keras.epochs == {0: 1.0, 1: 2.0}
    loss = by_name(lightning)["train/loss"]
    assert math.isnan(loss.values[1])
    assert (loss.times > 1.6e9).all()
    assert lightning.epochs == {0: 0.0, 1: 0.0, 2: 1.0}
    (path,) = (tmp_path / "keras" / "validation").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    keras, _ = read_tensorboard(tmp_path)
    assert by_name(keras)["val/loss"].values.tolist() == [2.5]  # cut in the last record
    with pytest.raises(UsageError, match="no event files"):
        list(read_tensorboard(RECORDED))


def test_bringing_in_twice_adds_nothing_and_later_only_what_is_new(store_url, tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,step,train_loss\n" + "".join(f"0,{step},{1 / (step + 1)}\n" for step in range(10)))
    with trackside.open_store(store_url) as store:
        first = next(write_run(store, found, tags=["old"]) for found in read_csv(log))
        again = next(write_run(store, found) for found in read_csv(log))
        assert (first.new_points, first.known_points) == (10, 0)
        assert (again.new_points, again.known_points, again.run_id) == (0, 10, first.run_id)
        with log.open("a") as opened:
            opened.writelines(f"1,{step},{1 / (step + 1)}\n" for step in range(10, 15))
        more = next(write_run(store, found) for found in read_csv(log))
        assert (more.new_points, more.known_points) == (5, 10)
        run = store.run(first.run_id)
        assert (run.project, run.state, run.tags, run.last_step) == ("imported", "finished", ("old",), 14)
        series = store.series(run, "train/loss")
        np.testing.assert_allclose(series.values, [1 / (step + 1) for step in range(15)])
        assert series.steps.tolist() == list(range(15))
        assert store.axes(run).epochs.tolist()[:3] == [0.0, 0.0, 0.0]


def test_a_moved_folder_is_the_same_run(sqlite_url, tmp_path):
    event_files(tmp_path / "a" / "run", {"loss": [1.0, 2.0]})
    with trackside.open_store(sqlite_url) as store:
        (first,) = (write_run(store, found) for found in read_tensorboard(tmp_path / "a"))
        shutil.move(tmp_path / "a", tmp_path / "b")
        (again,) = (write_run(store, found) for found in read_tensorboard(tmp_path / "b"))
        assert again.run_id == first.run_id
        assert again.new_points == 0
        assert len(store.runs()) == 1
