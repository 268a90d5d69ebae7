"""Where two runs part: their difference, what rounding explains of it, and the first step beyond that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..db.errors import UsageError
from ..db.records import Float64Array, Int64Array, RunInfo, SeriesInfo
from .align import Aligned, Axis, last_of_each_step
from .labels import run_labels
from .noise import POINTWISE, first_beyond_noise, noise_envelope
from .series import read_from, resolve_runs
from .starts import FROM_THE_FIRST, Starts, axis_note, sentence

if TYPE_CHECKING:
    from ..db.store import Store

FLOAT32_STEPS = (5.0, 20.0, 100.0)
FLOAT32_RELATIVE = (1e-5, 1e-3, 1e-2)
"""How far rounding alone takes two float32 runs of one network apart, by step, relative to the size of the loss.

Measured between PyTorch and TensorFlow with equal weights, batches and arithmetic, and between PyTorch and
itself with initial weights one unit in the last place apart. Perceptrons, LSTMs and small transformers
stayed below 7e-6 for 200 steps; convolutions with batch normalisation amplify rounding to 1e-5 by step 5,
1e-3 by step 20 and 1e-2 by step 100, then level off. In between: straight lines on logarithmic scales. Very
deep networks trained at a high rate part sooner, and are then reported as parted.
"""
FLOAT64_RELATIVE = 1e-9
"""The same in float64, where the worst of the networks that are not chaotic stayed below 1e-11."""
MIXED_RELATIVE = 1e-2
"""The same in bf16 and fp16 mixed precision: 1e-3 for transformers and LSTMs, 1e-2 for convolutions."""

WINDOW = 10
OUTLIER = 20.0
"""A run against itself was measured 15 times out of its own envelope for a few steps, and came back. So a
point counts at once only where it is this many tolerances out; otherwise where most of ten points from
there are out."""


Basis = Literal["rounding", "noise", "given"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DifferenceView:
    """Run a minus run b.

    Attributes:
        a: id of the run subtracted from.
        b: id of the run subtracted.
        metric: the metric's key.
        axis: what x is.
        x: (n,) float64, where both runs are known.
        difference: (n,) float64, NaN or infinite where a side is.
        tolerance: (n,) float64, how far apart counts as equal there.
        parted_at: first step from which the runs are apart; None where they agree or share nothing. Counted from where
            each begins.
        reason: one sentence.
        basis: what the tolerance is: `rounding` as it is in general, `noise` as it was measured of these runs, or
            `given`.
        x_note: what the title of the x axis says besides; "" where both begin with their first step.
        begun: a sentence for each run that does not.
    """

    a: str
    b: str
    metric: str
    axis: Axis
    x: Float64Array
    difference: Float64Array
    tolerance: Float64Array
    parted_at: int | None
    reason: str
    basis: Basis = "rounding"
    x_note: str = ""
    begun: tuple[str, ...] = ()


def difference_view(
    store: Store,
    a: RunInfo | str,
    b: RunInfo | str,
    metric: str,
    *,
    axis: Axis = "step",
    tolerance: float | None = None,
    starts: Starts = FROM_THE_FIRST,
) -> DifferenceView:
    """Run a minus run b on rank 0: at the steps both have, or interpolated where the axis is another.

    Args:
        store: where the runs are.
        a: a run, or what `Store.run` understands.
        b: another.
        metric: the metric's key.
        axis: what x is.
        tolerance: how far apart counts as equal; the first point further apart is where they part. Default:
            the noise that was measured of these runs (`noise.noise_envelope`); where none was, what rounding explains
            in their precision (`difference.default_tolerance`), and they part where that is exceeded for good, or by
            far.
        starts: where runs begin that do not begin with their first step; steps then count from there.

    Raises:
        UsageError: an argument is out of range, or a run is unknown.
    """
    if tolerance is not None and not tolerance >= 0:
        raise UsageError(f"A tolerance of {tolerance} is no distance: give 0 or more.")
    run_a, run_b = resolve_runs(store, (a, b))
    labels = run_labels((run_a, run_b))
    infos = {info.run_id: info for info in store.series_infos([run_a.id, run_b.id], [metric]) if info.rank == 0}
    absent = [labels[run.id] for run in (run_a, run_b) if run.id not in infos]
    if absent:
        none = np.empty(0)
        return DifferenceView(
            a=run_a.id, b=run_b.id, metric=metric, axis=axis, x=none, difference=none, tolerance=none,
            parted_at=None, reason=f"{' and '.join(dict.fromkeys(absent))} logged no {metric}.",
        )  # fmt: skip
    (points_a, off_a), (points_b, off_b) = (_read(store, run, infos, axis, starts) for run in (run_a, run_b))
    both = (starts.get(run_a.id, 0), starts.get(run_b.id, 0))
    pair = pair_by_step(points_a, points_b, both) if axis == "step" else pair_by_position(points_a, points_b)
    precision = coarser(run_a.precision, run_b.precision)
    # Noise explains a difference at the same update only: at the same time the runs may be at different ones.
    judged = pair
    if tolerance is None and axis != "step":
        by_step = [_read(store, run, infos, "step", starts)[0] for run in (run_a, run_b)]
        judged = pair_by_step(by_step[0], by_step[1], both)
    at, bounds, basis = part(store, (run_a, run_b), metric, judged, precision, tolerance, starts)
    allowed = bounds
    if judged is not pair:
        envelope = noise_envelope(store, (run_a, run_b), metric, pair.steps) if basis == "noise" else None
        allowed = default_tolerance(pair, precision) if envelope is None else POINTWISE * envelope
    place = axis if judged is pair else "step"
    begun = {run.id: off for run, off in ((run_a, off_a), (run_b, off_b)) if run.id in starts}
    return DifferenceView(
        a=run_a.id,
        b=run_b.id,
        metric=metric,
        axis=axis,
        x=pair.x,
        difference=pair.difference(),
        tolerance=allowed,
        parted_at=None if at is None else int(judged.steps[at]),
        reason=_reason(
            metric, judged, at, _explained(basis, precision, tolerance), place, (labels[run_a.id], labels[run_b.id])
        )
        + (" Steps are counted from where each run begins." if begun and place == "step" and len(judged.x) else ""),
        basis=basis,
        x_note=axis_note(labels, {run_id: starts[run_id] for run_id in begun}),
        begun=tuple(sentence(labels[run_id], axis, starts[run_id], off) for run_id, off in begun.items()),
    )


def _read(
    store: Store, run: RunInfo, infos: Mapping[str, SeriesInfo], axis: Axis, starts: Starts
) -> tuple[Aligned, float]:
    return read_from(store, run, infos[run.id], axis, None, starts.get(run.id))


def part(
    store: Store,
    runs: tuple[RunInfo, RunInfo],
    metric: str,
    pair: Pair,
    precision: str | None,
    tolerance: float | None = None,
    starts: Starts = FROM_THE_FIRST,
) -> tuple[int | None, Float64Array, Basis]:
    """Where two runs part in a metric, and by what measure.

    Args:
        store: where the runs are.
        runs: the two.
        metric: the metric's key, whose noise is looked up.
        pair: their points by step.
        precision: the coarser of their precisions.
        tolerance: as of `difference_view`.
        starts: as of `difference_view`.

    Returns:
        Index of the first point apart or None; (n,) float64 how far apart counts as equal; what that is.
    """
    if tolerance is not None:
        bounds = np.full(len(pair.x), float(tolerance))
        return first_parting(pair, bounds, sustained=False), bounds, "given"
    envelope = noise_envelope(store, runs, metric, pair.steps, starts)
    if envelope is not None:
        return first_beyond_noise(pair.difference(), pair.one_sided(), envelope), POINTWISE * envelope, "noise"
    made_before = max(0, *(starts.get(run.id, 0) for run in runs))
    bounds = default_tolerance(pair, precision, made_before)
    return first_parting(pair, bounds, sustained=True), bounds, "rounding"


def _explained(basis: Basis, precision: str | None, tolerance: float | None) -> str:
    if basis == "given":
        return f"{tolerance:g}"
    if basis == "noise":
        return "the noise that was measured of these runs explains"
    return f"{precision or 'float32'} rounding explains"


def _reason(metric: str, pair: Pair, at: int | None, bound: str, place: str, labels: tuple[str, str]) -> str:
    if not len(pair.x):
        return f"{metric} was never logged at the same {place} by both."
    if at is None:
        points = "steps" if place == "step" else "points"
        return f"{metric} is nowhere further apart than {bound}, over {len(pair.x):,} common {points}."
    one, other, step = float(pair.a[at]), float(pair.b[at]), int(pair.steps[at])
    both = f"{one:.6g} in {labels[0]}, {other:.6g} in {labels[1]}"
    if math.isfinite(one) and math.isfinite(other):
        return f"{metric} is further apart than {bound} from step {step} on: {both}."
    return f"{metric} is not finite in one of the runs at step {step}: {both}."


def coarser(one: str | None, other: str | None) -> str | None:
    """The precision that leaves more rounding: mixed, then float32 or unknown, then float64."""
    return max(one, other, key=lambda precision: -1 if precision == "float64" else str(precision).endswith("-mixed"))


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two series where both are known.

    Attributes:
        x: (n,) float64, increasing.
        steps: (n,) int64, of the series whose points `x` are; paired by step, counted from where each run begins.
        a: (n,) float64, may hold NaN and infinities.
        b: (n,) float64.
    """

    x: Float64Array
    steps: Int64Array
    a: Float64Array
    b: Float64Array

    def difference(self) -> Float64Array:
        """(n,) float64 `a - b`: 0 where both are the same infinity, NaN where either is NaN."""
        with np.errstate(over="ignore"):  # further apart than float64 reaches: infinitely far
            return np.subtract(self.a, self.b, out=np.zeros(len(self.a)), where=self.a != self.b)

    def one_sided(self) -> NDArray[np.bool_]:
        """(n,) bool: where one of the two is not finite and the other is not the same."""
        finite = np.isfinite(self.a) & np.isfinite(self.b)
        same = (self.a == self.b) | (np.isnan(self.a) & np.isnan(self.b))
        result: NDArray[np.bool_] = ~(finite | same)
        return result


