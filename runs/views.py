"""What the figures and tables are made of: the store read into small frozen tuples, drawn by others.

Nothing here knows Plotly or Matplotlib, and nothing that draws reads the store, so the page and the printed
figure cannot disagree. The arrays in a view are read-only by agreement: views may be cached and shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..db.records import RunInfo
from .align import AXES, Axis
from .curves import NOISE, Curve, CurvesView, curves_view
from .difference import DifferenceView, difference_view
from .labels import differing_keys, flatten, metric_label, metric_order, run_labels
from .series import resolve_runs
from .starts import Starts
from .step_times import StepTimes, StepTimesView, step_times_view

if TYPE_CHECKING:
    from ..db.store import Store

__all__ = [
    "AXES",
    "Axis",
    "ConfigRow",
    "Curve",
    "CurvesView",
    "DifferenceView",
    "Starts",
    "StepTimes",
    "StepTimesView",
    "config_rows",
    "curves_view",
    "difference_view",
    "metric_label",
    "metric_names",
    "run_labels",
    "step_times_view",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRow:
    """One configuration key of several runs.

    Attributes:
        key: dotted where the configuration is nested.
        values: by run id; a run without the key is left out.
        differs: a run lacks the key or has another value.
    """

    key: str
    values: dict[str, Any]
    differs: bool


def config_rows(runs: Sequence[RunInfo]) -> tuple[ConfigRow, ...]:
    """Every configuration key of the runs, in order of first appearance."""
    configs = {run.id: flatten(run.config) for run in runs}
    differing = set(differing_keys(runs))
    return tuple(
        ConfigRow(
            key=key,
            values={run_id: config[key] for run_id, config in configs.items() if key in config},
            differs=key in differing,
        )
        for key in dict.fromkeys(key for config in configs.values() for key in config)
    )


def metric_names(store: Store, runs: Sequence[RunInfo | str]) -> tuple[str, ...]:
    """What the runs logged between them: training and validation first, then optimizer, step, machine."""
    infos = store.series_infos([run.id for run in resolve_runs(store, runs)])
    return tuple(sorted({info.name for info in infos if not info.name.startswith(NOISE)}, key=metric_order))
