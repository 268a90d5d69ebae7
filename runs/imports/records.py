"""A run as it was found in somebody else's files, before it is in the store."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...db.records import Float64Array, Int64Array, Reduction, State
from ..metric_names import metric_key


@dataclass(slots=True, kw_only=True, eq=False)
class FoundSeries:
    """One metric as it was recorded.

    Attributes:
        name: key in the store.
        source: what it was called there.
        steps: (n,) int64, as recorded.
        times: (n,) float64 seconds since the epoch (UTC); the source's file time where it recorded none.
        values: (n,) float64.
        reduction: what one value stands for.
    """

    name: str
    source: str
    steps: Int64Array
    times: Float64Array
    values: Float64Array
    reduction: Reduction = "batch"


@dataclass(slots=True, kw_only=True, eq=False)
class FoundRun:
    """One run.

    Attributes:
        identity: what tells it from every other, also when its folder was moved; decides the id in the store.
        name: what it was called.
        source: where it lies, for people.
        series: of rank 0.
        epochs: epoch by step, where it was recorded.
        config: settings.
        state: how it ended, as far as that is known.
        properties: columns of the run: project, framework, notes, tags, group_name, …
        left_out: sentences: what could not be brought over, and why.
    """

    identity: str
    name: str
    source: str
    series: Sequence[FoundSeries]
    epochs: Mapping[int, float] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    state: State = "finished"
    properties: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()


_SPLIT = re.compile(r"(train|training|val|valid|validation|test)[_/.\- ]", re.IGNORECASE)
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def keys(names: Sequence[str]) -> dict[str, tuple[str, Reduction]]:
    """The key in the store, and what a value stands for, of each metric of a run by what it was called.

    `train_loss`, `train_loss_step` and `train/loss` become `train/loss`; where Lightning recorded a metric both at each
    step and over the epoch, the latter keeps its suffix: `train/loss_epoch`. Names without a split stay as they are.

    Args:
        names: all of one run.
    """
    found: dict[str, tuple[str, Reduction]] = {}
    taken: set[str] = set()
    # The plain and per-step names choose first.
    for name in sorted(names, key=lambda one: (one.endswith("_epoch"), one)):
        match = _SPLIT.match(name)
        split = _SPLITS[match[1].lower()] if match else None
        key = metric_key(name, split) if split else name
        reduction: Reduction = "epoch_mean" if split in ("val", "test") or name.endswith("_epoch") else "batch"
        if key in taken and name.endswith("_epoch"):
            key += "_epoch"
        if key in taken:
            key = name
        taken.add(key)
        found[name] = key, reduction
    return found
