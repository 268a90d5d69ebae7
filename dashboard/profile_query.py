"""The state of the Profile page as its URL holds it: reading it, and writing links to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, urlencode

from ..runs.traces.records import DIRECTIONS, FAMILIES

Grouping = Literal["operator", "layer"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)


@dataclass(frozen=True, kw_only=True)
class ProfileQuery:
    """What decides what the server sends of a Profile page.

    The browser keeps more in the address, which is its own affair: the table's search (`q`) and order (`sort`), and
    the timeline's zoom (`x`, milliseconds from the start of the step).

    Attributes:
        runs: references as the URL has them.
        family: the family, or family and direction, to which the table is narrowed: `convolution`,
            `convolution/backward`; None for all.
        by: what a row of the table is.
        step: place of the step that the timeline shows among those recorded, from 0.
        rank: the process of a distributed training whose trace is shown, where a run recorded it.
    """

    runs: tuple[str, ...] = ()
    family: str | None = None
    by: Grouping = "operator"
    step: int = 0
    rank: int = 0

    @classmethod
    def parse(cls, search: str | None) -> ProfileQuery:
        """Read `?runs=a,b&family=…`; what cannot be understood falls back to its default."""
        values = {key: found[-1] for key, found in parse_qs((search or "").removeprefix("?")).items()}
        family, _, direction = values.get("family", "").partition("/")
        known = family in FAMILIES and direction in ("", *DIRECTIONS)
        return cls(
            runs=tuple(dict.fromkeys(part for part in values.get("runs", "").split(",") if part)),
            family=values["family"] if known else None,
            by=next((one for one in GROUPINGS if one == values.get("by")), "operator"),
            step=_whole(values.get("step", "")),
            rank=_whole(values.get("rank", "")),
        )

    def search(self) -> str:
        """The query string of this view, with everything that is default left out."""
        values = {"runs": ",".join(self.runs)}
        if self.family is not None:
            values["family"] = self.family
        if self.by != "operator":
            values["by"] = self.by
        if self.step:
            values["step"] = str(self.step)
        if self.rank:
            values["rank"] = str(self.rank)
        return "?" + urlencode(values, safe=",/")


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
