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
from typing import Any

GRADIENT = "gradient_tape"
UPDATES = ("AssignSubVariableOp", "AssignAddVariableOp", "AssignVariableOp", "ResourceApply")
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


@dataclass(slots=True)
class _Computation:
    """One computation of a program with its data flow."""

    by_id: dict[int, Any] = field(default_factory=dict)
    users: dict[int, list[int]] = field(default_factory=dict)


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
    found: dict[str, Origin] = {}
    called_for: dict[int, str] = {}
    for computation in reversed(module.computations):  # those that call come after those that are called
        flow = _flow(computation)
        named = {id: _named(instruction, bodies) for id, instruction in flow.by_id.items()}
        for id, instruction in flow.by_id.items():
            path, parts = named[id]
            inferred = False
            if not path and instruction.opcode not in ("parameter", "constant", "tuple"):
                path, inferred = _from_flow(flow, named, id) or called_for.get(computation.id, ""), True
            for called in instruction.called_computation_ids:
                called_for.setdefault(called, path)
            found[instruction.name] = Origin(
                path, instruction.opcode, _shapes(flow, instruction), inferred and bool(path), parts
            )
    return module.name, found


def _flow(computation: Any) -> _Computation:
    flow = _Computation()
    for instruction in computation.instructions:
        flow.by_id[instruction.id] = instruction
        for operand in instruction.operand_ids:
            flow.users.setdefault(operand, []).append(instruction.id)
    return flow


def _named(instruction: Any, bodies: Mapping[int, Any]) -> tuple[str, tuple[str, ...]]:
    """The operator's path on an instruction, else the most frequent one in a fusion; and all that are in the fusion."""
    own = instruction.metadata.op_name
    if instruction.opcode != "fusion":
        return own, ()
    inside: Counter[str] = Counter(
        part.metadata.op_name
        for called in instruction.called_computation_ids
        if called in bodies
        for part in bodies[called].instructions
        if part.opcode not in CARRIERS and part.metadata.op_name
    )
    if SUM_OF_GRADIENTS.match(own) and inside:
        layered = next((path for path, _ in inside.most_common() if "/" in path), None)
        own = layered or own
    return own or next((path for path, _ in inside.most_common(1)), ""), tuple(inside)


def _shapes(flow: _Computation, instruction: Any) -> str:
    operands = (flow.by_id[id] for id in instruction.operand_ids if id in flow.by_id)
    return " × ".join(str(list(one.shape.dimensions)) for one in operands if one.shape.dimensions)


def _from_flow(flow: _Computation, named: Mapping[int, tuple[str, tuple[str, ...]]], id: int) -> str:
    """The path of the nearest named user of a result; the layer whose variable is updated with it, if that is it."""
    for user in _users(flow, id):
        path = named[user][0]
        if not path:
            continue
        if path.rpartition("/")[2].startswith(UPDATES):
            layer = _updated_layer(flow, named, user)
            return f"{GRADIENT}/{layer}" if layer else ""
        return path
    return ""


def _users(flow: _Computation, id: int) -> Iterator[int]:
    """What a result goes into, nearest first, as far as `HOPS`."""
    seen, front = {id}, [id]
    for _ in range(HOPS):
        front = [user for one in front for user in flow.users.get(one, ()) if user not in seen]
        seen.update(front)
        yield from front


def _updated_layer(flow: _Computation, named: Mapping[int, tuple[str, tuple[str, ...]]], update: int) -> str:
    """The path of a forward operator that uses the variable which an update changes, or an empty string.

    The update of a moment goes into the update of the variable, which has the variable among its operands.
    """
    for one in (update, *_users(flow, update)):
        if not named[one][0].rpartition("/")[2].startswith(UPDATES):
            continue
        for operand in flow.by_id[one].operand_ids:
            source = flow.by_id.get(operand)
            if source is None or source.opcode not in ("parameter", "copy", "bitcast", "get-tuple-element"):
                continue
            for user in _users(flow, operand):
                path = named[user][0]
                backward, update = path.startswith(GRADIENT), path.rpartition("/")[2].startswith(UPDATES)
                if "/" in path and not backward and not update and _scope(path) != _scope(named[one][0]):
                    return path
    return ""


def _scope(path: str) -> str:
    return path.partition("/")[0]
