"""Top of the Compare page: which runs, what went wrong with them, and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from ...db.records import RunInfo
from ...runs.align import Axis
from ..badges import framework_badge, icon, state_badge, swatch
from ..comparison import Comparison
from ..debug_query import debug_address
from ..query import CompareQuery
from ..tensorboard import TensorBoardLinks
from ..theme import FRAMEWORK_NAMES
from .compare_starts import start_menu

AXIS_NAMES = {
    "step": "Step",
    "epoch": "Epoch",
    "samples": "Samples seen",
    "tokens": "Tokens seen",
    "relative": "Relative time",
    "process": "Process time",
    "wall": "Wall clock (UTC)",
}


def nothing_chosen(comparison: Comparison) -> Component:
    """The page where the URL names no run that exists."""
    sentences = comparison.unknown or ("Choose two or more runs to see whether they are the same experiment.",)
    return html.Div(
        [
            html.H1("Compare runs"),
            *[html.P(sentence, className="soft") for sentence in sentences],
            dcc.Link("Choose runs", href="/", className="button primary"),
        ],
        className="empty",
    )


def header(comparison: Comparison, links: TensorBoardLinks) -> list[Component]:
    """Title, a chip for each run, and what must be said about runs before any number."""
    title = "Compare runs" if len(comparison.runs) > 1 else "Run"
    return [
        html.Div([html.H1(title), html.Div(_other_pages(comparison), className="page-links")], className="page-head"),
        html.Div([chip(run, comparison, links) for run in comparison.runs], className="chips"),
        *[sentence(text) for text in comparison.unknown],
        *[_failure(run, comparison.labels[run.id]) for run in comparison.runs if run.error],
    ]


def _other_pages(comparison: Comparison) -> list[Component | None]:
    """Links to what else is known of these runs."""
    search = CompareQuery(runs=comparison.ids).search()
    return [
        dcc.Link("Profile", href="/profile" + search, className="button") if comparison.traced else None,
        dcc.Link("System", href="/system" + search, className="button"),
        dcc.Link("Debug", href=debug_address(comparison.ids), className="button"),
    ]


def chip(run: RunInfo, comparison: Comparison, links: TensorBoardLinks, path: str = "/compare") -> Component:
    """A run's colour, name, framework and state, with its links; taking it out leads to `path` with the rest."""
    label = comparison.labels[run.id]
    entry = comparison.legend.get(run.id, label)
    parts = [] if entry in label else entry.split(", ")
    settings = ", ".join(part for part in parts if part != FRAMEWORK_NAMES.get(run.framework or ""))  # has a badge
    rest = CompareQuery(runs=tuple(other for other in comparison.ids if other != run.id))
    link = links.url(run)
    return html.Div(
        [
            swatch(comparison.strokes[run.id]),
            dcc.Link(label, href=f"/run?id={run.id}", className="name", title=f"{run.name} ({run.id})"),
            html.Span(settings, className="setting", title=f"In the figures: {entry}") if settings else None,
            framework_badge(run.framework, run.backend)
            if label != FRAMEWORK_NAMES.get(run.framework or "")
            else html.Span(run.name, className="soft name"),
            state_badge(run.state),
            start_menu(run, label) if path == "/compare" else None,
            html.A(
                ["TensorBoard", icon("external")],
                href=link,
                target="_blank",
                rel="noreferrer",
                className="button quiet",
                **{"aria-label": f"Open {label} in TensorBoard"},
            )
            if link
            else None,
            dcc.Link(
                [icon("close"), html.Span(f"Take {label} out of the comparison", className="visually-hidden")],
                href=path + rest.search() if rest.runs else "/",
                className="button quiet",
            ),
        ],
        className="chip",
    )


def sentence(text: str) -> Component:
    """Something that must be said before any number."""
    return html.Div([icon("alert"), html.Div(text)], className="notice", role="status")


