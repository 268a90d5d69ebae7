"""TensorBoard's event files: scalars with the steps and times that they were written with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...db.errors import UsageError
from .records import FoundRun, FoundSeries, keys

# Keras' own callback writes training and validation side by side, as two runs of TensorBoard.
_KERAS_SPLITS = {"train": "train", "validation": "val"}
_KERAS_EPOCH, _KERAS_BATCH = "epoch_", "batch_"
_LIGHTNING_EPOCH = "epoch"


def read_tensorboard(folder: Path) -> Iterator[FoundRun]:
    """The runs under a folder: one for each folder that holds event files, Keras' two as one.

    Raises:
        UsageError: there are no event files, or the tensorboard package is not installed.
    """
    folders = sorted({path.parent for path in folder.rglob("*tfevents*") if path.is_file()})
    if not folders:
        raise UsageError(f"There are no event files (*tfevents*) under {folder}: name the folder given to TensorBoard.")
    groups: dict[Path, list[Path]] = {}
    for one in folders:
        beside = one.name in _KERAS_SPLITS and one != folder
        groups.setdefault(one.parent if beside else one, []).append(one)
    for root, parts in groups.items():
        name = root.name if root == folder else root.relative_to(folder).as_posix()
        yield _run(root, parts, name)


def _run(root: Path, parts: list[Path], name: str) -> FoundRun:
    scalars: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    left_out: dict[str, int] = {}
    files = sorted(path for part in parts for path in part.glob("*tfevents*") if path.is_file())
    for path in files:
        split = _KERAS_SPLITS.get(path.parent.name, "") if path.parent != root else ""
        for tag, step, time, value in _scalars(path, left_out):
            scalars.setdefault((split, tag), []).append((step, time, value))
    epochs: dict[int, float] = {}
    plain = keys([tag for split, tag in scalars if not split and tag != _LIGHTNING_EPOCH])
    series = []
    for (split, tag), points in scalars.items():
        points.sort(key=lambda point: point[1])  # as written: several files of one run follow each other in time
        steps = np.array([step for step, _, _ in points], np.int64)
        values = np.array([value for _, _, value in points], np.float64)
        times = np.array([time for _, time, _ in points], np.float64)
        if not split and tag == _LIGHTNING_EPOCH:
            epochs |= dict(zip(steps.tolist(), values.tolist(), strict=True))
            continue
        key, source = plain[tag] if not split else _keras_key(split, tag), f"{split}/{tag}" if split else tag
        if split and tag.startswith(_KERAS_EPOCH):
            epochs |= {step: step + 1.0 for step in steps.tolist()}
        series.append(
            FoundSeries(name=key[0], source=source, steps=steps, times=times, values=values, reduction=key[1])
        )
    return FoundRun(
        identity="tensorboard " + " ".join(path.name for path in files[:1]) + f" {name}",
        name=name,
        source=str(root.resolve()),
        series=series,
        epochs=epochs,
        properties={"log_directory": str(root.resolve())},
        left_out=[f"{count:,} × {what}" for what, count in left_out.items()],
    )


def _keras_key(split: str, tag: str) -> Any:
    """`epoch_loss` of the folder `validation` is `val/loss`, at the epoch counted from 0 as Keras wrote it."""
    if tag.startswith(_KERAS_EPOCH):
        name = tag.removeprefix(_KERAS_EPOCH)
        return f"{split}/{'acc' if name == 'accuracy' else name}", "epoch_mean"
    if tag.startswith(_KERAS_BATCH):
        return f"{split}/{tag}", "running_mean"  # Keras' batch values are means since the epoch began
    return f"{split}/{tag}", "batch"


def _scalars(path: Path, left_out: dict[str, int]) -> Iterator[tuple[str, int, float, float]]:
    """Tag, step, time and value of each scalar; counts what is none."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util import tensor_util
    except ModuleNotFoundError as error:
        raise UsageError("Reading event files needs TensorBoard: pip install 'trackside[tensorboard]'.") from error
    plugins: dict[str, str] = {}
    try:
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name or plugins.get(value.tag, "")
                plugins[value.tag] = plugin
                if plugin == "scalars" and value.HasField("tensor"):
                    number = tensor_util.make_ndarray(value.tensor)
                    if number.size == 1:
                        yield value.tag, int(event.step), float(event.wall_time), float(number.reshape(-1)[0])
                        continue
                what = {"histograms": "histogram", "images": "image", "text": "text", "hparams": "hyperparameters"}
                sentence = f"{what.get(plugin, plugin or 'unknown summary')} left out: only scalars are brought over"
                left_out[sentence] = left_out.get(sentence, 0) + 1
    except Exception as error:  # noqa: BLE001 - a file cut short raises what TensorBoard's reader happens to raise
        sentence = f"{path.name} is damaged from some point on ({type(error).__name__}); what came before is there"
        left_out[sentence] = left_out.get(sentence, 0) + 1
