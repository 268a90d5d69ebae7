"""What `log` accepts as a number, and reading the numbers that lie on an accelerator."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import clean

_LARGEST_STEP = 2**63 - 1
_NO_NUMBERS = frozenset("mM")  # NumPy's moments and durations, which float() takes for nanoseconds


def step_number(step: Any) -> int | None:
    """`step` as an int64; None if it is no whole number, or beyond that range."""
    try:
        number = operator.index(step)
    except (TypeError, RuntimeError):
        try:
            value = float(step)
        except (ArithmeticError, RuntimeError, TypeError, ValueError):
            return None
        if not value.is_integer():
            return None
        number = int(value)
    return number if -_LARGEST_STEP <= number <= _LARGEST_STEP else None


def or_nan(value: Any) -> float:
    """`value` as float64; NaN for None and for what is no number."""
    try:
        return math.nan if value is None else float(value)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        return math.nan


def sort_out(metrics: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any], list[str]]:
    """Split what was logged.

    Returns:
        Numbers that can be recorded now; tensors on an accelerator, to be read later; and a sentence for each
        value that is no number.
    """
    plain: dict[str, float] = {}
    later: dict[str, Any] = {}
    refused: list[str] = []
    for key, value in metrics.items():
        name = key if isinstance(key, str) and key.strip() else clean.name(key) or "unnamed"
        try:
            size = _size(value)
            if size is not None and size != 1:
                refused.append(f"{name!r} was not logged: it has {size} values; log one number, for example its mean()")
            elif _on_accelerator(value):
                later[name] = value.detach().clone().reshape(())
            else:
                plain[name] = _float(value)
        except (ArithmeticError, AttributeError, RuntimeError, TypeError, ValueError):
            # Without the value: a sentence is counted, and one that changes with every step is another sentence.
            refused.append(f"{name!r} was not logged: its {type(value).__name__} is no number; log a float")
    return plain, later, refused


def read_all(waiting: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Values of tensors on accelerators: one transfer a device and type instead of one a number."""
    tensors = [tensor for metrics in waiting for tensor in metrics.values()]
    values: list[float] = [math.nan] * len(tensors)
    alike: dict[tuple[str, str], list[int]] = {}
    for index, tensor in enumerate(tensors):
        alike.setdefault((str(tensor.device), str(tensor.dtype)), []).append(index)
    for indices in alike.values():
        torch = sys.modules["torch"]  # it made these tensors; `runs` itself imports no framework
        # To float64 only once they are here: not every accelerator has it.
        stacked = torch.stack([tensors[index] for index in indices]).cpu().double()
        for index, value in zip(indices, stacked.tolist(), strict=True):
            values[index] = value
    taken = iter(values)
    return [[next(taken) for _ in metrics] for metrics in waiting]


def _size(value: Any) -> int | None:
    """How many numbers an array or tensor holds; None for anything else."""
    if hasattr(value, "numel"):
        return int(value.numel())
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return math.prod(int(length) for length in value.shape)
    return None


def _on_accelerator(value: Any) -> bool:
    return hasattr(value, "is_cpu") and hasattr(value, "detach") and not value.is_cpu


def _float(value: Any) -> float:
    if getattr(getattr(value, "dtype", None), "kind", "") in _NO_NUMBERS:
        raise TypeError
    if isinstance(value, np.ma.MaskedArray) and value.mask.all():
        return math.nan
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (str, bytes, bytearray)):
        # float("1e3") would succeed, and somebody's label "nan" would become a point.
        raise TypeError
    return float(value)
