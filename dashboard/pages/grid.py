"""Columns of AG Grid that several tables have."""

from __future__ import annotations

from typing import Any


def numeric_column(field: str, header: str, width: int, formatter: str, **more: Any) -> dict[str, Any]:
    """A column of numbers, which sort before whatever is none.

    Args:
        field: of the rows.
        header: its title.
        width: in pixels.
        formatter: name of a function in the browser that writes a number.
        more: further properties of the column.
    """
    return {
        "field": field,
        "headerName": header,
        "width": width,
        "type": "rightAligned",
        "valueFormatter": {"function": f"{formatter}(params.value)"},
        "comparator": {"function": "numbersFirst"},
        **more,
    }
