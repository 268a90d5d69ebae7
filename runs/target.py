"""What it took a run to reach a value of a metric: steps, samples, seconds, joules."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..db.records import Axes, Float64Array, Int64Array, RunInfo, SeriesInfo
from .align import last_of_each_step, look_up, seen
from .best import larger_is_better
from .smooth import length_scale, smooth
from .starts import from_start, moments, shift
from .tokens import with_tokens

if TYPE_CHECKING:
    from ..db.store import Store

SMOOTHING = 0.9
"""Of a metric logged every batch: one lucky batch is no target reached. It averages over a hundredth of the steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """When a run first reached the target; NaN where that is unknown, and everywhere where it never did.

    Where the run begins at a later step than its first (`starts`), everything but `step` counts from there.

    Attributes:
        step: the optimizer update, counted from 0; None where the target was not reached.
        samples: training samples seen by then.
        seconds: process time until then, from the start of the run, pauses between resumes left out.
        joules: of all its GPUs until then.
        tokens: training tokens seen by then.
    """

    step: int | None
    samples: float
    seconds: float
    joules: float
    tokens: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """A metric of a run as targets are held against it.

    Attributes:
        info: the metric.
        steps: (n,) int64, increasing.
        values: (n,) float64; smoothed over a hundredth of the steps where the metric is of every batch.
    """

    info: SeriesInfo
    steps: Int64Array
    values: Float64Array

    @property
    def best(self) -> float:
        """The best finite value; NaN where there is none."""
        finite = self.values[np.isfinite(self.values)]
        if not len(finite):
            return math.nan
        return float(finite.max() if larger_is_better(self.info.name) else finite.min())


def course(store: Store, run: RunInfo, info: SeriesInfo, start: int | None = None) -> Course:
    """Read a metric of a run, from the step that it begins with."""
    series = store.series(run, info.name, info.rank)
    if start is not None:
        series = from_start(series, start)
    kept = last_of_each_step(series.steps)
    steps, values = series.steps[kept], series.values[kept]
    if info.reduction == "batch" and len(steps) > 1:
        x = steps.astype(np.float64)
        values = smooth(x, values, length_scale(SMOOTHING, float(x[-1] - x[0])))
    return Course(info=info, steps=steps, values=values)


def reach(store: Store, run: RunInfo, course: Course, target: float, start: int | None = None) -> Reached:
    """When a run's metric first was as good as the target.

    Args:
        store: where the run is.
        run: the run.
        course: its metric.
        target: a value; as good is at most that, or at least for an accuracy and its like.
        start: the step that the run begins with; its first by default.
    """
    values = course.values
    better = values >= target if larger_is_better(course.info.name) else values <= target
    found = np.flatnonzero(np.isfinite(values) & better)
    if not len(found):
        return Reached(step=None, samples=math.nan, seconds=math.nan, joules=math.nan)
    step = int(course.steps[found[0]])
    axes = with_tokens(store, run, store.axes(run, course.info.rank), course.info.rank)
    at = _last_row(axes, step)
    if at is None:
        return Reached(step=step, samples=math.nan, seconds=math.nan, joules=math.nan)
    samples, tokens = (
        float(look_up(axes.steps, seen(axes, axis), np.array([step]))[0])
        - (0.0 if start is None else shift(axes, axis, start))
        for axis in ("samples", "tokens")
    )
    seconds, joules = float(axes.process_seconds[at]), joules_until(store, run, float(axes.times[at]))
    if start is not None:
        seconds -= shift(axes, "process", start)
        _, (before, _) = moments(axes, start)
        joules -= math.nan if start < 0 else 0.0 if math.isinf(before) else joules_until(store, run, before)
    return Reached(step=step, samples=samples, seconds=seconds, joules=joules, tokens=tokens)


def joules_until(store: Store, run: RunInfo, time: float = math.inf) -> float:
    """Energy that a run's GPUs took up to a moment, by their counters; NaN where none was recorded.

    Args:
        store: where the run is.
        run: the run.
        time: seconds since the epoch (UTC).
    """
    counters = {
        info.name: info for info in store.series_infos([run.id]) if re.fullmatch(r"gpu\d+/energy_joules", info.name)
    }  # where several processes saw one GPU, one of them counts
    if not counters or math.isnan(time):
        return math.nan
    total = 0.0
    for info in counters.values():
        series = store.series(run, info.name, info.rank)
        values = series.values[series.times <= time]
        if len(values):
            total += counted(values)
    return total


def counted(values: Float64Array) -> float:
    """What a counter counted in all: it begins anew where a run was resumed.

    Args:
        values: (n,) float64, the counter's readings in order.
    """
    if not len(values):
        return math.nan
    return float(values[0] + np.sum(np.where(np.diff(values) < 0, values[1:], np.diff(values))))


def _last_row(axes: Axes, step: int) -> int | None:
    """Where in the axes a step was logged last."""
    rows = np.flatnonzero(axes.steps == step)
    return int(rows[-1]) if len(rows) else None
