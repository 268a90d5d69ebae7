"""`trackside profile`: where the time of a step went, of one run or of several side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..db.errors import UsageError
from ..db.records import RunInfo
from ..db.store import Store
from .shared import JSONOption, References, StoreOption, err, out, print_json, the_store

if TYPE_CHECKING:
    from rich.console import JustifyMethod

    from ..runs.traces.comparison import ProfileComparison
    from ..runs.traces.records import Operator, Profile

ByOption = Annotated[str, typer.Option("--by", metavar="family|operator", help="What the time is summed up by.")]
GUESSED = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A run, or one process of it, what tells it apart, and the trace of it that is shown."""

    run: RunInfo
    rank: int
    label: str
    profile: Profile


def profile(
    runs: References,
    by: ByOption = "family",
    top: Annotated[int, typer.Option(min=1, help="How many operators to list.")] = 10,
    rank: Annotated[
        list[int] | None,
        typer.Option(min=0, metavar="N", help="A process of a distributed training; of several, each is a column."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the raw traces, one file of all for Perfetto, and a folder for TensorBoard's Profile tab.",
        ),
    ] = None,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Where the time of a training step went, by what it was spent on, of runs side by side.

    Example: trackside profile torch-3f2a tensorflow-81cc --by operator --top 20
    """
    if by not in ("family", "operator"):
        raise UsageError(f"Time is summed up by family or by operator, not by {by!r}.")
    with the_store(store) as opened:
        shown = _shown(opened, runs, sorted(set(rank or ())))
        written = _export(opened, shown, export) if export is not None else []
    if json:
        _print_json(shown)
    else:
        _print(shown, by, top)
    for path in written:
        err.print(str(path), markup=False, soft_wrap=True)


def _shown(store: Store, references: Sequence[str], ranks: Sequence[int]) -> list[_Shown]:
    """The last trace of each run, of its first process or of those that were asked for."""
    from ..runs.labels import run_labels
    from ..runs.traces.reading import profiles, traces

    infos = list({info.id: info for info in map(store.run, references)}.values())
    labels = run_labels(infos)
    shown = []
    for info in infos:
        having = [one.rank for one in traces(store, info)]
        if not having:
            raise UsageError(
                f"Run {info.name} has no profiler trace: train with profile=True in the tracker, or bring one in with "
                f"`trackside import trace FILE --run {info.id}`."
            )
        for rank in ranks or having[-1:]:
            if rank not in having:
                said = ", ".join(str(one) for one in sorted(set(having)))
                raise UsageError(
                    f"Run {info.name} has no trace of rank {rank}, only of {said}: train with "
                    "profile=ProfileSchedule(every_rank=True)."
                )
            if having.count(rank) > 1:
                err.print(
                    f"{info.name} has {having.count(rank)} traces; this is the last one.", style="dim", markup=False
                )
            label = labels[info.id] if len(ranks) < 2 else f"{labels[info.id]}, rank {rank}"
            shown.append(_Shown(run=info, rank=rank, label=label, profile=profiles(store, info, rank)[-1]))
    return shown


def _export(store: Store, shown: Sequence[_Shown], folder: Path) -> list[Path]:
    from ..runs.traces.exporting import export_traces

    labels = {one.run.id: (one.run, one.label) for one in reversed(shown)}
    return export_traces(store, list(labels.values())[::-1], folder)


def _print_json(shown: Sequence[_Shown]) -> None:
    from ..runs.traces.families import profile_json

    runs = [
        {"id": one.run.id, "name": one.run.name, "rank": one.rank, "label": one.label, **profile_json(one.profile)}
        for one in shown
    ]
    comparison = _comparison(shown)
    print_json({"runs": runs, "comparison": None if comparison is None else comparison.to_json()})


def _comparison(shown: Sequence[_Shown]) -> ProfileComparison | None:
    """The runs side by side; None of a single one."""
    if len(shown) < 2:
        return None
    from ..runs.traces.comparison import compare_profiles

    return compare_profiles([one.profile for one in shown], [one.label for one in shown])


def _print(shown: Sequence[_Shown], by: str, top: int) -> None:
    out.print(_split_table(shown))
    if by == "family":
        out.print()
        out.print(_family_table(shown))
    comparison = _comparison(shown)
    out.print()
    if comparison is not None:
        out.print(_matched_table(shown, comparison, top))
    else:
        out.print(_operator_table(shown[0], top))
    guessed = any(operator.inferred for one in shown for operator in one.profile.operators)
    out.print()
    if guessed:
        out.print(f"{GUESSED} the family is inferred, not read off the trace.", style="dim")
    for sentence in comparison.captions if comparison is not None else shown[0].profile.notes:
        out.print(sentence, style="dim", markup=False, soft_wrap=True)


def _split_table(shown: Sequence[_Shown]) -> Table:
    from ..runs.traces.records import PARTS

    table = _table("where a step's time goes", shown)
    means = [sum(one.profile.step_seconds) / one.profile.steps for one in shown]
    table.add_row("steps", *_against([_steps(one.profile) for one in shown], [None] * len(shown)))
    table.add_row("[bold]step[/]", *_against([f"[bold]{_time(mean)}[/]" for mean in means], means))
    for part in PARTS:
        seconds = [one.profile.split.get(part, 0.0) for one in shown]
        if any(seconds):
            cells = [_share(time, mean) for time, mean in zip(seconds, means, strict=True)]
            table.add_row(f"  {part}", *_against(cells, seconds))
    return table


def _family_table(shown: Sequence[_Shown]) -> Table:
    from ..runs.traces.families import families

    table = _table("operators by family, a step", shown)
    found = [{(one.family, one.direction): one for one in families(run.profile)} for run in shown]
    totals = [sum(one.seconds for one in run.values()) for run in found]
    longest = {key: max(run[key].seconds for run in found if key in run) for run in found for key in run}
    for key in sorted(longest, key=lambda one: -longest[one]):
        times = [run.get(key) for run in found]
        cells = [
            "–" if one is None else _share(one.seconds, total) + (GUESSED if one.inferred else "")
            for one, total in zip(times, totals, strict=True)
        ]
        name = key[0] if key[1] == "none" else f"{key[0]} {key[1]}"
        table.add_row(name, *_against(cells, [one.seconds if one else None for one in times]))
    table.add_row("[bold]together[/]", *_against([f"[bold]{_time(one)}[/]" for one in totals], totals))
    classified = [_percent(one.profile.classified_fraction) for one in shown]
    table.add_row("classified", *_against(classified, [None] * len(shown)))
    return table


def _operator_table(one: _Shown, top: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title=escape(one.label), title_justify="left")
    columns: tuple[tuple[str, JustifyMethod, int | None], ...] = (
        ("operator", "left", 46), ("for", "left", None), ("layer", "left", 24), ("calls", "right", None),
        ("self", "right", None), ("total", "right", None), ("share", "right", None), ("GFLOP", "right", None),
        ("shapes", "left", 36),
    )  # fmt: skip
    for heading, justify, width in columns:
        table.add_column(heading, justify=justify, overflow="ellipsis", no_wrap=True, max_width=width)
    steps = one.profile.steps
    everything = sum(operator.self_seconds for operator in one.profile.operators if not operator.background)
    for operator in one.profile.operators[:top]:
        table.add_row(
            escape(operator.name),
            _purpose(operator),
            escape(operator.layer or ""),
            f"{operator.calls / steps:.4g}",
            _time(operator.self_seconds / steps),
            _time(operator.total_seconds / steps),
            "" if operator.background or not everything else _percent(operator.self_seconds / everything),
            "" if operator.flops is None else f"{operator.flops / steps / 1e9:.3g}",
            escape(operator.shapes),
        )
    left = len(one.profile.operators) - top
    if left > 0:
        table.caption = f"a step; {left} more rows: --top {len(one.profile.operators)}"
        table.caption_justify = "left"
    return table


def _matched_table(shown: Sequence[_Shown], comparison: ProfileComparison, top: int) -> Table:
    """Operators that do the same work in one row; `–` where only others have it."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("operators that do the same, a step", no_wrap=True)
    table.add_column("layer", overflow="ellipsis", no_wrap=True, max_width=20)
    for i, one in enumerate(shown):
        table.add_column(escape(one.label), justify="right", no_wrap=True)
        if i:
            table.add_column("")
    for one in shown:
        table.add_column(f"in {escape(one.label)}", overflow="ellipsis", no_wrap=True, max_width=34)
    for row in comparison.operators[:top]:
        work = row.kind if row.direction == "none" else f"{row.kind} {row.direction}"
        cells = ["–" if seconds is None else _time(seconds) for seconds in row.seconds]
        layer = next((layer for layer in row.layers if layer), "")
        table.add_row(
            escape(work) + (GUESSED if row.inferred else ""),
            escape(layer),
            *_beside(cells, [seconds or 0.0 for seconds in row.seconds]),
            *(escape(name) for name in row.names),
        )
    left = len(comparison.operators) - top
    if left > 0:
        table.caption = f"{left} more rows: --top {len(comparison.operators)}"
        table.caption_justify = "left"
    return table


def _purpose(operator: Operator) -> str:
    words = [operator.family, "" if operator.direction == "none" else operator.direction]
    words += ["gpu" if operator.device == "gpu" else "", "in the background" if operator.background else ""]
    return " ".join(word for word in words if word) + (GUESSED if operator.inferred else "")


def _table(heading: str, shown: Sequence[_Shown]) -> Table:
    """A column for each run, and behind each but the first its difference and its ratio to the first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(heading)
    for i, one in enumerate(shown):
        table.add_column(escape(one.label), justify="right")
        if i:
            table.add_column("difference", justify="right", no_wrap=True)
            table.add_column("ratio", justify="right", no_wrap=True)
    return table


def _beside(cells: Sequence[str], values: Sequence[float]) -> list[str]:
    """The cells of a row, each but the first with its ratio to the first."""
    row, base = [cells[0]], values[0]
    for cell, value in zip(cells[1:], values[1:], strict=True):
        row += [cell, f"{value / base:.2f}×" if base and value else ""]
    return row


def _against(cells: Sequence[str], values: Sequence[float | None]) -> list[str]:
    """The cells of a row, each but the first with its difference to the first and its ratio to it."""
    row, base = [cells[0]], values[0]
    for cell, value in zip(cells[1:], values[1:], strict=True):
        if value is None or base is None:
            row += [cell, "", ""]
        else:
            row += [cell, _difference(value, base), f"{value / base:.2f}×" if base and value else ""]
    return row


def _difference(value: float, base: float) -> str:
    return ("+" if value > base else "−") + _time(abs(value - base)) if value != base else "0"


def _steps(found: Profile) -> str:
    first, last = found.context.first_step, found.context.last_step
    return f"{found.steps}" if first is None or last is None else f"{found.steps} ({first}–{last})"


def _share(seconds: float, whole: float) -> str:
    return f"{_time(seconds)} {_percent(seconds / whole if whole else math.nan):>6}"


def _percent(fraction: float) -> str:
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f} %"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"
