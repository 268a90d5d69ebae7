"""What a step takes: percentiles after warm-up, throughput, and histograms on bins that runs share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..db.errors import UsageError
from ..db.records import Float64Array, Int64Array, RunInfo, Series
from .align import last_known, look_up
from .legend import legend_labels
from .series import resolve_runs

if TYPE_CHECKING:
    from ..db.store import Store

WARM_UP_FACTOR = 3.0
"""A leading step this many times the median is warm-up. Measured: compiling or tracing takes 50 to 20,000
times the median, the noise of a busy machine seldom three times."""
MOST_WARM_UP = 10
"""At most this many steps are taken for warm-up; what is slow after that is how the run was."""

LOGARITHMIC_FROM = 20.0
"""Bins are spaced logarithmically where the slowest step takes this many times the fastest: on even bins
everything but the slowest would fall into three of sixty."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTimes:
    """How long the optimizer updates of one run took, the first ones (trace, compile, warm-up) left out.

    Attributes:
        run_id: id of the run.
        label: short name for a legend, distinct within the view.
        framework: "torch", "tensorflow" or None.
        count: steps that the statistics are over.
        first_seconds: what the very first step took.
        median: seconds.
        p95: seconds, 95th percentile.
        p99: seconds, 99th percentile.
        mean: seconds.
        data_median: seconds of a step spent waiting for data; NaN where not recorded.
        compute_median: seconds of a step spent computing; NaN where not recorded.
        samples_per_second: samples of all these steps over the sum of their times; NaN where not recorded.
        counts: (n_bins,) int64, steps in each bin of the view's `edges`; sums to `count`.
    """

    run_id: str
    label: str
    framework: str | None
    count: int
    first_seconds: float
    median: float
    p95: float
    p99: float
    mean: float
    data_median: float
    compute_median: float
    samples_per_second: float
    counts: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTimesView:
    """Step times of several runs over common bins.

    Attributes:
        rows: one a run that recorded `step/seconds`, in the order asked for.
        edges: (n_bins + 1,) float64 seconds; every step counted lies inside.
        skipped: how many leading steps of every run are left out.
    """

    rows: tuple[StepTimes, ...]
    edges: Float64Array
    skipped: int


def step_times_view(
    store: Store, runs: Sequence[RunInfo | str], *, skip: int | None = None, bins: int = 60
) -> StepTimesView:
    """How long the steps of several runs took, on rank 0.

    Args:
        store: where the runs are.
        runs: runs, or what `Store.run` understands.
        skip: leading steps to leave out of every run. Default: as many as the run with the longest warm-up
            needs (`warm_up_steps`), so that no run is favoured. A run that has no more steps
            than that has count 0 and NaN for its statistics.
        bins: of the histogram.

    Raises:
        UsageError: an argument is out of range, or a run is unknown.
    """
    if skip is not None and skip < 0:
        raise UsageError(f"{skip} steps cannot be left out: give 0 or more.")
    infos = resolve_runs(store, runs)
    labels = legend_labels(infos)
    names = (
        "step/seconds",
        "step/data_seconds",
        "step/compute_seconds",
        "step/samples_per_second",
        "step/first_seconds",
    )
    known = {(info.run_id, info.name) for info in store.series_infos(list(labels), names) if not info.rank}
    timed = [
        (run, {name: store.series(run, name) for name in names if (run.id, name) in known})
        for run in infos
        if (run.id, "step/seconds") in known
    ]
    if skip is None:
        skip = max((warm_up_steps(series["step/seconds"].values) for _, series in timed), default=0)
    edges = histogram_edges([series["step/seconds"].values[skip:] for _, series in timed], bins)
    rows = []
    for run, series in timed:
        every = series["step/seconds"]
        seconds = every.values[skip:]
        warm_up = every.steps[:skip]
        medians = {name: _median_after(series.get(name), warm_up) for name in names[1:3]}
        samples = _samples_per_step(store, run, every, series.get(names[3]))
        counts = histogram(seconds, edges)
        rows.append(
            StepTimes(
                run_id=run.id,
                label=labels[run.id],
                framework=run.framework,
                count=int(counts.sum()),
                first_seconds=_first_seconds(series),
                data_median=medians["step/data_seconds"],
                compute_median=medians["step/compute_seconds"],
                samples_per_second=throughput(seconds, samples[skip:]),
                counts=counts,
                **statistics(seconds),
            )
        )
    return StepTimesView(rows=tuple(rows), edges=edges, skipped=skip)


