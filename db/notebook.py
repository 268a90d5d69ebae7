"""The small HTML tables that a notebook shows for a record: no script, no style sheet, nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

MOST_SETTINGS = 30
"""Of a configuration; more would be scrolled past, and a notebook keeps what it showed."""

LONGEST_SETTING = 200
"""Characters of one."""


def text(value: object) -> str:
    """How a cell says `value`: a dash for None, six significant digits for other floats. Not yet escaped."""
    if value is None:
        return "–"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(caption: object, head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """An HTML table, every cell escaped: names, notes and settings are text of users.

    Args:
        caption: stands above the table.
        head: titles of the columns; none for a table of properties.
        rows: cells; the first of each row is its title.
    """
    parts = [f"<table><caption>{escape(text(caption))}</caption>"]
    if head:
        parts.append("<thead><tr>" + "".join(f"<th>{escape(text(cell))}</th>" for cell in head) + "</tr></thead>")
    parts.append("<tbody>")
    for title, *cells in rows:
        tail = "".join(f"<td>{escape(text(cell))}</td>" for cell in cells)
        parts.append(f"<tr><th>{escape(text(title))}</th>{tail}</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


def settings(config: Mapping[str, object]) -> list[tuple[str, object]]:
    """Rows for the settings of a run: the first of them, cut short, and how many are not shown."""
    rows: list[tuple[str, object]] = []
    for key, value in list(config.items())[:MOST_SETTINGS]:
        said = value if isinstance(value, int | float) else str(value)
        if isinstance(said, str) and len(said) > LONGEST_SETTING:
            said = f"{said[:LONGEST_SETTING]}…"
        rows.append((f"config.{key}", said))
    hidden = len(config) - len(rows)
    if hidden > 0:
        rows.append(("config", f"… and {hidden:,} more key{'s' if hidden != 1 else ''}: see run.config"))
    return rows
