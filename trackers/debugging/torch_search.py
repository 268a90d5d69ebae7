"""Finds the operation whose result was the first to be NaN or infinite, in a step that is computed under its eyes.

Every operation passes by on its way to the kernel, of the forward pass and of the backward pass. A bad result is
followed from operation to operation, so that the answer is where the bad loss or gradient came from, and not an
infinity in an attention mask that did no harm.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ...runs.debugging.records import Source
from ...runs.debugging.source import own_place, source_at, stack_frames
from .torch_frames import Place, describe_tensors, innermost_layer

Line = tuple[str, int, str] | None

# They write what they are told to, or nothing yet.
_TOLD = {
    "full", "full_like", "fill_", "fill", "masked_fill", "masked_fill_", "where", "scalar_tensor", "new_full", "empty",
    "empty_like", "new_empty", "empty_strided", "new_empty_strided", "lift_fresh", "lift_fresh_copy", "constant_pad_nd",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Where bad values came into being.

    Attributes:
        operator: the operation as PyTorch spells it: `aten.div.Tensor`, in the backward pass `SqrtBackward0`.
        place: the layer; None outside of all.
        source: the user's line.
        backward: whether it was in the backward pass.
        told: whether the values were written on purpose, as into a mask.
        counts: of the result.
        inputs, outputs: shapes and types of the operation's.
    """

    operator: str
    place: Place | None
    source: Source | None
    backward: bool
    told: bool
    counts: dict[str, int]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]


class FirstBad(TorchDispatchMode):  # type: ignore[misc]
    """Watches the operations of whoever runs inside of it.

    Args:
        model: whose layers have paths.

    Attributes:
        origins: each place where bad values came into being out of good ones, in order.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self.origins: list[Origin] = []
        self._of: dict[int, Origin] = {}
        self._kept: list[Tensor] = []  # as long as they live nothing else is stored where they are
        self._forward: dict[int, tuple[Place | None, Line]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._look(func, (args, dict(kwargs or {})), result)
        return result

    def origin(self, tensor: Tensor) -> Origin | None:
        """Return where a tensor's bad values came from; None where it has none, or had them from the outset."""
        return self._of.get(_key(tensor)) if is_bad(tensor) else None

    def _look(self, func: Any, given: Any, result: Any) -> None:
        node = torch._C._current_autograd_node()
        if node is None:
            # The operation's own node of the graph has just been numbered.
            self._forward.setdefault(torch.autograd._get_sequence_nr() - 1, self._whereabouts())
        bad = [tensor for tensor in _tensors(result) if is_bad(tensor)]
        if not bad:
            return
        name = func._schema.name.partition("::")[2]
        sources = [self._of.get(_key(tensor)) for tensor in _tensors(given) if is_bad(tensor)]
        known = next((origin for origin in sources if origin is not None and not origin.told), None)
        nan = any(bool(tensor.isnan().any()) for tensor in bad)
        if known is None and not (nan and name not in _TOLD):
            known = next((origin for origin in sources if origin is not None), None)  # a mask passes through
        if known is None:
            if None in sources and name not in _TOLD:
                return  # bad from the outset: weights or data, which were looked at before
            known = self._describe(func, name, node, given, bad)
            self.origins.append(known)
        for tensor in bad:
            self._of[_key(tensor)] = known
            self._kept.append(tensor)

    def _describe(self, func: Any, name: str, node: Any, given: Any, bad: list[Tensor]) -> Origin:
        place, line = self._whereabouts() if node is None else self._forward.get(node._sequence_nr(), (None, None))
        return Origin(
            operator=str(func) if node is None else node.name(),
            place=place,
            source=None if line is None else source_at(*line),
            backward=node is not None,
            told=name in _TOLD,
            counts=count_bad(bad[0]),
            inputs=describe_tensors(list(_tensors(given))),
            outputs=describe_tensors(bad),
        )

    def _whereabouts(self) -> tuple[Place | None, Line]:
        frames = stack_frames(sys._getframe(3))
        return innermost_layer(frames, self._model), own_place(frames)


def is_bad(tensor: Tensor) -> bool:
    """Whether a tensor holds NaN or infinities. Waits for the device."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.is_meta or not tensor.numel():
        return False
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    return not bool(torch.isfinite(values).all())


def count_bad(tensor: Tensor) -> dict[str, int]:
    """Return how many elements are bad, and how: the `counts` of a record."""
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    if values.is_complex():
        values = torch.view_as_real(values)
    return {
        "nan": int(values.isnan().sum()),
        "positive_infinity": int(values.isposinf().sum()),
        "negative_infinity": int(values.isneginf().sum()),
        "size": tensor.numel(),
    }


def _tensors(values: Any, depth: int = 0) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif depth < 5 and isinstance(values, list | tuple | dict):
        for item in values.values() if isinstance(values, dict) else values:
            yield from _tensors(item, depth + 1)


def _key(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (NotImplementedError, RuntimeError):  # sparse, or a wrapper without memory of its own
        return id(tensor)