def _first_seconds(series: dict[str, Series]) -> float:
    # The trackers keep the first step, with its tracing and compiling, apart from the others.
    first = series.get("step/first_seconds", series["step/seconds"])
    return float(first.values[0]) if len(first) else math.nan


def _median_after(series: Series | None, warm_up: Int64Array) -> float:
    if series is None:
        return math.nan
    return statistics(series.values[~np.isin(series.steps, warm_up)])["median"]


def _samples_per_step(store: Store, run: RunInfo, seconds: Series, rates: Series | None) -> Float64Array:
    """Samples in each of the steps of `seconds`: its rate times its time, else as the samples seen grew."""
    if rates is not None:
        return look_up(rates.steps, rates.values, seconds.steps) * seconds.values
    axes = store.axes(run)
    steps, samples = last_known(axes.steps, axes.samples)
    return look_up(steps, np.diff(samples, prepend=0.0) / np.diff(steps, prepend=-1), seconds.steps)


def warm_up_steps(seconds: Float64Array) -> int:
    """How many leading steps are warm-up: the first, and those after it that are as slow.

    Args:
        seconds: (n,) float64, duration of each step in order.

    Returns:
        At least 1 and at most `MOST_WARM_UP`; never more than there are steps.
    """
    most = min(MOST_WARM_UP, len(seconds) - 1)
    if most < 1:
        return len(seconds)
    rest = seconds[most:]
    rest = rest[np.isfinite(rest)]
    if not len(rest):
        return 1
    slow = ~(seconds[:most] <= WARM_UP_FACTOR * float(np.median(rest)))
    slow[0] = True
    return int(np.argmin(slow)) if not slow.all() else most


def statistics(seconds: Float64Array) -> dict[str, float]:
    """`median`, `p95`, `p99` and `mean` of the finite entries, in seconds; NaN where there is none."""
    finite = seconds[np.isfinite(seconds)]
    if not len(finite):
        return dict.fromkeys(("median", "p95", "p99", "mean"), math.nan)
    median, p95, p99 = np.percentile(finite, [50, 95, 99]).tolist()
    return {"median": median, "p95": p95, "p99": p99, "mean": float(finite.mean())}


def throughput(seconds: Float64Array, samples: Float64Array) -> float:
    """Samples per second over all steps: the sum of samples over the sum of times; NaN where unknown.

    A mean of the steps' own rates would count fast steps for more than they are.

    Args:
        seconds: (n,) float64, duration of each step.
        samples: (n,) float64, samples in each step.
    """
    known = np.isfinite(seconds) & np.isfinite(samples)
    total = float(seconds[known].sum())
    return float(samples[known].sum()) / total if total > 0 else math.nan


def histogram_edges(seconds: Sequence[Float64Array], bins: int) -> Float64Array:
    """Edges of bins that hold every finite entry of all runs; nothing is clipped.

    Args:
        seconds: (n,) float64 for each run.
        bins: at least 1.

    Returns:
        (bins + 1,) float64, increasing; spaced evenly, or logarithmically where the range is wide.

    Raises:
        UsageError: `bins` is less than 1.
    """
    if bins < 1:
        raise UsageError(f"{bins} bins make no histogram: ask for at least 1.")
    every = np.concatenate([np.empty(0), *seconds])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    if high - low <= 1e-9 * abs(high):  # one value, or none that a bin could tell apart
        low, high = low - 0.05 * abs(low) - 1e-9, high + 0.05 * abs(high) + 1e-9
    if low > 0 and high / low >= LOGARITHMIC_FROM:
        edges = np.geomspace(low, high, bins + 1)
        edges[0], edges[-1] = low, high  # geomspace rounds, and the extremes must stay inside
        return edges
    return np.linspace(low, high, bins + 1)


def histogram(seconds: Float64Array, edges: Float64Array) -> Int64Array:
    """(n_bins,) int64: finite entries in each bin; the last bin includes its upper edge."""
    return np.histogram(seconds[np.isfinite(seconds)], edges)[0].astype(np.int64)
