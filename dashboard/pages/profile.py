"""The Profile page: where the time of a step goes in each run, and which operators take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.store import Store
from ...runs.parity import check_parity
from ...runs.traces.comparison import ProfileComparison, compare_profiles
from ...runs.traces.records import Profile
from ...runs.verdict import default_base
from ..badges import pending
from ..comparison import Comparison, load
from ..profile_query import ProfileQuery
from ..profile_reader import ProfileReader, RunProfile
from ..profile_rows import layer_cells, operator_cells, table_rows, within
from ..source import StoreSource
from ..tensorboard import TensorBoardLinks
from ..theme import FAMILY_COLORS
from . import compare_header, compare_parity, profile_links
from .profile_families import families_card
from .profile_operators import columns, head, operators_card
from .profile_steps import timeline_card
from .profile_wall import wall_card

POLL_MILLISECONDS = 1000


def layout(source: StoreSource, reader: ProfileReader, links: TensorBoardLinks, search: str) -> Component:
    """The page; what must be analysed first is `pending` and comes by a callback."""
    store, query = source(), ProfileQuery.parse(search)
    comparison = load(store, query.runs)
    if not comparison.runs:
        return _nothing_chosen(comparison)
    profiles = reader.profiles(comparison.runs, query.rank)
    return html.Div(
        [
            dcc.Interval(id="profile-tick", interval=POLL_MILLISECONDS, disabled=not _open(profiles)),
            dcc.Store(id="profile-runs", data=list(query.runs)),
            dcc.Store(id="profile-states", data=_states(profiles)),
            html.Div(_header(store, comparison, query, links, profiles), id="profile-header"),
            html.Div(_content(comparison, query, profiles, links, search), id="profile-content"),
        ],
        style={f"--family-{family}": color for family, color in FAMILY_COLORS.items()},
    )


def register(app: Dash, source: StoreSource, reader: ProfileReader, links: TensorBoardLinks) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output("profile-header", "children"),
        Output("profile-content", "children"),
        Output("profile-states", "data"),
        Output("profile-tick", "disabled"),
        Input("profile-tick", "n_intervals"),
        Input("recovered", "data"),
        State("profile-runs", "data"),
        State("profile-states", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def follow(_: int, __: int, references: list[str], shown: str, search: str) -> tuple[Any, ...]:
        store, query = source(), ProfileQuery.parse(search)
        comparison = load(store, references)
        profiles = reader.profiles(comparison.runs, query.rank)
        now = _states(profiles)
        if now == shown:
            return no_update, no_update, no_update, not _open(profiles)
        return (
            _header(store, comparison, query, links, profiles),
            _content(comparison, query, profiles, links, search),
            now,
            not _open(profiles),
        )

    @app.callback(
        Output("families", "children"),
        Output("operators-head", "children"),
        Output("operators-grid", "columnDefs"),
        Output("operators-grid", "rowData"),
        Output("operators-shown", "data"),
        Input("url", "search"),
        Input("profile-begun", "data"),
        State("profile-runs", "data"),
        State("operators-shown", "data"),
    )
    def narrow(search: str, _: Any, references: list[str], shown: list[Any] | None) -> tuple[Any, ...]:
        query = ProfileQuery.parse(search)
        now = [query.family, query.by]
        if list(query.runs) != references or now == shown:
            raise PreventUpdate
        comparison = load(source(), references)
        ready = _ready(reader.profiles(comparison.runs, query.rank))
        profiles = [profile for _, profile in ready]
        runs = [one for one, _ in ready]
        labels = [comparison.labels[one.run.id] for one in runs]
        side_by_side = compare_profiles(profiles, labels)
        same_columns = shown is not None and shown[1] == query.by
        return (
            families_card(side_by_side.families, runs, comparison, query.family),
            head(query),
            no_update if same_columns else columns(profiles, labels, query),
            _rows(side_by_side, profiles, query),
            now,
        )

    app.clientside_callback(
        ClientsideFunction("profile", "table"),
        Output("operators-sorted", "data"),
        Input("operators-search", "value"),
        Input("url", "search"),
        Input("operators-grid", "rowData"),
    )
    app.clientside_callback(
        ClientsideFunction("profile", "timeline"),
        Output("timeline-drawn", "data"),
        Input("timeline-runs", "data"),
        Input("url", "search"),
    )
    app.clientside_callback(
        ClientsideFunction("profile", "step"),
        Output("timeline-drawn", "data", allow_duplicate=True),
        Input("timeline-step", "value"),
        prevent_initial_call=True,
    )


def _rows(side_by_side: ProfileComparison, profiles: Sequence[Profile], query: ProfileQuery) -> list[dict[str, Any]]:
    cells = operator_cells if query.by == "operator" else layer_cells
    narrowed = [tuple(within(cell, query.family) for cell in row) for row in cells(side_by_side, profiles)]
    return table_rows(narrowed, profiles, side_by_side.labels, query.by)


def _open(profiles: Sequence[RunProfile]) -> bool:
    """Whether the page must ask again: something is being analysed, or a run that trains may record a trace yet."""
    return any(one.state == "busy" or (one.state == "none" and one.run.state == "running") for one in profiles)


def _states(profiles: Sequence[RunProfile]) -> str:
    """Changes when the page has something else to show."""
    return ";".join(f"{one.run.id}:{one.run.state}:{one.state}:{one.windows}" for one in profiles)


def _ready(profiles: Sequence[RunProfile]) -> list[tuple[RunProfile, Profile]]:
    """Those that can be shown; what the others are compared with comes first: the baseline, else the first run."""
    ready = [(one, one.profile) for one in profiles if one.profile is not None]
    base = default_base([one.run for one, _ in ready]) if ready else None
    return sorted(ready, key=lambda one: one[0].run.id != base)


def _nothing_chosen(comparison: Comparison) -> Component:
    sentences = comparison.unknown or (
        "Choose runs that were recorded with profile=True to see where their time goes.",
    )
    return html.Div(
        [
            html.H1("Profile"),
            *[html.P(sentence, className="soft") for sentence in sentences],
            dcc.Link("Choose runs", href="/", className="button primary"),
        ],
        className="empty",
    )


def _header(
    store: Store,
    comparison: Comparison,
    query: ProfileQuery,
    links: TensorBoardLinks,
    profiles: Sequence[RunProfile],
) -> list[Component]:
    ids = ",".join(comparison.ids)
    verdict = (
        compare_parity.verdict_line(check_parity(store, comparison.runs), f"/compare?runs={ids}")
        if len(comparison.runs) > 1
        else None
    )
    return [
        html.Div(
            [
                html.H1("Profile"),
                _ranks(query, profiles),
                html.Div(
                    [
                        dcc.Link(
                            "Compare" if len(comparison.runs) > 1 else "Run",
                            href=f"/compare?runs={ids}",
                            className="button",
                        ),
                        profile_links.menu(profiles, comparison, links),
                    ],
                    className="page-links",
                ),
            ],
            className="page-head",
        ),
        html.Div(
            [compare_header.chip(run, comparison, links, path="/profile") for run in comparison.runs], className="chips"
        ),
        *[compare_header.sentence(sentence) for sentence in comparison.unknown],
        verdict,
        *[
            compare_header.sentence(f"{comparison.labels[one.run.id]}: {one.sentence}")
            for one in profiles
            if one.sentence
        ],
    ]


def _ranks(query: ProfileQuery, profiles: Sequence[RunProfile]) -> Component | None:
    """A choice among the processes of a distributed training; None where one alone recorded traces."""
    ranks = sorted({rank for one in profiles for rank in one.ranks})
    if len(ranks) < 2:
        return None
    choices = [
        html.Button(
            f"Rank {rank}",
            type="button",
            className="button quiet",
            **{"data-set": f"rank={rank}", "aria-pressed": "true" if rank == query.rank else "false"},
        )
        for rank in ranks
    ]
    return html.Div(choices, className="segmented", role="group", **{"aria-label": "Process of the training"})


def _content(
    comparison: Comparison, query: ProfileQuery, profiles: Sequence[RunProfile], links: TensorBoardLinks, search: str
) -> list[Component]:
    busy = [comparison.labels[one.run.id] for one in profiles if one.state == "busy"]
    if busy:
        return [html.Div(pending(f"the trace of {' and '.join(busy)}"), className="card section busy")]
    ready = [one for one, _ in _ready(profiles)]
    without = [one for one in profiles if one.state == "none"]
    if not ready:
        return [profile_links.how_to_record(without)] if without else []
    searched = parse_qs(search.removeprefix("?")).get("q", [""])[-1]
    return [
        *[
            html.P(
                f"{comparison.labels[one.run.id]} recorded no trace: {profile_links.HOW}",
                className="soft",
                role="status",
            )
            for one in without
        ],
        dcc.Store(id="profile-begun", data=True),
        dcc.Store(id="operators-shown"),
        dcc.Store(id="operators-sorted"),
        wall_card(ready, comparison),
        html.Section(
            [
                html.Div(html.H2("Operator families"), className="card-head"),
                html.Div(pending("the operators", rows=12), id="families"),
            ],
            className="card section",
            **{"aria-label": "Operator families"},
        ),
        operators_card(query, searched),
        timeline_card(ready, comparison, query),
        profile_links.notes_card(ready, comparison),
    ]
