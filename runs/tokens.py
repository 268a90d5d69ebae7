"""How many tokens a run had seen at each step, for runs that say so. Language models are compared by it.

Three ways to say it, the first that a run has counts:

- `run.log(..., tokens=n)`, which logs the metric `tokens`;
- a metric by one of the names in `NAMES`, however often it is logged: in between, tokens come at an even pace;
- `tokens_per_sample` in the configuration, where every sample has as many: nothing has to be logged then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from ..db.records import Axes, Float64Array, Int64Array, RunInfo, SeriesInfo
from .align import last_known

if TYPE_CHECKING:
    from ..db.store import Store

NAMES: Final = ("tokens", "train/tokens", "num_input_tokens_seen", "train/num_input_tokens_seen")
"""Of metrics that count the tokens seen so far; the last two are what the Trainer of Hugging Face calls them."""
PER_SAMPLE: Final = "tokens_per_sample"
"""Of the configuration."""


def with_tokens(store: Store, run: RunInfo, axes: Axes, rank: int = 0) -> Axes:
    """The axes with the tokens seen at each record; NaN where that is unknown.

    Args:
        store: where the run is.
        run: the run.
        axes: what it knew at each step.
        rank: which of its processes.
    """
    info = _counter(store.series_infos([run.id], NAMES), rank)
    if info is not None:
        series = store.series(run, info.name, info.rank)
        return replace(axes, tokens=_between(series.steps, series.values, axes))
    return replace(axes, tokens=axes.samples * _per_sample(run))


def lacking(store: Store, runs: Sequence[RunInfo]) -> dict[str, str]:
    """Why runs have no place on the axis: the end of a sentence by run id, without the runs that say their tokens."""
    by_run: dict[str, list[SeriesInfo]] = {run.id: [] for run in runs}
    for info in store.series_infos(list(by_run), NAMES):
        by_run[info.run_id].append(info)
    found = {}
    for run in runs:
        counter = _counter(by_run[run.id], 0)
        if counter is None and math.isnan(_per_sample(run)):
            found[run.id] = f"logged no tokens: log how many it has seen so far as {NAMES[0]!r}"
        elif counter is not None and not counter.last > counter.first and counter.count > 1:
            found[run.id] = f"logged {counter.name!r} that do not grow: log how many it has seen so far"
    return found


def _counter(infos: Iterable[SeriesInfo], rank: int) -> SeriesInfo | None:
    """The metric that counts; that of rank 0 where a process has none of its own."""
    ranked = sorted(infos, key=lambda info: (NAMES.index(info.name), info.rank != rank, info.rank))
    return ranked[0] if ranked else None


def _per_sample(run: RunInfo) -> float:
    number = run.config.get(PER_SAMPLE)
    if isinstance(number, bool) or not isinstance(number, int | float):
        return math.nan
    return float(number) if 0 < number < math.inf else math.nan


def _between(steps: Int64Array, counted: Float64Array, axes: Axes) -> Float64Array:
    """The count at each record of the axes: on a straight line between two of its points, unknown outside of them."""
    steps, counted = last_known(steps, counted)
    if len(steps) < 1 or (len(steps) > 1 and not (counted[-1] > counted[0] and bool(np.all(np.diff(counted) >= 0)))):
        return np.full(len(axes), np.nan)
    result: Float64Array = np.interp(axes.steps, steps, counted, left=np.nan, right=np.nan)
    return result
