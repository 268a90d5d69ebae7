"""Rows of the Profile page's table: operators or layers of the runs, from profiles that were put side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..runs.traces.comparison import Cell, ProfileComparison
from ..runs.traces.families import counted
from ..runs.traces.records import Operator, Profile

QUANTITIES = ("self", "share", "total", "calls", "mean", "flops", "memory", "shapes")
Row = tuple[Cell, ...]


def difference_fields(place: int) -> tuple[str, str]:
    """Fields of a run's difference to the first, and of how many times the first it is; the second run's are bare."""
    number = "" if place == 1 else str(place)
    return f"difference{number}", f"ratio{number}"


def within(operators: Iterable[Operator], family: str | None) -> Cell:
    """Those of a family as the address names it: `convolution`, `convolution/backward`; all for None."""
    if family is None:
        return tuple(operators)
    name, _, direction = family.partition("/")
    return tuple(one for one in operators if one.family == name and direction in ("", one.direction))


def operator_cells(comparison: ProfileComparison, profiles: Sequence[Profile]) -> list[Row]:
    """Operators that do the same work in a row, then those that do none of a step's: what runs beside it, by name."""
    return [row.cells for row in comparison.operators] + _beside(profiles)


def layer_cells(comparison: ProfileComparison, profiles: Sequence[Profile]) -> list[Row]:
    """The operators of a layer in a row, with its counterparts; those that belong to no layer share one."""
    by_layer = []
    for profile in profiles:
        found: dict[str | None, list[Operator]] = {}
        for one in counted(profile):
            found.setdefault(one.layer, []).append(one)
        by_layer.append(found)
    rows: list[Row] = []
    for row in comparison.layers:
        rows.append(
            tuple(
                tuple(one for path in (paths or "").split(", ") for one in found.get(path, ()))
                for paths, found in zip(row.layers, by_layer, strict=True)
            )
        )
    rows.append(tuple(tuple(found.get(None, ())) for found in by_layer))
    return rows


def _beside(profiles: Sequence[Profile]) -> list[Row]:
    rows: dict[tuple[str, str], list[list[Operator]]] = {}
    for place, profile in enumerate(profiles):
        working = {id(one) for one in counted(profile)}
        for one in profile.operators:
            if id(one) not in working:
                rows.setdefault((one.name, one.family), [[] for _ in profiles])[place].append(one)
    return [tuple(tuple(cell) for cell in cells) for cells in rows.values()]


def table_rows(
    rows: Sequence[Row], profiles: Sequence[Profile], labels: Sequence[str], by: str
) -> list[dict[str, Any]]:
    """Rows of the grid: times are seconds a step, `self0` is the first run's, and so on. The longest come first.

    Each run but the first, the base, has its difference and ratio to that where both have something.

    Args:
        rows: what each row holds, a cell a run; rows without any operator are left out.
        profiles: in the same order as the cells of a row.
        labels: of the runs, for the column that says where a row is found.
        by: `operator` or `layer`: what a row is called.
    """
    working = [{id(one) for one in counted(profile)} for profile in profiles]
    wholes = [sum(one.self_seconds for one in counted(profile)) for profile in profiles]
    made = []
    for number, row in enumerate(row for row in rows if any(row)):
        operators = [one for cell in row for one in cell]
        first = max(operators, key=lambda one: one.self_seconds)
        beside = not any(id(one) in ids for cell, ids in zip(row, working, strict=True) for one in cell)
        entry: dict[str, Any] = {
            "id": str(number),
            "name": " ~ ".join(dict.fromkeys(_called(cell, by) for cell in row if cell)),
            "names": _joined((one.name for one in cell) for cell in row),
            "family": first.family,
            "direction": first.direction,
            "layer": _joined((one.layer or "" for one in cell) for cell in row),
            "where": _where(row, labels),
            "inferred": any(one.inferred for one in operators),
            "background": all(one.background for one in operators),
            "device": first.device,
        }
        for place, (cell, profile) in enumerate(zip(row, profiles, strict=True)):
            numbers = _numbers(cell, max(profile.steps, 1), 0.0 if beside else wholes[place])
            entry |= {f"{key}{place}": value for key, value in zip(QUANTITIES, numbers, strict=True)}
        base = entry["self0"]
        for place in range(1, len(profiles)):
            own, (difference, ratio) = entry[f"self{place}"], difference_fields(place)
            if base is not None and own is not None:
                entry[difference], entry[ratio] = own - base, own / base if base else None
        made.append(entry)
    return sorted(made, key=lambda entry: -max(entry[f"self{place}"] or 0.0 for place in range(len(profiles))))


def _called(cell: Cell, by: str) -> str:
    """What a run calls it: the name of the longest of its operators and how many more there are, or the layer's."""
    if by == "layer":
        return ", ".join(dict.fromkeys(one.layer or "no layer" for one in cell))
    names = list(dict.fromkeys(one.name for one in sorted(cell, key=lambda one: -one.self_seconds)))
    return names[0] + (f" +{len(names) - 1}" if len(names) > 1 else "")


def _joined(names: Iterable[Iterable[str]]) -> str:
    """`aten::mm ~ MatMul`: what each run calls it; one name where they agree."""
    called = (", ".join(filter(None, dict.fromkeys(cell))) for cell in names)
    return " ~ ".join(dict.fromkeys(filter(None, called)))


def _where(row: Row, labels: Sequence[str]) -> str:
    having = [label for label, cell in zip(labels, row, strict=True) if cell]
    return "all runs" if len(having) == len(labels) else "only " + ", ".join(having)


def _numbers(cell: Cell, steps: int, whole: float) -> tuple[Any, ...]:
    """The `QUANTITIES` of one run's cell; a share is that of `whole`, all operators' time over all steps."""
    if not cell:
        return (None,) * len(QUANTITIES)
    own = sum(one.self_seconds for one in cell)
    calls = sum(one.calls for one in cell)
    flops = [one.flops for one in cell if one.flops is not None]
    memory = [one.memory_bytes for one in cell if one.memory_bytes is not None]
    return (
        own / steps,
        own / whole if whole else None,
        sum(one.total_seconds for one in cell) / steps,
        calls / steps,
        own / calls if calls else None,
        sum(flops) / steps if flops else None,
        sum(memory) / steps if memory else None,
        "; ".join(dict.fromkeys(one.shapes for one in cell if one.shapes)),
    )
