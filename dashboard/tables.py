"""Tables for a report: the verdict, the parity card and the configuration, as Markdown, LaTeX, CSV or HTML."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from ..db.errors import UsageError
from ..db.records import RunInfo
from ..runs.labels import run_labels
from ..runs.parity import ParityCard, check_parity
from ..runs.starts import FROM_THE_FIRST, Starts
from ..runs.verdict import VerdictView, counted_from, verdict_view
from ..runs.views import config_rows
from .figure_data import inert
from .formats import quantity, setting

if TYPE_CHECKING:
    from ..db.store import Store

TableFormat = Literal["md", "tex", "csv", "html"]
TABLE_FORMATS: Final[tuple[TableFormat, ...]] = get_args(TableFormat)
TABLES: Final = {
    "verdict": "every quantity of every run, with its ratio to the base run",
    "parity": "the checks of the parity card",
    "configuration": "what differs between the configurations",
}
"""Tables by name, and what each holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table before it is written in some format.

    Attributes:
        caption: what it shows; a sentence.
        headings: (n_columns,) the first is that of the row's own name.
        rows: each (n_columns,) of plain text.
        notes: sentences that belong under it.
        emphasis: (row, column) of cells that stand out: the best of a row.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    emphasis: frozenset[tuple[int, int]] = frozenset()


def make_table(
    store: Store,
    runs: Sequence[RunInfo],
    name: str,
    *,
    base: str | None = None,
    target: float | None = None,
    starts: Starts = FROM_THE_FIRST,
) -> Table:
    """A table of some runs by its name.

    Args:
        store: where the runs are.
        runs: one or more; parity takes two.
        name: one of `TABLES`.
        base: of the verdict: id of the run that ratios are taken to.
        target: of the verdict: the loss that runs are timed to.
        starts: of the verdict: where runs begin that do not begin with their first step, by run id.

    Raises:
        UsageError: there is no such table, or too few runs for it.
    """
    if name not in TABLES:
        raise UsageError(f"There is no table {name!r}: choose one of {', '.join(TABLES)}.")
    if name == "configuration":
        return configuration_table(runs)
    parity = check_parity(store, runs) if len(runs) > 1 else None
    if name == "verdict":
        view = verdict_view(store, runs, parity.verdict if parity else None, base=base, target=target, starts=starts)
        return verdict_table(view, runs)
    if parity is None:
        raise UsageError("Parity is about several runs: name at least two.")
    return parity_table(parity, runs)


def verdict_table(view: VerdictView, runs: Sequence[RunInfo]) -> Table:
    """A row a quantity, a column a run; ratios stand beside the values."""
    labels = run_labels(runs)
    rows, emphasis = [], set()
    for place, one in enumerate(view.quantities):
        cells = [one.label]
        for column, run in enumerate(runs, start=1):
            text, ratio = quantity(one.values[run.id], one.unit), one.ratios[run.id]
            if run.id != view.base and not math.isnan(ratio):
                tie = ", tie" if one.apart.get(run.id) is False else ""
                text += f" (×{ratio:.3g}{tie})"
            if run.id == one.best:
                emphasis.add((place, column))
            cells.append(text)
        rows.append(tuple(cells))
    notes = [view.reason] if view.reason else []
    if view.target is not None:
        notes.append(f"To target: until {view.target[0]} is as good as {view.target[1]:.4g}.")
        if counted := counted_from(view, labels):
            notes.append(counted)
    if len(runs) > 1:
        notes.append(f"Ratios are to {labels[view.base]}.")
        alone = [labels[run_id] for run_id, count in view.repeats.items() if count < 2]
        if alone:
            notes.append(f"Without a repeat of {', '.join(alone)} nobody can say whether a difference is noise.")
        else:
            notes.append("A tie is a difference no larger than the spread of the repeats.")
    return Table(
        caption="What each run came to." if len(runs) > 1 else "What the run came to.",
        headings=("", *(labels[run.id] for run in runs)),
        rows=tuple(rows),
        notes=tuple(notes),
        emphasis=frozenset(emphasis),
    )


