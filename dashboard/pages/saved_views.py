"""The menu of saved views on Runs and Compare: open one by a click, name the present one, rename, delete.

All state of these pages is in their address, so a view is a name and an address. `assets/saved_views.js` says what
somebody asked for; the store is changed here.
"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from ...db.errors import UsageError
from ...db.records import SavedView
from ...db.saved_views import LONGEST_NAME, SavedViews
from ...db.store import Store
from ..addresses import is_view_address, page_name, view_address
from ..badges import icon
from ..source import StoreSource


def menu(store: Store) -> Component:
    """The menu with every saved view, and the dialog that asks for a name."""
    return html.Div(
        [
            html.Details(
                [
                    html.Summary("Views", className="button"),
                    html.Div(
                        [
                            html.Button(
                                "Save this view …", className="menu-entry", type="button", **{"data-view": "save"}
                            ),
                            html.Div(_entries(SavedViews(store).all()), id="views", className="views-list"),
                            html.Div(id="views-said", className="menu-said", role="status"),
                        ],
                    ),
                ],
                className="menu wide views",
            ),
            dcc.Store(id="view-asked"),  # set by the browser: what is to be done to which view
            dcc.Store(id="view-done"),
            dcc.Store(id="view-closed"),
            _dialog(),
        ],
        className="views-menu",
    )


def register(app: Dash, source: StoreSource) -> None:
    """Add the menu's callbacks."""

    @app.callback(
        Output("views", "children"),
        Output("views-said", "children"),
        Output("view-error", "children"),
        Output("view-done", "data"),
        Input("view-asked", "data"),
        prevent_initial_call=True,
    )
    def change(asked: dict[str, Any] | None) -> tuple[Any, Any, Any, Any]:
        if not asked:
            raise PreventUpdate
        views = SavedViews(source())
        try:
            said = _carry_out(views, asked)
        except UsageError as error:
            return no_update, str(error), str(error), no_update  # in the menu for what needs no dialog
        return _entries(views.all()), said, "", asked.get("at")

    app.clientside_callback(
        ClientsideFunction("views", "done"),
        Output("view-closed", "data"),  # without an output Dash would not call it
        Input("view-done", "data"),
        prevent_initial_call=True,
    )


def _carry_out(views: SavedViews, asked: dict[str, Any]) -> list[Any] | str:
    """Do what was asked of the browser's menu; what to say of it.

    Raises:
        UsageError: if it cannot be done; the sentence says why.
    """
    name, view_id = str(asked.get("name") or ""), _id(asked.get("view"))
    match asked.get("action"):
        case "save":
            return f"Saved as “{views.save(name, view_address(str(asked.get('address') or ''))).name}”."
        case "rename" if view_id is not None:
            views.rename(view_id, name)
            return ""
        case "remove" if view_id is not None:
            removed = views.remove(view_id)
            return ["This view was deleted already."] if removed is None else _removed(removed)
    raise UsageError("This cannot be done to a view: reload the page.")


def _id(given: Any) -> int | None:
    """What the browser said, if it can be the id of a view."""
    return given if isinstance(given, int) and 0 < given < 2**63 else None


def _removed(view: SavedView) -> list[Any]:
    undo = {"data-view": "undo", "data-name": view.name, "data-address": view.address}
    return [f"Deleted “{view.name}”. ", html.Button("Undo", className="link", type="button", **undo)]


def _entries(views: list[SavedView]) -> list[Component]:
    shown = [view for view in views if is_view_address(view.address)]
    return [_entry(view) for view in shown] or [
        html.P("No view is saved yet. A view keeps filters, sorting, columns and groups.", className="soft menu-note")
    ]


def _entry(view: SavedView) -> Component:
    def button(action: str, picture: str, label: str) -> Component:
        data = {"data-view": action, "data-id": view.id, "data-name": view.name}
        return html.Button(
            icon(picture), className="button quiet", type="button", title=label,
            **data, **{"aria-label": f"{label} {view.name}"},
        )  # fmt: skip

    page = page_name(view.address)
    return html.Div(
        [
            dcc.Link(
                [html.Span(view.name, className="view-name"), html.Span(page, className="soft view-page")],
                href=view.address,
                className="view-link",
                title=view.name,
            ),
            button("rename", "pencil", "Rename"),
            button("remove", "trash", "Delete"),
        ],
        className="view-entry",
    )


def _dialog() -> Component:
    return html.Dialog(
        html.Div(
            [
                html.H2("Save this view", id="view-title"),
                html.P(id="view-hint", className="soft"),
                dmc.TextInput(id="view-name", label="Name", inputProps={"maxLength": LONGEST_NAME}, autoComplete="off"),
                html.P(id="view-error", className="error", role="alert"),
                html.Div(
                    [
                        html.Button("Cancel", className="button", type="button", **{"data-view": "cancel"}),
                        html.Button("Save", className="button primary", type="button", **{"data-view": "confirm"}),
                    ],
                    className="dialog-buttons",
                ),
            ]
        ),
        id="view-dialog",
        className="dialog",
        **{"aria-labelledby": "view-title"},
    )