def _failure(run: RunInfo, label: str) -> Component:
    error: Mapping[str, Any] = run.error or {}
    return html.Div(
        [
            icon("cross"),
            html.Div(
                [
                    html.Div([html.Strong(label), f" {run.state} with {error.get('type', 'an error')}"]),
                    html.Div(str(error.get("message", "")), className="mono"),
                    html.Details([html.Summary("Traceback"), html.Pre(str(error["traceback"]))])
                    if error.get("traceback")
                    else None,
                ]
            ),
        ],
        className="notice",
    )


def axis_choice(id: str, axis: Axis, axes: Sequence[Axis]) -> Component:
    """The field that chooses the horizontal axis, which is one of `axes`."""
    choice = dmc.Select(
        id=id,
        label="Horizontal axis",
        data=[{"value": value, "label": label} for value, label in AXIS_NAMES.items() if value in axes],
        value=axis,
        allowDeselect=False,
        size="xs",
    )
    return html.Div(choice, className="field")


def toolbar(query: CompareQuery, axes: Sequence[Axis], metrics: Sequence[str], shown: Sequence[str]) -> Component:
    """What decides how the curves are drawn; every control has its place in the URL."""
    return html.Div(
        [
            axis_choice("axis", query.axis, axes),
            html.Div(
                [
                    html.Span("Smoothing", className="label", id="smoothing-label"),
                    html.Div(
                        dmc.Slider(
                            id="smoothing",
                            min=0,
                            max=0.99,
                            step=0.01,
                            value=query.smoothing,
                            size="sm",
                            precision=2,
                            thumbLabel="Smoothing",
                        ),
                        className="slider",
                    ),
                ],
                className="field",
            ),
            html.Div(
                dmc.MultiSelect(
                    id="metrics", label="Metrics", data=list(metrics), value=list(shown), searchable=True, size="xs"
                ),
                className="field wide",
            ),
            html.Div(dmc.Switch(id="log-y", label="Log scale", checked=query.log_y, size="sm"), className="switch"),
            html.Div(
                dmc.Switch(id="splits", label="Join train and val", checked=query.splits, size="sm"), className="switch"
            ),
            html.Div(
                dmc.Switch(id="group", label="Mean over seeds", checked=query.group is not None, size="sm"),
                className="switch",
            ),
            html.Button(
                "Reset zoom", id="reset-zoom", className="button", disabled=query.x_range is None, type="button"
            ),
            _export_menu(),
        ],
        className="toolbar",
        role="toolbar",
        **{"aria-label": "How the curves are drawn"},
    )


def _export_menu() -> Component:
    formats = {
        "pdf": "All figures, PDF",
        "svg": "All figures, SVG",
        "png": "All figures, PNG",
        "csv": "All data, CSV",
        "html": "Report, HTML",
        "report-pdf": "Report, PDF",
    }
    return download_menu("all", None, "Export", formats)


def download_menu(figure: str, subject: str | None, label: str, formats: Mapping[str, str] | None = None) -> Component:
    """A menu of links that download one figure as the page shows it now.

    Args:
        figure: which figure: "curves", "difference", "step-times" or "all".
        subject: the metric, where the figure has one.
        label: text of the button; empty for the icon alone.
        formats: text of each entry by format.
    """
    names = formats or {"pdf": "PDF", "svg": "SVG", "png": "PNG", "csv": "CSV of the points"}
    return html.Details(
        [
            html.Summary(
                [icon("download"), label],
                className="button" if label else "button quiet",
                **{"aria-label": label or f"Download {subject or figure}"},
            ),
            html.Div(
                [
                    html.A(
                        name,
                        href="#",
                        download="",
                        **{"data-figure": figure, "data-subject": subject or "", "data-format": kind},
                    )
                    for kind, name in names.items()
                ]
            ),
        ],
        className="menu",
    )


def run_cell(run_id: str, comparison: Comparison) -> Component:
    """A run's colour and label, as the first cell of a table row."""
    return html.Span([swatch(comparison.strokes[run_id]), comparison.labels[run_id]], className="run")
