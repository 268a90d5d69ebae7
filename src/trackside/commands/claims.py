"""`trackside claims`: what is commonly claimed about PyTorch and TensorFlow, measured here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..db.errors import UsageError
from .shared import JSONOption, StoreOption, err, out, print_json, the_store

if TYPE_CHECKING:
    from ..runs.claims import ClaimVerdict, Row

STYLES = {"supported": "green", "contradicted": "red", "undecided here": "yellow"}
REPORTS = (".md", ".html")


def claims(
    quick: Annotated[
        bool, typer.Option("--quick", help="Few updates and two repeats: a quarter of an hour on two idle cores.")
    ] = False,
    only: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Only these claims, with commas between: 4,6.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run the experiments; without, show what the store has.")
    ] = True,
    resume: Annotated[
        str | None,
        typer.Option(metavar="SESSION", help="Go on with an earlier session, by its run or group: nothing twice."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything into one file: .md or .html.")
    ] = None,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Measure what is commonly claimed about PyTorch and TensorFlow, and say what supports it and what does not.

    Example: trackside claims --quick --only 4,6 --report claims.html
    """
    from ..runs.claims import CLAIMS, claim_verdicts

    numbers = _numbers(only, CLAIMS)
    if report is not None and report.suffix.lower() not in REPORTS:
        raise UsageError(f"A report is a Markdown or an HTML file: name it {report.stem}.md or {report.stem}.html.")
    code = _run(numbers, quick, resume, store) if run else 0
    with the_store(store) as opened:
        verdicts = [one for one in claim_verdicts(opened) if one.number in numbers]
    if report is not None:
        _write(report, verdicts)
    if json:
        print_json([one.to_json() for one in verdicts])
    else:
        _print(verdicts)
    raise typer.Exit(code)


def _run(numbers: list[int], quick: bool, resume: str | None, store: str | None) -> int:
    """Run the experiments; returns the exit code."""
    from ..workloads.claims.session import run_claims
    from ..workloads.claims.table import FULL, MEASURED, QUICK

    measured = [number for number in numbers if number in MEASURED]
    if not measured:
        raise UsageError(
            f"None of these claims has an experiment: choose among {', '.join(map(str, MEASURED))}, or add --no-run."
        )
    outcome = run_claims(QUICK if quick else FULL, err, claims=measured, store=store, resume=resume)
    failed = f", {outcome.failed} trainings failed" if outcome.failed else ""
    err.print(f"{outcome.seconds / 60:.1f} minutes{failed}. Session {outcome.run_id}, group {outcome.group}.\n")
    if outcome.interrupted:
        err.print(f"Interrupted; go on with: trackside claims --resume {outcome.run_id}", soft_wrap=True)
        return 130
    return 0  # a training that fails is a finding, not a failure of the command


def _numbers(only: str | None, known: object) -> list[int]:
    every = [number for number in known if isinstance(number, int)] if isinstance(known, dict) else []
    if only is None:
        return every
    words = [word.strip() for word in only.split(",") if word.strip()]
    wrong = next((word for word in words if not word.isdecimal() or int(word) not in every), None)
    if wrong is not None or not words:
        raise UsageError(
            f"There is no claim {wrong or only!r}: --only takes numbers from 1 to {max(every)}, as in 4,6."
        )
    return sorted({int(word) for word in words})


def _write(path: Path, verdicts: list[ClaimVerdict]) -> None:
    from ..runs.claim_text import report_html, report_markdown

    text = report_html(verdicts) if path.suffix.lower() == ".html" else report_markdown(verdicts)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): name another file with --report.") from error
    err.print(f"Wrote {path}", markup=False, soft_wrap=True)


def _print(verdicts: list[ClaimVerdict]) -> None:
    from ..runs.claim_text import SIGNS

    for one in verdicts:
        style = STYLES.get(one.verdict, "dim")
        out.print(f"[bold]{one.number}. {escape(one.claim)}[/]")
        out.print(f"   [{style}]{SIGNS[one.verdict]} {one.verdict}[/]  {escape(one.reason)}", soft_wrap=True)
        for part in one.parts if len(one.parts) > 1 else ():
            mark = f"[{STYLES.get(part.verdict, 'dim')}]{SIGNS[part.verdict]} {part.verdict}[/]"
            out.print(f"   {mark}: {escape(part.statement)}. {escape(part.reason)}", soft_wrap=True)
        if one.protocol:
            out.print(f"   [dim]{escape(one.protocol)}[/]", soft_wrap=True)
        for note in one.notes:
            out.print(f"   [dim]{escape(note)}[/]", soft_wrap=True)
        if len(verdicts) == 1 and one.rows:
            _print_rows(one.rows)
        out.print()
    if len(verdicts) > 1 and any(one.rows for one in verdicts):
        out.print("What was measured: --only N for one claim, --report FILE.html for all, or trackside dashboard.")


def _print_rows(rows: Sequence[Row]) -> None:
    from ..runs.claim_text import evidence_table

    found = evidence_table(rows)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading, numeric in zip(found.headings, found.numeric, strict=True):
        table.add_column(heading, overflow="fold", justify="right" if numeric else "left")
    for cells in found.rows:
        table.add_row(*map(escape, cells))
    out.print(table)
