"""Profiles side by side: parts of the step, families, operators and layers, and what to know before reading them.

The first profile is the base: differences and ratios are to it. All times are means a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .captions import captions
from .families import counted, families
from .layer_matching import layers_in_order, matched_layers
from .operator_kinds import kind
from .records import DIRECTIONS, FAMILIES, PARTS, Direction, Family, Operator, Part, Profile

Cell = tuple[Operator, ...]
"""What one profile has in a row: operators that do the same work; none where only others have it."""
_Work = tuple[str, Family, Direction]
"""Kind, family and direction of an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """One time of each profile, in the profiles' order.

    Attributes:
        seconds: mean of a step; None where a profile has no such thing.
    """

    seconds: tuple[float | None, ...]

    def difference(self, place: int) -> float | None:
        """Seconds a step more than the base, or None where one of both is missing."""
        base, other = self.seconds[0], self.seconds[place]
        return None if base is None or other is None else other - base

    def ratio(self, place: int) -> float | None:
        """How many times the base, or None where one of both is missing or the base is nothing."""
        base, other = self.seconds[0], self.seconds[place]
        return None if not base or other is None else other / base

    @property
    def largest(self) -> float:
        """The longest of the times: what rows are sorted by."""
        return max((one for one in self.seconds if one is not None), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow(Times):
    """A part of the step's wall clock; a profile's parts add up to its step."""

    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyRow(Times):
    """A family in one direction: self time of its operators.

    Attributes:
        inferred: share of each profile's time that is of operators whose family is a guess, 0 to 1.
    """

    family: Family
    direction: Direction
    inferred: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow(Times):
    """Operators of the profiles that do the same work: self time.

    Attributes:
        kind: what they do, in one word for both frameworks.
        family, direction: of all of them.
        layers: the layer they work for in each profile, None where it has none; several where layers are compared as a
            whole.
        cells: the operators themselves, of each profile.
    """

    kind: str
    family: Family
    direction: Direction
    layers: tuple[str | None, ...]
    cells: tuple[Cell, ...]

    @property
    def only(self) -> int | None:
        """The place of the profile that alone has it, or None where more have it."""
        having = [place for place, cell in enumerate(self.cells) if cell]
        return having[0] if len(having) == 1 and len(self.cells) > 1 else None

    @property
    def names(self) -> tuple[str, ...]:
        """The operators' own names in each profile, the longest first, such as `Mul, SquaredDifference, Mean`."""
        return tuple(", ".join(dict.fromkeys(one.name for one in cell)) for cell in self.cells)

    @property
    def inferred(self) -> bool:
        """Whether family, direction or layer of one of them is a guess."""
        return any(one.inferred for cell in self.cells for one in cell)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow(Times):
    """A layer: self time of all operators that work for it, forward and backward.

    Attributes:
        layers: its path in each profile, None where it has no counterpart there; several where they are compared as a
            whole.
        family: what it is for, or None where that is unknown.
        forward, backward: seconds a step of each profile.
    """

    layers: tuple[str | None, ...]
    family: Family | None
    forward: tuple[float | None, ...]
    backward: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileComparison:
    """Profiles side by side.

    Attributes:
        labels: what tells the profiles apart.
        steps: how many steps each recorded.
        step: mean wall clock of a step.
        parts: of the step, in the order of `PARTS`.
        families: the longest first, a family's directions together.
        operators: the longest first.
        layers: in the order of the first profile's model; what only others have comes after.
        unmatched: share of each profile's operator time without a counterpart in all others, 0 to 1.
        captions: sentences to read first.
    """

    labels: tuple[str, ...]
    steps: tuple[int, ...]
    step: Times
    parts: tuple[PartRow, ...]
    families: tuple[FamilyRow, ...]
    operators: tuple[OperatorRow, ...]
    layers: tuple[LayerRow, ...]
    unmatched: tuple[float, ...]
    captions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object: a list of rows for each view, each with a list of values in the order of `labels`."""
        return {
            "labels": list(self.labels),
            "steps": list(self.steps),
            "step_seconds": list(self.step.seconds),
            "parts": [_json(row, part=row.part) for row in self.parts],
            "families": [
                _json(row, family=row.family, direction=row.direction, inferred=list(row.inferred))
                for row in self.families
            ],
            "operators": [
                _json(
                    row, kind=row.kind, family=row.family, direction=row.direction, layers=list(row.layers),
                    only=None if row.only is None else self.labels[row.only], inferred=row.inferred,
                    operators=[[asdict(one) for one in cell] for cell in row.cells],
                )
                for row in self.operators
            ],
            "layers": [
                _json(
                    row, layers=list(row.layers), family=row.family, forward=list(row.forward),
                    backward=list(row.backward),
                )
                for row in self.layers
            ],
            "unmatched": [None if math.isnan(one) else one for one in self.unmatched],
            "captions": list(self.captions),
        }  # fmt: skip


def compare_profiles(profiles: Sequence[Profile], labels: Sequence[str] | None = None) -> ProfileComparison:
    """Two or more profiles side by side; one alone is in order, and has nothing to differ from.

    Args:
        profiles: of either framework, the base first.
        labels: what tells them apart; by default their frameworks, numbered where they are the same.

    Raises:
        ValueError: there is no profile, or not a label for each.
    """
    if not profiles:
        raise ValueError("There is no profile to compare: give at least one.")
    names = tuple(labels) if labels is not None else _frameworks(profiles)
    if len(names) != len(profiles):
        raise ValueError(f"{len(profiles)} profiles need as many labels, not {len(names)}.")
    operators = operator_rows(profiles)
    unmatched = tuple(_unmatched(operators, place) for place in range(len(profiles)))
    return ProfileComparison(
        labels=names,
        steps=tuple(one.steps for one in profiles),
        step=Times(seconds=tuple(sum(one.step_seconds) / max(one.steps, 1) for one in profiles)),
        parts=tuple(
            PartRow(part=part, seconds=tuple(one.split.get(part) for one in profiles))
            for part in PARTS
            if any(part in one.split for one in profiles)
        ),
        families=tuple(family_rows(profiles)),
        operators=tuple(operators),
        layers=tuple(layer_rows(profiles)),
        unmatched=unmatched,
        captions=tuple(captions(profiles, names, unmatched)),
    )


def family_rows(profiles: Sequence[Profile]) -> list[FamilyRow]:
    """Families that any of the profiles has: the longest first, a family's directions together."""
    found = [{(one.family, one.direction): one for one in families(profile)} for profile in profiles]
    rows = [
        FamilyRow(
            family=family,
            direction=direction,
            seconds=tuple(one[key].seconds if key in one else None for one in found),
            inferred=tuple(
                one[key].inferred_seconds / one[key].seconds if key in one and one[key].seconds else 0.0
                for one in found
            ),
        )
        for family in FAMILIES
        for direction in DIRECTIONS
        if any((key := (family, direction)) in one for one in found)
    ]
    whole = {family: max(row.largest for row in rows if row.family == family) for family in {r.family for r in rows}}
    return sorted(
        rows, key=lambda row: (-whole[row.family], FAMILIES.index(row.family), DIRECTIONS.index(row.direction))
    )


def operator_rows(profiles: Sequence[Profile]) -> list[OperatorRow]:
    """Operators that do the same work in each of the profiles, the longest first.

    They match by what they do, family, direction and layer. Where a profile knows no layers of such operators (a trace
    that somebody else recorded), those of all layers are one row.
    """
    counterparts = matched_layers(profiles)
    rows: dict[tuple[_Work, str | None], list[list[Operator]]] = {}
    blind = _without_layers(profiles)
    for place, profile in enumerate(profiles):
        for one in counted(profile):
            work = _work(one, profile)
            layer = None if one.layer is None or work in blind else counterparts[place][one.layer]
            rows.setdefault((work, layer), [[] for _ in profiles])[place].append(one)
    made = []
    for ((does, family, direction), _), cells in rows.items():
        made.append(
            OperatorRow(
                kind=does,
                family=family,
                direction=direction,
                layers=tuple(_layers_of(cell) for cell in cells),
                cells=tuple(tuple(cell) for cell in cells),
                seconds=tuple(_seconds(cell, profile) for cell, profile in zip(cells, profiles, strict=True)),
            )
        )
    return sorted(made, key=lambda row: -row.largest)


def layer_rows(profiles: Sequence[Profile]) -> list[LayerRow]:
    """Layers side by side, in the order of the first profile's model; what only others have comes after."""
    counterparts = matched_layers(profiles)
    rows: dict[str, list[list[str]]] = {}
    kinds: dict[str, Family | None] = {}
    for place, profile in enumerate(profiles):
        for layer, family in layers_in_order(profile).items():
            key = counterparts[place][layer]
            rows.setdefault(key, [[] for _ in profiles])[place].append(layer)
            kinds.setdefault(key, family)
    made = []
    for key, paths in rows.items():
        cells = [
            [one for one in counted(profile) if one.layer in those]
            for those, profile in zip(paths, profiles, strict=True)
        ]
        made.append(
            LayerRow(
                layers=tuple(", ".join(those) or None for those in paths),
                family=kinds[key],
                seconds=tuple(_seconds(cell, one) for cell, one in zip(cells, profiles, strict=True)),
                forward=_in_direction(cells, profiles, "forward"),
                backward=_in_direction(cells, profiles, "backward"),
            )
        )
    return made


def _in_direction(
    cells: Sequence[Sequence[Operator]], profiles: Sequence[Profile], direction: Direction
) -> tuple[float | None, ...]:
    return tuple(
        _seconds([one for one in cell if one.direction == direction], profile)
        for cell, profile in zip(cells, profiles, strict=True)
    )


def _without_layers(profiles: Sequence[Profile]) -> set[_Work]:
    """What is compared whatever the layer: what some profile does in no layer at all, and what is of no family."""
    found = {work for profile in profiles for one in counted(profile) if (work := _work(one, profile))[1] == "other"}
    for profile in profiles:
        layered: dict[_Work, bool] = {}
        for one in counted(profile):
            work = _work(one, profile)
            layered[work] = layered.get(work, False) or one.layer is not None
        found |= {work for work, some in layered.items() if not some}
    return found


def _work(one: Operator, profile: Profile) -> _Work:
    return kind(one.name, one.family, profile.context.layers.get(one.layer or "")), one.family, one.direction


def _layers_of(cell: Sequence[Operator]) -> str | None:
    return ", ".join(sorted({one.layer for one in cell if one.layer is not None})) or None


def _seconds(cell: Sequence[Operator], profile: Profile) -> float | None:
    return sum(one.self_seconds for one in cell) / max(profile.steps, 1) if cell else None


def _unmatched(rows: Sequence[OperatorRow], place: int) -> float:
    """Share of a profile's operator time in rows that some other profile has nothing in; NaN where it has no time."""
    whole = sum(row.seconds[place] or 0.0 for row in rows)
    alone = sum(row.seconds[place] or 0.0 for row in rows if not all(row.cells))
    return alone / whole if whole else math.nan


def _frameworks(profiles: Sequence[Profile]) -> tuple[str, ...]:
    names = [one.context.framework or one.format for one in profiles]
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{name} {number}" for number, name in enumerate(names, start=1))


def _json(row: Times, **more: Any) -> dict[str, Any]:
    others = range(1, len(row.seconds))
    return {
        **more,
        "seconds": list(row.seconds),
        "difference": [row.difference(place) for place in others],
        "ratio": [row.ratio(place) for place in others],
    }
