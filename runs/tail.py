"""The end of a series as its writer holds it: the running summary, and the segments not yet full.

Points come in about once a second, a few at a time. Each batch is stored at once as a small segment; when there are
many, they are replaced by one larger segment, up to the full size. Reading therefore never meets more than
`OPEN_SEGMENTS` small ones, and a point is written about twice on the average.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..db.ingest import SeriesChange, Stretch
from ..db.records import Float64Array, Int64Array
from ..db.segments import SEGMENT_POINTS, Column

OPEN_SEGMENTS = 16


class StretchTail:
    """Segments of one series or one run's axes that may still be merged, and how many points there are in all."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._open: list[Stretch] = []

    def extend(self, columns: tuple[Column, ...], *, seal: bool = False) -> list[Stretch]:
        """Take new points; return the segments to store.

        Args:
            columns: equally long, the step first; may be empty if `seal`.
            seal: merge whatever is open, because no more will come.
        """
        fresh = len(columns[0])
        start, self.count = self.count, self.count + fresh
        pieces = [*self._open, Stretch(start, columns)] if fresh else list(self._open)
        total = sum(map(len, pieces))
        if len(pieces) > 1 and (seal or len(pieces) > OPEN_SEGMENTS or total >= SEGMENT_POINTS):
            return self._merge(pieces, total)
        if not fresh:
            return []
        if fresh > SEGMENT_POINTS:
            return self._merge(pieces, total)
        self._open = pieces if total < SEGMENT_POINTS else []
        return pieces[-1:]

    def _merge(self, pieces: list[Stretch], total: int) -> list[Stretch]:
        whole = tuple(np.concatenate(parts) for parts in zip(*(piece.columns for piece in pieces), strict=True))
        first = pieces[0].position
        merged = [
            Stretch(first + start, tuple(column[start : start + SEGMENT_POINTS] for column in whole))
            for start in range(0, total, SEGMENT_POINTS)
        ]
        merged[0].replaces = [piece.id for piece in pieces if piece.id]
        self._open = merged[-1:] if len(merged[-1]) < SEGMENT_POINTS else []
        return merged


class SeriesTail:
    """One series that is being written."""

    def __init__(self, summary: dict[str, Any]) -> None:
        self.summary = summary
        self._stretches = StretchTail(summary["count"])

    @classmethod
    def new(cls, name: str, unit: str | None, reduction: str) -> SeriesTail:
        """A series without points yet."""
        return cls(
            {
                "id": None,
                "name": name,
                "split": name.split("/", 1)[0] if "/" in name else None,
                "unit": unit,
                "reduction": reduction,
                "count": 0,
                "first_step": 0,
                "last_step": 0,
                "first_value": math.nan,
                "last_value": math.nan,
                "min_value": math.nan,
                "max_value": math.nan,
                "sum_value": 0.0,
                "nan_count": 0,
                "positive_infinity_count": 0,
                "negative_infinity_count": 0,
                "first_nan_step": None,
                "first_positive_infinity_step": None,
                "first_negative_infinity_step": None,
                "repeated_steps": 0,
            }
        )

    def extend(
        self, steps: Int64Array, times: Int64Array, values: Float64Array, *, seal: bool = False
    ) -> tuple[SeriesChange, int]:
        """Take new points in the order logged.

        Args:
            steps: (n,) int64, n > 0.
            times: (n,) int64 microseconds since the epoch (UTC).
            values: (n,) float64, anything.
            seal: no more points will come.

        Returns:
            What to store, and how many of the points did not come after the step before them.
        """
        summary = self.summary
        before = np.concatenate(([summary["last_step"]], steps[:-1])) if summary["count"] else steps[:-1]
        repeated = int(np.count_nonzero(steps[len(steps) - len(before) :] <= before))
        if not summary["count"]:
            summary["first_step"], summary["first_value"] = int(steps[0]), float(values[0])
        summary["count"] += len(steps)
        summary["last_step"], summary["last_value"] = int(steps[-1]), float(values[-1])
        summary["repeated_steps"] += repeated
        finite = np.isfinite(values)
        if finite.any():
            kept = values[finite]
            summary["min_value"] = float(np.fmin(summary["min_value"], kept.min()))
            summary["max_value"] = float(np.fmax(summary["max_value"], kept.max()))
            with np.errstate(over="ignore"):
                summary["sum_value"] = float(summary["sum_value"] + kept.sum())
        if not finite.all():
            self._count("nan", np.isnan(values), steps)
            self._count("positive_infinity", np.isposinf(values), steps)
            self._count("negative_infinity", np.isneginf(values), steps)
        return SeriesChange(summary, self._stretches.extend((steps, times, values), seal=seal)), repeated

    def seal(self) -> SeriesChange | None:
        """What to store because no more points will come; None if nothing."""
        nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
        stretches = self._stretches.extend(nothing, seal=True)
        return SeriesChange(self.summary, stretches) if stretches else None

    def _count(self, kind: str, hits: np.ndarray[Any, np.dtype[np.bool_]], steps: Int64Array) -> None:
        count = int(np.count_nonzero(hits))
        if count and self.summary[f"first_{kind}_step"] is None:
            self.summary[f"first_{kind}_step"] = int(steps[hits][0])
        self.summary[f"{kind}_count"] += count
