"""Columns that a person adds to the run table: a metric's summary or a configuration key, as the URL names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import parse_qs

import orjson

from ..db.records import RunInfo, SeriesInfo
from ..runs.best import best_of
from ..runs.clean import json_number
from ..runs.curves import NOISE
from ..runs.labels import flatten

Source = Literal["last", "best", "min", "max", "config"]

SOURCES: tuple[Source, ...] = get_args(Source)
SUMMARIES = SOURCES[:-1]
EXACT_INTEGER = 2**53  # beyond it a browser rounds


@dataclass(frozen=True, slots=True)
class Column:
    """One added column.

    Attributes:
        source: which number of a metric, or `config`.
        name: the metric, or the configuration key with dots between its levels.
    """

    source: Source
    name: str

    @property
    def key(self) -> str:
        """How the URL, the rows and the grid call it: `max:val/accuracy`, `config:optimizer.lr`."""
        return f"{self.source}:{self.name}"

    @property
    def title(self) -> str:
        """What its heading says."""
        return self.name if self.source == "config" else f"{self.name} {self.source}"


def parse_columns(keys: Iterable[str] | None) -> tuple[Column, ...]:
    """The columns with these keys, each once; what is no key of a column is left out."""
    found = []
    for key in keys or ():
        source, _, name = key.partition(":")
        found += [Column(known, name) for known in SOURCES if known == source and name]
    return tuple(dict.fromkeys(found))


def columns_of(search: str | None) -> tuple[Column, ...]:
    """The columns of an address: `?column=last:train/loss&column=config:lr`."""
    return parse_columns(parse_qs((search or "").removeprefix("?")).get("column"))


def available(runs: Sequence[RunInfo], metrics: Iterable[str]) -> tuple[Column, ...]:
    """Every column that some run could fill: configuration keys, then four of each metric, in alphabetical order.

    Args:
        runs: the runs of the table.
        metrics: names of metrics that they logged.
    """
    keys = {key for run in runs for key in flatten(run.config)}
    shown = sorted(name for name in metrics if not name.startswith(NOISE))
    return (
        *(Column("config", key) for key in sorted(keys)),
        *(Column(source, name) for name in shown for source in SUMMARIES),
    )


def cells(columns: Sequence[Column], run: RunInfo, series: Mapping[str, SeriesInfo]) -> dict[str, Any]:
    """What the columns show of a run, by key; None where the run has no such metric or key.

    Args:
        columns: the added columns.
        run: the run.
        series: its series summaries of rank 0, by name.
    """
    if not columns:
        return {}
    config = flatten(run.config)
    return {
        column.key: setting(config.get(column.name))
        if column.source == "config"
        else _summary(column.source, series.get(column.name))
        for column in columns
    }


def setting(value: Any) -> float | str | None:
    """A configuration value as a cell holds it: numbers stay numbers, so that they sort; anything else is text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value if abs(value) <= EXACT_INTEGER else str(value)
    if isinstance(value, float):
        return json_number(value)
    return orjson.dumps(value, default=str).decode()


def _summary(source: Source, info: SeriesInfo | None) -> float | str | None:
    if info is None:
        return None
    if source == "last":
        return json_number(info.last)
    if not info.finite_count:
        return None
    if source == "best":
        return best_of(info)
    return info.minimum if source == "min" else info.maximum
