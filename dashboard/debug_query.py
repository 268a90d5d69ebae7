"""The state of the Debug page as its URL holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from ..runs.debugging.layers import STATISTICS, Statistic

DEFAULT_STATISTIC: Statistic = "gradient_norm"


@dataclass(frozen=True, kw_only=True)
class DebugQuery:
    """Everything that decides what the Debug page shows.

    Attributes:
        runs: references as the URL has them.
        statistic: what the heatmaps show.
        pair: the two runs whose parting is looked for; None for the first two.
        record: id of a run and a step: the record that is opened and marked; None for none.
    """

    runs: tuple[str, ...] = ()
    statistic: Statistic = DEFAULT_STATISTIC
    pair: tuple[str, str] | None = None
    record: tuple[str, int] | None = None

    @classmethod
    def parse(cls, search: str | None) -> DebugQuery:
        """Read `?runs=a,b&statistic=…`; what cannot be understood falls back to its default."""
        values = {key: found[-1] for key, found in parse_qs((search or "").removeprefix("?")).items()}
        pair = _names(values.get("pair"))
        run_id, _, step = values.get("record", "").rpartition(":")
        statistic = values.get("statistic")
        return cls(
            runs=_names(values.get("runs")),
            statistic=next((known for known in STATISTICS if known == statistic), DEFAULT_STATISTIC),
            pair=(pair[0], pair[1]) if len(pair) == 2 else None,
            record=(run_id, int(step)) if run_id and step.isascii() and step.isdigit() and len(step) < 19 else None,
        )

    def search(self, **changes: Any) -> str:
        """The query string of this view, with changes, and with everything that is default left out."""
        if changes:
            return replace(self, **changes).search()
        values = {"runs": ",".join(self.runs)}
        if self.statistic != DEFAULT_STATISTIC:
            values["statistic"] = self.statistic
        if self.pair is not None:
            values["pair"] = ",".join(self.pair)
        if self.record is not None:
            values["record"] = f"{self.record[0]}:{self.record[1]}"
        return "?" + urlencode(values, safe=",/:")


def debug_address(run_ids: tuple[str, ...] | list[str]) -> str:
    """Address of the Debug page of some runs."""
    return "/debug" + DebugQuery(runs=tuple(run_ids)).search()


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in (text or "").split(",") if part))
