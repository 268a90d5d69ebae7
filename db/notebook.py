"""The small HTML tables that a notebook shows for a record: no script, no style sheet, nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape


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
