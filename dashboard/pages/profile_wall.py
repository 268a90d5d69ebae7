"""Top of the Profile page: the wall clock of a step as bars that add up to it, and the families of operators."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from ...runs.traces.records import PARTS, Direction, Family, Part, Profile
from ..badges import swatch
from ..comparison import Comparison
from ..formats import seconds
from ..profile_reader import RunProfile
from ..profile_rows import FamilyRow
from ..profile_text import PART_MEANINGS, PART_NAMES, difference, family_name, milliseconds, ratio, share
from ..theme import PART_COLORS

LABELLED_SHARE = 0.07  # of the widest bar: a narrower piece has no room for its time
PALE = ("kernel", "other", "forward")  # parts on whose colour dark text is read better


def wall_card(profiles: Sequence[RunProfile], comparison: Comparison) -> Component:
    """The split of a step, run by run: a bar each on one scale, and the same as a table."""
    shown = [(one.run.id, one.profile) for one in profiles if one.profile is not None]
    longest = max((_step(profile) for _, profile in shown), default=0.0)
    parts = [part for part in PARTS if any(profile.split.get(part) for _, profile in shown)]
    base = _step(shown[0][1])
    return html.Section(
        [
            html.Div(html.H2("Where the time of a step goes"), className="card-head"),
            html.Div(
                [
                    _bar(run_id, profile, comparison, longest, base, place)
                    for place, (run_id, profile) in enumerate(shown)
                ],
                className="card-body walls",
            ),
            html.Div(_table(shown, parts, comparison), className="scroll"),
            html.P(_caption(shown, comparison), className="soft card-body caption"),
        ],
        className="card section",
        **{"aria-label": "Wall clock of a step"},
    )


def _step(profile: Profile) -> float:
    return sum(profile.split.values())


def _bar(run_id: str, profile: Profile, comparison: Comparison, longest: float, base: float, place: int) -> Component:
    step = _step(profile)
    pieces = [
        _piece(part, profile.split[part], step, longest)
        for part in PARTS
        if profile.split.get(part, 0.0) > 0 and step > 0
    ]
    width = f"{100 * step / longest:.3f}%" if longest else "0"
    return html.Div(
        [
            html.Div([swatch(comparison.strokes[run_id]), comparison.labels[run_id]], className="run wall-run"),
            html.Div(html.Div(pieces, className="wall", style={"width": width}), className="wall-track"),
            html.Div(
                [html.Strong(milliseconds(step)), html.Span("" if place == 0 else ratio(step, base), className="soft")],
                className="wall-total",
            ),
        ],
        className="wall-row",
    )


def _piece(part: Part, value: float, step: float, longest: float) -> Component:
    name = PART_NAMES[part]
    said = f"{name}: {milliseconds(value)} a step, {share(value, step)} – {PART_MEANINGS[part]}"
    wide = value / longest >= LABELLED_SHARE if longest else False
    return html.Span(
        html.Span([html.B(name), " ", milliseconds(value)]) if wide else None,
        className="piece pale" if part in PALE else "piece",
        style={"flexGrow": value / step, "background": PART_COLORS[part]},
        title=said,
    )


def _table(shown: Sequence[tuple[str, Profile]], parts: Sequence[Part], comparison: Comparison) -> Component:
    pair = len(shown) == 2
    labels = [comparison.labels[run_id] for run_id, _ in shown]
    heads = [html.Th("Part", scope="col")]
    for run_id, _ in shown:
        heads.append(
            html.Th(
                html.Span([swatch(comparison.strokes[run_id]), comparison.labels[run_id]], className="run"),
                scope="col",
                className="number",
            )
        )
    if pair:
        heads += [
            html.Th(text, scope="col", className="number", title=f"{labels[1]} against {labels[0]}")
            for text in ("Difference", "Ratio")
        ]
    rows = [
        _row(
            [html.Span(className="dot", style={"background": PART_COLORS[part]}), PART_NAMES[part]],
            [profile.split.get(part, 0.0) for _, profile in shown],
            [_step(profile) for _, profile in shown],
            PART_MEANINGS[part],
        )
        for part in parts
    ]
    steps = [_step(profile) for _, profile in shown]
    rows.append(_row(["Whole step"], steps, steps, "the parts add up to it", total=True))
    return html.Table([html.Thead(html.Tr(heads)), html.Tbody(rows)], className="plain wall-table")


def _row(
    name: list[Component | str], values: Sequence[float], steps: Sequence[float], meaning: str, total: bool = False
) -> Component:
    cells = [html.Th(name, scope="row", title=meaning)]
    for value, step in zip(values, steps, strict=True):
        percent = None if total else html.Span(share(value, step), className="soft percent")
        cells.append(html.Td([milliseconds(value), percent], className="number"))
    if len(values) == 2:
        cells += [
            html.Td(difference(values[1], values[0]), className="number"),
            html.Td(ratio(values[1], values[0]), className="number"),
        ]
    return html.Tr(cells, className="total" if total else "")


def _caption(shown: Sequence[tuple[str, Profile]], comparison: Comparison) -> str:
    return " ".join(caption(comparison.labels[run_id], profile) for run_id, profile in shown)


def caption(label: str, profile: Profile) -> str:
    """Which steps a profile covers, and what recording them cost: `PyTorch: mean of 5 steps (10 to 14), …`."""
    context, steps = profile.context, profile.steps
    which = (
        f" ({context.first_step:,} to {context.last_step:,})"
        if context.first_step is not None and context.last_step is not None
        else ""
    )
    counted = "one step" if steps == 1 else f"mean of {steps} steps"
    cost = sum(context.recording.values())
    paid = f"; starting and storing the recording took {seconds(cost)} of training" if cost else ""
    named = profile.classified_fraction
    known = f"; {100 * named:.1f} % of operator time has a family" if named == named else ""
    return f"{label}: {counted}{which}{paid}{known}."


def families_card(
    rows: Sequence[FamilyRow], shown: Sequence[RunProfile], comparison: Comparison, chosen: str | None
) -> list[Component]:
    """Families side by side; each is a button that narrows the table of operators to it."""
    widest = max((value or 0.0 for row in rows for value in row.seconds), default=0.0)
    pair = len(shown) == 2
    heads = [html.Th("Family", scope="col")]
    for one in shown:
        heads.append(
            html.Th(
                html.Span([swatch(comparison.strokes[one.run.id]), comparison.labels[one.run.id]], className="run"),
                scope="col",
                colSpan=2,
            )
        )
    if pair:
        heads += [html.Th(text, scope="col", className="number") for text in ("Difference", "Ratio")]
    body = [_family(row, widest, chosen, pair) for row in rows]
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


def _family(row: FamilyRow, widest: float, chosen: str | None, pair: bool) -> Component:
    pressed = chosen in (row.key, row.family)
    cells = [
        html.Th(
            html.Button(
                [dot(row.family, row.direction), family_name(row.family, row.direction)],
                type="button",
                className="family",
                title="Show its operators and layers only" if not pressed else "Show all operators again",
                **{"data-set": f"family={row.key}", "aria-pressed": "true" if pressed else "false"},
            ),
            scope="row",
        )
    ]
    for value, guessed in zip(row.seconds, row.inferred, strict=True):
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
                [milliseconds(value), html.Span("~", className="soft", title=note) if guessed > 0.01 else None],
                className="number",
            ),
        ]
    if pair:
        first, second = row.seconds
        cells += [
            html.Td(difference(second, first), className="number"),
            html.Td(ratio(second, first), className="number"),
        ]
    return html.Tr(cells, className="chosen" if pressed else "")


def dot(family: Family, direction: Direction = "forward") -> Component:
    """A family's colour; hatched for the backward pass."""
    return html.Span(
        className=f"dot {direction}", style={"backgroundColor": f"var(--family-{family})"}, **{"aria-hidden": "true"}
    )
