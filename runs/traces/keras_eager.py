"""What eager operators of Keras are for: all that a trace says of one is its type and when it ran.

Ranges that the tracker writes around layers, loss, backward pass and optimizer say where a forward operator belongs.
A gradient's operators have no layer, but the tape replays the forward operators from the last to the first: the
backward operators of a step are laid along the layers in reverse, as far as each could be the gradient of something
that the layer ran. `MaxPoolGrad` can only belong to a pooling, a `Sum` to nearly anything, so the certain ones hold the
others in place. A layer found in this way is inferred; so is a family that only the layer tells.

Without the tracker's ranges (a trace that somebody else recorded) only types are left, and the first and the last
gradient show where the backward pass is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...db.records import Float64Array, Int64Array
from .keras_labels import NOTHING, Label, Labeller
from .keras_names import direction_of_type, family_of_type, plain
from .trace import Lane

LAYER = "trackside::layer::"
LOSS, BACKWARD, OPTIMIZER = "trackside::loss", "trackside::backward", "trackside::optimizer"
RANGES = (LOSS, BACKWARD, OPTIMIZER)

CERTAIN, LIKELY, POSSIBLE = 8.0, 2.0, 1.0
"""What one operator weighs in the choice of a layer: a gradient that only one type of operator has, one that this type
has among others, and the many that any arithmetic has."""
NOWHERE = -1
LEADS_TO: Mapping[str, tuple[str, ...]] = {
    "Mean": ("Tile", "BroadcastTo", "RealDiv", "Reshape", "Fill"),
    "Sum": ("Tile", "BroadcastTo", "Reshape"),
    "SquaredDifference": ("Mul", "Sub", "Neg", "Sum"),
    "Mul": ("Mul", "Sum", "Reshape"),
    "RealDiv": ("RealDiv", "Neg", "Mul", "Sum"),
    "DivNoNan": ("DivNoNan", "Neg", "Mul", "Sum"),
    "AddV2": ("Sum", "Reshape", "Identity"),
    "Sub": ("Neg", "Sum", "Reshape"),
    "Rsqrt": ("RsqrtGrad",),
    "Pow": ("Pow", "Mul", "Log", "SelectV2", "ZerosLike"),
    "Square": ("Mul", "Cast"),
    "MatMul": ("MatMul",),
    "BatchMatMulV2": ("BatchMatMulV2", "MatMul", "Sum"),
    "Einsum": ("Einsum", "Reshape", "Transpose"),
    "BiasAdd": ("BiasAddGrad",),
    "GatherV2": ("IndexedSlices", "Reshape", "UnsortedSegmentSum", "ConcatV2"),
    "ResourceGather": ("Reshape", "ConcatV2"),
    "Split": ("ConcatV2",),
    "ConcatV2": ("Slice", "ConcatOffset"),
    "StridedSlice": ("StridedSliceGrad",),
    "Softmax": ("Mul", "Sum", "Sub"),
    "Erf": ("Mul", "Exp", "Square", "Neg"),
    "Erfc": ("Mul", "Exp", "Square", "Neg"),
    "SelectV2": ("SelectV2", "ZerosLike"),
    "Unpack": ("Pack",),
    "Pack": ("Unpack",),
}
"""Types of operators that the gradient of a type runs besides `<type>Grad` and its `Backprop`s; from TensorFlow's
python/ops/*_grad.py, as far as the layers of Keras use them."""


@dataclass(slots=True)
class _Visit:
    """A stretch of forward operators of one layer."""

    layer: str | None
    label: Label
    types: set[str] = field(default_factory=set)


class EagerLabeller:
    """Labels of a lane that holds eager operators.

    Args:
        labeller: knows the model's layers.
        step_edges: (n_steps + 1,) of the trace.
    """

    def __init__(self, labeller: Labeller, step_edges: Int64Array) -> None:
        self.labeller, self.step_edges = labeller, step_edges
        self.had_ranges = False
        self._laid: dict[tuple[object, ...], list[int]] = {}

    def __call__(self, lane: Lane) -> list[Label]:
        """The label of each event of the lane."""
        labels = [NOTHING] * len(lane)
        operators = [i for i, one in enumerate(lane.details) if one]
        where = _innermost(lane)
        self.had_ranges = any(where)
        step = np.searchsorted(self.step_edges, lane.start, side="right")
        for index in operators:
            labels[index] = self._by_itself(lane, index, where[index])
        for number in np.unique(step[operators]).tolist():
            here = [i for i in operators if step[i] == number and "eager" in (lane.details[i] or {})]
            if self.had_ranges:
                self._lay(lane, here, where, labels)
            else:
                self._divide(lane, here, labels)
        return labels

    def _by_itself(self, lane: Lane, index: int, around: str) -> Label:
        type, details = lane.names[index], lane.details[index] or {}
        if "eager" not in details:
            return self.labeller.label(type, details, lane.kind)
        own = family_of_type(type)
        if own in ("data", "communication"):
            return own, "none", None, False
        if around == OPTIMIZER:
            return "optimizer", "none", None, False
        if around == LOSS:
            return "loss", "forward", None, False
        if around.startswith(LAYER):
            layer = around.removeprefix(LAYER)
            family, unsure = self.labeller.in_layer(layer, type, layer + "/", {})
            return family or "other", "forward", self._whole(layer), unsure and family is not None
        return own or "other", direction_of_type(type) if around != BACKWARD else "backward", None, False

    def _whole(self, layer: str) -> str:
        return self.labeller.scopes.whole(layer)

    def _lay(self, lane: Lane, here: Sequence[int], where: Sequence[str], labels: list[Label]) -> None:
        """Give the backward operators of one step the layers of the forward ones, from the last to the first."""
        visits: list[_Visit] = []
        backward: list[int] = []
        begun, ended = _backward_pass(lane, here, where)
        for index in here:
            around = where[index]
            if around == BACKWARD or (begun <= index < ended and around == ""):
                backward.append(index)
            elif around == LOSS or around.startswith(LAYER):
                layer = labels[index][2]
                if not visits or (visits[-1].layer, visits[-1].label[0] == "loss") != (layer, around == LOSS):
                    visits.append(_Visit(layer, labels[index]))
                visits[-1].types.add(lane.names[index])
        visits.reverse()
        if not visits or not backward:
            return
        types = tuple(lane.names[i] for i in backward)
        key = (types, *((one.layer, *sorted(one.types)) for one in visits))
        if key not in self._laid:  # all steps of a training run the same operators
            self._laid[key] = _along(types, visits)
        for index, visit in zip(backward, self._laid[key], strict=True):
            if visit == NOWHERE:
                labels[index] = (labels[index][0], "backward", None, labels[index][3])
            else:
                labels[index] = self._backward_label(lane.names[index], visits[visit])

    def _backward_label(self, type: str, visit: _Visit) -> Label:
        own = family_of_type(type)
        if visit.label[0] == "loss" and visit.layer is None:
            return (own or "loss"), "backward", None, own is None
        family, _ = self.labeller.in_layer(visit.layer, type, f"{visit.layer}/", {})
        return family or own or "other", "backward", visit.layer, True

    def _divide(self, lane: Lane, here: Sequence[int], labels: list[Label]) -> None:
        """Directions from where the first and the last gradient ran."""
        gradients = [i for i in here if direction_of_type(lane.names[i]) == "backward"]
        if not gradients:
            return
        for index in here:
            family, _, layer, _ = labels[index]
            if family in ("data", "communication", "optimizer"):
                continue
            if index > gradients[-1]:
                updates = "Assign" in lane.names[index]
                labels[index] = ("optimizer" if updates else family, "none", layer, updates)
            else:
                labels[index] = (family, "backward" if index >= gradients[0] else "forward", layer, family != "other")


def _innermost(lane: Lane) -> list[str]:
    """The innermost of the tracker's ranges around each event, an empty string where there is none."""
    found = [""] * len(lane)
    if not any(one.startswith("trackside::") for one in set(lane.names)):
        return found
    open_ranges: list[tuple[int, str]] = []
    ends = (lane.start + lane.duration).tolist()
    for index, (name, begin) in enumerate(zip(lane.names, lane.start.tolist(), strict=True)):
        while open_ranges and open_ranges[-1][0] <= begin:
            open_ranges.pop()
        found[index] = open_ranges[-1][1] if open_ranges else ""
        if name in RANGES or name.startswith(LAYER):
            open_ranges.append((ends[index], name))
    return found


def _backward_pass(lane: Lane, here: Sequence[int], where: Sequence[str]) -> tuple[int, int]:
    """First and behind the last event that can be a gradient where no range says so: from the first gradient on."""
    if any(where[i] == BACKWARD for i in here):
        return 0, 0
    optimizer = next((i for i in here if where[i] == OPTIMIZER), here[-1] + 1 if here else 0)
    losses = [i for i in here if where[i] == LOSS and i < optimizer]
    first = losses[-1] + 1 if losses else optimizer
    return first, optimizer


def _along(types: Sequence[str], visits: Sequence[_Visit]) -> list[int]:
    """For each backward operator the visit that it is the gradient of, so that they come in the visits' order.

    The path of the greatest total weight, by dynamic programming: (operators × visits) additions. Operators behind the
    last one that had any weight are nobody's: the tape sums up at its end what several steps of a loop gave.
    """
    weights = {type: _weights(type, visits) for type in set(types)}
    best = np.zeros(len(visits))
    came_from = np.zeros((len(types), len(visits)), np.int32)
    places = np.arange(len(visits), dtype=np.int32)
    for row, type in enumerate(types):
        highest = np.maximum.accumulate(best)
        # The first visit that reaches the maximum: an operator that says nothing stays where the one before it was.
        risen = np.concatenate([[True], highest[1:] > highest[:-1]])
        came_from[row] = np.maximum.accumulate(np.where(risen, places, 0))
        best = highest + weights[type]
    at = int(np.argmax(best))
    chosen = [0] * len(types)
    for row in range(len(types) - 1, -1, -1):
        chosen[row] = at
        at = int(came_from[row][at])
    behind = next((row for row in range(len(types), 0, -1) if weights[types[row - 1]][chosen[row - 1]] > 0), 0)
    return chosen[:behind] + [NOWHERE] * (len(types) - behind)


def _weights(type: str, visits: Sequence[_Visit]) -> Float64Array:
    """How much speaks for an operator to be the gradient of each visit: (n_visits,)."""
    base = re.sub(r"(Grad(V\d)?|Backprop\w*)$", "", plain(type))
    found = np.zeros(len(visits))
    for place, visit in enumerate(visits):
        ran = {plain(one) for one in visit.types}
        if base != plain(type):
            found[place] = CERTAIN if base in ran else 0
        elif plain(type) in ran and family_of_type(type) is not None:
            found[place] = CERTAIN
        elif any(type in LEADS_TO.get(one, ()) for one in ran):
            found[place] = LIKELY
        elif plain(type) in ran:
            found[place] = POSSIBLE
    return found
