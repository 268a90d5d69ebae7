"""The point codec: equally long columns of int64 or float64 to bytes and back, exactly.

Steps are nearly always an arithmetic progression and times nearly one, so integers are stored as differences; a
progression costs 16 bytes whatever its length. Floats keep all 64 bits (NaN payloads included): the bytes of a
column are regrouped by significance ("shuffled", as HDF5 and Blosc do), which lets zlib remove the 29 zero bits of
every value that came from a float32. A column that zlib cannot shrink is stored as it is: reading it costs a copy.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import StoreError
from .records import Float64Array, Int64Array

SEGMENT_POINTS = 4096
"""Points in a full segment. From 1,024 up the rate of writing is flat; at 4,096 reading is too."""

_VERSION = 1
_HEADER = struct.Struct("<BBI")  # version, columns, points
_COLUMN = struct.Struct("<cBI")  # dtype "i" | "f", packing, bytes
_PROGRESSION, _RAW, _DEFLATED = 0, 1, 2
_LEVEL = 1  # of zlib: level 6 saves 3 % more and takes 4 times as long

Column = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Progression:
    """A column of int64 that grows by the same at every point, which takes no room."""

    start: int
    stride: int
    count: int

    def column(self) -> Int64Array:
        """(count,) int64."""
        return np.arange(self.count, dtype=np.int64) * np.int64(self.stride) + np.int64(self.start)


def encode(columns: Sequence[Column]) -> bytes:
    """Pack equally long columns.

    Args:
        columns: one-dimensional arrays of int64 or float64, all of one length.

    Raises:
        ValueError: for other dtypes, shapes, or unequal lengths.
    """
    count = len(columns[0])
    parts = [_HEADER.pack(_VERSION, len(columns), count)]
    for column in columns:
        if column.ndim != 1 or len(column) != count:
            raise ValueError(f"columns must be one-dimensional and {count} long, not {column.shape}")
        if column.dtype == np.int64:
            code, (packing, body) = b"i", _pack_integers(column.astype(np.int64, copy=False))
        elif column.dtype == np.float64:
            code, (packing, body) = b"f", _deflate(column)
        else:
            raise ValueError(f"columns are int64 or float64, not {column.dtype}")
        parts += [_COLUMN.pack(code, packing, len(body)), body]
    return b"".join(parts)


def decode(payload: bytes, wanted: Sequence[int] | None = None) -> list[Column]:
    """Unpack what `encode` made.

    Args:
        payload: the bytes of a segment.
        wanted: indices of the columns to unpack, all by default. Columns left out cost nothing.

    Raises:
        StoreError: if the bytes are no segment, or one of a newer trackside.
    """
    return [column.column() if isinstance(column, Progression) else column for column in unpack(payload, wanted)]


def unpack(payload: bytes, wanted: Sequence[int] | None = None) -> list[Column | Progression]:
    """As `decode`, progressions left as they are: for who keeps columns."""
    try:
        version, n_columns, count = _HEADER.unpack_from(payload, 0)
        if version != _VERSION:
            raise StoreError(
                f"A stretch of points was written in format {version}, but this trackside reads format {_VERSION}: "
                "upgrade it with pip install -U trackside."
            )
        bodies, offset = [], _HEADER.size
        for _ in range(n_columns):
            code, packing, size = _COLUMN.unpack_from(payload, offset)
            offset += _COLUMN.size
            bodies.append((code, packing, payload[offset : offset + size]))
            offset += size
        chosen = range(n_columns) if wanted is None else wanted
        return [_unpack(*bodies[index], count) for index in chosen]
    except (struct.error, zlib.error, ValueError, IndexError) as error:
        raise StoreError(
            f"A stretch of points cannot be read ({error}): restore the store from a backup, or run trackside db check."
        ) from error


def _pack_integers(column: Int64Array) -> tuple[int, bytes]:
    differences = np.diff(column)
    if len(column) == 0 or len(differences) == 0 or (differences == differences[0]).all():
        start = int(column[0]) if len(column) else 0
        stride = int(differences[0]) if len(differences) else 0
        return _PROGRESSION, struct.pack("<qq", start, stride)
    # Differences wrap around at the ends of int64, and summing them wraps back: exact for every input.
    return _deflate(np.concatenate((column[:1], differences)))


def _deflate(column: Column) -> tuple[int, bytes]:
    raw = np.ascontiguousarray(column).view(np.uint8)
    shuffled = raw.reshape(-1, 8).T.tobytes()
    deflated = zlib.compress(shuffled, _LEVEL)
    # 5 %: below that, unpacking costs more time than the bytes are worth.
    return (_DEFLATED, deflated) if len(deflated) < 0.95 * len(shuffled) else (_RAW, raw.tobytes())


def _unpack(code: bytes, packing: int, body: bytes, count: int) -> Column | Progression:
    if packing == _PROGRESSION:
        start, stride = struct.unpack("<qq", body)
        return Progression(start, stride, count)
    if packing == _DEFLATED:
        shuffled = np.frombuffer(zlib.decompress(body), np.uint8).reshape(8, count)
        flat = np.ascontiguousarray(shuffled.T).reshape(-1)
    elif packing == _RAW:
        flat = np.frombuffer(body, np.uint8)
    else:
        raise ValueError(f"unknown packing {packing}")
    if code == b"f":
        floats: Float64Array = flat.view(np.float64)
        if len(floats) != count:
            raise ValueError(f"{len(floats)} values where {count} were promised")
        return floats
    with np.errstate(over="ignore"):
        return np.cumsum(flat.view(np.int64), dtype=np.int64)
