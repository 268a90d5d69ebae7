"""Families of operators side by side on the Profile page: what takes the time, and in which run more."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from ...runs.traces.comparison import FamilyRow
from ...runs.traces.records import Direction, Family
from ..badges import swatch
from ..comparison import Comparison
from ..profile_reader import RunProfile
from ..profile_text import Writer, difference, family_name, ratio, times_like


def families_card(
    rows: Sequence[FamilyRow], shown: Sequence[RunProfile], comparison: Comparison, chosen: str | None
) -> list[Component]:
    """Families side by side, each run but the first with its difference to that.

    Each family is a button that narrows the table of operators to it.
    """
    widest = max((value or 0.0 for row in rows for value in row.seconds), default=0.0)
    heads = [html.Th("Family", scope="col"), *run_heads([one.run.id for one in shown], comparison, columns=2)]
    write = times_like(widest)
    body = [_family(row, widest, chosen, write) for row in sorted(rows, key=lambda row: row.family == "other")]
    return [
        html.Div(
            html.Table([html.Thead(html.Tr(heads)), html.Tbody(body)], className="plain families"), className="scroll"
        ),
        html.P(
            "Self time of operators a step, summed over the threads that the step waits for: with several at work it "
            "can be more than the step. Choose a family to see its operators and layers below.",
            className="soft card-body caption",
        ),
    ]


def run_heads(runs: Sequence[str], comparison: Comparison, *, columns: int = 1) -> list[Component]:
    """Heads of a table with a column a run, and behind each but the first, the base, the difference and ratio to it.

    Args:
        runs: ids, the base first.
        comparison: has their labels.
        columns: how many a run's own values take.
    """
    heads = []
    for place, run_id in enumerate(runs):
        base = html.Span(" base", className="soft") if place == 0 and len(runs) > 2 else None
        name = html.Span([swatch(comparison.strokes[run_id]), comparison.labels[run_id], base], className="run")
        heads.append(html.Th(name, scope="col", colSpan=columns, className="number" if columns == 1 else ""))
        if place:
            against = f"{comparison.labels[run_id]} against {comparison.labels[runs[0]]}"
            heads += [html.Th(text, scope="col", className="number", title=against) for text in ("Difference", "Ratio")]
    return heads


def against_base(values: Sequence[float | None], place: int, write: Writer) -> list[Component]:
    """The two cells behind a run's own in such a table; none behind the base's."""
    if not place:
        return []
    return [
        html.Td(difference(values[place], values[0], write), className="number"),
        html.Td(ratio(values[place], values[0]), className="number"),
    ]


def _family(row: FamilyRow, widest: float, chosen: str | None, write: Writer) -> Component:
    key = f"{row.family}/{row.direction}"
    pressed = chosen in (key, row.family)
    cells = [
        html.Th(
            html.Button(
                [dot(row.family, row.direction), family_name(row.family, row.direction)],
                type="button",
                className="family",
                title="Show its operators and layers only" if not pressed else "Show all operators again",
                **{"data-set": f"family={key}", "aria-pressed": "true" if pressed else "false"},
            ),
            scope="row",
        )
    ]
    for place, (value, guessed) in enumerate(zip(row.seconds, row.inferred, strict=True)):
        width = 100 * (value or 0.0) / widest if widest else 0.0
        note = f"{100 * guessed:.0f} % of it is inferred" if guessed else ""
        cells += [
            html.Td(
                html.Div(
                    className=f"bar {row.direction}",
                    style={"width": f"{width:.2f}%", "backgroundColor": f"var(--family-{row.family})"},
                )
                if value is not None
                else None,
                className="bar-cell",
            ),
            html.Td(
                [write(value), html.Span("~", className="soft", title=note) if guessed > 0.01 else None],
                className="number",
            ),
            *against_base(row.seconds, place, write),
        ]
    return html.Tr(cells, className="chosen" if pressed else "")


def dot(family: Family, direction: Direction = "forward") -> Component:
    """A family's colour; hatched for the backward pass."""
    return html.Span(
        className=f"dot {direction}", style={"backgroundColor": f"var(--family-{family})"}, **{"aria-hidden": "true"}
    )
