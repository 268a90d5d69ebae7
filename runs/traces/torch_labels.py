"""What each event of a PyTorch trace is for: family, direction and layer.

The rules, in this order:

1. What runs in the optimizer's phase is the optimizer's, and what runs while a batch is fetched is the data's.
2. A gradient's operators have family and layer of the operator whose gradient it is: autograd gives both the same
   sequence number.
3. Inside a composite (attention, an LSTM, a loss, a normalisation) everything is the composite's.
4. The nearest operator around, itself included, whose name says it.
5. The class of the layer it runs in, where that is for one thing.
6. A forward operator after the last layer and before the backward pass computes the loss: inferred.
7. A kernel is what the operator is that launched it; of one that torch.compile fused, or whose operator is unknown, the
   name is read: inferred.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .chrome import AUTOGRAD, COMPILED_NAME
from .records import Direction, Family, Part
from .summary import COPY, Phase
from .torch_names import COMPOSITE, family_of, family_of_class, family_of_kernel, fused
from .torch_phases import DATA, parts_at
from .trace import Labels, Lane, nesting

LAYER = re.compile(r"trackside::layer::(.+)$")
LIGHTNING_LAYER = re.compile(r"\[pl\]\[module\][\w.]+?\.?(\w+): (.+)$")
STACK_LAYER = re.compile(r"nn\.Module: (\w+)_\d+$")
BOOKKEEPING = re.compile(
    rf"{AUTOGRAD}|Torch-Compiled Region|TorchDynamo|AOTDispatcher|Pregraph bytecode|CompiledFunction|CompiledAutograd"
)
OWNING: frozenset[Family] = frozenset({"attention", "normalisation", "recurrent", "loss"})
"""Families whose layers own the products and activations in them, projections of an attention included, as in Keras."""
ACCUMULATE = "torch::autograd::AccumulateGrad"

FUSED_NOTE = (
    "torch.compile fuses operators: a fused kernel does the work of several and counts whole as the dearest of those "
    "in its name."
)
HIDDEN_NOTE = (
    "Fused kernels of torch.compile on a CPU have no row of their own in this trace and count as other: set "
    "TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE=1 before compiling."
)

Label = tuple[Family | None, Direction, str | None, bool]
NOTHING: Label = (None, "none", None, False)


@dataclass(slots=True)
class _Known:
    """What is known across lanes while they are labelled one after the other."""

    layers: dict[str, str]
    by_sequence: dict[int, Label] = field(default_factory=dict)
    by_external: dict[int, Label] = field(default_factory=dict)
    by_correlation: dict[int, Label] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)  # in the order found, each once
    kernels_named: bool = False  # those that torch.compile made have events of their own


class _Given(NamedTuple):
    """What an operator is, and gives to those that it calls.

    `strong`: they are the same whatever their names say.
    """

    family: Family | None = None
    strong: bool = False
    backward: bool = False
    layer: str | None = None
    inferred: bool = False


def labels(lanes: Sequence[Lane], phases: Sequence[Phase], layers: Mapping[str, str]) -> tuple[list[Labels], list[str]]:
    """Labels of each lane, and what a reader must know.

    Args:
        lanes: as from `chrome.read_lanes`: the training thread's first, accelerators' last.
        phases: as from `torch_phases.phases`.
        layers: path of a layer to the name of its class.
    """
    named = any(lane.kind == "device" or any(map(fused, set(lane.names))) for lane in lanes)
    known = _Known(dict(layers), kernels_named=named)
    made = [_of_device(lane, known) if lane.kind == "device" else _of_thread(lane, phases, known) for lane in lanes]
    return made, list(known.notes)


def _of_thread(lane: Lane, phases: Sequence[Phase], known: _Known) -> Labels:
    parents = nesting(lane.start, lane.duration)[0].tolist()
    parts: list[Part] = ["data"] * len(lane) if lane.kind == "background" else parts_at(phases, lane.start)
    layers = _layers(lane, parents, known)
    loss = _after_layers(lane, parts, layers)
    given = [_Given()] * len(lane)
    found: list[Label] = [NOTHING] * len(lane)
    last_layer = None
    for i, (name, above) in enumerate(zip(lane.names, parents, strict=True)):
        detail = lane.details[i] or {}
        around = given[above] if above >= 0 else _Given()
        operator = _is_operator(name, detail.get("category"), known)
        if not operator and not name.startswith(AUTOGRAD):
            given[i] = around
            if "correlation" in detail and above >= 0:
                known.by_correlation[detail["correlation"]] = found[above]
            continue
        backward = around.backward or bool(detail.get("backward")) or name.startswith(AUTOGRAD)
        layer = layers[i] or around.layer
        if name.endswith(ACCUMULATE):
            layer = layer or last_layer  # it follows the gradient that it adds
        origin = known.by_sequence.get(detail.get("sequence", -1)) if detail.get("backward") else None
        if origin is not None:
            layer = layer or origin[2]
            last_layer = layer
        if origin is not None and origin[0] not in (None, "other", "optimizer", "data"):
            mine = _Given(origin[0], True, backward, layer, origin[3])
        elif around.strong:
            mine = _Given(around.family, True, backward, layer, around.inferred)
        else:
            mine = _by_name(name, around, backward, layer, i in loss, known)
        given[i] = mine
        if operator:
            found[i] = _label(name, parts[i], mine)
            if "sequence" in detail and not detail["backward"]:
                known.by_sequence[detail["sequence"]] = found[i]
            if "external" in detail:
                known.by_external[detail["external"]] = found[i]
    return _columns(found)


def _of_device(lane: Lane, known: _Known) -> Labels:
    found: list[Label] = []
    for name, detail in zip(lane.names, lane.details, strict=True):
        one = detail or {}
        launched = known.by_external.get(one.get("external", -1)) or known.by_correlation.get(
            one.get("correlation", -1)
        )
        kernel = fused(name)
        if kernel is not None:
            known.notes[FUSED_NOTE] = None
            direction, layer = (launched[1], launched[2]) if launched else (kernel[1], None)
            found.append((kernel[0], direction, layer, True))
        elif launched is not None and launched[0] not in (None, "other"):
            found.append(launched)
        elif COPY.match(name):
            found.append(("data" if "HtoD" in name else "other", "none", None, launched is None))
        else:
            guess = family_of_kernel(name)
            direction, layer = (launched[1], launched[2]) if launched else ("none", None)
            found.append((guess or "other", direction, layer, guess is not None))
    return _columns(found)


def _layers(lane: Lane, parents: list[int], known: _Known) -> list[str | None]:
    """The innermost layer around each event; classes that the trace itself tells are added to what is known."""
    paths: dict[str, str | None] = {}
    found: list[str | None] = [None] * len(lane)
    for i, (name, above) in enumerate(zip(lane.names, parents, strict=True)):
        if name not in paths:
            paths[name] = None
            if one := LAYER.match(name):
                paths[name] = one[1]
            elif one := LIGHTNING_LAYER.match(name):
                paths[name] = one[2]
                known.layers.setdefault(one[2], one[1])
            elif one := STACK_LAYER.match(name):
                paths[name] = name.removeprefix("nn.Module: ")
                known.layers.setdefault(name.removeprefix("nn.Module: "), one[1])
        own = paths[name]
        found[i] = own if own is not None else found[above] if above >= 0 else None
    return found


def _after_layers(lane: Lane, parts: Sequence[Part], layers: Sequence[str | None]) -> frozenset[int]:
    """Events of the forward phase after the last layer of a batch; none where the trace names no layers."""
    found: set[int] = set()
    waiting: list[int] = []
    seen_layer = False
    for i, (part, layer) in enumerate(zip(parts, layers, strict=True)):
        if part != "forward":
            found.update(waiting)
            waiting, seen_layer = [], False
        elif layer is not None:
            waiting, seen_layer = [], True
        elif seen_layer:
            waiting.append(i)
    return frozenset(found.union(waiting))


def _is_operator(name: str, category: str | None, known: _Known) -> bool:
    if category == "cpu_op":
        return not BOOKKEEPING.match(name)
    if category == "user_annotation":
        if name == COMPILED_NAME and not known.kernels_named:
            known.notes.setdefault(HIDDEN_NOTE)
            return True
        return bool(DATA.search(name)) or family_of(name) == "communication"
    return False


def _by_name(name: str, around: _Given, backward: bool, layer: str | None, after_layers: bool, known: _Known) -> _Given:
    """Rules 3 to 6, and fused kernels: what an operator is by its own name, its caller's, its layer's."""
    kernel = fused(name)
    if kernel is not None:
        known.notes.setdefault(FUSED_NOTE)
        return _Given(kernel[0], False, backward or kernel[1] == "backward", layer, True)
    plain = name.removeprefix(AUTOGRAD)
    own = family_of(plain)
    of_layer = family_of_class(known.layers.get(layer, "")) if layer else None
    if of_layer in OWNING and own in (None, "matmul", "activation"):
        own = of_layer
    if own is None and around.family is None:
        if of_layer is None and after_layers:
            return _Given("loss", True, backward, layer, True)
        own = of_layer
    if own is None:
        return _Given(around.family, around.strong, backward, layer, around.inferred)
    return _Given(own, own in COMPOSITE, backward, layer, False)


def _label(name: str, part: Part, given: _Given) -> Label:
    """The label of an operator that runs in this part of the step."""
    family, layer = given.family, given.layer
    if family == "communication":
        return family, "none", layer, given.inferred
    if part == "data" or DATA.search(name):
        return "data", "none", layer, False
    if family == "optimizer" or (part == "optimizer" and not given.backward):
        return "optimizer", "none", layer, False
    backward = given.backward or part == "backward"
    direction: Direction = "backward" if backward else "forward" if part == "forward" else "none"
    return family or "other", direction, layer, given.inferred or name == COMPILED_NAME


def _columns(found: Sequence[Label]) -> Labels:
    family, direction, layer, inferred = zip(*found, strict=True) if found else ((), (), (), ())
    return Labels(family, direction, layer, inferred)
