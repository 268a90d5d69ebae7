"""Tables and paragraphs of a PDF: as many tables as the runs need columns, with their head on every page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.platypus import Flowable, LongTable, Paragraph, Spacer, TableStyle

from .pdf_fonts import font_name, marked_up
from .print_style import GRID, INK, MUTED
from .tables import Table

COLORS: Final = {"green": "#18794e", "amber": "#8a5a00", "red": "#b42318"}
"""Of verdicts: those of the page in its light scheme."""

MOST_RUNS: Final = 5
"""Columns of runs that stand beside each other on a page; more go into a table of their own."""

_LONG: Final = 30  # characters from which a cell is read as a sentence, not as a number
_SIZE: Final = 7.5
_LINES: Final = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(GRID)),
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, HexColor(MUTED)),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
]


def style(
    size: float,
    *,
    bold: bool = False,
    right: bool = False,
    color: str = INK,
    above: float = 0.0,
    below: float = 0.0,
    indent: float = 0.0,
    keep: bool = False,
) -> ParagraphStyle:
    """How a paragraph looks.

    Args:
        size: of the letters, points.
        bold: in the bold face.
        right: flush right.
        color: `#rrggbb`.
        above: room before it, points.
        below: room after it, points.
        indent: of the text behind a bullet, points.
        keep: on the page of what follows.
    """
    font = font_name("bold" if bold else "regular")
    return ParagraphStyle(
        "text",
        fontName=font,
        fontSize=size,
        leading=1.35 * size,
        textColor=HexColor(color),
        alignment=TA_RIGHT if right else TA_LEFT,
        spaceBefore=above,
        spaceAfter=below,
        leftIndent=indent,
        bulletFontName=font,
        bulletFontSize=size,
        keepWithNext=int(keep),
        splitLongWords=1,
    )


def ruled(table: Table, runs: int, width: float, *, before: int = 1) -> list[Flowable]:
    """A table and its notes; several tables where it has more columns of runs than a page is wide.

    Args:
        table: its columns are `before` for the row's name, one a run, and what follows.
        runs: how many there are.
        width: of the page, points.
        before: columns that stand before those of the runs, repeated in each table.
    """
    tables: list[Flowable] = []
    most = MOST_RUNS if len(table.headings) == before + runs else MOST_RUNS - 2  # a column of reasons needs the room
    for first in range(0, runs, most):
        last = min(first + most, runs)
        behind = range(before + runs, len(table.headings)) if first == 0 else range(0)
        columns = [*range(before), *range(before + first, before + last), *behind]
        if runs > most:
            tables.append(
                Paragraph(f"Runs {first + 1} to {last} of {runs}", style(8, color=MUTED, above=4, below=2, keep=True))
            )
        tables.append(_one(table, columns, before, _widths(table, columns, before, len(behind), width)))
    notes: list[Flowable] = [Paragraph(marked_up(note), style(8, color=MUTED, below=2)) for note in table.notes]
    return [*tables, Spacer(0, 4), *notes]


def _widths(table: Table, columns: Sequence[int], before: int, behind: int, width: float) -> list[float]:
    """Widths of columns: names and reasons have fixed shares, and the runs the rest between them."""
    names = [0.24 if before == 1 else 0.17] + [0.1] * (before - 1)
    reasons = [0.3] * behind
    each = (1 - sum(names) - sum(reasons)) / (len(columns) - before - behind)
    return [share * width for share in [*names, *[each] * (len(columns) - before - behind), *reasons]]


def _one(table: Table, columns: Sequence[int], before: int, widths: Sequence[float]) -> Flowable:
    def flush_right(column: int) -> bool:
        return column >= before and all(len(row[column]) <= _LONG for row in table.rows)

    right = {column: flush_right(column) for column in columns}
    plain = {side: style(_SIZE, right=side) for side in (False, True)}
    best = {side: style(_SIZE, right=side, color=COLORS["green"]) for side in (False, True)}
    heads = {side: style(_SIZE, bold=True, right=side, color=MUTED) for side in (False, True)}
    cells = [[Paragraph(marked_up(table.headings[column], "bold"), heads[right[column]]) for column in columns]]
    for number, row in enumerate(table.rows):
        cells.append(
            [
                Paragraph(marked_up(row[column], "bold"), best[right[column]])
                if (number, column) in table.emphasis
                else Paragraph(marked_up(row[column]), plain[right[column]])
                for column in columns
            ]
        )
    # Cells have fonts of their own; one that is not said is entered into the file, and not embedded.
    look = TableStyle([("FONT", (0, 0), (-1, -1), font_name("regular")), *_LINES])
    return LongTable(cells, colWidths=list(widths), repeatRows=1, splitInRow=1, style=look)
