"""Statistics of a network's layers over time, of several runs on one order of layers and one grid of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...db.records import Float64Array, Int64Array, RunInfo
from ..labels import run_labels
from ..series import resolve_runs
from .matching import Matched, layers_of, match

if TYPE_CHECKING:
    from ...db.store import Store

PREFIX = "layers/"
Statistic = Literal["gradient_norm", "activation_norm", "zero_fraction", "update_ratio"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

DEAD_FRACTION = 0.999
"""A layer with fewer than one output in a thousand above zero passes next to nothing on."""
GROWTH = 1000.0
"""A norm this many times what it has usually been so far is no fluctuation."""
USUAL_AFTER = 5
_SMALL = 1e-12
_MOST_LOOKED_AT = 200
STAYS = 3
"""At so many of the last measurements at least a layer must have been dead to be called so."""

EMPTY, FINITE, NAN, POSITIVE, NEGATIVE = range(5)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is wrong with a layer.

    Attributes:
        kind: `not_finite`, `exploding`, `dead` or `no_gradient`.
        step: from which step on.
        sentence: what it means.
    """

    kind: Literal["not_finite", "exploding", "dead", "no_gradient"]
    step: int
    sentence: str


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One layer of one run on the grid.

    Attributes:
        path: the layer, as the run's framework spells it; None where this run has no such layer.
        minimum: (columns,) float64, smallest finite value of each cell, NaN where there is none.
        maximum: (columns,) float64, likewise the largest.
        state: (columns,) uint8, `EMPTY`, `FINITE`, or the first kind of value in it that is not finite.
        marks: what is wrong with it.
    """

    path: str | None
    minimum: Float64Array
    maximum: Float64Array
    state: NDArray[np.uint8]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LayersView:
    """One statistic of the layers of several runs.

    Attributes:
        statistic: which one.
        layers: the common order, first layer of the forward pass first.
        labels: of the runs, by id.
        rows: by run id, a row for each of `layers`.
        starts: (columns,) int64, first step of each column.
        width: steps a column.
        scale: smallest and largest finite value over all runs that the colours span (above zero where logarithmic);
            None where there is nothing to draw.
        logarithmic: how the colours are spaced.
        missing: a sentence for each run that has no such statistic.
    """

    statistic: Statistic
    layers: tuple[Matched, ...]
    labels: dict[str, str]
    rows: dict[str, tuple[Row, ...]]
    starts: Int64Array
    width: int
    scale: tuple[float, float] | None
    logarithmic: bool
    missing: tuple[str, ...]


def series_name(path: str, statistic: str) -> str:
    """Key of a layer's statistic."""
    return f"{PREFIX}{path}/{statistic}"


def measured_layers(store: Store, runs: Sequence[RunInfo]) -> dict[str, dict[str, set[str]]]:
    """What was measured of each layer: by run id, path and statistic, in the order of names. No point is read."""
    found: dict[str, dict[str, set[str]]] = {run.id: {} for run in runs}
    for info in store.series_infos(list(found)):
        if info.rank == 0 and info.name.startswith(PREFIX):
            path, _, statistic = info.name.removeprefix(PREFIX).rpartition("/")
            if statistic in STATISTICS:
                found[info.run_id].setdefault(path, set()).add(statistic)
    return found


def common_layers(runs: Sequence[RunInfo], measured: Mapping[str, Mapping[str, set[str]]]) -> tuple[Matched, ...]:
    """The layers of the runs in one order: those that all have, in forward order, then what only some have."""
    with_layers = {run.id: layers_of(run, list(measured[run.id])) for run in runs if measured[run.id]}
    if not with_layers:
        return ()
    rows = match(with_layers)
    seen = [row for row in rows if any(path in measured[run_id] for run_id, path in row.paths.items())]
    return tuple(sorted(seen, key=lambda row: len(row.paths) < len(with_layers)))


def layers_view(
    store: Store, runs: Sequence[RunInfo | str], statistic: Statistic = "gradient_norm", *, columns: int = 256
) -> LayersView:
    """One statistic of every layer of some runs, at most `columns` cells a row.

    Args:
        store: where the runs are.
        runs: runs, or what `Store.run` understands.
        statistic: which one.
        columns: at most this many; each is a whole number of steps wide.
    """
    infos = resolve_runs(store, runs)
    labels = run_labels(infos)
    measured = measured_layers(store, infos)
    layers = common_layers(infos, measured)
    points: dict[str, dict[str, tuple[Int64Array, Float64Array]]] = {}
    for run in infos:
        paths = [path for path, kinds in measured[run.id].items() if statistic in kinds]
        points[run.id] = {path: _points(store, run, series_name(path, statistic)) for path in paths}
    steps = [found[0] for of_run in points.values() for found in of_run.values() if len(found[0])]
    first, last = (min(int(s.min()) for s in steps), max(int(s.max()) for s in steps)) if steps else (0, 0)
    width = step_width(first, last, columns)
    start = first - first % width
    count = (last - start) // width + 1
    # A layer that no run has this statistic of would be an empty line.
    shown = tuple(row for row in layers if any(row.paths.get(run_id) in of_run for run_id, of_run in points.items()))
    rows = {
        run.id: tuple(_row(row.paths.get(run.id), points[run.id], statistic, start, width, count) for row in shown)
        for run in infos
    }
    logarithmic = statistic != "zero_fraction"
    return LayersView(
        statistic=statistic,
        layers=shown,
        labels=labels,
        rows=rows,
        starts=start + width * np.arange(count, dtype=np.int64),
        width=width,
        scale=_scale([row for of_run in rows.values() for row in of_run], logarithmic),
        logarithmic=logarithmic,
        missing=tuple(
            f"{labels[run.id]} has no {statistic.replace('_', ' ')} of its layers."
            for run in infos
            if not points[run.id]
        ),
    )


