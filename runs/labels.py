"""Short, distinct names for runs that are shown together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..db.records import RunInfo

_FRAMEWORKS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
_ID_LENGTH = 4


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as one level with dotted keys; an empty object keeps its place."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def same_value(one: Any, other: Any) -> bool:
    """Whether two configuration values mean the same: numbers up to what float32 keeps of them."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or one == other or math.isclose(one, other, rel_tol=1e-6)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    return bool(one == other)


def differing_keys(runs: Sequence[RunInfo]) -> list[str]:
    """Configuration keys that not all of the runs have with the same value, in order of first appearance."""
    configs = [flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    return [
        key
        for key in keys
        if not all(key in config and same_value(config[key], configs[0].get(key)) for config in configs)
    ]


def run_labels(runs: Sequence[RunInfo]) -> dict[str, str]:
    """A short label for each run, made of what tells the runs apart.

    The first of these that gives every run another label: the framework; the name; name and framework; the
    name and what differs in the configuration; the name and the beginning of the id.

    Returns:
        By run id, in the order of `runs`.
    """
    by_id = {run.id: run for run in runs}
    distinct = list(by_id.values())
    keys = differing_keys(distinct)
    ways: list[Callable[[RunInfo], str]] = [
        lambda run: framework_name(run) or run.name,
        lambda run: run.name,
        lambda run: _join(run.name, framework_name(run)),
        *[
            lambda run, count=count: _join(run.name, *_settings(run, keys[:count]))
            for count in range(1, min(len(keys), 3) + 1)
        ],
    ]
    if len(distinct) == 1:
        return {run.id: run.name for run in distinct}
    for way in ways:
        labels = {run.id: way(run) for run in distinct}
        if len(set(labels.values())) == len(labels):
            return labels
    # The beginning of an id, because commands take that for the whole.
    longest = max((len(run.id) for run in distinct), default=0)
    length = next(
        (n for n in range(_ID_LENGTH, longest) if len({run.id[:n] for run in distinct}) == len(distinct)), longest
    )
    return {run.id: f"{run.name} ({run.id[:length]})" for run in distinct}


def framework_name(run: RunInfo) -> str | None:
    """The framework as people write it; None for a plain loop."""
    return None if run.framework is None else _FRAMEWORKS.get(run.framework, run.framework)


def _join(name: str, *details: str | None) -> str:
    said = [detail for detail in details if detail]
    return f"{name} ({', '.join(said)})" if said else name


def _settings(run: RunInfo, keys: Sequence[str]) -> list[str]:
    config = flatten(run.config)
    return [f"{key}={short(config[key])}" if key in config else f"no {key}" for key in keys]


def short(value: Any) -> str:
    """A setting's value in a few characters."""
    text = f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 24 else text[:23] + "…"


_GROUP_WORDS = {"train": "training", "val": "validation", "optimizer": "", "cpu": "CPU", "gpu": "GPU"}
_METRIC_WORDS = {"acc": "accuracy", "lr": "learning rate"}
_GROUP_ORDER = {"train": 0, "val": 1, "test": 2, "optimizer": 4, "step": 5, "cpu": 6, "process": 7, "gpu": 8}
_OTHER_GROUPS = 3


def metric_label(metric: str, unit: str | None) -> str:
    """A metric's key in words, for an axis: "Training loss", "Step time (seconds)", "GPU 0 power (watts)"."""
    group, _, quantity = metric.rpartition("/")
    kind, number = _numbered(group)
    if unit is not None and quantity == unit:
        quantity = "time" if unit == "seconds" else ""
    elif unit is not None:
        quantity = quantity.removesuffix(f"_{unit}")
    place = [_GROUP_WORDS.get(kind, kind), "" if number is None else str(number)]
    words = " ".join([*place, _METRIC_WORDS.get(quantity, quantity)]).replace("_", " ").replace("/", " ").split()
    text = " ".join(words) or metric
    shown = "%" if unit == "percent" else unit
    return text[:1].upper() + text[1:] + (f" ({shown})" if shown else "")


def metric_order(metric: str) -> tuple[int, str, int, bool, str]:
    """Sort key of metrics: training and validation first, then what is not ours, optimizer, step, machine."""
    group, _, quantity = metric.partition("/")
    kind, number = _numbered(group)
    return _GROUP_ORDER.get(kind, _OTHER_GROUPS), kind, number or 0, quantity != "loss", quantity


def _numbered(group: str) -> tuple[str, int | None]:
    kind = group.rstrip("0123456789")
    return (kind, int(group[len(kind) :])) if kind and len(kind) < len(group) else (group, None)
