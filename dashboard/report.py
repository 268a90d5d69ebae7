"""One self-contained document about some runs, to hand in or to send: parity, verdict, figures, own words.

A page or a PDF that works without a network, a server or a script, and holds no date: the same runs and options give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..db.errors import UsageError
from ..db.records import RunInfo
from ..runs.align import Axis
from ..runs.series import resolve_runs
from ..runs.starts import FROM_THE_FIRST, Starts
from .report_contents import gather

if TYPE_CHECKING:
    from ..db.store import Store

REPORT_FORMATS: Final = ("html", "pdf")


def report(
    store: Store,
    references: Sequence[RunInfo | str],
    *,
    format: str = "html",
    title: str | None = None,
    text: str = "",
    figures: Sequence[str] | None = None,
    axis: Axis = "step",
    smoothing: float = 0.0,
    log_y: bool = False,
    x_range: tuple[float, float] | None = None,
    group: str | None = None,
    base: str | None = None,
    target: float | None = None,
    starts: Starts = FROM_THE_FIRST,
    splits: bool = False,
) -> bytes:
    """A document about some runs.

    Args:
        store: where the runs are.
        references: ids, unique beginnings of ids, names, or runs; one or more.
        format: "html" or "pdf".
        title: heading; the names of the runs by default.
        text: your own words, shown as they are; an empty line begins a paragraph.
        figures: names of `FIGURES` or keys of metrics, all of which the runs must have; by default the usual ones.
        axis: what x is in curves.
        smoothing: of curves, 0 (none) to below 1.
        log_y: logarithmic y axis of curves.
        x_range: of curves, show only this part of x.
        group: of curves, one of `GROUPS`: runs that differ only in that are drawn as their mean with its interval.
        base: the run that ratios are taken to: id or name.
        target: the loss that runs are timed to.
        starts: where runs begin that do not begin with their first step, by run id.
        splits: training and validation of a quantity in one figure.

    Raises:
        UsageError: a run, figure, format or option is not there, or Matplotlib or ReportLab is not installed.
    """
    if format not in REPORT_FORMATS:
        raise UsageError(f"There is no report as {format!r}: choose one of {', '.join(REPORT_FORMATS)}.")
    runs = list({run.id: run for run in resolve_runs(store, references)}.values())
    if not runs:
        raise UsageError("A report is about runs: name at least one.")
    contents = gather(
        store,
        runs,
        title=title,
        text=text,
        figures=figures,
        axis=axis,
        smoothing=smoothing,
        log_y=log_y,
        x_range=x_range,
        group=group,
        base=base,
        target=target,
        starts=starts,
        splits=splits,
    )
    if format == "html":
        from .report_html import page

        return page(contents)
    try:
        from .report_pdf import document
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise UsageError(
            f"A report as PDF needs {missing}: run pip install 'trackside[export]', or write it as HTML."
        ) from error
    return document(contents)
