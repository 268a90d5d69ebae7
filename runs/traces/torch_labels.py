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
from typing import Any, NamedTuple

import numpy as np

from .coded import Coded, coded
from .records import PARTS, Direction, Family, Part
from .summary import Phase
from .torch_events import AUTOGRAD, COMPILED_NAME
from .torch_kernels import of_device
from .torch_known import FUSED_NOTE, Known, Label, Table
from .torch_layers import after_layers, layers_around
from .torch_names import COMPOSITE, family_of, family_of_class, fused
from .torch_phases import DATA, parts_at
from .trace import Labels, Lane, nesting

BOOKKEEPING = re.compile(
    rf"{AUTOGRAD}|Torch-Compiled Region|TorchDynamo|AOTDispatcher|Pregraph bytecode|CompiledFunction|CompiledAutograd"
)
OWNING: frozenset[Family] = frozenset({"attention", "normalisation", "recurrent", "loss"})
"""Families whose layers own the products and activations in them, projections of an attention included, as in Keras."""
ACCUMULATE = "torch::autograd::AccumulateGrad"

HIDDEN_NOTE = (
    "Fused kernels of torch.compile on a CPU have no row of their own in this trace and count as other: set "
    "TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE=1 before compiling."
)


class _Given(NamedTuple):
    """What an operator is, and gives to those that it calls.

    `strong`: they are the same whatever their names say.
    """

    family: Family | None = None
    strong: bool = False
    backward: bool = False
    layer: str | None = None
    inferred: bool = False


class _Kind(NamedTuple):
    """What events of one name and category are."""

    name: str
    operator: bool
    autograd: bool

    @property
    def silent(self) -> bool:
        """It is nothing, and hands down what it is given."""
        return not self.operator and not self.autograd


def labels(lanes: Sequence[Lane], phases: Sequence[Phase], layers: Mapping[str, str]) -> tuple[list[Labels], list[str]]:
    """Labels of each lane, and what a reader must know.

    Args:
        lanes: as from `chrome.read_lanes`: the training thread's first, accelerators' last.
        phases: as from `torch_phases.phases`.
        layers: path of a layer to the name of its class.
    """
    devices = any(lane.kind == "device" for lane in lanes)
    named = devices or any(coded(lane.names).where(fused).any() for lane in lanes)
    known = Known(layers, devices=devices, kernels_named=named)
    made = [of_device(lane, known) if lane.kind == "device" else _of_thread(lane, phases, known) for lane in lanes]
    return [known.columns(codes) for codes in made], list(known.notes)


def _of_thread(lane: Lane, phases: Sequence[Phase], known: Known) -> list[int]:
    """The number of each event's label.

    An event's label follows from few things that recur: they are looked up together, and thought about once.
    """
    parents = nesting(lane.start, lane.duration)[0].tolist()
    if lane.kind == "background":
        parts = Coded(PARTS, np.full(len(lane), PARTS.index("data"), np.int32))
    else:
        parts = parts_at(phases, lane.start)
    layers = layers_around(lane, parents, known.layers)
    late = after_layers(parts, layers)
    kinds, table = _kinds(lane, known)
    silent = {code for code, kind in table.items() if kind.silent}
    accumulating = {code for code, kind in table.items() if kind.name.endswith(ACCUMULATE)}
    sequences, backwards = _sequences(lane)
    thought: dict[tuple[Any, ...], tuple[int, int]] = {}
    states = Table(_Given())
    # What each event gives, as its number; the last, at -1, is of what lies in nothing.
    given = [0] * (len(lane) + 1)
    found = [0] * len(lane)
    last_layer: str | None = None
    rows = zip(kinds, parents, layers, parts.codes.tolist(), late, sequences, backwards, strict=True)
    for i, (kind, above, layer, part, after, sequence, backward) in enumerate(rows):
        around = given[above]
        if kind in silent:
            given[i] = around
            continue
        origin = known.by_sequence.get(sequence) if backward else None
        if kind in accumulating:
            layer = layer or states.values[around].layer or last_layer  # it follows the gradient that it adds
        if origin is not None:
            last_layer = layer or states.values[around].layer or known.labels.values[origin][2]
        key = kind, around, layer, part, after, backward, origin
        result = thought.get(key)
        if result is None:
            one = table[kind]
            mine = _given(one, states.values[around], layer, after, backward, origin, known)
            label = known.labels.code(_label(one.name, PARTS[part], mine)) if one.operator else 0
            result = thought[key] = states.code(mine), label
        given[i], found[i] = result
        if sequence >= 0 and not backward and table[kind].operator:
            known.by_sequence[sequence] = found[i]
    if known.devices:
        _launches(lane, kinds, table, parents, found, known)
    return found