def pair_by_step(a: Aligned, b: Aligned, starts: tuple[int, int] = (0, 0)) -> Pair:
    """The steps that both series have, counted from where each run begins; where a step repeats, its last point."""
    steps_a, steps_b = a.steps - starts[0], b.steps - starts[1]
    keep_a, keep_b = last_of_each_step(steps_a), last_of_each_step(steps_b)
    steps, at_a, at_b = np.intersect1d(steps_a[keep_a], steps_b[keep_b], assume_unique=True, return_indices=True)
    return Pair(steps.astype(np.float64), steps, a.values[keep_a][at_a], b.values[keep_b][at_b])


def pair_by_position(a: Aligned, b: Aligned) -> Pair:
    """Both series at the points of the one with fewer of them, where the two overlap.

    The other is interpolated linearly. Next to a NaN or an infinity it is not finite either: a straight line
    across would claim a value that was never there.
    """
    a, b = _distinct(a), _distinct(b)
    if not len(a.x) or not len(b.x):
        empty = np.empty(0)
        return Pair(empty, np.empty(0, np.int64), empty, empty)
    low, high = max(a.x[0], b.x[0]), min(a.x[-1], b.x[-1])
    in_a, in_b = (a.x >= low) & (a.x <= high), (b.x >= low) & (b.x <= high)
    if in_a.sum() <= in_b.sum():
        x = a.x[in_a]
        return Pair(x, a.steps[in_a], a.values[in_a], _interpolate(x, b))
    x = b.x[in_b]
    return Pair(x, b.steps[in_b], _interpolate(x, a), b.values[in_b])