def parity_table(parity: ParityCard, runs: Sequence[RunInfo]) -> Table:
    """A row a check: its verdict, what each run has, and why."""
    labels = run_labels(runs)
    words = {"green": "same", "amber": "unknown", "red": "differs"}
    return Table(
        caption="Whether the runs are the same experiment.",
        headings=("Check", "", *(labels[run.id] for run in runs), "Why"),
        rows=tuple(
            (
                check.name,
                words[check.verdict],
                *(_plain(check.values.get(run.id)) for run in runs),
                check.reason,
            )
            for check in parity.checks
        ),
    )


def configuration_table(runs: Sequence[RunInfo]) -> Table:
    """A row a key; of several runs only what differs."""
    labels = run_labels(runs)
    rows = [row for row in config_rows(runs) if row.differs or len(runs) == 1]
    return Table(
        caption="What differs between the configurations." if len(runs) > 1 else "The configuration.",
        headings=("Key", *(labels[run.id] for run in runs)),
        rows=tuple((row.key, *(_plain(row.values.get(run.id)) for run in runs)) for row in rows),
    )


def write_table(table: Table, format: str) -> bytes:
    """A table as the bytes of a file; the same table always gives the same bytes.

    Args:
        table: what to write.
        format: "md", "tex" (booktabs), "csv" or "html" (a fragment).

    Raises:
        UsageError: there is no such format.
    """
    writers = {"md": markdown, "tex": latex, "csv": comma_separated, "html": markup}
    if format not in writers:
        raise UsageError(f"There is no table format {format!r}: choose one of {', '.join(TABLE_FORMATS)}.")
    return writers[format](table).encode()


def markdown(table: Table) -> str:
    """As GitHub and Pandoc read it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(row: int, column: int, text: str) -> str:
        escaped = "".join("\\" + letter if letter in "\\|*_<>`[]#" else letter for letter in _one_line(text))
        return f"**{escaped}**" if (row, column) in table.emphasis else escaped

    head = [line([cell(-1, place, text) for place, text in enumerate(table.headings)])]
    head.append(line(["---", *("---:" for _ in table.headings[1:])]))
    body = [line([cell(r, c, text) for c, text in enumerate(row)]) for r, row in enumerate(table.rows)]
    return "\n".join([*head, *body, "", *(cell(-1, -1, note) + "  " for note in table.notes)]).rstrip() + "\n"


_TEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "×": r"$\times$", "µ": r"$\mu$", "−": "$-$", "∞": r"$\infty$", "–": "--", "…": r"\dots{}", "≤": r"$\leq$",
    "≥": r"$\geq$", "≈": r"$\approx$",
}  # fmt: skip


def tex_text(text: str) -> str:
    """Text as LaTeX prints it, whatever it holds."""
    return "".join(_TEX.get(letter, letter) for letter in _one_line(text))


def latex(table: Table) -> str:
    """A `table` with the rules of the booktabs package, which the document must use."""
    columns = "l" + "r" * (len(table.headings) - 1)

    def line(cells: Sequence[str]) -> str:
        return "    " + " & ".join(cells) + r" \\"

    body = [
        line(
            [
                rf"\textbf{{{tex_text(text)}}}" if (r, c) in table.emphasis else tex_text(text)
                for c, text in enumerate(row)
            ]
        )
        for r, row in enumerate(table.rows)
    ]
    caption = " ".join([table.caption, *table.notes])
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{tex_text(caption)}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            line([tex_text(text) for text in table.headings]),
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def comma_separated(table: Table) -> str:
    """CSV of what is shown; what a spreadsheet would take for a formula has an apostrophe in front."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow([inert(text) for text in table.headings])
    writer.writerows([[inert(text) for text in row] for row in table.rows])
    return output.getvalue()


def markup(table: Table) -> str:
    """A `<table>` with its notes."""
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in table.headings)
    rows = []
    for r, row in enumerate(table.rows):
        cells = [f'<th scope="row">{html.escape(row[0])}</th>']
        for c, text in enumerate(row[1:], start=1):
            shown = f"<strong>{html.escape(text)}</strong>" if (r, c) in table.emphasis else html.escape(text)
            cells.append(f'<td class="text">{shown}</td>' if len(text) > _LONG else f"<td>{shown}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{notes}\n"


_LONG: Final = 30  # characters from which a cell is read as a sentence, not as a number


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return setting(value)
