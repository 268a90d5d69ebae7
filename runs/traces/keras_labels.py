"""What each event of a TensorFlow trace is for: family, direction and layer.

The rules for an operator of a graph or an instruction of XLA, in this order:

1. Its type says data or communication; with several devices, the sum of gradients in the optimizer's scope is that too.
2. It runs in the optimizer's scope, or the loss' (`compile_loss`).
3. Its path names a layer: the layer's family; in a convolution, a dense layer or one without a family of its own, the
   operator's type or the function's scope says it where they can (`fc1/Relu` in a dense layer is an activation, while
   its fused matrix product is not).
4. Its type says it.
5. XLA: the opcode says it (inferred).

What is in the scope `gradient_tape` is backward. Eager operators have a type alone: `keras_eager` labels them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .keras_names import (
    COMPOSITE,
    OPTIMIZERS,
    direction_of_type,
    family_by_guess,
    family_of_class,
    family_of_opcode,
    family_of_scope,
    family_of_type,
    optimizer_scope,
)
from .keras_scopes import Scopes
from .records import Direction, Family, TraceContext
from .summary import COPY
from .trace import Labels, Lane, Trace

Label = tuple[Family | None, Direction, str | None, bool]
NOTHING: Label = (None, "none", None, False)
DATA: Label = ("data", "none", None, False)
FETCHES = frozenset({"IteratorGetNextOp::DoCompute", "IteratorGetNextAsOptionalOp::DoCompute"})
"""The wait of a graph for its next batch; the latter with several steps in one execution."""
GRADIENT = re.compile(r"(^|/)gradient_tape(/|$)|_grad(/|$)")
LOSS = re.compile(r"(^|/)(compile_loss|compute_loss|loss)(_\d+)?/")
CLIPPING = re.compile(r"^(clip_by|global_norm|loss_scale)")
SUM_OF_GRADIENTS = re.compile(r"^(AddN|zeros_like)(_\d+)?$")
REPLICA = re.compile(r"(^|/)replica_\d+/")
"""Scope of all devices of a `tf.distribute` strategy but the first."""
REDUCTION = re.compile(r"^[^/]+/AddN(_\d+)?$")
"""In the optimizer's scope, with several devices: the sum of their gradients, on one of them."""
UPDATE = re.compile(r"Assign(Sub|Add)?VariableOp|ResourceApply")


