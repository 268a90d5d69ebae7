"""Sequences in which few values occur often: a table of the values, and a number for each place.

A million events have a few hundred names. What must be asked of a name is asked once for each that there is, and numpy
does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ...db.records import Int64Array

T = TypeVar("T")
Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Coded(Sequence[T], Generic[T]):
    """A sequence of n values.

    Attributes:
        values: each value once; some may not occur.
        codes: (n,) int32, the place in `values` of each.
    """

    values: Sequence[T]
    codes: Codes

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[T]:
        return map(self.values.__getitem__, self.codes.tolist())

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Coded[T]: ...
    def __getitem__(self, place: int | slice) -> T | Coded[T]:
        return Coded(self.values, self.codes[place]) if isinstance(place, slice) else self.values[self.codes[place]]

    def take(self, places: Int64Array) -> Coded[T]:
        """The values at these places, in their order."""
        return Coded(self.values, self.codes[places])

    def where(self, holds: Callable[[T], object]) -> NDArray[np.bool_]:
        """(n,) whether something holds for each value; asked once for each that occurs."""
        answers = np.zeros(len(self.values), bool)
        for code in self.occurring():
            answers[code] = bool(holds(self.values[code]))
        return answers[self.codes]

    def places(self, holds: Callable[[T], object]) -> list[int]:
        """The places at which something holds, ascending."""
        found: list[int] = np.flatnonzero(self.where(holds)).tolist()
        return found

    def occurring(self) -> list[int]:
        """Codes that occur, ascending."""
        found: list[int] = np.flatnonzero(np.bincount(self.codes, minlength=len(self.values))).tolist()
        return found


def coded(sequence: Sequence[T], key: Callable[[T], Any] | None = None) -> Coded[T]:
    """A sequence with its table; one that has it already is returned as it is.

    Args:
        sequence: any.
        key: what tells values apart, by default themselves: `id` for those that cannot be hashed.
    """
    if isinstance(sequence, Coded):
        return sequence
    objects: dict[Any, T] = dict(zip(sequence if key is None else map(key, sequence), sequence, strict=True))
    table = {one: code for code, one in enumerate(objects)}
    keys: Iterable[Any] = sequence if key is None else map(key, sequence)
    return Coded(list(objects.values()), np.fromiter(map(table.__getitem__, keys), np.int32, len(sequence)))


def taken(sequence: Sequence[T], places: Int64Array) -> Sequence[T]:
    """The values at these places, in their order; with a table where the sequence has one."""
    return sequence.take(places) if isinstance(sequence, Coded) else [sequence[place] for place in places.tolist()]
