"""Top of the Compare page: which runs, what went wrong with them, the controls, and the summary table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from ...db.records import RunInfo, SeriesInfo
from ...runs.views import StepTimes
from ..badges import framework_badge, icon, state_badge, swatch
from ..comparison import Comparison
from ..formats import NOTHING, duration, number, per_second, seconds
from ..query import CompareQuery
from ..rows import run_seconds
from ..tensorboard import TensorBoardLinks
from ..theme import FRAMEWORK_NAMES

# Heading, value, how it is written, and whether more (1), less (-1) or neither (0) is better.
Column = tuple[str, Callable[[RunInfo], float | None], Callable[[float | None], str], int]

AXIS_NAMES = {
    "step": "Step",
    "epoch": "Epoch",
    "samples": "Samples seen",
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
        html.Div([html.H1(title)], className="page-head"),
        html.Div([_chip(run, comparison, links) for run in comparison.runs], className="chips"),
        *[_sentence(sentence) for sentence in comparison.unknown],
        *[_failure(run, comparison.labels[run.id]) for run in comparison.runs if run.error],
    ]


def _chip(run: RunInfo, comparison: Comparison, links: TensorBoardLinks) -> Component:
    label = comparison.labels[run.id]
    rest = CompareQuery(runs=tuple(other for other in comparison.ids if other != run.id))
    link = links.url(run)
    return html.Div(
        [
            swatch(comparison.strokes[run.id]),
            html.Span(label, className="name", title=f"{run.name} ({run.id})"),
            framework_badge(run.framework, run.backend)
            if label != FRAMEWORK_NAMES.get(run.framework or "")
            else html.Span(run.name, className="soft name"),
            state_badge(run.state),
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
                href="/compare" + rest.search() if rest.runs else "/",
                className="button quiet",
            ),
        ],
        className="chip",
    )


def _sentence(sentence: str) -> Component:
    return html.Div([icon("alert"), html.Div(sentence)], className="notice", role="status")


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


def toolbar(query: CompareQuery, metrics: Sequence[str], shown: Sequence[str]) -> Component:
    """What decides how the curves are drawn; every control has its place in the URL."""
    return html.Div(
        [
            html.Div(
                dmc.Select(
                    id="axis",
                    label="Horizontal axis",
                    data=[{"value": value, "label": label} for value, label in AXIS_NAMES.items()],
                    value=query.axis,
                    allowDeselect=False,
                    size="xs",
                ),
                className="field",
            ),
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
    formats = {"pdf": "All figures, PDF", "svg": "All figures, SVG", "png": "All figures, PNG", "csv": "All data, CSV"}
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


def summary_card(content: Component) -> Component:
    """The frame of the summary table."""
    return html.Section([html.Div(html.H2("Summary"), className="card-head"), content], className="card")


def summary_table(
    comparison: Comparison, infos: Sequence[SeriesInfo], step_times: Mapping[str, StepTimes]
) -> Component:
    """Losses, step times and durations side by side; the best of a column is marked where there are several runs."""
    series = {(info.run_id, info.name): info for info in infos if info.rank == 0}
    accuracy = next((name for name in ("val/accuracy", "val/acc") if any(key[1] == name for key in series)), None)
    now = datetime.now(UTC)

    def info(run: RunInfo, name: str) -> SeriesInfo | None:
        return series.get((run.id, name))

    columns: list[Column] = [
        ("Steps", lambda run: None if run.last_step is None else run.last_step + 1, number, 0),
        ("Train loss", lambda run: _of(info(run, "train/loss"), "last"), number, -1),
        ("Best train loss", lambda run: _of(info(run, "train/loss"), "minimum"), number, -1),
        ("Val loss", lambda run: _of(info(run, "val/loss"), "last"), number, -1),
        ("Best val loss", lambda run: _of(info(run, "val/loss"), "minimum"), number, -1),
    ]
    if accuracy:
        columns.append(("Best val accuracy", lambda run: _of(info(run, accuracy), "maximum"), number, 1))
    columns += [
        ("Step time, median", lambda run: _of(step_times.get(run.id), "median"), seconds, -1),
        ("Samples/s", lambda run: _of(step_times.get(run.id), "samples_per_second"), per_second, 1),
        ("Duration", lambda run: run_seconds(run, now), duration, 0),
    ]
    values = [[value(run) for _, value, _, _ in columns] for run in comparison.runs]
    best = [_best([row[place] for row in values], columns[place]) for place in range(len(columns))]
    head = html.Tr([html.Th("Run", scope="col"), *[html.Th(c[0], className="number", scope="col") for c in columns]])
    body = [
        html.Tr(
            [
                html.Td(run_cell(run.id, comparison)),
                *[
                    html.Td(
                        column[2](value) if value is not None else NOTHING,
                        className="number best" if column[2](value) == best[place] else "number",
                    )
                    for place, (column, value) in enumerate(zip(columns, row, strict=True))
                ],
            ]
        )
        for run, row in zip(comparison.runs, values, strict=True)
    ]
    return html.Div(html.Table([html.Thead(head), html.Tbody(body)], className="plain"), className="scroll tall")


def run_cell(run_id: str, comparison: Comparison) -> Component:
    """A run's colour and label, as the first cell of a table row."""
    return html.Span([swatch(comparison.strokes[run_id]), comparison.labels[run_id]], className="run")


def _of(record: Any, attribute: str) -> float | None:
    return None if record is None else float(getattr(record, attribute))


def _best(values: Sequence[float | None], column: Column) -> str | None:
    """How the best of a column reads, where several runs have a value and do not all read the same."""
    _, _, written, direction = column
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if direction == 0 or len({written(value) for value in finite}) < 2:
        return None
    return written(max(finite) if direction > 0 else min(finite))
