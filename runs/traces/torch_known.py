"""What the labelling of a PyTorch trace knows across threads and streams while it goes through them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from .coded import Coded
from .records import Direction, Family
from .trace import Labels

FUSED_NOTE = (
    "torch.compile fuses operators: a fused kernel does the work of several and counts whole as the dearest of those "
    "in its name."
)

Label = tuple[Family | None, Direction, str | None, bool]
NOTHING: Label = (None, "none", None, False)

T = TypeVar("T", bound=Hashable)


class Table(Generic[T]):
    """Values, each once and with a number: what is worked on are the numbers.

    Args:
        first: the value with the number 0.
    """

    def __init__(self, first: T) -> None:
        self.values: list[T] = [first]
        self._codes: dict[T, int] = {first: 0}

    def code(self, value: T) -> int:
        """The number of a value, a new one where it is new."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self.values)
            self.values.append(value)
        return code


class Known:
    """What is known across lanes while they are labelled one after the other. Labels go by their numbers.

    Args:
        layers: path of a layer to the name of its class.
        devices: the trace has lanes of accelerators.
        kernels_named: kernels that torch.compile made have events of their own.
    """

    def __init__(self, layers: Mapping[str, str], *, devices: bool, kernels_named: bool) -> None:
        self.layers = dict(layers)
        self.devices, self.kernels_named = devices, kernels_named
        self.labels: Table[Label] = Table(NOTHING)
        self.by_sequence: dict[int, int] = {}
        self.by_external: dict[int | None, int] = {}
        self.by_correlation: dict[int | None, int] = {}
        self.notes: dict[str, None] = {}  # in the order found, each once

    def columns(self, codes: Sequence[int]) -> Labels:
        """The labels with these numbers."""
        places = np.array(codes, np.int32)
        family, direction, layer, inferred = zip(*self.labels.values, strict=True)
        return Labels(Coded(family, places), Coded(direction, places), Coded(layer, places), Coded(inferred, places))
