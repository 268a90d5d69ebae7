"""A report as one page of HTML that works without a network, a server or a script."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Final

from .export import render
from .report_contents import CLOSING, SIGNS, VERDICTS, Contents, ReportFigure
from .tables import Table, markup

# Whatever a name holds: nothing is fetched, nothing runs.
POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE: Final = (Path(__file__).parent / "report.css").read_text()


def page(contents: Contents) -> bytes:
    """The page, as UTF-8."""
    several = len(contents.runs) > 1
    sections = [
        *(f'<p class="own">{html.escape(part)}</p>' for part in contents.paragraphs),
        _section("Runs" if several else "Run", _runs(contents)),
        _parity(contents),
        _section("Verdict" if several else "Summary", _scrolled(contents.verdict)),
        *(_figure(figure, contents) for figure in contents.figures),
        _section("Where they part", _list(contents.parting)) if contents.parting else "",
        _configuration(contents),
    ]
    title = html.escape(contents.title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{''.join(sections)}"
        f"<footer>{CLOSING}</footer></main></body></html>\n"
    ).encode()


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def _scrolled(table: Table) -> str:
    return f'<div class="scroll">{markup(table)}</div>'


def _list(sentences: tuple[str, ...]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _runs(contents: Contents) -> str:
    items = (
        f"<li><strong>{html.escape(line.label)}</strong>{html.escape(line.entry)} <code>{html.escape(line.id)}</code> "
        f"{html.escape(line.sentence)}</li>"
        for line in contents.lines
    )
    return f"<ul>{''.join(items)}</ul>"


def _parity(contents: Contents) -> str:
    parity, checks = contents.parity, contents.checks
    if parity is None or checks is None:
        return ""
    reasons = "".join(
        f'<li class="{check.verdict}">{SIGNS[check.verdict]} <strong>{html.escape(check.name)}</strong> '
        f"{html.escape(check.reason)}</li>"
        for check in parity.checks
        if check.verdict != "green"
    )
    return _section(
        "Parity",
        f'<p class="verdict {parity.verdict}">{SIGNS[parity.verdict]} {VERDICTS[parity.verdict]}</p>'
        + (f'<ul class="checks">{reasons}</ul>' if reasons else "")
        + f"<details><summary>All {len(parity.checks)} checks</summary>{_scrolled(checks)}</details>",
    )


def _figure(figure: ReportFigure, contents: Contents) -> str:
    # As an image of its own: the identifiers inside two drawings of one page would meet.
    drawing = render(figure.view, "svg", width="double", runs=contents.runs, log_y=contents.log_y)
    caption = html.escape(figure.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _configuration(contents: Contents) -> str:
    table = contents.configuration
    if not table.rows:
        several = len(contents.runs) > 1
        return _section("Configuration", "<p>The configurations are identical.</p>") if several else ""
    return _section("Configuration", f"<p>{html.escape(table.caption)}</p>{_scrolled(table)}")
