"""`trackside compare` and `trackside export`: what two or more runs have in common and where they differ."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..db.errors import StoreError, UsageError
from .shared import JSONOption, References, StoreOption, number, out, print_json, the_store
from .view import FindOption, Shown, chosen_view

if TYPE_CHECKING:
    from ..runs.verdict import Quantity, VerdictView

BaseOption = Annotated[
    str | None, typer.Option("--base", help="The run that ratios are taken to; by default the baseline or the first.")
]
TargetOption = Annotated[
    float | None, typer.Option("--target", help="The loss that runs are timed to; by default the best all reached.")
]

StartOption = Annotated[
    list[str] | None,
    typer.Option(
        "--start", metavar="RUN:STEP", help="The step that a run begins with, if not its first; repeat for several."
    ),
]
SplitsOption = Annotated[bool, typer.Option("--splits", help="Training and validation of a quantity in one figure.")]

VERDICT_STYLES = {"green": "green", "amber": "yellow", "red": "red"}
# Not by colour alone: in a pipe, a log or with NO_COLOR there is none.
VERDICT_SIGNS = {"green": "✓", "amber": "!", "red": "✗"}


def compare(
    runs: References,
    base: BaseOption = None,
    target: TargetOption = None,
    start: StartOption = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="The scripts and uncommitted changes too, line by line against the first.")
    ] = False,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Are these runs the same experiment, and where do they differ?

    Example: trackside compare torch-3f2a tensorflow-81cc --json
    """
    from ..runs.code_difference import code_view
    from ..runs.compare import compare as compare_runs
    from ..runs.series import resolve_runs
    from ..runs.starts import chosen_starts
    from .code import print_code

    with the_store(store) as opened:
        infos = resolve_runs(opened, runs)
        compared = compare_runs(
            opened, infos, base=base, target=target, starts=chosen_starts(opened, infos, start or ())
        )
        code = [code_view(opened, compared.runs[0], other) for other in compared.runs[1:]] if diff else []
    result = compared.to_json()
    if diff:
        result["code"] = [asdict(view) for view in code]
    if json:
        print_json(result)
        return
    labels = {run["id"]: run.get("label") or run["name"] for run in result["runs"]}
    _print_parity(result["parity"], labels)
    _print_verdict(compared.verdict, labels)
    if len(labels) == 2:
        out.print(_parting(result))
    for view in code:
        print_code(view, labels)


def _parting(result: dict[str, Any]) -> str:
    """Whether the training losses part, and by what measure."""
    bases = {view["basis"] for view in result["differences"] if view["metric"] == "train/loss"}
    if not bases:
        return "The training losses cannot be compared: a run has none."
    measured = "noise" in bases
    if result["parted_at"] is None:
        within = "their own measured noise" if measured else "float32 rounding of each other"
        return f"The training losses stay within {within} throughout."
    than = "their own measured noise" if measured else "float32 rounding"
    return f"The training losses part at step {result['parted_at']} by more than {than} explains."


def export(
    context: typer.Context,
    runs: Shown,
    figure: Annotated[
        list[str] | None, typer.Option("--figure", help="loss, step-time, …, or any metric; repeat for several.")
    ] = None,
    find: FindOption = None,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", help="pdf, svg, png, csv or tex; of tables md, tex, csv or html; repeat for several."),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="verdict, parity or configuration; repeat for several.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-o", help="Folder for the files; made if missing.")
    ] = Path(),
    axis: Annotated[str, typer.Option(help="step, epoch, samples, tokens, relative, process or wall.")] = "step",
    smoothing: Annotated[float, typer.Option(min=0.0, max=0.999, help="0 none, towards 1 stronger.")] = 0.0,
    log_y: Annotated[bool, typer.Option("--log-y", help="Logarithmic y axis.")] = False,
    group: Annotated[
        str | None, typer.Option(help="seed: runs that differ only in it as one mean with a 95 % interval.")
    ] = None,
    width: Annotated[str, typer.Option(help="single (85 mm column), double, or slide.")] = "single",
    dpi: Annotated[int, typer.Option(min=30, max=1200, help="Of a PNG.")] = 300,
    base: BaseOption = None,
    target: TargetOption = None,
    start: StartOption = None,
    splits: SplitsOption = False,
    store: StoreOption = None,
) -> None:
    """Write figures and tables for a report, and the data of exactly the points drawn.

    Example: trackside export 3f2a 81cc --figure loss --table verdict --format pdf --format csv --format tex -o figures
    """
    try:
        from ..dashboard.export import export as export_figures
    except ModuleNotFoundError as error:
        raise StoreError(f"Figures need {error.name}: pip install 'trackside[export]'.") from error

    with the_store(store) as opened:
        view = chosen_view(context, opened, runs, figure, find)
        figures = view.figures or (() if table else ("loss", "step-time"))
        written = export_figures(
            opened,
            view.runs,
            figures=figures,
            tables=tuple(table or ()),
            formats=tuple(format or (*(("pdf",) if figures else ()), *(("md",) if table else ()))),
            directory=directory,
            width=width,
            dpi=dpi,
            **view.options,
        )
    for path in written:
        out.print(str(path), markup=False, soft_wrap=True)


