"""Rows of the Profile page's tables: families, operators and layers of several profiles side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..runs.traces.records import DIRECTIONS, FAMILIES, Direction, Family, Operator, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyRow:
    """One family in one direction.

    Attributes:
        seconds: mean self time a step of each run; None where the run has no such operator.
        inferred: the share of it that is guessed, 0 to 1, of each run.
    """

    family: Family
    direction: Direction
    seconds: tuple[float | None, ...]
    inferred: tuple[float, ...]

    @property
    def key(self) -> str:
        """As the address has it: `convolution/backward`."""
        return f"{self.family}/{self.direction}"


def family_rows(profiles: Sequence[Profile]) -> list[FamilyRow]:
    """Families that any of the profiles has, the most expensive first; what runs in the background is left out."""
    rows = []
    for family in FAMILIES:
        for direction in DIRECTIONS:
            found = [_of(profile, family, direction) for profile in profiles]
            if not any(found):
                continue
            seconds = [sum(one.self_seconds for one in operators) for operators in found]
            guessed = [sum(one.self_seconds for one in operators if one.inferred) for operators in found]
            rows.append(
                FamilyRow(
                    family=family,
                    direction=direction,
                    seconds=tuple(
                        total / profile.steps if operators and profile.steps else None
                        for total, operators, profile in zip(seconds, found, profiles, strict=True)
                    ),
                    inferred=tuple(
                        part / total if total else 0.0 for part, total in zip(guessed, seconds, strict=True)
                    ),
                )
            )
    largest: dict[Family, float] = {}  # a family's directions stand together
    for place in range(len(profiles)):
        for family in FAMILIES:
            total = sum(row.seconds[place] or 0.0 for row in rows if row.family == family)
            largest[family] = max(largest.get(family, 0.0), total)
    return sorted(
        rows, key=lambda row: (-largest[row.family], FAMILIES.index(row.family), DIRECTIONS.index(row.direction))
    )


def _of(profile: Profile, family: Family, direction: Direction) -> list[Operator]:
    return [
        one for one in profile.operators if one.family == family and one.direction == direction and not one.background
    ]


def within(operators: Iterable[Operator], family: str | None) -> list[Operator]:
    """Those of a family as the address names it: `convolution`, `convolution/backward`; all for None."""
    if family is None:
        return list(operators)
    name, _, direction = family.partition("/")
    return [one for one in operators if one.family == name and direction in ("", one.direction)]


Cell = tuple[Operator, ...]
"""What one run has in a row of the table: operators that stand for the same work; none where only others have it."""


def operator_cells(profiles: Sequence[Profile]) -> list[tuple[Cell, ...]]:
    """Operators that do the same work in each of the profiles, a row for each."""
    rows: dict[tuple[Any, ...], list[list[Operator]]] = {}
    for place, profile in enumerate(profiles):
        for one in profile.operators:
            key = (one.name, one.family, one.direction, one.layer, one.background, one.device)
            rows.setdefault(key, [[] for _ in profiles])[place].append(one)
    return [tuple(tuple(cell) for cell in cells) for cells in rows.values()]


def layer_cells(profiles: Sequence[Profile]) -> list[tuple[Cell, ...]]:
    """The operators of each layer, a row a layer; those that belong to no layer share one."""
    rows: dict[str | None, list[list[Operator]]] = {}
    for place, profile in enumerate(profiles):
        for one in profile.operators:
            rows.setdefault(one.layer, [[] for _ in profiles])[place].append(one)
    return [tuple(tuple(cell) for cell in cells) for cells in rows.values()]


def table_rows(
    cells: Sequence[tuple[Cell, ...]], profiles: Sequence[Profile], labels: Sequence[str], by: str
) -> list[dict[str, Any]]:
    """Rows of the grid: times are seconds a step, `self0` is the first run's, and so on.

    Args:
        cells: what each row holds, a cell a run.
        profiles: in the same order as the cells of a row.
        labels: of the runs, for the column that says where a row is found.
        by: `operator` or `layer`: what a row is called.
    """
    rows = []
    for number, row in enumerate(cells):
        operators = [one for cell in row for one in cell]
        first = max(operators, key=lambda one: one.self_seconds)
        entry: dict[str, Any] = {
            "id": str(number),
            "name": _names(row, by),
            "family": first.family,
            "direction": first.direction,
            "layer": first.layer or "",
            "where": _where(row, labels),
            "inferred": any(one.inferred for one in operators),
            "background": all(one.background for one in operators),
            "device": first.device,
        }
        for place, (cell, profile) in enumerate(zip(row, profiles, strict=True)):
            entry |= {f"{key}{place}": value for key, value in _numbers(cell, profile).items()}
        if len(profiles) == 2 and entry["self0"] is not None and entry["self1"] is not None:
            entry["difference"] = entry["self1"] - entry["self0"]
            entry["ratio"] = entry["self1"] / entry["self0"] if entry["self0"] else None
        rows.append(entry)
    return sorted(rows, key=lambda entry: -max(entry[f"self{place}"] or 0.0 for place in range(len(profiles))))


def _names(row: tuple[Cell, ...], by: str) -> str:
    found = [one.name if by == "operator" else one.layer or "no layer" for cell in row for one in cell]
    return " ~ ".join(dict.fromkeys(found))


def _where(row: tuple[Cell, ...], labels: Sequence[str]) -> str:
    having = [label for label, cell in zip(labels, row, strict=True) if cell]
    return "all runs" if len(having) == len(labels) else "only " + ", ".join(having)


def _numbers(cell: Cell, profile: Profile) -> dict[str, Any]:
    if not cell:
        return dict.fromkeys(("self", "share", "total", "calls", "mean", "flops", "memory", "shapes"))
    steps = max(profile.steps, 1)
    own = sum(one.self_seconds for one in cell)
    all_own = sum(one.self_seconds for one in profile.operators if not one.background)
    calls = sum(one.calls for one in cell)
    flops = [one.flops for one in cell if one.flops is not None]
    memory = [one.memory_bytes for one in cell if one.memory_bytes is not None]
    return {
        "self": own / steps,
        "share": own / all_own if all_own and not all(one.background for one in cell) else None,
        "total": sum(one.total_seconds for one in cell) / steps,
        "calls": calls / steps,
        "mean": own / calls if calls else None,
        "flops": sum(flops) / steps if flops else None,
        "memory": sum(memory) / steps if memory else None,
        "shapes": "; ".join(dict.fromkeys(one.shapes for one in cell if one.shapes)),
    }