def _given(
    kind: _Kind,
    around: _Given,
    layer: str | None,
    after_layers: bool,
    backward: bool,
    origin: int | None,
    known: Known,
) -> _Given:
    """What an event of this kind is, and gives to those in it.

    Args:
        kind: of the event.
        around: what is given by the event that it lies in.
        layer: it runs in.
        after_layers: it runs after the last layer.
        backward: it is the gradient's of another.
        origin: number of the label of that other.
        known: across lanes.
    """
    backward = around.backward or backward or kind.autograd
    layer = layer or around.layer
    if origin is not None:
        family, _, of_origin, inferred = known.labels.values[origin]
        layer = layer or of_origin
        if family not in (None, "other", "optimizer", "data"):
            return _Given(family, True, backward, layer, inferred)
    if around.strong:
        return _Given(around.family, True, backward, layer, around.inferred)
    return _by_name(kind.name, around, backward, layer, after_layers, known)


def _kinds(lane: Lane, known: Known) -> tuple[list[int], dict[int, _Kind]]:
    """What kind each event of a lane is of, as a number, and the kinds."""
    names, details = coded(lane.names), coded(lane.details, id)
    categories = coded([None if one is None else one.get("category") for one in details.values])
    number = len(categories.values)
    codes = names.codes.astype(np.int64) * number + categories.codes[details.codes]
    table = {}
    for code in np.flatnonzero(np.bincount(codes)).tolist():
        name, category = names.values[code // number], categories.values[code % number]
        table[code] = _Kind(name, _is_operator(name, category, known), name.startswith(AUTOGRAD))
    return codes.tolist(), table


def _sequences(lane: Lane) -> tuple[list[int], list[bool]]:
    """The number that ties each operator to its gradient's, negative for none, and whether it is the gradient's."""
    if lane.links is None:
        return [-1] * len(lane), [False] * len(lane)
    return lane.links.sequence.tolist(), lane.links.backward.tolist()


def _launches(
    lane: Lane,
    kinds: Sequence[int],
    table: Mapping[int, _Kind],
    parents: Sequence[int],
    found: Sequence[int],
    known: Known,
) -> None:
    """Keep the labels of what launched kernels: operators, and the calls of the runtime in them."""
    if lane.links is None:
        return
    rows = zip(kinds, parents, found, lane.links.external, lane.links.correlation, strict=True)
    for kind, above, label, external, correlation in rows:
        if external is not None and table[kind].operator:
            known.by_external[external] = label
        if correlation is not None and above >= 0 and table[kind].silent:
            known.by_correlation[correlation] = found[above]


def _is_operator(name: str, category: str | None, known: Known) -> bool:
    if category == "cpu_op":
        return not BOOKKEEPING.match(name)
    if category == "user_annotation":
        if name == COMPILED_NAME and not known.kernels_named:
            known.notes.setdefault(HIDDEN_NOTE)
            return True
        return bool(DATA.search(name)) or family_of(name) == "communication"
    return False


def _by_name(name: str, around: _Given, backward: bool, layer: str | None, after_layers: bool, known: Known) -> _Given:
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