def report(
    context: typer.Context,
    runs: Shown,
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="What to write: a page (.html) or a PDF (.pdf).")
    ] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Heading; by default the names of the runs.")] = None,
    text: Annotated[str, typer.Option(help="Your own words, or @FILE to read them from a file.")] = "",
    figure: Annotated[
        list[str] | None,
        typer.Option("--figure", help="As for export; repeat for several. By default the usual ones."),
    ] = None,
    find: FindOption = None,
    axis: Annotated[str, typer.Option(help="step, epoch, samples, tokens, relative, process or wall.")] = "step",
    smoothing: Annotated[float, typer.Option(min=0.0, max=0.999, help="0 none, towards 1 stronger.")] = 0.0,
    log_y: Annotated[bool, typer.Option("--log-y", help="Logarithmic y axis.")] = False,
    group: Annotated[
        str | None, typer.Option(help="seed: runs that differ only in it as one mean with a 95 % interval.")
    ] = None,
    base: BaseOption = None,
    target: TargetOption = None,
    start: StartOption = None,
    splits: SplitsOption = False,
    store: StoreOption = None,
) -> None:
    """Write one page or PDF about some runs that opens anywhere: parity, verdict, figures, configuration, your words.

    Example: trackside report 3f2a 81cc --title "Which is faster?" --text @conclusions.txt -o report.pdf
    """
    try:
        from ..dashboard.export import write_file
        from ..dashboard.report import report as make_report
        from ..runs.series import resolve_runs
        from ..runs.starts import chosen_starts
    except ModuleNotFoundError as error:
        raise StoreError(f"A report needs {error.name}: pip install 'trackside[export]'.") from error

    format = {".html": "html", ".htm": "html", ".pdf": "pdf"}.get(file.suffix.lower())
    if format is None:
        raise UsageError(f"A report is HTML or PDF, and {file} is named like neither: end its name in .html or .pdf.")
    with the_store(store) as opened:
        view = chosen_view(context, opened, runs, figure, find)
        infos = resolve_runs(opened, view.runs)
        options = view.options | {"starts": chosen_starts(opened, infos, view.options["starts"])}
        content = make_report(
            opened,
            infos,
            format=format,
            title=title,
            text=_own_words(text),
            figures=view.figures,
            **options,
        )
    out.print(str(write_file(file, content)), markup=False, soft_wrap=True)


def _own_words(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"The text {text[1:]} cannot be read ({reason}): name a text file after @.") from error


def _print_parity(parity: dict[str, Any], labels: dict[str, str]) -> None:
    verdict = parity["verdict"]
    words = {
        "green": "the same experiment, as far as was recorded",
        "amber": "comparable with reservations",
        "red": "not the same experiment",
    }
    out.print(f"[bold {VERDICT_STYLES[verdict]}]{VERDICT_SIGNS[verdict]} {verdict}[/]  {words[verdict]}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "check", *map(escape, labels.values()), "why"):
        table.add_column(heading, overflow="fold")
    for check in parity["checks"]:
        values = ["–" if (value := check["values"].get(run)) is None else escape(_short(value)) for run in labels]
        sign = f"[{VERDICT_STYLES[check['verdict']]}]{VERDICT_SIGNS[check['verdict']]}[/]"
        table.add_row(sign, escape(check["name"]), *values, escape(check["reason"]))
    out.print(table)


def _print_verdict(view: VerdictView, labels: dict[str, str]) -> None:
    from ..runs.verdict import counted_from

    if view.reason:
        out.print(f"[bold]{view.reason}[/]")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for run, label in labels.items():
        table.add_column(escape(label) + (" (base)" if run == view.base else ""), justify="right")
    for quantity in view.quantities:
        table.add_row(escape(quantity.label), *(_quantity(quantity, run, view.base) for run in labels))
    out.print(table)
    if view.target is not None:
        out.print(f"To target: until {escape(view.target[0])} is as good as {number(view.target[1])}.", style="dim")
        if counted := counted_from(view, labels):
            out.print(escape(counted), style="dim")
    alone = [escape(labels[run]) for run, count in view.repeats.items() if count < 2]
    if alone:
        out.print(
            f"Without a repeat of {', '.join(alone)} nobody can say whether a difference is more than noise.",
            style="dim",
        )


def _quantity(quantity: Quantity, run: str, base: str) -> str:
    from ..dashboard.formats import quantity as written

    text = escape(written(quantity.values[run], quantity.unit))
    if run == quantity.best:
        text = f"[bold green]{text}[/] ✓"
    if run != base and not math.isnan(quantity.ratios[run]):
        tie = " tie" if quantity.apart.get(run) is False else ""
        text += f"  [dim]×{quantity.ratios[run]:.3g}{tie}[/]"
    return text


def _short(value: Any) -> str:
    text = number(value) if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
