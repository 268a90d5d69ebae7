"""Which layer a stack of Python frames is in. It is there for the asking: each layer's `forward` has it as `self`."""

from __future__ import annotations

import dis
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType, FrameType
from typing import Any

from torch import Tensor, nn

from ..torch_batches import batch_tensors

MOST_TENSORS = 8
# Their frames have the model as `self` while they run anybody's code, a callback's for one.
_HARNESS = ("/lightning/", "/pytorch_lightning/", "/lightning_fabric/")


@dataclass(frozen=True, slots=True)
class Place:
    """A layer that code is inside of.

    Attributes:
        layer: its path in the model; "" for the model itself; None for one that the model does not know.
        layer_class: name of its class.
        inputs: shape and type of the tensors its `forward` was given, as far as they can still be told.
        depth: index of its frame among those given.
        function: name of the method that was running.
    """

    layer: str | None
    layer_class: str
    inputs: tuple[dict[str, Any], ...]
    depth: int
    function: str


def innermost_layer(frames: Sequence[tuple[FrameType, int]], model: nn.Module | None) -> Place | None:
    """Return the innermost layer that some frames are in; None where they are in none.

    Args:
        frames: frame and line, the outermost first.
        model: whose layers have paths.
    """
    for depth in range(len(frames) - 1, -1, -1):
        frame, _ = frames[depth]
        layer = frame.f_locals.get("self")
        if isinstance(layer, nn.Module) and not any(part in frame.f_code.co_filename for part in _HARNESS):
            path = None if model is None else layer_path(layer, model)
            return Place(path, type(layer).__name__, _arguments(frame), depth, frame.f_code.co_name)
    return None


def layer_path(layer: nn.Module, model: nn.Module) -> str | None:
    """Return where a layer is in a model, as `named_modules` spells it; None where it is not."""
    # A compiled model's layers are those of the module it wraps, under a prefix that nobody wrote.
    found = next((name for name, module in model.named_modules() if module is layer), None)
    return None if found is None else found.replace("_orig_mod.", "").removesuffix("_orig_mod").rstrip(".")


def describe_tensors(values: Any) -> tuple[dict[str, Any], ...]:
    """Return shape and type of each tensor in values of any form, at most 8."""
    return tuple(
        {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for tensor, _ in zip(batch_tensors(values), range(MOST_TENSORS), strict=False)
    )


def _arguments(frame: FrameType) -> tuple[dict[str, Any], ...]:
    """What a function was called with; an argument whose name it has since given to something else is left out."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    names = [name for name in code.co_varnames[1:count] if name not in _stored(code)]
    return describe_tensors([_tensors(frame.f_locals.get(name)) for name in names])


def _tensors(value: Any) -> Any:
    return value if isinstance(value, Tensor | list | tuple | dict) else None


@cache
def _stored(code: CodeType) -> frozenset[str]:
    return frozenset(one.argval for one in dis.get_instructions(code) if one.opname == "STORE_FAST")
