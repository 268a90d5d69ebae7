"""Verdicts on claims as text: numbers with units, and one self-contained file in Markdown or HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .claims import ClaimVerdict, Row

SIGNS = {
    "supported": "✓",
    "contradicted": "✗",
    "undecided here": "?",
    "not measurable": "–",
    "not measured yet": "·",
}
"""Not by colour alone."""

NUMERIC = (2, 3, 4)
HEADINGS = ("what", "quantity", "value", "smallest to largest", "n", "note")
TITLE = "What is claimed about PyTorch and TensorFlow, measured"
EXPLANATION = (
    "Each verdict is about the machine, the versions and the settings that its protocol names. A difference smaller "
    "than the spread of the repeats is a tie and decides nothing, and nothing is concluded from runs that are not the "
    "same experiment."
)

STYLE = """
body { font: 15px/1.55 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; color: #1a1e26; }
h2 { margin-top: 2.4rem; } .verdict { font-weight: 600; } .protocol, .soft { color: #5a6372; font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 4px 10px; border-top: 1px solid #e1e4ea; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
.supported { color: #12805c; } .contradicted { color: #c23434; } .undecided { color: #946200; } .not { color: #5a6372; }
@media (prefers-color-scheme: dark) {
  body { background: #101318; color: #e4e7ec; } th, td { border-color: #2b313b; } .protocol, .soft { color: #9aa4b3; }
  .supported { color: #4cc79a; } .contradicted { color: #f08080; } .undecided { color: #e2b04a; }
}
"""


def value_text(value: float | str | None, unit: str | None = None) -> str:
    """A value with its unit, to four digits at most: `12.4 ms`, `512 MiB`, `1,240 samples/s`."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if unit == "seconds":
        return _seconds(value)
    if unit == "bytes":
        return f"{value / 2**20:,.0f} MiB"
    if unit == "percent":
        return f"{value:.3g} %"
    number = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    return f"{number} {unit}" if unit else number


def _seconds(value: float) -> str:
    if abs(value) < 1e-3:
        return f"{value * 1e6:.3g} µs"
    return f"{value * 1e3:.3g} ms" if abs(value) < 1 else f"{value:.4g} s"


def spread_text(row: Row) -> str:
    """`11.2 ms to 13.9 ms`; empty where there was one run."""
    if row.low is None or row.high is None:
        return ""
    return f"{value_text(row.low, row.unit)} to {value_text(row.high, row.unit)}"


def quantity_text(quantity: str) -> str:
    """A quantity's name in words; keys of metrics stay as they are."""
    return quantity if "/" in quantity else quantity.replace("_", " ")


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """Rows of evidence as text, without the columns that are empty in all of them.

    Attributes:
        headings: of the columns.
        numeric: of each column, whether it holds numbers, for the most part.
        rows: the cells.
    """

    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


def evidence_table(rows: Sequence[Row]) -> EvidenceTable:
    """What was measured, as every table of it shows it."""
    every = [_cells(row) for row in rows]
    kept = [place for place in range(len(HEADINGS)) if any(cells[place] for cells in every)]
    words = 2 * sum(isinstance(row.value, str) for row in rows) > len(rows)
    return EvidenceTable(
        headings=tuple(HEADINGS[place] for place in kept),
        numeric=tuple(place in NUMERIC and not words for place in kept),
        rows=tuple(tuple(cells[place] for place in kept) for cells in every),
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.label,
        quantity_text(row.quantity),
        value_text(row.value, row.unit),
        spread_text(row),
        str(row.n) if row.low is not None else "",
        row.note,
    )


def report_markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """Everything in one Markdown file."""
    lines = [f"# {TITLE}", "", EXPLANATION, "", "| claim | verdict |", "|---|---|"]
    lines += [f"| {one.number}. {_markdown(one.claim)} | {SIGNS[one.verdict]} {one.verdict} |" for one in verdicts]
    for one in verdicts:
        lines += ["", f"## {one.number}. {_markdown(one.claim)}", ""]
        lines += [f"{SIGNS[one.verdict]} **{one.verdict}**. {_markdown(one.reason)}", ""]
        lines += [
            f"- {SIGNS[p.verdict]} {p.verdict}: {_markdown(p.statement)}. {_markdown(p.reason)}" for p in one.parts
        ]
        lines += ["", f"*Protocol: {_markdown(one.protocol)}.*"] if one.protocol else []
        lines += ["", *(f"- {_markdown(note)}" for note in one.notes)] if one.notes else []
        if one.rows:
            table = evidence_table(one.rows)
            lines += ["", f"| {' | '.join(table.headings)} |", f"|{'---|' * len(table.headings)}"]
            lines += [f"| {' | '.join(map(_markdown, cells))} |" for cells in table.rows]
        lines += ["", f"Runs: {_markdown(', '.join(one.run_ids))}"] if one.run_ids else []
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    """Text that stays text: no table cell ends, no markup begins, no line breaks."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in text)
    return " ".join(escaped.split())


def report_html(verdicts: Sequence[ClaimVerdict]) -> str:
    """Everything in one HTML file that needs no other."""
    body = [
        f"<h1>{_html(TITLE)}</h1>",
        f"<p>{_html(EXPLANATION)}</p>",
        "<table><thead><tr><th>claim</th><th>verdict</th>",
    ]
    body.append("</tr></thead><tbody>")
    body += [
        f'<tr><td><a href="#claim-{one.number}">{one.number}. {_html(one.claim)}</a></td>'
        f"<td>{_verdict(one.verdict)}</td></tr>"
        for one in verdicts
    ]
    body.append("</tbody></table>")
    for one in verdicts:
        body += _section(one)
    page = "\n".join(body)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{_html(TITLE)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body>\n{page}\n</body>\n</html>\n"
    )


def _section(one: ClaimVerdict) -> list[str]:
    lines = [f'<h2 id="claim-{one.number}">{one.number}. {_html(one.claim)}</h2>']
    lines.append(f"<p>{_verdict(one.verdict)}. {_html(one.reason)}</p>")
    if one.parts:
        items = [f"<li>{_verdict(p.verdict)}: {_html(p.statement)}. {_html(p.reason)}</li>" for p in one.parts]
        lines.append(f"<ul>{''.join(items)}</ul>")
    if one.protocol:
        lines.append(f'<p class="protocol">Protocol: {_html(one.protocol)}.</p>')
    if one.notes:
        lines.append(f"<ul>{''.join(f'<li>{_html(note)}</li>' for note in one.notes)}</ul>")
    if one.rows:
        table = evidence_table(one.rows)
        head = "".join(f"<th>{heading}</th>" for heading in table.headings)
        rows = ["".join(map(_cell, cells, table.numeric)) for cells in table.rows]
        lines.append(f"<details><summary>What was measured ({len(rows)} rows)</summary><table><thead><tr>{head}</tr>")
        lines += ["</thead><tbody>", *(f"<tr>{row}</tr>" for row in rows), "</tbody></table></details>"]
    if one.run_ids:
        lines.append(f'<p class="soft">Runs: {_html(", ".join(one.run_ids))}</p>')
    return lines


def _cell(text: str, numeric: bool) -> str:
    return f'<td class="number">{_html(text)}</td>' if numeric else f"<td>{_html(text)}</td>"


def _verdict(verdict: str) -> str:
    return f'<span class="verdict {verdict.split()[0]}">{SIGNS[verdict]} {verdict}</span>'


def _html(text: str) -> str:
    return html.escape(" ".join(text.split()))
