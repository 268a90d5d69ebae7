"""What a report says, before it is written as a page or as a PDF: the same words, tables and figures for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..db.errors import SeriesNotFoundError, UsageError
from ..db.records import RunInfo
from ..runs.align import Axis
from ..runs.curves import AXIS_LABELS
from ..runs.groups import GROUPS
from ..runs.labels import run_labels
from ..runs.legend import legend_labels
from ..runs.parity import ParityCard, check_parity
from ..runs.protocol import protocol
from ..runs.starts import FROM_THE_FIRST, Starts
from ..runs.verdict import chosen_base, verdict_view
from ..runs.views import StepTimesView, difference_view
from .export import FIGURES, check_choice, figure_view
from .figure_data import View
from .tables import Table, configuration_table, parity_table, verdict_table

if TYPE_CHECKING:
    from ..db.store import Store

DEFAULT_FIGURES: Final = ("loss", "val-loss", "difference", "step-time", "throughput", "memory")
"""What a report shows where nothing was asked for: those of them that the runs have."""

VERDICTS: Final = {
    "green": "Like for like: the same experiment, as far as was recorded.",
    "amber": "Not established: comparable with reservations.",
    "red": "Not like for like: these are different experiments.",
}
SIGNS: Final = {"green": "✓", "amber": "!", "red": "✗"}
MOST_NAMED: Final = 5  # runs in a heading
CLOSING: Final = "Made with trackside."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run in the list of runs.

    Attributes:
        label: its name in this report.
        entry: what the figures call it, where that is something else; begins with a space.
        id: of the run.
        sentence: what became of it, and under which conditions.
    """

    label: str
    entry: str
    id: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportFigure:
    """A figure of a report, and what stands under it."""

    view: View
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contents:
    """Everything that a report says. All of it is plain text: names are names, whatever they hold.

    Attributes:
        title: heading.
        paragraphs: the user's own words; a paragraph may hold line breaks.
        runs: what the report is about, in the order given.
        lines: one a run.
        parity: the card, where there are several runs.
        checks: all of its checks as a table.
        verdict: what each run came to.
        figures: in the order to be shown.
        log_y: logarithmic y axes of curves.
        parting: a sentence for each run after the first: where its loss parts from that of the first.
        configuration: what differs, or of a run alone all of it; no rows where nothing does.
    """

    title: str
    paragraphs: tuple[str, ...]
    runs: tuple[RunInfo, ...]
    lines: tuple[RunLine, ...]
    parity: ParityCard | None
    checks: Table | None
    verdict: Table
    figures: tuple[ReportFigure, ...]
    log_y: bool
    parting: tuple[str, ...]
    configuration: Table


def gather(
    store: Store,
    runs: Sequence[RunInfo],
    *,
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
) -> Contents:
    """Read what a report is to say; the arguments are those of `trackside.dashboard.report.report`.

    Raises:
        UsageError: a figure or an option is not there.
    """
    check_choice("group", group or GROUPS[0], GROUPS)
    base_id = chosen_base(store, runs, base, "reported")
    parity = check_parity(store, runs) if len(runs) > 1 else None
    verdict = verdict_view(store, runs, parity.verdict if parity else None, base=base_id, target=target, starts=starts)
    how: dict[str, Any] = {
        "axis": axis,
        "x_range": x_range,
        "smoothing": smoothing,
        "group": group,
        "starts": starts,
        "target": target,
        "splits": splits,
    }
    return Contents(
        title=title or _title(list(run_labels(runs).values())),
        paragraphs=tuple(part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()),
        runs=tuple(runs),
        lines=tuple(_lines(runs)),
        parity=parity,
        checks=parity_table(parity, runs) if parity else None,
        verdict=verdict_table(verdict, runs),
        figures=tuple(_figures(store, runs, figures, how)),
        log_y=log_y,
        parting=tuple(_parting(store, runs, starts)),
        configuration=configuration_table(runs),
    )


def _title(labels: Sequence[str]) -> str:
    shown = labels if len(labels) <= MOST_NAMED else [*labels[: MOST_NAMED - 1], f"{len(labels) - MOST_NAMED + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _lines(runs: Sequence[RunInfo]) -> list[RunLine]:
    labels, entries = run_labels(runs), legend_labels(runs)
    lines = []
    for run in runs:
        entry = "" if entries[run.id] in labels[run.id] else f" ({entries[run.id]} in the figures)"
        steps = "" if run.last_step is None else f", {run.last_step + 1:,} steps"
        failed = f" {run.error.get('type')}: {run.error.get('message')}" if run.error else ""
        sentence = f"{run.name}: {run.state}{steps}; {protocol(run)}.{failed}"
        lines.append(RunLine(label=labels[run.id], entry=entry, id=run.id, sentence=sentence))
    return lines


def _figures(
    store: Store, runs: Sequence[RunInfo], figures: Sequence[str] | None, how: Mapping[str, Any]
) -> list[ReportFigure]:
    """The figures; `how` they are drawn are the arguments of `figure_view`."""
    drawn: list[ReportFigure] = []
    for name in figures if figures is not None else DEFAULT_FIGURES:
        if figures is None and how["splits"] and name == "val-loss" and drawn:
            continue  # it is in the figure of the loss
        try:
            view = figure_view(store, runs, name, **how)
        except (SeriesNotFoundError, UsageError):
            if figures is not None:
                raise  # what was asked for must be there; of the usual figures, those that are
        else:
            caption = _caption(name, how["axis"], how["smoothing"])
            drawn.append(ReportFigure(view=view, caption=" ".join([caption, *_begun(view)])))
    return drawn


def _caption(name: str, axis: Axis, smoothing: float) -> str:
    about = FIGURES[name].about if name in FIGURES else name
    caption = about[:1].upper() + about[1:]
    if name not in FIGURES or FIGURES[name].kind == "curves":
        caption += f" over {AXIS_LABELS[axis].lower()}"
        caption += f", smoothed ({smoothing:g})" if smoothing else ""
    return f"{caption}."


def _begun(view: View) -> list[str]:
    """Which runs do not begin with their first step, a sentence each."""
    views = view if isinstance(view, tuple) else (view,)
    begun = dict.fromkeys(one for part in views if not isinstance(part, StepTimesView) for one in part.begun)
    return [f"{one.rstrip('.')}." for one in begun]


def _parting(store: Store, runs: Sequence[RunInfo], starts: Starts) -> list[str]:
    """Where each run parts from the first, in a sentence."""
    labels = run_labels(runs)
    sentences = []
    for other in runs[1:]:
        try:
            view = difference_view(store, runs[0], other, "train/loss", starts=starts)
        except SeriesNotFoundError:
            continue
        sentences.append(f"{labels[other.id]} from {labels[runs[0].id]}: {view.reason}")
    return sentences
