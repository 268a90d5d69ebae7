"""Top of the Profile page: the wall clock of a step as bars that add up to it."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from ...runs.traces.records import PARTS, Part, Profile
from ..badges import swatch
from ..comparison import Comparison
from ..formats import seconds
from ..profile_reader import RunProfile
from ..profile_text import PART_MEANINGS, PART_NAMES, Writer, ratio, share, times_like
from ..theme import PART_COLORS
from .profile_families import against_base, run_heads

NAMED_SHARE = 0.13  # of the widest bar: a narrower piece has no room for its name, and below the other not for its time
TIMED_SHARE = 0.05
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
                [html.Strong(seconds(step)), html.Span("" if place == 0 else ratio(step, base), className="soft")],
                className="wall-total",
            ),
        ],
        className="wall-row",
    )


def _piece(part: Part, value: float, step: float, longest: float) -> Component:
    name = PART_NAMES[part]
    said = f"{name}: {seconds(value)} a step, {share(value, step)} – {PART_MEANINGS[part]}"
    wide = value / longest if longest else 0.0
    label = [html.B(name), " ", seconds(value)] if wide >= NAMED_SHARE else [seconds(value)]
    return html.Span(
        html.Span(label) if wide >= TIMED_SHARE else None,
        className="piece pale" if part in PALE else "piece",
        style={"flexGrow": value / step, "background": PART_COLORS[part]},
        title=said,
    )


def _table(shown: Sequence[tuple[str, Profile]], parts: Sequence[Part], comparison: Comparison) -> Component:
    heads = [html.Th("Part", scope="col"), *run_heads([run_id for run_id, _ in shown], comparison)]
    steps = [_step(profile) for _, profile in shown]
    write = times_like(max(steps))
    rows = [
        _row(
            [html.Span(className="dot", style={"background": PART_COLORS[part]}), PART_NAMES[part]],
            [profile.split.get(part, 0.0) for _, profile in shown],
            steps,
            PART_MEANINGS[part],
            write,
        )
        for part in parts
    ]
    rows.append(_row(["Whole step"], steps, steps, "the parts add up to it", write, total=True))
    return html.Table([html.Thead(html.Tr(heads)), html.Tbody(rows)], className="plain wall-table")


def _row(
    name: list[Component | str],
    values: Sequence[float],
    steps: Sequence[float],
    meaning: str,
    write: Writer,
    total: bool = False,
) -> Component:
    cells = [html.Th(name, scope="row", title=meaning)]
    for place, (value, step) in enumerate(zip(values, steps, strict=True)):
        percent = None if total else html.Span(share(value, step), className="soft percent")
        cells += [html.Td([write(value), percent], className="number"), *against_base(values, place, write)]
    return html.Tr(cells, className="total" if total else "")


def _caption(shown: Sequence[tuple[str, Profile]], comparison: Comparison) -> str:
    return " ".join(caption(comparison.labels[run_id], profile) for run_id, profile in shown)


def caption(label: str, profile: Profile) -> str:
    """Which steps a profile covers, how they spread, what recording them cost, and how much of them is understood."""
    context, steps = profile.context, profile.steps
    which = (
        f" ({context.first_step:,} to {context.last_step:,})"
        if context.first_step is not None and context.last_step is not None
        else ""
    )
    spread = f", {seconds(min(profile.step_seconds))} to {seconds(max(profile.step_seconds))} each" if steps > 1 else ""
    counted = "one step" if steps == 1 else f"mean of {steps} steps"
    cost = sum(context.recording.values())
    paid = f"; starting and storing the recording took {seconds(cost)} of training" if cost else ""
    named = profile.classified_fraction
    known = f"; {100 * named:.1f} % of operator time has a family" if named == named else ""
    return f"{label}: {counted}{which}{spread}{paid}{known}."
