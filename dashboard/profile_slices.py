"""The slices of one step in columns, and what of them a window of the timeline is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..db.records import Float64Array
from ..runs.traces.records import DIRECTIONS, FAMILIES, Slice

MOST_SLICES = 3000  # in one answer: more than a screen has room for, few enough to be drawn at once
LAYER = "layer::"  # what a range around a layer's call is called, before the layer's path
MOST_LANES = 24  # an input pipeline can have a hundred threads


@dataclass(frozen=True, slots=True, eq=False)
class StepSlices:
    """Slices of one step, sorted by duration, the longest first.

    Attributes:
        start, duration: (n,) float64 seconds from the start of the step.
        lane, depth, name, layer: (n,) places in `lanes`, and so on; `layer` -1 for none.
        family, direction: (n,) places in `FAMILIES` and `DIRECTIONS`; `family` -1 for what is no operator.
        lanes: names of the threads and streams, in the order of the trace.
        left_out: lanes beyond the first `MOST_LANES` that are not shown.
    """

    start: Float64Array
    duration: Float64Array
    lane: NDArray[np.int32]
    depth: NDArray[np.int32]
    name: NDArray[np.int32]
    layer: NDArray[np.int32]
    family: NDArray[np.int8]
    direction: NDArray[np.int8]
    lanes: tuple[str, ...]
    names: tuple[str, ...]
    layers: tuple[str, ...]
    left_out: int

    @classmethod
    def of(cls, slices: Sequence[Slice]) -> StepSlices:
        """Columns of what `timeline` returned."""
        busiest: dict[str, float] = {}
        for one in slices:
            busiest[one.lane] = busiest.get(one.lane, 0.0) + (one.duration if one.depth == 0 else 0.0)
        kept = set(sorted(busiest, key=lambda lane: -busiest[lane])[:MOST_LANES])
        lanes = {lane: place for place, lane in enumerate(lane for lane in busiest if lane in kept)}
        shown = sorted((one for one in slices if one.lane in kept), key=lambda one: -one.duration)
        names: dict[str, int] = {}
        layers: dict[str, int] = {}
        families = {family: place for place, family in enumerate(FAMILIES)}
        directions = {direction: place for place, direction in enumerate(DIRECTIONS)}

        def integers(values: list[int]) -> NDArray[np.int32]:
            return np.array(values, np.int32)

        return cls(
            start=np.array([one.start for one in shown], np.float64),
            duration=np.array([one.duration for one in shown], np.float64),
            lane=integers([lanes[one.lane] for one in shown]),
            depth=integers([one.depth for one in shown]),
            name=integers([names.setdefault(one.name.removeprefix(LAYER), len(names)) for one in shown]),
            layer=integers([-1 if one.layer is None else layers.setdefault(one.layer, len(layers)) for one in shown]),
            family=np.array([-1 if one.family is None else families[one.family] for one in shown], np.int8),
            direction=np.array([directions[one.direction] for one in shown], np.int8),
            lanes=tuple(lanes),
            names=tuple(names),
            layers=tuple(layers),
            left_out=len(busiest) - len(lanes),
        )

    def window(self, begin: float = 0.0, end: float = float("inf"), most: int = MOST_SLICES) -> dict[str, Any]:
        """What the browser draws of the time between two moments: the longest slices that reach into it.

        Args:
            begin: seconds from the start of the step.
            end: the same.
            most: how many slices at most; `hidden` says how many were left out.

        Returns:
            A JSON object. Columns are lists of the same length, times in microseconds; only the names that occur
            travel. `depths` has the number of rows of each lane over the whole step, so that rows do not move.
        """
        inside = np.flatnonzero((self.start < end) & (self.start + self.duration > begin))
        chosen = np.sort(inside[:most])
        names, name = np.unique(self.name[chosen], return_inverse=True)
        layers, layer = np.unique(self.layer[chosen], return_inverse=True)
        return {
            "lanes": list(self.lanes),
            "depths": self._depths(),
            "start": np.round(self.start[chosen] * 1e6, 3).tolist(),
            "duration": np.round(self.duration[chosen] * 1e6, 3).tolist(),
            "lane": self.lane[chosen].tolist(),
            "depth": self.depth[chosen].tolist(),
            "family": self.family[chosen].tolist(),
            "direction": self.direction[chosen].tolist(),
            "name": name.tolist(),
            "names": [self.names[place] for place in names],
            "layer": layer.tolist(),
            "layers": ["" if place < 0 else self.layers[place] for place in layers],
            "end": float(np.max(self.start + self.duration, initial=0.0)) * 1e6,
            "shown": len(chosen),
            "hidden": len(inside) - len(chosen),
            "lanes_left_out": self.left_out,
        }

    def _depths(self) -> list[int]:
        rows = np.zeros(len(self.lanes), np.int32)
        np.maximum.at(rows, self.lane, self.depth + 1)
        return rows.tolist()
