"""Many values in several statements: databases bound the number of parameters of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

MOST_PARAMETERS = 500  # under every bound

Value = TypeVar("Value")


def chunks(values: Sequence[Value], size: int = MOST_PARAMETERS) -> Iterator[Sequence[Value]]:
    """The values in their order, at most `size` at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))