class Labeller:
    """Labels of operators that come with a path, each path looked up once.

    Args:
        trace: whose operators they are.
        context: what the tracker knew; without its layers, families are guessed from names and so flagged.
    """

    def __init__(self, trace: Trace, context: TraceContext) -> None:
        said = {id(one): one for lane in trace.lanes for one in lane.details if one and one.get("path")}
        paths = [str(one["path"]) for one in said.values()]
        self.scopes = Scopes(context.layers, paths)
        self.optimizers = OPTIMIZERS | ({optimizer_scope(context.optimizer)} if context.optimizer else set())
        self.optimizers |= _updating_scopes(paths, self.scopes)
        self.replicated = any(REPLICA.search(path) for path in paths)
        self._known: dict[tuple[str, int, str], tuple[Label, Any]] = {}

    def labels(self, lane: Lane, eager: Callable[[Lane], Sequence[Label]]) -> Labels:
        """The labels of one lane.

        Args:
            lane: any of the trace's.
            eager: labels a lane that holds eager operators.
        """
        if any(one and "eager" in one for one in lane.details):
            found = list(eager(lane))
        else:
            found = [self.label(name, one, lane.kind) for name, one in zip(lane.names, lane.details, strict=True)]
        family, direction, layer, inferred = zip(*found, strict=True) if found else ((), (), (), ())
        return Labels(family, direction, layer, inferred)

    def label(self, name: str, details: Any, kind: str) -> Label:
        """The label of one event that is no eager operator."""
        key = (name, id(details), kind)
        if key not in self._known:
            # The details are kept beside, so that no other object gets their identity.
            self._known[key] = (self._label(name, details, kind), details)
        return self._known[key][0]

    def _label(self, name: str, details: Any, kind: str) -> Label:
        if name in FETCHES and kind != "training":
            return DATA
        if kind == "background":
            return DATA if details and ("data" in details or "path" in details) else NOTHING
        if kind == "device":
            return self._of_kernel(name, details or {})
        if details and "data" in details:
            return NOTHING  # on a thread that trains it is inside an operator that fetches
        if details and "path" in details:
            return self.of_path(name, details["path"], details)
        return NOTHING

    def _of_kernel(self, name: str, details: Any) -> Label:
        if COPY.match(name):
            return "other", "none", None, False
        if details.get("path") or details.get("opcode"):
            return self.of_path(name, details.get("path", ""), details)
        guess = family_of_type(name) or family_by_guess(name)
        return guess or "other", "none", None, guess is not None

    def of_path(self, type: str, path: str, details: Any) -> Label:
        """The label of an operator of this type in this scope; `details` as the reader gives them."""
        guessed = bool(details.get("inferred"))
        own = family_of_type(type)
        if own in ("data", "communication"):
            return own, "none", None, guessed
        scopes = path.split("/")
        backward = GRADIENT.search(path) is not None
        in_optimizer = len(scopes) > 1 and not backward and _number_free(scopes[0]).lower() in self.optimizers
        if in_optimizer and self.replicated and REDUCTION.match(path):
            return "communication", "none", None, guessed
        if in_optimizer or CLIPPING.match(path):
            return "optimizer", "none", None, guessed
        if LOSS.search(path):
            return "loss", "backward" if backward else "forward", None, guessed
        layer = self.scopes.layer(path)
        direction: Direction = "backward" if backward else direction_of_type(type)
        if layer is not None and direction == "none":
            direction = "forward"
        if layer is not None or len(scopes) > 1:
            family, unsure = self.in_layer(layer, type, path, details)
            if family is not None:
                return family, direction if direction != "none" else "forward", layer, guessed or unsure
        if SUM_OF_GRADIENTS.match(path):
            direction = "backward"
        if own is not None:
            return own, direction, layer, guessed
        opcode = family_of_opcode(details.get("opcode", ""))
        return opcode or "other", direction, layer, guessed or opcode is not None

    def in_layer(self, layer: str | None, type: str, path: str, details: Any) -> tuple[Family | None, bool]:
        """The family of an operator by its layer, and whether that is a guess; None where the layer does not tell."""
        kind = self.scopes.class_of(layer)
        unsure = kind is None
        whole = family_of_class(kind) if kind is not None else _guess(path, known=bool(self.scopes.layers))
        if whole in COMPOSITE:
            return whole, unsure
        type_of_path = path.rpartition("/")[2] if details.get("opcode") else ""
        own = family_of_type(type) or family_of_type(re.sub(r"_\d+$", "", type_of_path))
        if own is not None:
            return own, False
        inside = family_of_scope(path)
        if inside is not None and not (inside == "activation" and whole == "activation"):
            return inside, False
        return whole, unsure and whole is not None


def _guess(path: str, *, known: bool) -> Family | None:
    """What a layer that nobody named is for: from its scope, where the trace came without the model's layers."""
    if known:
        return None
    scopes = [one for one in path.split("/")[:-1] if one != "gradient_tape"]
    return next((family for one in scopes[1:] if (family := family_by_guess(one)) is not None), None)


def _number_free(scope: str) -> str:
    return re.sub(r"_\d+$", "", scope)


def _updating_scopes(paths: Sequence[str], scopes: Scopes) -> set[str]:
    """Scopes at the top that change variables and have no gradient: an optimizer under a name of the user's."""
    counts: dict[str, int] = {}
    models = {_number_free(path.split("/")[1]) for path in paths if path.startswith("gradient_tape/")}
    for path in paths:
        top, _, rest = path.partition("/")
        if rest and UPDATE.match(rest.rpartition("/")[2]) and scopes.layer(path) is None:
            counts[_number_free(top)] = counts.get(_number_free(top), 0) + 1
    return {top.lower() for top, count in counts.items() if count > 1 and top not in models | {"gradient_tape"}}
