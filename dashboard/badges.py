"""Small pieces that several pages show: states, frameworks, icons."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from .theme import FRAMEWORK_NAMES, Stroke

TABLE_HEAD, TABLE_ROW, TABLE_MOST = 33, 35, 460  # pixels, as `table.plain` of the style sheet has them


def icon(name: str) -> Component:
    """An icon of `assets/icons`, in the colour of the text around it; it says nothing to a screen reader."""
    return html.Span(className=f"icon icon-{name}", **{"aria-hidden": "true"})


def state_badge(state: str) -> Component:
    """A coloured dot, of its own shape for each state, and the word."""
    return html.Span(state, className=f"state {state}")


def framework_badge(framework: str | None, backend: str | None = None) -> Component | None:
    """The framework's name on its colour; None for a plain loop."""
    if framework is None:
        return None
    return html.Span(FRAMEWORK_NAMES.get(framework, framework), className=f"badge {framework}", title=backend or "")


def swatch(stroke: Stroke) -> Component:
    """A piece of a run's line, as its curves are drawn."""
    style = {"--run-color": stroke.color, "--run-width": f"{max(stroke.width, 2.5):g}px", "opacity": stroke.opacity}
    return html.Span(
        className="swatch" if stroke.dash == "solid" else "swatch broken", style=style, **{"aria-hidden": "true"}
    )


def pending(what: str, rows: int = 0) -> Component:
    """Stands where a section will be a moment later.

    Args:
        what: what is being read, for the sentence.
        rows: rows of the table that will stand there: the place is kept, so that nothing below it moves.
    """
    style = {"minHeight": f"{min(TABLE_HEAD + rows * TABLE_ROW, TABLE_MOST)}px"} if rows else None
    return html.Div(f"Reading {what} …", className="pending", role="status", style=style)
