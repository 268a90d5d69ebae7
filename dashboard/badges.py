"""Small pieces that several pages show: states, frameworks, icons."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from .theme import FRAMEWORK_NAMES


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


def swatch(color: str) -> Component:
    """A stroke in a run's colour."""
    return html.Span(className="swatch", style={"--run-color": color}, **{"aria-hidden": "true"})


def pending(what: str) -> Component:
    """Stands where a section will be a moment later."""
    return html.Div(f"Reading {what} …", className="pending", role="status")
