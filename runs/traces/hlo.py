"""Which operator each instruction of an XLA program came from, so that `multiply_add_fusion.28` gets a layer.

XLA keeps the name of the TensorFlow operator on most instructions (`metadata.op_name`), loses it on others (windows of
a max-pooling's gradient, convolutions for a filter's gradient, copies), and puts instructions of several operators into
one fusion. What has no name of its own is read off the data flow: it belongs to what its result is for, and where that
is an optimizer's update, it computes the gradient of the layer that uses the variable; in a computation that another
one calls, to what the call is for. Such a name is inferred.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

GRADIENT = "gradient_tape"
SUM_OF_GRADIENTS = re.compile(r"AddN(_\d+)?$")
"""Says nothing of its layer, while what is summed does."""
CARRIERS = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy", "broadcast", "iota"})
"""Opcodes that compute nothing: no sign of what a fusion is for."""
HOPS = 4
"""How far a name is looked for along the data flow: measured on a network with convolutions, the longest way was 3."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instruction came from.

    Attributes:
        path: of the TensorFlow operator, `gradient_tape/model/conv1/convolution/Conv2DBackpropInput`; empty if unknown.
        opcode: XLA's: `convolution`, `fusion`, `dot`.
        shapes: of its operands, `[32, 30, 30, 16] × [16]`.
        inferred: the path is a guess from the data flow.
        fused: paths of the operators in a fusion, `path` among them.
    """

    path: str
    opcode: str
    shapes: str = ""
    inferred: bool = False
    fused: tuple[str, ...] = ()


class _Name(NamedTuple):
    """What an instruction says of itself: an operator's path, those fused in it, and the gradients among them."""

    path: str
    fused: tuple[str, ...] = ()
    gradients: tuple[str, ...] = ()


@dataclass(slots=True)
class _Computation:
    """One computation of a program: its instructions, their names, and its data flow."""

    by_id: dict[int, Any] = field(default_factory=dict)
    names: dict[int, _Name] = field(default_factory=dict)
    users: dict[int, list[int]] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()  # scopes that have gradients: the model's, not the optimizer's


def origins(program: bytes) -> tuple[str, Mapping[str, Origin]]:
    """The name of an XLA program, and the origin of each of its instructions by the instruction's name.

    Args:
        program: a serialised `HloProto`, as XPlane keeps it in the plane `/host:metadata`.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no such message.
    """
    from .hlo_pb2 import HloProto

    module = HloProto.FromString(program).hlo_module
    bodies = {computation.id: computation for computation in module.computations}
    paths = (one.metadata.op_name.split("/") for body in module.computations for one in body.instructions)
    trained = frozenset(path[1] for path in paths if path[0] == GRADIENT and len(path) > 1)
    found: dict[str, Origin] = {}
    called_for: dict[int, str] = {}
    for computation in reversed(module.computations):  # those that call come after those that are called
        flow = _flow(computation, bodies, trained)
        for id, instruction in flow.by_id.items():
            path, inferred = flow.names[id].path, False
            if not path and instruction.opcode not in ("parameter", "constant", "tuple"):
                path, inferred = _from_flow(flow, id) or called_for.get(computation.id, ""), True
            for called in instruction.called_computation_ids:
                called_for.setdefault(called, path)
            found[instruction.name] = Origin(
                path, instruction.opcode, _shapes(flow, instruction), inferred and bool(path), flow.names[id].fused
            )
    return module.name, found


def _flow(computation: Any, bodies: Mapping[int, Any], trained: frozenset[str]) -> _Computation:
    flow = _Computation(trained=trained)
    for instruction in computation.instructions:
        flow.by_id[instruction.id] = instruction
        flow.names[instruction.id] = _name(instruction, bodies)
        for operand in instruction.operand_ids:
            flow.users.setdefault(operand, []).append(instruction.id)
    return flow


def _name(instruction: Any, bodies: Mapping[int, Any]) -> _Name:
    """An instruction's own path, else the most frequent one in a fusion."""
    own = instruction.metadata.op_name
    if instruction.opcode != "fusion":
        return _Name(own)
    parts = [
        (part.metadata.op_name, part.opcode)
        for called in instruction.called_computation_ids
        if called in bodies
        for part in bodies[called].instructions
        if part.metadata.op_name and part.opcode not in ("parameter", "constant")
    ]
    inside = Counter(path for path, opcode in parts if opcode not in CARRIERS)
    gradients = tuple(dict.fromkeys(path for path, _ in parts if path.startswith(f"{GRADIENT}/")))
    if SUM_OF_GRADIENTS.match(own) and inside:
        layered = next((path for path, _ in inside.most_common() if "/" in path), None)
        own = layered or own
    return _Name(own or next((path for path, _ in inside.most_common(1)), ""), tuple(inside), gradients)


def _shapes(flow: _Computation, instruction: Any) -> str:
    operands = (flow.by_id[id] for id in instruction.operand_ids if id in flow.by_id)
    return " × ".join(str(list(one.shape.dimensions)) for one in operands if one.shape.dimensions)


def _from_flow(flow: _Computation, id: int) -> str:
    """The path of the nearest named user of a result.

    Where that is an optimizer's, the result is a gradient: the path is that of a gradient fused into the update, else
    of the layer whose variable is updated.
    """
    for user in _users(flow, id):
        path, _, gradients = flow.names[user]
        if path and _is_update(flow, path):
            layer = _updated_layer(flow, user)
            return next(iter(gradients), f"{GRADIENT}/{layer}" if layer else path)
        if path:
            return path
    return ""


def _users(flow: _Computation, id: int) -> Iterator[int]:
    """What a result goes into, nearest first, as far as `HOPS`."""
    seen, front = {id}, [id]
    for _ in range(HOPS):
        front = [user for one in front for user in flow.users.get(one, ()) if user not in seen]
        seen.update(front)
        yield from front


def _is_update(flow: _Computation, path: str) -> bool:
    """Whether an operator runs in a scope that has no gradients, as an optimizer's has none."""
    scope, _, rest = path.partition("/")
    return bool(rest) and scope != GRADIENT and scope not in flow.trained


def _updated_layer(flow: _Computation, update: int) -> str:
    """The path of a forward operator that uses the variable which an update changes, or an empty string.

    The update of a moment goes into the update of the variable, which has the variable among its operands.
    """
    for one in (update, *_users(flow, update)):
        if not _is_update(flow, flow.names[one].path):
            continue
        for operand in flow.by_id[one].operand_ids:
            source = flow.by_id.get(operand)
            if source is None or source.opcode not in ("parameter", "copy", "bitcast", "get-tuple-element"):
                continue
            for user in _users(flow, operand):
                path = flow.names[user].path
                if "/" in path and not path.startswith(GRADIENT) and not _is_update(flow, path):
                    return path
    return ""
