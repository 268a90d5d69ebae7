"""The Run page: everything about one run, and what people may change of it."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.errors import RunNotFoundError
from ...db.records import RunInfo
from ...db.store import Store
from ...runs.traces.reading import traces
from ..badges import framework_badge, icon, state_badge
from ..comparison import LIVE_STATES
from ..debug_query import debug_address
from ..query import RunQuery
from ..source import StoreSource
from ..tensorboard import TensorBoardLinks
from . import run_sections, run_source

POLL_MILLISECONDS = 2000


def layout(source: StoreSource, links: TensorBoardLinks, search: str) -> Component:
    """The page; what grows while the run trains is kept up to date by a callback."""
    store, query = source(), RunQuery.parse(search)
    try:
        run = store.run(query.run)
    except RunNotFoundError as error:
        return html.Div(
            [
                html.H1("No such run"),
                html.P(str(error), className="soft"),
                dcc.Link("All runs", href="/", className="button primary"),
            ],
            className="empty",
        )
    return html.Div(
        [
            dcc.Interval(id="run-tick", interval=POLL_MILLISECONDS, disabled=run.state not in LIVE_STATES),
            dcc.Store(id="run-id", data=run.id),
            dcc.Store(id="run-shown", data=_state(store, run)),
            html.Div(_head(store, run, links), id="run-head"),
            _edit(run),
            html.Div(run_sections.sections(store, run), id="run-sections", className="run-sections"),
            run_source.place(store, run.id),
        ]
    )


def register(app: Dash, source: StoreSource, links: TensorBoardLinks) -> None:
    """Add the page's callbacks."""
    run_source.register(app, source)

    @app.callback(
        Output("run-head", "children"),
        Output("run-sections", "children"),
        Output("run-shown", "data"),
        Output("run-tick", "disabled"),
        Input("run-tick", "n_intervals"),
        Input("recovered", "data"),
        State("run-id", "data"),
        State("run-shown", "data"),
        prevent_initial_call=True,
    )
    def follow(_: int, __: int, run_id: str, shown: str) -> tuple[Any, ...]:
        store = source()
        run = store.run(run_id)
        now = _state(store, run)
        if now == shown:
            return no_update, no_update, no_update, run.state not in LIVE_STATES
        return _head(store, run, links), run_sections.sections(store, run), now, run.state not in LIVE_STATES

    @app.callback(
        Output("run-head", "children", allow_duplicate=True),
        Output("run-saved", "children"),
        Input("run-name", "value"),
        Input("run-tags", "value"),
        Input("run-notes", "value"),
        Input("run-baseline", "checked"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    def change(name: str, tags: list[str], notes: str, baseline: bool, run_id: str) -> tuple[Any, str]:
        store = source()
        run = store.run(run_id)
        # Only what was touched: what else the browser says may be older than what another request has just saved.
        touched = set(ctx.triggered_prop_ids.values())
        changed = False
        if "run-name" in touched and (name or "").strip() not in ("", run.name):
            store.rename(run, name)
            changed = True
        if "run-tags" in touched and {*(tags or [])} != {*run.tags}:
            store.set_tags(run, tags or [])
            changed = True
        if "run-notes" in touched and (notes or "") != run.notes:
            store.annotate(run, notes or "")
            changed = True
        if "run-baseline" in touched and bool(baseline) != run.baseline:
            store.set_baseline(run, bool(baseline))
            changed = True
        if not changed:
            raise PreventUpdate  # what appeared with the page
        return _head(store, store.run(run_id), links), "Saved"

    @app.callback(
        Output("run-head", "children", allow_duplicate=True),
        Output("run-trash", "children"),
        Input("run-trash", "n_clicks"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    def throw_away(_: int, run_id: str) -> tuple[Any, str]:
        store = source()
        run = store.run(run_id)
        store.delete(run) if run.deleted is None else store.restore(run)
        run = store.run(run_id)
        return _head(store, run, links), _trash_label(run)


def _state(store: Store, run: RunInfo) -> str:
    """Changes when the page must."""
    points = sum(info.count for info in store.series_infos([run.id]))
    return repr((points, run.state, run.last_step, len(store.events(run)), len(store.artifacts(run)), run.warnings))


def _head(store: Store, run: RunInfo, links: TensorBoardLinks) -> list[Component]:
    address = links.url(run)
    buttons: list[Component | None] = [
        dcc.Link("Curves and step times", href=f"/compare?runs={run.id}", className="button primary"),
        dcc.Link("Profile", href=f"/profile?runs={run.id}", className="button") if traces(store, run) else None,
        dcc.Link("System", href=f"/system?runs={run.id}", className="button"),
        dcc.Link("Debug", href=debug_address([run.id]), className="button"),
        html.A(["TensorBoard", icon("external")], href=address, target="_blank", rel="noreferrer", className="button")
        if address
        else None,
    ]
    return [
        html.Div(
            [
                html.H1(run.name),
                state_badge(run.state),
                framework_badge(run.framework, run.backend),
                html.Span("baseline", className="badge") if run.baseline else None,
                *[html.Span(tag, className="badge") for tag in run.tags],
                html.Div(className="spring"),
                *buttons,
            ],
            className="page-head",
        ),
        html.Div(
            [icon("alert"), html.Div("This run is in the trash: lists leave it out until it is restored.")],
            className="notice",
            role="status",
        )
        if run.deleted
        else html.Span(),
    ]


def _edit(run: RunInfo) -> Component:
    return html.Section(
        [
            dmc.TextInput(id="run-name", label="Name", value=run.name, debounce=300, size="xs"),
            dmc.TagsInput(id="run-tags", label="Tags", value=list(run.tags), placeholder="Add a tag", size="xs"),
            dmc.Textarea(
                id="run-notes", label="Notes", value=run.notes, debounce=300, autosize=True, maxRows=8, size="xs"
            ),
            dmc.Switch(id="run-baseline", label="Baseline", checked=run.baseline, size="sm"),
            html.Button(_trash_label(run), id="run-trash", className="button", type="button"),
            html.Span(id="run-saved", className="soft", role="status"),
        ],
        className="card run-edit",
        **{"aria-label": "What people say of the run"},
    )


def _trash_label(run: RunInfo) -> str:
    return "Move to the trash" if run.deleted is None else "Restore from the trash"