def _distinct(series: Aligned) -> Aligned:
    """The last point of every position."""
    last = np.append(series.x[1:] != series.x[:-1], True)[: len(series.x)]
    return Aligned(series.x[last], series.values[last], series.steps[last])


def _interpolate(x: Float64Array, series: Aligned) -> Float64Array:
    """`series` at `x`, which lies inside of it; on its own points exactly its own values."""
    right = np.searchsorted(series.x, x, side="left")
    left = np.maximum(right - 1, 0)
    v0, v1 = series.values[left], series.values[right]
    gap = series.x[right] - series.x[left]
    share = np.divide(x - series.x[left], gap, out=np.ones(len(x)), where=gap > 0)
    exact = series.x[right] == x
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, and meant to be
        return np.where(exact, v1, v0 * (1 - share) + v1 * share)


def default_tolerance(pair: Pair, precision: str | None, made_before: int = 0) -> Float64Array:
    """How far apart two runs of the same experiment may be, by rounding alone.

    A share of the size of the values, by step (`FLOAT32_RELATIVE`). The size is the largest value that both
    runs have reached so far: as a loss falls, the noise that rounding left in it early does not fall with
    it.

    Args:
        pair: the two runs.
        precision: what both computed in; None or unknown counts as float32.
        made_before: updates that were made before step 0 of the pair.

    Returns:
        (n,) float64.
    """
    both = np.minimum(np.abs(pair.a), np.abs(pair.b))
    size = np.maximum.accumulate(np.where(np.isfinite(both), both, 0.0))
    if precision == "float64":
        return FLOAT64_RELATIVE * size
    if precision is not None and precision.endswith("-mixed"):
        return MIXED_RELATIVE * size
    logarithm = np.interp(
        np.log((pair.steps + made_before).clip(0) + 1.0), np.log(FLOAT32_STEPS), np.log(FLOAT32_RELATIVE)
    )
    return np.exp(logarithm) * size


def first_parting(pair: Pair, tolerance: Float64Array, *, sustained: bool) -> int | None:
    """Index of the first point from which the runs are apart; None if they are not.

    Args:
        pair: the two runs.
        tolerance: (n,) float64.
        sustained: the tolerance is an estimate: a point is apart only if it is far out (`OUTLIER`), or if
            most of the points of a window from there on are out. Otherwise the first point outside counts.
            A value that is not finite on one side alone counts either way.
    """
    distance = np.abs(pair.difference())
    one_sided = pair.one_sided()
    out = one_sided | (distance > tolerance)
    if sustained:
        # out[i:i + WINDOW].sum() for every i; a window past the end is as long as what is left.
        sums = np.concatenate(([0], np.cumsum(out)))
        ends = np.minimum(np.arange(len(out)) + WINDOW, len(out))
        most = 2 * (sums[ends] - sums[: len(out)]) > ends - np.arange(len(out))
        out = one_sided | (distance > OUTLIER * tolerance) | (out & most)
    found = np.flatnonzero(out)
    return int(found[0]) if len(found) else None
