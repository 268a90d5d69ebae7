"""The sections of the Run page: facts, metrics, events, files, model, configuration, environment, code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from ...db.records import ArtifactInfo, Event, RunInfo, SeriesInfo
from ...db.store import Store
from ...runs.labels import flatten
from ...runs.protocol import protocol
from ..formats import NOTHING, duration, memory, moment, quantity, setting
from ..query import CompareQuery
from ..rows import run_seconds

MOST_CHARACTERS = 300
MOST_LAYERS = 400
APART = ("packages", "git", "command")  # of the environment: in sections of their own


def sections(store: Store, run: RunInfo) -> list[Component]:
    """Everything that the store knows of a run; sections without content are left out."""
    found = [
        _facts(run),
        _code(run),
        _trouble(run),
        _events(store.events(run)),
        _metrics(run, store.series_infos([run.id])),
        _model(run),
        _values("Configuration", flatten(run.config)),
        _environment(run),
        _artifacts(store.artifacts(run)),
    ]
    return [section for section in found if section is not None]


def _card(title: str, *content: Component | None, wide: bool = False) -> Component:
    return html.Section(
        [html.Div(html.H2(title), className="card-head"), *content], className="card wide" if wide else "card"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]], numeric: frozenset[int] = frozenset()) -> Component:
    def look(place: int) -> str:
        return "number" if place in numeric else ""

    head = html.Tr([html.Th(name, scope="col", className=look(place)) for place, name in enumerate(headings)])
    body = [html.Tr([html.Td(cell, className=look(place)) for place, cell in enumerate(row)]) for row in rows]
    return html.Div(html.Table([html.Thead(head), html.Tbody(body)], className="plain"), className="scroll tall")


def _pairs(pairs: Sequence[tuple[str, Any]]) -> Component:
    return html.Dl([part for key, value in pairs for part in (html.Dt(key), html.Dd(value))], className="facts")


def _facts(run: RunInfo) -> Component:
    steps = NOTHING if run.last_step is None else f"{run.last_step + 1:,}"
    pairs = [
        ("Id", html.Code(run.id)),
        ("Project", run.project),
        ("Workload", run.workload),
        ("Group", run.group),
        ("Steps", f"{steps} of {run.total_steps:,}" if run.total_steps else steps),
        ("Conditions", protocol(run)),
        ("Processes", f"{run.world_size}" if run.world_size > 1 else None),
        ("Created", moment(run.created)),
        ("Ended", moment(run.ended) if run.ended else None),
        ("Last sign of life", moment(run.heartbeat) if run.heartbeat and not run.ended else None),
        ("Took", duration(run_seconds(run, datetime.now(UTC)))),
        ("Event files", html.Code(run.log_directory) if run.log_directory else None),
    ]
    return _card("Summary", _pairs([(key, value) for key, value in pairs if value]))


def _trouble(run: RunInfo) -> Component | None:
    """How it failed, and what could not be recorded."""
    error: Mapping[str, Any] = run.error or {}
    content: list[Component] = []
    if error:
        content += [
            html.P([html.Strong(str(error.get("type", "An error"))), " ", html.Span(str(error.get("message", "")))]),
            html.Details([html.Summary("Traceback"), html.Pre(str(error.get("traceback", "")))]),
        ]
    content += [html.P(f"{count} × {sentence}") for sentence, count in run.warnings.items()]
    return _card("What went wrong", html.Div(content, className="card-body"), wide=True) if content else None


def _events(events: Sequence[Event]) -> Component | None:
    if not events:
        return None
    rows = [
        (moment(event.time), NOTHING if event.step is None else f"{event.step:,}", event.kind, event.message)
        for event in events
    ]
    return _card("Events", _table(("Time", "Step", "Kind", ""), rows, frozenset({1})), wide=True)


def _metrics(run: RunInfo, infos: Sequence[SeriesInfo]) -> Component | None:
    if not infos:
        return None
    rows = []
    for info in infos:
        query = CompareQuery(runs=(run.id,), metrics=(info.name,))
        name = info.name if not info.rank else f"{info.name} (rank {info.rank})"
        broken = info.nan_count + info.positive_infinity_count + info.negative_infinity_count
        rows.append(
            (
                dcc.Link(name, href="/compare" + query.search()),
                f"{info.count:,}",
                *[quantity(value, info.unit) for value in (info.last, info.minimum, info.maximum, info.mean)],
                info.unit or "",
                info.reduction.replace("_", " "),
                html.Span(f"{broken:,}", className="badge nan") if broken else "",
            )
        )
    headings = ("Metric", "Points", "Last", "Smallest", "Largest", "Mean", "Unit", "A value is of a", "NaN or Inf")
    return _card("Metrics", _table(headings, rows, frozenset({1, 2, 3, 4, 5, 8})), wide=True)


def _artifacts(artifacts: Sequence[ArtifactInfo]) -> Component | None:
    if not artifacts:
        return None
    rows = [
        (
            html.A(one.name, href=f"/artifact/{one.run_id}/{one.id}", download="") if one.path is None else one.name,
            one.kind,
            NOTHING if one.step is None else f"{one.step:,}",
            memory(one.size_bytes),
            f"too large for the store: {one.path}" if one.path else "",
        )
        for one in artifacts
    ]
    return _card("Files", _table(("Name", "Kind", "Step", "Size", ""), rows, frozenset({2, 3})))


def _code(run: RunInfo) -> Component:
    """How to read the run in Python, and how it was started."""
    reading = (
        "import trackside\n\n"
        "with trackside.open_store() as store:\n"
        f"    run = store.run({run.id!r})\n"
        '    loss = store.series(run, "train/loss")  # loss.steps, loss.values, loss.times\n'
        "    frame = store.frame([run])"
    )
    blocks = [_block("run-read", "Read it in Python", reading)]
    git = run.environment.get("git")
    command = run.environment.get("command")
    if isinstance(command, list) and command:
        lines = []
        if isinstance(git, Mapping) and git.get("commit"):
            dirty = "  # and the changes below" if git.get("dirty") else ""
            lines.append(f"git checkout {git['commit']}{dirty}")
        lines.append(f"python {shlex.join(str(word) for word in command)}")
        blocks.append(_block("run-again", "Run it again", "\n".join(lines)))
    if isinstance(git, Mapping) and git.get("diff"):
        blocks.append(html.Details([html.Summary("Changes that were not committed"), html.Pre(str(git["diff"]))]))
    return _card("Code", html.Div(blocks, className="card-body"))


def _block(component_id: str, title: str, text: str) -> Component:
    return html.Div(
        [
            html.Div(
                [
                    html.H3(title),
                    dcc.Clipboard(target_id=component_id, title=f"Copy: {title.lower()}", className="copy"),
                ],
                className="code-head",
            ),
            html.Pre(text, id=component_id),
        ]
    )


def _model(run: RunInfo) -> Component | None:
    if not run.model:
        return None
    layers = [layer for layer in run.model.get("layers") or [] if isinstance(layer, Mapping)]
    pairs = [
        ("Class", run.model.get("class")),
        ("Parameters", _count(run.model.get("parameters"))),
        ("Trainable", _count(run.model.get("trainable_parameters"))),
    ]
    rows = [
        (html.Code(str(layer.get("name", ""))), str(layer.get("class", "")), _count(layer.get("parameters")) or NOTHING)
        for layer in layers[:MOST_LAYERS]
    ]
    more = len(layers) - MOST_LAYERS
    return _card(
        "Model",
        _pairs([(key, value) for key, value in pairs if value]),
        _table(("Layer", "Class", "Parameters"), rows, frozenset({2})) if rows else None,
        html.P(f"And {more:,} more layers.", className="card-body soft") if more > 0 else None,
    )


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def _values(title: str, values: Mapping[str, Any]) -> Component | None:
    if not values:
        return None
    return _card(
        title,
        _table(
            ("Key", "Value"),
            [(html.Code(key), html.Code(setting(value, MOST_CHARACTERS))) for key, value in values.items()],
        ),
    )


def _environment(run: RunInfo) -> Component | None:
    values = flatten({key: value for key, value in run.environment.items() if key not in APART})
    for key in values:
        if key.endswith("_bytes") and isinstance(values[key], int | float):
            values[key] = memory(values[key])
        elif key == "process_started" and isinstance(values[key], int | float):
            values[key] = moment(datetime.fromtimestamp(values[key], UTC))
    packages = run.environment.get("packages")
    if isinstance(packages, Mapping):
        values |= {str(name): version for name, version in packages.items()}
    return _values("Environment", values)
