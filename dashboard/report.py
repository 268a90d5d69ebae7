"""One self-contained page about some runs, to hand in or to send: parity, verdict, figures, configuration, own words.

It works without a network, a server or a script, and holds no date: the same runs and options give the same bytes.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..db.errors import SeriesNotFoundError, UsageError
from ..db.records import RunInfo
from ..runs.align import Axis
from ..runs.curves import AXIS_LABELS
from ..runs.labels import run_labels
from ..runs.legend import legend_labels
from ..runs.parity import ParityCard, check_parity
from ..runs.protocol import protocol
from ..runs.series import resolve_runs
from ..runs.starts import FROM_THE_FIRST, Starts
from ..runs.verdict import chosen_base, verdict_view
from ..runs.views import StepTimesView, difference_view
from .export import FIGURES, figure_view, render
from .figure_data import View
from .tables import configuration_table, markup, parity_table, verdict_table

if TYPE_CHECKING:
    from ..db.store import Store

DEFAULT_FIGURES: Final = ("loss", "val-loss", "difference", "step-time", "throughput", "memory")
"""What a report shows where nothing was asked for: those of them that the runs have."""

# Whatever a name holds: nothing is fetched, nothing runs.
POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE: Final = (Path(__file__).parent / "report.css").read_text()
VERDICTS: Final = {
    "green": "Like for like: the same experiment, as far as was recorded.",
    "amber": "Not established: comparable with reservations.",
    "red": "Not like for like: these are different experiments.",
}
SIGNS: Final = {"green": "✓", "amber": "!", "red": "✗"}


def report(
    store: Store,
    references: Sequence[RunInfo | str],
    *,
    title: str | None = None,
    text: str = "",
    figures: Sequence[str] | None = None,
    axis: Axis = "step",
    smoothing: float = 0.0,
    log_y: bool = False,
    base: str | None = None,
    target: float | None = None,
    starts: Starts = FROM_THE_FIRST,
    splits: bool = False,
) -> bytes:
    """An HTML page about some runs.

    Args:
        store: where the runs are.
        references: ids, unique beginnings of ids, names, or runs; one or more.
        title: heading; the names of the runs by default.
        text: your own words, shown as they are; an empty line begins a paragraph.
        figures: names of `FIGURES` or keys of metrics, all of which the runs must have; by default the usual ones.
        axis: what x is in curves.
        smoothing: of curves, 0 (none) to below 1.
        log_y: logarithmic y axis of curves.
        base: the run that ratios are taken to: id or name.
        target: the loss that runs are timed to.
        starts: where runs begin that do not begin with their first step, by run id.
        splits: training and validation of a quantity in one figure.

    Raises:
        UsageError: a run, figure or option is not there, or Matplotlib is not installed.
    """
    runs = list({run.id: run for run in resolve_runs(store, references)}.values())
    if not runs:
        raise UsageError("A report is about runs: name at least one.")
    base_id = chosen_base(store, runs, base, "reported")
    labels = run_labels(runs)
    parity = check_parity(store, runs) if len(runs) > 1 else None
    verdict = verdict_view(store, runs, parity.verdict if parity else None, base=base_id, target=target, starts=starts)
    drawn = _figures(store, runs, figures, axis=axis, smoothing=smoothing, starts=starts, target=target, splits=splits)
    heading = title or " and ".join(labels.values())
    sections = [
        _words(text),
        _runs(runs),
        _parity(parity, runs) if parity else "",
        _section(
            "Verdict" if len(runs) > 1 else "Summary",
            f'<div class="scroll">{markup(verdict_table(verdict, runs))}</div>',
        ),
        *(_figure(name, view, runs, axis=axis, smoothing=smoothing, log_y=log_y) for name, view in drawn),
        _difference(store, runs, starts),
        _configuration(runs),
    ]
    return _page(heading, sections).encode()


def _figures(
    store: Store,
    runs: Sequence[RunInfo],
    figures: Sequence[str] | None,
    *,
    axis: Axis,
    smoothing: float,
    starts: Starts,
    target: float | None,
    splits: bool,
) -> list[tuple[str, View]]:
    drawn: list[tuple[str, View]] = []
    for name in figures if figures is not None else DEFAULT_FIGURES:
        if figures is None and splits and name == "val-loss" and drawn:
            continue  # it is in the figure of the loss
        try:
            view = figure_view(
                store, runs, name, axis=axis, smoothing=smoothing, starts=starts, target=target, splits=splits
            )
            drawn.append((name, view))
        except (SeriesNotFoundError, UsageError):
            if figures is not None:
                raise  # what was asked for must be there; of the usual figures, those that are
    return drawn


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def _words(text: str) -> str:
    paragraphs = [part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]
    return "".join(f'<p class="own">{html.escape(part)}</p>' for part in paragraphs)


def _runs(runs: Sequence[RunInfo]) -> str:
    labels, entries = run_labels(runs), legend_labels(runs)
    items = []
    for run in runs:
        entry = "" if entries[run.id] in labels[run.id] else f" ({html.escape(entries[run.id])} in the figures)"
        steps = "" if run.last_step is None else f", {run.last_step + 1:,} steps"
        failed = f" {run.error.get('type')}: {run.error.get('message')}" if run.error else ""
        items.append(
            f"<li><strong>{html.escape(labels[run.id])}</strong>{entry} <code>{html.escape(run.id)}</code> "
            f"{html.escape(run.name)}: {run.state}{steps}; {html.escape(protocol(run))}.{html.escape(failed)}</li>"
        )
    return _section("Runs" if len(runs) > 1 else "Run", f"<ul>{''.join(items)}</ul>")


def _parity(parity: ParityCard, runs: Sequence[RunInfo]) -> str:
    decisive = [check for check in parity.checks if check.verdict != "green"]
    reasons = "".join(
        f'<li class="{check.verdict}">{SIGNS[check.verdict]} <strong>{html.escape(check.name)}</strong> '
        f"{html.escape(check.reason)}</li>"
        for check in decisive
    )
    return _section(
        "Parity",
        f'<p class="verdict {parity.verdict}">{SIGNS[parity.verdict]} {VERDICTS[parity.verdict]}</p>'
        + (f'<ul class="checks">{reasons}</ul>' if reasons else "")
        + f"<details><summary>All {len(parity.checks)} checks</summary>"
        + f'<div class="scroll">{markup(parity_table(parity, runs))}</div></details>',
    )


def _figure(name: str, view: View, runs: Sequence[RunInfo], *, axis: Axis, smoothing: float, log_y: bool) -> str:
    # As an image of its own: the identifiers inside two drawings of one page would meet.
    picture = base64.b64encode(render(view, "svg", width="double", runs=runs, log_y=log_y)).decode()
    about = FIGURES[name].about if name in FIGURES else name
    kind = FIGURES[name].kind if name in FIGURES else "curves"
    caption = about[:1].upper() + about[1:]
    if kind == "curves":
        caption += f" over {AXIS_LABELS[axis].lower()}"
        caption += f", smoothed ({smoothing:g})" if smoothing else ""
    views = view if isinstance(view, tuple) else (view,)
    begun = dict.fromkeys(one for part in views if not isinstance(part, StepTimesView) for one in part.begun)
    written = " ".join(f"{one.rstrip('.')}." for one in (caption, *begun))
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/svg+xml;base64,{picture}">'
        f"<figcaption>{html.escape(written)}</figcaption></figure>"
    )


def _difference(store: Store, runs: Sequence[RunInfo], starts: Starts) -> str:
    """Where each run parts from the first, in a sentence."""
    labels = run_labels(runs)
    sentences = []
    for other in runs[1:]:
        try:
            view = difference_view(store, runs[0], other, "train/loss", starts=starts)
        except SeriesNotFoundError:
            continue
        sentence = f"{labels[other.id]} from {labels[runs[0].id]}: {view.reason}"
        sentences.append(f"<li>{html.escape(sentence)}</li>")
    return _section("Where they part", f"<ul>{''.join(sentences)}</ul>") if sentences else ""


def _configuration(runs: Sequence[RunInfo]) -> str:
    table = configuration_table(runs)
    if not table.rows:
        return _section("Configuration", "<p>The configurations are identical.</p>") if len(runs) > 1 else ""
    return _section("Configuration", f'<p>{html.escape(table.caption)}</p><div class="scroll">{markup(table)}</div>')


def _page(title: str, sections: Sequence[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{html.escape(title)}</h1>{''.join(sections)}"
        "<footer>Made with trackside.</footer></main></body></html>\n"
    )