def marks(statistic: Statistic, steps: Int64Array, values: Float64Array) -> tuple[Mark, ...]:
    """What a layer's values say is wrong with it.

    Args:
        statistic: which one.
        steps: (n,) int64, increasing.
        values: (n,) float64, may hold NaN and infinities.
    """
    found: list[Mark] = []
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        step = int(steps[bad[0]])
        found.append(Mark("not_finite", step, f"not finite from step {step:,} on"))
    if statistic in ("gradient_norm", "activation_norm"):
        at = _explosion(values)
        if at is not None:
            found.append(
                Mark("exploding", int(steps[at]), f"{GROWTH:,.0f} times its usual size at step {int(steps[at]):,}")
            )
    if statistic == "zero_fraction" and (at := _to_the_end(values >= DEAD_FRACTION)) is not None:
        found.append(Mark("dead", int(steps[at]), f"nothing but zeros from step {int(steps[at]):,} on"))
    if statistic == "gradient_norm" and (at := _to_the_end(values == 0)) is not None:
        found.append(Mark("no_gradient", int(steps[at]), f"no gradient from step {int(steps[at]):,} on"))
    return tuple(found)


def step_width(first: int, last: int, columns: int) -> int:
    """Steps a column: a power of two, so that columns stay where they are while a run grows."""
    width = 1
    while last // width - first // width + 1 > columns and width < 2**62:
        width *= 2
    return width


def _points(store: Store, run: RunInfo, name: str) -> tuple[Int64Array, Float64Array]:
    series = store.series(run, name)
    order = np.argsort(series.steps, kind="stable")
    return series.steps[order], series.values[order]


def _row(
    path: str | None,
    points: Mapping[str, tuple[Int64Array, Float64Array]],
    statistic: Statistic,
    start: int,
    width: int,
    count: int,
) -> Row:
    low, high, state = np.full(count, np.inf), np.full(count, -np.inf), np.full(count, EMPTY, np.uint8)
    if path is None or path not in points:
        return Row(path, np.full(count, np.nan), np.full(count, np.nan), state)
    steps, values = points[path]
    cell = (steps - start) // width
    finite = np.isfinite(values)
    np.minimum.at(low, cell[finite], values[finite])
    np.maximum.at(high, cell[finite], values[finite])
    state[cell[finite]] = FINITE
    # The gravest last: what is drawn of a cell is the worst that is in it.
    for kind, where in (
        (NEGATIVE, values == -np.inf), (POSITIVE, values == np.inf), (NAN, np.isnan(values)),
    ):  # fmt: skip
        state[cell[where]] = kind
    empty = high < low
    low[empty] = high[empty] = np.nan
    return Row(path, low, high, state, marks(statistic, steps, values))


def _explosion(values: Float64Array) -> int | None:
    """Index of the first value far beyond the median of those before it."""
    size = np.abs(values)
    finite = np.where(np.isfinite(size), size, np.nan)
    # No median is below the smallest so far: that leaves few to look at, and medians are slow.
    least = np.fmin.accumulate(finite)[:-1]
    far = np.flatnonzero(finite[1:] > GROWTH * np.maximum(least, _SMALL)) + 1
    for at in far[far >= USUAL_AFTER][:_MOST_LOOKED_AT].tolist():
        usual = float(np.nanmedian(finite[:at]))
        if usual > 0 and size[at] > GROWTH * max(usual, _SMALL):
            return int(at)
    return None


def _to_the_end(holds: NDArray[np.bool_]) -> int | None:
    """Index from which something holds to the end; None where it does not, or not yet for long."""
    others = np.flatnonzero(~holds)
    start = int(others[-1]) + 1 if len(others) else 0
    return start if len(holds) - start >= STAYS else None


def _scale(rows: Sequence[Row], logarithmic: bool) -> tuple[float, float] | None:
    if not logarithmic:
        return (0.0, 1.0) if any((row.state == FINITE).any() for row in rows) else None
    values = [part[np.isfinite(part) & (part > 0)] for row in rows for part in (row.maximum,)]
    positive = np.concatenate(values) if values else np.empty(0)
    return (float(positive.min()), float(positive.max())) if len(positive) else None
