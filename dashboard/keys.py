"""The keys that the Runs and Compare pages answer to, as a dialog lists them; `assets/keyboard.js` acts on them."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

KEYS = {
    "/": "Search runs; on Compare, find a metric",
    "j": "Next panel (Compare)",
    "k": "Previous panel (Compare)",
    "s": "Smoothing on and off (Compare)",
    "?": "This list",
    "Esc": "Close a menu or this list",
}


def help_button() -> Component:
    """What opens the list of keys for those who do not know that there is one."""
    return html.Button(
        "?",
        id="keys-button",
        className="button quiet",
        type="button",
        title="Keyboard shortcuts (?)",
        **{"aria-label": "Keyboard shortcuts", "aria-haspopup": "dialog"},
    )


def help_dialog() -> Component:
    """The list of keys, closed. A modal `dialog`: the browser itself keeps the focus in it, and Escape closes it."""
    rows = [html.Tr([html.Th(html.Kbd(key), scope="row"), html.Td(text)]) for key, text in KEYS.items()]
    return html.Dialog(
        html.Div(
            [
                html.H2("Keyboard shortcuts", id="keys-title"),
                html.Table(html.Tbody(rows)),
                html.P("Not while you type in a field.", className="soft"),
                html.Button("Close", className="button", type="button"),
            ]
        ),
        id="keys-help",
        className="keys-help",
        **{"aria-labelledby": "keys-title"},
    )
