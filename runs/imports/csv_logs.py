"""CSV files of Lightning's `CSVLogger` and of Keras' `CSVLogger`."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...db.errors import UsageError
from ...db.records import Reduction
from .records import FoundRun, FoundSeries, keys

MOST_BYTES = 2_000_000_000


def read_csv(path: Path) -> Iterator[FoundRun]:
    """The run of a file, or of every `metrics.csv` under a folder.

    Lightning's has a column `step`; Keras' has `epoch` and a column a metric, one row an epoch.

    Raises:
        UsageError: there is no such file, or it is neither.
    """
    files = sorted(path.rglob("metrics.csv")) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"There is no metrics.csv under {path}: name the CSV file itself.")
    for file in files:
        yield _run(file, path)


def _run(file: Path, asked: Path) -> FoundRun:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            start = opened.read(65_536)
            opened.seek(0)
            separator = max(",;\t", key=start.partition("\n")[0].count)
            table = csv.DictReader(opened, delimiter=separator)
            columns = [name for name in table.fieldnames or [] if name]
            rows = list(table)
        written = file.stat().st_mtime
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {file}: check the path.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read as CSV ({error}): name a file that a CSVLogger wrote.") from error
    if "step" not in columns and "epoch" not in columns:
        raise UsageError(f"{file} has neither a column step nor epoch: name a file that a CSVLogger wrote.")
    lightning = "step" in columns
    place = "step" if lightning else "epoch"
    metrics = [name for name in columns if name not in ("step", "epoch", "created_at")]
    named = keys(metrics) if lightning else {name: _keras_key(name) for name in metrics}
    epochs: dict[int, float] = {}
    points: dict[str, list[tuple[int, float]]] = {name: [] for name in metrics}
    unread = 0
    for row in rows:
        step = _number(row.get(place))
        if step is None or not math.isfinite(step):
            unread += 1
            continue
        epoch = _number(row.get("epoch"))
        if epoch is not None:
            epochs[int(step)] = epoch if lightning else epoch + 1
        for name in metrics:
            value = _number(row.get(name))
            if value is not None:
                points[name].append((int(step), value))
            elif row.get(name):
                unread += 1
    left_out = ["when each value was logged: the file does not say, and all have the time of the file"]
    if unread:
        left_out.append(f"{unread:,} × a cell that is no number, or a row without a {place}")
    source = str(file.resolve())
    return FoundRun(
        identity=f"csv {source}",
        name=file.stem if file.name != "metrics.csv" else "-".join(file.resolve().parts[-3:-1]),
        source=source,
        series=[
            FoundSeries(
                name=named[name][0],
                source=name,
                steps=np.array([step for step, _ in found], np.int64),
                times=np.full(len(found), written),
                values=np.array([value for _, value in found], np.float64),
                reduction=named[name][1],
            )
            for name, found in points.items()
            if found
        ],
        epochs=epochs,
        config=_hyperparameters(file, left_out) if lightning else {},
        properties={"framework": "torch"} if lightning else {"framework": "tensorflow"},
        left_out=left_out,
    )


def _keras_key(name: str) -> tuple[str, Reduction]:
    """`val_accuracy` is `val/acc`, `loss` is `train/loss`: means over the epoch, all of them."""
    split, rest = ("val", name.removeprefix("val_")) if name.startswith("val_") else ("train", name)
    if rest in ("learning_rate", "lr"):
        return "optimizer/learning_rate", "batch"
    return f"{split}/{'acc' if rest == 'accuracy' else rest}", "epoch_mean"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _hyperparameters(file: Path, left_out: list[str]) -> dict[str, object]:
    beside = file.with_name("hparams.yaml")
    if not beside.is_file():
        return {}
    try:
        import yaml

        loaded = yaml.safe_load(beside.read_text(encoding="utf-8"))
    except ModuleNotFoundError:
        left_out.append("hparams.yaml: reading it needs PyYAML (pip install pyyaml)")
        return {}
    except Exception as error:  # noqa: BLE001 - Lightning writes Python objects there, which no safe reader makes
        left_out.append(f"hparams.yaml: it cannot be read ({type(error).__name__})")
        return {}
    return loaded if isinstance(loaded, dict) else {}
