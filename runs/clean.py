"""Making what people hand over fit for every store: JSON objects, names, sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any

NAME_LENGTH = 300
"""Longest name kept. PostgreSQL cannot index more than 2,700 bytes, and nobody can read 300 characters."""

_DEPTH = 12
_TEXT_LENGTH = 20_000
_ITEMS = 5_000


def text(value: object, length: int = _TEXT_LENGTH) -> str:
    """`value` as text that both databases store: no NUL, no lone surrogates, not endless."""
    clean = str(value).replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def name(value: object) -> str:
    """`value` as a name: one line, at most `NAME_LENGTH` characters."""
    return text(" ".join(str(value).split()), NAME_LENGTH)


def json_object(value: Any) -> dict[str, Any]:
    """`value` as a JSON object: keys are strings, NaN and infinities are words, strange things their `repr`.

    Raises:
        TypeError: if it is no mapping, dataclass or namespace.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    elif not isinstance(value, Mapping) and hasattr(value, "__dict__"):
        value = vars(value)
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping such as {{'lr': 1e-3}}, not {type(value).__name__}")
    return {text(key, NAME_LENGTH): json_value(item) for key, item in value.items()}


def json_value(value: Any, depth: int = 0) -> Any:
    """`value` as JSON."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return json_value(value.value, depth)
    if isinstance(value, int):
        # JSON has no bound, but the databases' JSON functions read numbers as float64 or int64.
        return int(value) if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, str):
        return text(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, PurePath):
        return text(value)
    if depth >= _DEPTH:
        return text(repr(value), 500)
    if isinstance(value, Mapping):
        items = list(value.items())[:_ITEMS]
        return {text(key, NAME_LENGTH): json_value(item, depth + 1) for key, item in items}
    if isinstance(value, Set):
        value = sorted(value, key=repr)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [json_value(item, depth + 1) for item in value[:_ITEMS]]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a NumPy scalar or a tensor of one number
        return json_value(value.item(), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_value(dataclasses.asdict(value), depth + 1)
    if isinstance(value, type) or callable(value):
        return text(getattr(value, "__qualname__", None) or repr(value), 500)
    return text(repr(value), 500)


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
