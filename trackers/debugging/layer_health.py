"""Which layers are dead, which explode: judged by the numbers alone, without a framework."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...runs.debugging.records import Quantity

DEAD_STEPS = 5
"""A layer that starts from zero, as the last of a residual branch often does, wakes within a step or two."""

EXPLODING_TIMES = 1000.0
EXPLODING_LEAST = 10.0
KNOWN_STEPS = 20
FEWEST_STEPS = 5

STATISTICS = ("gradient_norm", "activation_norm", "zero_fraction", "update_ratio")
"""What is measured of each layer, as `layers/<path>/<statistic>`; all but the fraction and the ratio are 2-norms."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be said of a layer.

    Attributes:
        kind: `dead_layer`, `frozen_layer` or `exploding_layer`.
        layer: its path.
        quantity: what showed it: `activation`, `gradient` or `weight`.
        sentence: what is said.
    """

    kind: str
    layer: str
    quantity: Quantity
    sentence: str


@dataclass(frozen=True, slots=True)
class _Sign:
    kind: str
    quantity: Quantity
    shows: Callable[[Mapping[str, float]], bool]
    sentence: str


_SIGNS = (
    _Sign(
        "dead_layer", "activation", lambda v: v.get("zero_fraction") == 1, "Every output of {} was zero for {} steps."
    ),
    _Sign("dead_layer", "gradient", lambda v: v.get("gradient_norm") == 0, "The gradient of {} was zero for {} steps."),
    _Sign(
        "frozen_layer",
        "weight",
        lambda v: v.get("update_ratio") == 0 and v.get("gradient_norm", 0.0) > 0,
        "The weights of {} had a gradient and did not move for {} steps.",
    ),
)


class LayerHealth:
    """Looks at what was measured of each layer, step by step, and says each thing once."""

    def __init__(self) -> None:
        self._silent: dict[tuple[str, str], int] = {}
        self._norms: dict[str, deque[float]] = {}
        self._said: set[tuple[str, str]] = set()

    def see(self, layers: Mapping[str, Mapping[str, float]]) -> list[Finding]:
        """What is to be said after a step.

        Args:
            layers: path of each layer, in forward order, to its `STATISTICS`, as far as they were measured.
        """
        found = [
            finding
            for sign in _SIGNS  # outputs first: what lies before a dead layer gets no gradient, and is not dead itself
            for path, values in layers.items()
            if (finding := self._still(sign, path, values)) is not None
        ]
        worst = self._exploding(layers)
        return found if worst is None else [*found, worst]

    def _still(self, sign: _Sign, path: str, values: Mapping[str, float]) -> Finding | None:
        place = sign.quantity, path
        count = self._silent[place] = self._silent.get(place, 0) + 1 if sign.shows(values) else 0
        if count != DEAD_STEPS or (sign.kind, path) in self._said:
            return None
        if sign.quantity == "gradient" and any(kind == "dead_layer" for kind, _ in self._said):
            return None
        self._said.add((sign.kind, path))
        return Finding(sign.kind, path, sign.quantity, sign.sentence.format(path, DEAD_STEPS))

    def _exploding(self, layers: Mapping[str, Mapping[str, float]]) -> Finding | None:
        grown: dict[str, tuple[float, float]] = {}
        for path, values in layers.items():
            norm = values.get("gradient_norm")
            if norm is None or not math.isfinite(norm):
                continue
            known = self._norms.setdefault(path, deque(maxlen=KNOWN_STEPS))
            if len(known) >= FEWEST_STEPS and ("exploding_layer", path) not in self._said:
                usual = statistics.median(known)
                if norm > EXPLODING_LEAST and norm > EXPLODING_TIMES * max(usual, 1e-12):
                    grown[path] = (usual, norm)
            known.append(norm)
        if not grown:
            return None
        self._said |= {("exploding_layer", path) for path in grown}
        worst = max(grown, key=lambda path: grown[path][1] / max(grown[path][0], 1e-12))
        usual, norm = grown[worst]
        others = f", and {len(grown) - 1} more layers" if len(grown) > 1 else ""
        sentence = f"The gradient norm of {worst} is {norm:.3g}, usually {usual:.3g}{others}."
        return Finding("exploding_layer", worst, "gradient", sentence)
