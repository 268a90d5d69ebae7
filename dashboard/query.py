"""The state of the pages as their URLs hold it: reading it, and writing links to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args
from urllib.parse import parse_qs, urlencode

from ..runs.align import Axis
from ..runs.starts import start_step

AXES: tuple[Axis, ...] = get_args(Axis)
DEFAULT_SMOOTHING = 0.0


@dataclass(frozen=True, kw_only=True)
class CompareQuery:
    """Everything that decides what the Compare page shows.

    Attributes:
        runs: references as the URL has them.
        axis: what x is in all curve panels.
        smoothing: 0 (none) up to, not including, 1.
        log_y: logarithmic y axes.
        metrics: panels to draw; None for the page's own choice.
        find: a regular expression; panels are then those of the metrics that it is found in.
        x_range: what all curve panels are zoomed to, in the axis' own unit (`wall`: seconds since the epoch).
        pair: the two runs subtracted; None for the first two.
        difference: the metric subtracted; None for the first.
        base: the run that ratios are taken to; None for the baseline or the first.
        target: the value that runs are timed to; None for the best that all reached.
        starts: run and the step that it begins with, of runs that do not begin with their first.
        splits: training and validation of a quantity share a panel.
        group: "seed" for one curve, a mean, of runs that differ only in their seed; None for a curve a run.
    """

    runs: tuple[str, ...] = ()
    axis: Axis = "step"
    smoothing: float = DEFAULT_SMOOTHING
    log_y: bool = False
    metrics: tuple[str, ...] | None = None
    find: str = ""
    x_range: tuple[float, float] | None = None
    pair: tuple[str, str] | None = None
    difference: str | None = None
    base: str | None = None
    target: float | None = None
    starts: tuple[tuple[str, int], ...] = ()
    splits: bool = False
    group: str | None = None

    @classmethod
    def parse(cls, search: str | None) -> CompareQuery:
        """Read `?runs=a,b&axis=epoch…`; what cannot be understood falls back to its default."""
        lists = parse_qs((search or "").removeprefix("?"), keep_blank_values=True)
        values = {key: found[-1] for key, found in lists.items()}
        pair = _names(values.get("pair"))
        axis = values.get("axis", "step")
        return cls(
            runs=_names(values.get("runs")),
            axis=next((known for known in AXES if known == axis), "step"),
            smoothing=min(max(_number(values.get("smoothing"), DEFAULT_SMOOTHING), 0.0), 0.999),
            log_y=values.get("log") == "1",
            metrics=tuple(dict.fromkeys(filter(None, lists["metric"]))) if "metric" in lists else None,
            find=values.get("find", ""),
            x_range=_range(values.get("x")),
            pair=(pair[0], pair[1]) if len(pair) == 2 else None,
            difference=values.get("difference") or None,
            base=values.get("base") or None,
            target=None if math.isnan(target := _number(values.get("target"), math.nan)) else target,
            starts=_starts(lists.get("start", [])),
            splits=values.get("splits") == "1",
            group="seed" if values.get("group") == "seed" else None,
        )

    def search(self) -> str:
        """The query string of this view, with everything that is default left out."""
        values: dict[str, str | list[str]] = {"runs": ",".join(self.runs)}
        if self.axis != "step":
            values["axis"] = self.axis
        if self.smoothing != DEFAULT_SMOOTHING:
            values["smoothing"] = f"{self.smoothing:g}"
        if self.log_y:
            values["log"] = "1"
        if self.metrics is not None:
            values["metric"] = list(self.metrics) or [""]
        if self.find:
            values["find"] = self.find
        if self.x_range is not None:
            values["x"] = ",".join(f"{end!r}" for end in self.x_range)
        if self.pair is not None:
            values["pair"] = ",".join(self.pair)
        if self.difference is not None:
            values["difference"] = self.difference
        if self.base is not None:
            values["base"] = self.base
        if self.target is not None:
            values["target"] = f"{self.target!r}"
        if self.starts:
            values["start"] = [f"{run}:{step}" for run, step in self.starts]
        if self.splits:
            values["splits"] = "1"
        if self.group is not None:
            values["group"] = self.group
        return "?" + urlencode(values, safe=",/:", doseq=True)


@dataclass(frozen=True, kw_only=True)
class RunQuery:
    """What decides what the Run page shows.

    Attributes:
        run: a reference as the URL has it; "" where it has none.
    """

    run: str = ""

    @classmethod
    def parse(cls, search: str | None) -> RunQuery:
        """Read `?id=a`."""
        values = parse_qs((search or "").removeprefix("?"))
        return cls(run=values.get("id", [""])[-1])


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in (text or "").split(",") if part))


def _starts(given: list[str]) -> tuple[tuple[str, int], ...]:
    parts = (text.rpartition(":") for text in given)
    return tuple({run: step for run, _, written in parts if run and (step := start_step(written)) is not None}.items())


def _number(text: str | None, default: float) -> float:
    try:
        value = float(text) if text else default
    except ValueError:
        return default
    return value if math.isfinite(value) else default


def _range(text: str | None) -> tuple[float, float] | None:
    ends = [_number(part, math.nan) for part in (text or "").split(",")]
    if len(ends) != 2 or not all(map(math.isfinite, ends)) or ends[0] >= ends[1]:
        return None
    return ends[0], ends[1]
