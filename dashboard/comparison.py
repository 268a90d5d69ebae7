"""The runs that a Compare page shows, and the cheap facts that tell when it must be drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..db.errors import RunNotFoundError
from ..db.records import RunInfo
from ..db.store import Store
from ..runs.align import AXES, Axis
from ..runs.legend import legend_labels
from ..runs.tokens import NAMES as TOKEN_COUNTERS
from ..runs.tokens import lacking
from ..runs.traces.reading import traces
from ..runs.views import metric_names, run_labels
from .query import CompareQuery
from .theme import Stroke, run_colors, run_strokes

SYSTEM_PREFIXES = ("cpu/", "process/", "gpu", "memory/", "disk/", "network/")
FIRST_PANELS = ("train/loss", "val/loss")
MOST_PANELS = 6  # as many as a large screen shows; the picker has the rest
LIVE_STATES = ("running", "lost")  # a run that was lost sight of may come back


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What every section of the page starts from.

    Attributes:
        runs: in the order of the URL.
        labels: short distinct names, by run id.
        legend: what figures call them: the settings in which they differ, by run id.
        colors: by run id.
        strokes: by run id, how its curves are drawn.
        unknown: one sentence for each reference that named no run.
        traced: ids of the runs that recorded a profiler's trace.
    """

    runs: tuple[RunInfo, ...]
    labels: dict[str, str]
    colors: dict[str, str]
    strokes: dict[str, Stroke]
    unknown: tuple[str, ...]
    traced: frozenset[str] = frozenset()
    legend: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the runs, in order."""
        return tuple(run.id for run in self.runs)

    @property
    def live(self) -> bool:
        """Whether any of the runs may still log."""
        return any(run.state in LIVE_STATES for run in self.runs)


def load(store: Store, references: Sequence[str]) -> Comparison:
    """Look up the runs of a URL; what names no run becomes a sentence, not an error."""
    found = {run.id: run for run in store.runs(ids=references)}
    runs: dict[str, RunInfo] = {}
    unknown: list[str] = []
    for reference in references:
        try:
            run = found.get(reference) or store.run(reference)
        except RunNotFoundError as error:
            unknown.append(str(error))
        else:
            runs[run.id] = run
    shown = tuple(runs.values())
    return Comparison(
        runs=shown,
        labels=run_labels(shown),
        legend=legend_labels(shown),
        colors=run_colors(list(runs)),
        strokes=run_strokes(list(runs)),
        unknown=tuple(unknown),
        traced=frozenset(run_id for run_id in runs if traces(store, run_id)),
    )


def is_system(metric: str) -> bool:
    """Whether a metric is a reading of the machine rather than of the training."""
    return metric.startswith(SYSTEM_PREFIXES)


def split_metrics(store: Store, comparison: Comparison) -> tuple[list[str], list[str]]:
    """The training's metrics and the machine's, each in the order in which they should stand."""
    names = metric_names(store, comparison.runs)
    return [name for name in names if not is_system(name)], [name for name in names if is_system(name)]


def default_metrics(training: Sequence[str]) -> list[str]:
    """Panels to draw where the URL names none: losses first, then other metrics; step times have their own section."""
    first = [name for name in FIRST_PANELS if name in training]
    passed_over = (*first, *TOKEN_COUNTERS)
    others = [name for name in training if name not in passed_over and not name.startswith("step/")]
    return (first + others)[:MOST_PANELS] or list(training[:MOST_PANELS])


def point_counts(store: Store, comparison: Comparison) -> dict[str, int]:
    """Points logged so far of each metric, summed over the runs: a panel is redrawn when its count moved."""
    counts: dict[str, int] = {}
    for info in store.series_infos(comparison.ids):
        counts[info.name] = counts.get(info.name, 0) + info.count
    return counts


def metric_units(store: Store, comparison: Comparison) -> dict[str, str | None]:
    """Unit of each metric; None where it has none or the runs do not agree on it."""
    units: dict[str, set[str | None]] = {}
    for info in store.series_infos(comparison.ids):
        units.setdefault(info.name, set()).add(info.unit)
    return {name: next(iter(found)) if len(found) == 1 else None for name, found in units.items()}


def offered_axes(store: Store, comparison: Comparison, chosen: Axis) -> list[Axis]:
    """Axes to choose from: that of tokens where a run says how many it saw, or where it is chosen already."""
    counted = chosen == "tokens" or len(lacking(store, comparison.runs)) < len(comparison.runs)
    return [axis for axis in AXES if axis != "tokens" or counted]


def states_key(comparison: Comparison) -> str:
    """Changes when a run does: its state, what people attached to it, or that it recorded a trace."""
    return ";".join(
        f"{run.id}:{run.state}:{run.name}:{','.join(run.tags)}:{run.id in comparison.traced}" for run in comparison.runs
    )


def chosen_starts(query: CompareQuery, comparison: Comparison) -> dict[str, int]:
    """The steps that runs begin with, by id, as the URL has them; what is about no run of the page is left out."""
    found = {}
    for reference, step in query.starts:
        same = [run.id for run in comparison.runs if reference in (run.id, run.name)]
        alike = same or [run.id for run in comparison.runs if run.id.startswith(reference)]
        if alike:
            found[alike[0]] = step
    return found


def chosen_pair(query: CompareQuery, comparison: Comparison) -> tuple[str, str] | None:
    """The two runs to subtract: those of the URL, else the first two."""
    if query.pair is not None and set(query.pair) <= set(comparison.ids):
        return query.pair
    return (comparison.ids[0], comparison.ids[1]) if len(comparison.ids) > 1 else None


def chosen_difference(query: CompareQuery, training: Sequence[str]) -> str | None:
    """The metric to subtract: that of the URL, else the first that is no step time; None where nothing was logged."""
    if query.difference in training:
        return query.difference
    return next((name for name in training if not name.startswith("step/")), next(iter(training), None))
