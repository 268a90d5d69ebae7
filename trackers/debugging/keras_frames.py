"""Which layer of a Keras model Python is in, or a message speaks of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras

MOST_TENSORS = 8

# Keras' training loop has the model as `self` while it runs anybody's code.
_HARNESS = ("/trainers/", "/backend/tensorflow/trainer.py")
_COPY = re.compile(r"_\d+$")


@dataclass(frozen=True, slots=True)
class Place:
    """A layer that code is inside of.

    Attributes:
        layer: its path in the model; "" for the model itself; None for one that the model does not know.
        layer_class: name of its class.
        inputs: shape and type of the tensors it was called with.
        depth: index of its frame among those given.
    """

    layer: str | None
    layer_class: str
    inputs: tuple[dict[str, Any], ...] = ()
    depth: int = 0


def layer_path(layer: Any, model: Any) -> str | None:
    """Return where a layer is in a model, as the run's description of the model spells it; None where it is not."""
    if layer is model:
        return ""
    if not any(layer is known for known in model._flatten_layers()):
        return None
    return named(layer, model)


def named(layer: Any, model: Any) -> str:
    """Return the path of a layer that is known to be the model's; of the model itself, the empty string."""
    if layer is model:
        return ""
    return str(getattr(layer, "path", None) or layer.name).removeprefix(f"{model.path or model.name}/")


def innermost_layer(frames: Sequence[tuple[FrameType, int]], model: Any) -> Place | None:
    """Return the innermost layer that some frames are in; None where they are in none.

    Args:
        frames: frame and line, the outermost first.
        model: whose layers have paths; None where there is none.
    """
    for depth in range(len(frames) - 1, -1, -1):
        frame, _ = frames[depth]
        layer = frame.f_locals.get("self")
        if not isinstance(layer, keras.layers.Layer) or any(part in frame.f_code.co_filename for part in _HARNESS):
            continue
        path = None if model is None else layer_path(layer, model)
        return Place(path, type(layer).__name__, _arguments(frame), depth)
    return None


def layer_of_node(node: str, model: Any) -> Place | None:
    """Return the layer that a graph's node belongs to: `seq_1/dense_1/MatMul` is of `dense`; None where it is of none.

    TensorFlow numbers a scope that it enters once more, so that a name may carry a number that no layer has.
    """
    parts = node.split("/")
    best: tuple[int, int, Any] | None = None
    for layer in model._flatten_layers(include_self=False):
        wanted = named(layer, model).split("/")
        for begin in range(len(parts) - len(wanted) + 1):
            differing = _differences(parts[begin : begin + len(wanted)], wanted)
            if differing is not None and (best is None or (len(wanted), -differing) > best[:2]):
                best = len(wanted), -differing, layer
    return None if best is None else Place(named(best[2], model), type(best[2]).__name__)


def _differences(found: Sequence[str], wanted: Sequence[str]) -> int | None:
    """How many of these names carry another number than wanted; None where they are other names."""
    if any(a != b and _COPY.sub("", a) != b for a, b in zip(found, wanted, strict=True)):
        return None
    return sum(a != b for a, b in zip(found, wanted, strict=True))


def describe_tensors(values: Any) -> tuple[dict[str, Any], ...]:
    """Return shape and type of each tensor in values of any form, at most 8."""
    tensors = [item for item in keras.tree.flatten(values) if hasattr(item, "shape") and hasattr(item, "dtype")]
    return tuple(
        {"shape": [None if size is None else int(size) for size in tensor.shape], "dtype": _type_name(tensor.dtype)}
        for tensor in tensors[:MOST_TENSORS]
        if getattr(tensor.shape, "rank", 0) is not None  # of unknown rank
    )


def _type_name(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))


def _arguments(frame: FrameType) -> tuple[dict[str, Any], ...]:
    """What a function was called with, as far as its arguments still have their names."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    given = [frame.f_locals.get(name) for name in code.co_varnames[1:count]]
    return describe_tensors([value for value in given if not isinstance(value, str)])
