"""Where two trainings of one network begin to differ: the first step, and there the first layer.

Within a step the order of computation is layers forward, loss, layers backward. The first thing that differs is the
one to look at; what comes after it only carries the difference on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...db.errors import UsageError
from ...db.records import Float64Array, RunInfo
from ..align import Aligned
from ..difference import Pair, coarser, default_tolerance, first_parting, pair_by_step, part
from ..labels import run_labels
from ..noise import POINTWISE, noise_envelope
from ..series import resolve_runs
from .layers import Statistic, common_layers, measured_layers, series_name
from .matching import Matched

if TYPE_CHECKING:
    from ...db.store import Store

Quantity = Literal["activations", "loss", "gradients", "gradient norm"]
ORDER: tuple[Quantity, ...] = ("activations", "loss", "gradients", "gradient norm")
LOSS, GRADIENT_NORM = "train/loss", "optimizer/gradient_norm"
_STATISTICS: dict[Quantity, Statistic] = {"activations": "activation_norm", "gradients": "gradient_norm"}

FACTORS: dict[Statistic, float] = {"activation_norm": 4.0, "gradient_norm": 30.0}
"""How many times further apart than a loss the norms of single layers may be. Measured between PyTorch and TensorFlow,
with losses apart by rounding alone: at most 1.4 and 14 with convolutions and batch normalisation, below 0.1 in
perceptrons and LSTMs. A gradient is a difference of large numbers where a loss is a mean of small ones."""

MOST_NAMED = 6
RECTIFIED = 0.1
"""Of all outputs: a ReLU makes zeros of far more."""

FLOOR = 1e-5
"""Of the largest norm of any layer in that step: the gradient of a bias in front of a batch normalisation is zero but
for rounding, and two such zeros have nothing in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one quantity of two runs.

    Attributes:
        quantity: what was compared.
        compared: how many layers, or 1.
        steps: how many common steps at most.
        step: the first at which it differs; None where it does not, or was not compared.
        layers: names of the layer that differs first, in the first and in the second run; None where it is no layer.
        place: of that layer in forward order, counted from 0.
        values: of the first and the second run there; None where it does not differ.
        reason: one sentence.
    """

    quantity: Quantity
    compared: int
    steps: int
    step: int | None = None
    layers: tuple[str, str] | None = None
    place: int | None = None
    values: tuple[float, float] | None = None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceView:
    """Where two runs begin to differ.

    Attributes:
        a: id of the first run.
        b: id of the second.
        labels: of the two, by id.
        findings: one for each quantity, in the order in which a step computes them.
        first: the finding to look at; None where nothing differs, or nothing could be compared.
        unmatched: by run id, layers that the other run has no counterpart of.
        reason: one sentence.
    """

    a: str
    b: str
    labels: dict[str, str]
    findings: tuple[Finding, ...]
    first: Finding | None
    unmatched: dict[str, tuple[str, ...]]
    reason: str


def divergence_view(store: Store, a: RunInfo | str, b: RunInfo | str) -> DivergenceView:
    """Compare losses, gradient norms, and the activations and gradients of every layer that both runs measured.

    Raises:
        UsageError: the two are one run.
        RunNotFoundError: there is no such run.
    """
    runs = resolve_runs(store, (a, b))
    one, other = runs
    if one.id == other.id:
        raise UsageError("A run does not differ from itself: name two.")
    comparison = _Comparison(store, one, other)
    findings = tuple(comparison.finding(quantity) for quantity in ORDER)
    apart = [finding for finding in findings if finding.step is not None]
    first = min(apart, key=lambda finding: (finding.step, ORDER.index(finding.quantity)), default=None)
    labels = comparison.labels
    return DivergenceView(
        a=one.id,
        b=other.id,
        labels=labels,
        findings=findings,
        first=first,
        unmatched={
            run.id: tuple(row.paths[run.id] for row in comparison.layers if set(row.paths) == {run.id}) for run in runs
        },
        reason=_summary(findings, first, labels),
    )


class _Comparison:
    """Two runs, and what is read of them once."""

    def __init__(self, store: Store, one: RunInfo, other: RunInfo) -> None:
        self._store, self._runs = store, (one, other)
        self.labels = run_labels(self._runs)
        self._precision = coarser(one.precision, other.precision)
        self._measured = measured_layers(store, self._runs)
        self.layers = common_layers(self._runs, self._measured) if all(self._measured.values()) else ()
        infos = store.series_infos([one.id, other.id], [LOSS, GRADIENT_NORM])
        self._logged = {(info.run_id, info.name) for info in infos if info.rank == 0}
        self._incomparable: list[str] = []
        self._share = self._noise_share() if self.layers else None

    def finding(self, quantity: Quantity) -> Finding:
        if quantity in _STATISTICS:
            return self._layers(quantity, _STATISTICS[quantity])
        return self._whole(quantity, LOSS if quantity == "loss" else GRADIENT_NORM)

    def _whole(self, quantity: Quantity, metric: str) -> Finding:
        absent = [self.labels[run.id] for run in self._runs if (run.id, metric) not in self._logged]
        if absent:
            return Finding(quantity=quantity, compared=0, steps=0, reason=f"{' and '.join(absent)} logged no {metric}.")
        pair = self._pair(metric, metric)
        if not len(pair.x):
            return Finding(
                quantity=quantity, compared=0, steps=0, reason=f"{metric} was never logged at the same step."
            )
        at, _, basis = part(self._store, self._runs, metric, pair, self._precision)
        by = "the noise measured of these runs" if basis == "noise" else self._rounding
        if at is None:
            return Finding(
                quantity=quantity, compared=1, steps=len(pair.x),
                reason=f"Nowhere further apart than {by} explains, over {len(pair.x):,} steps.",
            )  # fmt: skip
        return Finding(
            quantity=quantity, compared=1, steps=len(pair.x), step=int(pair.steps[at]),
            values=(float(pair.a[at]), float(pair.b[at])),
            reason=f"Further apart than {by} explains from step {int(pair.steps[at]):,} on: {self._both(pair, at)}.",
        )  # fmt: skip

    def _layers(self, quantity: Quantity, statistic: Statistic) -> Finding:
        self._incomparable = []
        pairs = list(self._layer_pairs(statistic))
        left_out = self._left_out()
        if not pairs:
            return Finding(
                quantity=quantity, compared=0, steps=0, reason=left_out.strip() or self._nothing_to_compare(statistic)
            )
        largest = _largest([pair for *_, pair in pairs])
        apart: list[tuple[int, int, tuple[str, str], Pair, int]] = []
        for place, names, pair in pairs:
            bounds = FACTORS[statistic] * default_tolerance(pair, self._precision) + FLOOR * np.array(
                [largest[s] for s in pair.steps.tolist()]
            )
            at = first_parting(pair, np.maximum(bounds, self._noise(pair)), sustained=True)
            if at is not None:
                apart.append((int(pair.steps[at]), place, names, pair, at))
        steps = max(len(pair.x) for *_, pair in pairs)
        if not apart:
            return Finding(
                quantity=quantity, compared=len(pairs), steps=steps,
                reason=f"No layer of {len(pairs)} is further apart than {self._rounding} explains, "
                f"over {steps:,} steps.{left_out}",
            )  # fmt: skip
        # The backward pass comes to the last layer first.
        backwards = -1 if quantity == "gradients" else 1
        step, place, names, pair, at = min(apart, key=lambda found: (found[0], backwards * found[1]))
        also = sum(found[0] == step for found in apart) - 1
        of_them = f", and {also} more layer{'s' if also > 1 else ''} at that step" if also else ""
        return Finding(
            quantity=quantity, compared=len(pairs), steps=steps, step=step, layers=names, place=place,
            values=(float(pair.a[at]), float(pair.b[at])),
            reason=f"{_named(names)} is the first layer further apart than {self._rounding} explains, "
            f"at step {step:,}: {self._both(pair, at)}{of_them}.{left_out}",
        )  # fmt: skip

    def _layer_pairs(self, statistic: Statistic) -> Iterator[tuple[int, tuple[str, str], Pair]]:
        one, other = (run.id for run in self._runs)
        for place, row in enumerate(self.layers):
            ways = [(paths, self._layer_pair(paths, statistic)) for paths in self._paths(row, statistic)]
            ways = [(paths, pair) for paths, pair in ways if len(pair.x)]
            if not ways:
                continue
            # Whether an activation is fused in or is a function that is no layer, nobody says: where the two agree
            # at first, the same thing was measured.
            paths, pair = min(ways, key=lambda way: _first_distance(way[1]))
            names = (row.paths[one], row.paths[other])
            if statistic == "activation_norm" and self._rectified(paths):
                self._incomparable.append(_named(names))
                continue
            yield place, names, pair

    def _rectified(self, paths: tuple[str, str]) -> bool:
        """Whether one of two outputs has been through a ReLU and the other has not: then their norms say nothing."""
        if any(
            "zero_fraction" not in self._measured[run.id][path] for run, path in zip(self._runs, paths, strict=True)
        ):
            return False
        zeros = self._layer_pair(paths, "zero_fraction")
        return bool(len(zeros.x)) and abs(float(zeros.a[0] - zeros.b[0])) > RECTIFIED

    def _layer_pair(self, paths: tuple[str, str], statistic: Statistic) -> Pair:
        return self._pair(series_name(paths[0], statistic), series_name(paths[1], statistic))

    def _paths(self, row: Matched, statistic: Statistic) -> Iterator[tuple[str, str]]:
        """Whose statistics may be compared for a layer; nothing where one of the runs has none."""
        ways = [row.paths, row.outputs] if statistic == "activation_norm" else [row.paths]
        for where in ways:
            paths = [where.get(run.id) for run in self._runs]
            known = [
                path
                for run, path in zip(self._runs, paths, strict=True)
                if path is not None and statistic in self._measured[run.id].get(path, ())
            ]
            if len(known) == 2:
                yield known[0], known[1]

    def _left_out(self) -> str:
        if not self._incomparable:
            return ""
        names = ", ".join(self._incomparable[:MOST_NAMED]) + (" …" if len(self._incomparable) > MOST_NAMED else "")
        return f" Not compared: {names}, whose output was measured behind its activation in one run only."

    def _nothing_to_compare(self, statistic: Statistic) -> str:
        without = [
            self.labels[run.id]
            for run in self._runs
            if not any(statistic in kinds for kinds in self._measured[run.id].values())
        ]
        words = statistic.replace("_", " ")
        if without:
            return f"{' and '.join(without)} did not record the {words} of layers: train with debug=True."
        return f"No layer of the one has a counterpart in the other whose {words} was measured at the same step."

    def _pair(self, one: str, other: str) -> Pair:
        found = []
        for run, name in zip(self._runs, (one, other), strict=True):
            series = self._store.series(run, name)
            found.append(Aligned(series.steps.astype(np.float64), series.values, series.steps))
        return pair_by_step(found[0], found[1])

    def _noise(self, pair: Pair) -> Float64Array:
        """What the measured noise of the loss, as a share of the loss, would be of these values; zeros without one."""
        if self._share is None:
            return np.zeros(len(pair.x))
        size = np.minimum(np.abs(pair.a), np.abs(pair.b))
        return np.nan_to_num(np.interp(pair.x, *self._share) * size, nan=0.0, posinf=0.0)

    def _noise_share(self) -> tuple[Float64Array, Float64Array] | None:
        """How far apart noise carries the losses, as a share of the largest loss, by step."""
        if any((run.id, LOSS) not in self._logged for run in self._runs):
            return None
        losses = self._pair(LOSS, LOSS)
        envelope = noise_envelope(self._store, self._runs, LOSS, losses.steps) if len(losses.x) else None
        level = np.abs(losses.a[np.isfinite(losses.a)])
        if envelope is None or not len(level) or not level.max():
            return None
        return losses.x, POINTWISE * envelope / float(level.max())

    def _both(self, pair: Pair, at: int) -> str:
        one, other = (self.labels[run.id] for run in self._runs)
        return f"{pair.a[at]:.6g} in {one}, {pair.b[at]:.6g} in {other}"

    @property
    def _rounding(self) -> str:
        return f"{self._precision or 'float32'} rounding"


def _first_distance(pair: Pair) -> float:
    """How far apart two runs are at first, as a share of the larger value."""
    one, other = abs(float(pair.a[0])), abs(float(pair.b[0]))
    distance = abs(one - other) / max(one, other) if one != other else 0.0
    return distance if math.isfinite(distance) else math.inf


def _largest(pairs: Sequence[Pair]) -> dict[int, float]:
    """The largest finite value of any layer, by step."""
    largest: dict[int, float] = {}
    for pair in pairs:
        both = np.fmax(np.abs(pair.a), np.abs(pair.b))
        for step, value in zip(pair.steps.tolist(), both.tolist(), strict=True):
            largest[step] = max(largest.get(step, 0.0), value if math.isfinite(value) else 0.0)
    return largest


def _named(names: tuple[str, str]) -> str:
    return names[0] if names[0] == names[1] else f"{names[0]} / {names[1]}"


def _summary(findings: Sequence[Finding], first: Finding | None, labels: dict[str, str]) -> str:
    compared = [finding for finding in findings if finding.compared]
    if not compared:
        return "Nothing that both runs recorded can be compared."
    one, other = labels.values()
    if first is None:
        what = ", ".join(finding.quantity for finding in compared)
        return f"{one} and {other} do not part over {max(f.steps for f in compared):,} steps. Compared: {what}."
    if first.layers is None:
        return f"{one} and {other} part at step {first.step:,}: the {first.quantity} differs first."
    direction = "of the backward pass" if first.quantity == "gradients" else "of the forward pass"
    return (
        f"{one} and {other} part at step {first.step:,}: the first layer {direction} to differ is "
        f"{_named(first.layers)}, in its {first.quantity}."
    )
