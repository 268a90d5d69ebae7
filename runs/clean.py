"""Making what people hand over fit for every store: JSON objects, names, sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any

NAME_LENGTH = 300
"""Longest name kept. PostgreSQL cannot index more than 2,700 bytes, and nobody can read 300 characters."""

_DEPTH = 12
_TEXT_LENGTH = 20_000
_VALUES = 100_000
"""Most values kept of one object: a configuration that holds a data set must not hold up the training."""

# PostgreSQL stores no NUL, and an escape sequence in a name would act on the terminal of whoever lists it.
_CONTROL = {code: "�" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r"}


def text(value: object, length: int = _TEXT_LENGTH) -> str:
    """`value` as text that both databases store and a terminal can show: no control characters, no lone surrogates."""
    clean = _str(value).translate(_CONTROL).encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def name(value: object) -> str:
    """`value` as a name: one line, at most `NAME_LENGTH` characters."""
    return text(" ".join(_str(value).split()), NAME_LENGTH)


def json_object(value: Any) -> dict[str, Any]:
    """`value` as a JSON object: keys are strings, NaN and infinities are words, strange things their `repr`.

    Raises:
        TypeError: if it is no mapping, dataclass or namespace.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = _fields(value)
    elif not isinstance(value, Mapping) and hasattr(value, "__dict__"):
        value = vars(value)
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping such as {{'lr': 1e-3}}, not {type(value).__name__}")
    kept: dict[str, Any] = _Walk().value(value)
    return kept


def json_value(value: Any) -> Any:
    """`value` as JSON. What holds itself is cut where it repeats."""
    return _Walk().value(value)


class _Walk:
    """One pass over nested values: what it is inside of, and how many values it may still keep."""

    def __init__(self) -> None:
        self._inside: list[int] = []
        self._left = _VALUES

    def value(self, value: Any) -> Any:
        """`value` as JSON."""
        self._left -= 1
        identity = id(value)
        if isinstance(value, Enum):
            value = value.value
        elif getattr(value, "shape", None) == () and hasattr(value, "item"):  # a NumPy scalar, a tensor of one number
            value = value.item()
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = _fields(value)
        if isinstance(value, Set):
            value = sorted(value, key=_repr)
        is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
        if not is_list and not isinstance(value, Mapping):
            return _leaf(value)
        if self._left <= 0 or len(self._inside) > _DEPTH or identity in self._inside:
            return text(_repr(value), 500)
        self._inside.append(identity)
        try:
            if is_list:
                return [self.value(item) for item in self._first(value)]
            return {text(key, NAME_LENGTH): self.value(item) for key, item in self._first(value.items())}
        finally:
            self._inside.pop()

    def _first(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if self._left <= 0:
                return
            yield item


def _leaf(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # JSON has no bound, but the databases' JSON functions read numbers as float64 or int64.
        return int(value) if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return json_number(float(value))
    if isinstance(value, str):
        return text(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, PurePath):
        return text(value)
    if isinstance(value, type) or callable(value):
        return text(getattr(value, "__qualname__", None) or _repr(value), 500)
    return text(_repr(value), 500)


def _fields(value: Any) -> dict[str, Any]:
    # Not dataclasses.asdict: it copies deeply, which fails on a lock and never ends on what holds itself.
    return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}


def _str(value: object) -> str:
    try:
        return str(value)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return f"<{type(value).__name__}>"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return f"<{type(value).__name__}>"


def json_number(value: float) -> float | str:
    """The value as JSON can say it: numbers that are not finite by name."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
