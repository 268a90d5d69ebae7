"""Are these runs the same experiment: the parity card.

Every check is red, amber or green with a reason and with what each run has. Nothing is assumed: what a run did not
record is amber, and says so. A difference of framework is no fault, it is what is compared; what would make a claim
about losses or speed wrong is red.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..db.errors import UsageError
from ..db.records import RunInfo, Series
from .check_arithmetic import arithmetic_checks
from .check_conditions import condition_checks
from .check_data import data_checks
from .check_loss import loss_by_value
from .check_start import first_loss_check, start_checks
from .checks import Check, Group, Subject, Verdict, worst
from .labels import run_labels
from .series import resolve_runs

if TYPE_CHECKING:
    from ..db.store import Store

__all__ = ["Check", "Group", "ParityCard", "Verdict", "check_parity"]

_LEARNING_RATE = "optimizer/learning_rate"
_LEARNING_RATES = tuple(f"optimizer{index}/learning_rate" for index in range(10))  # where a run has several optimizers
_LOSS = "train/loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCard:
    """All checks, by group in the order data, start, arithmetic, conditions, and the worst of their verdicts."""

    verdict: Verdict
    checks: tuple[Check, ...]


def check_parity(store: Store, runs: Sequence[RunInfo | str]) -> ParityCard:
    """Compare what two or more runs recorded about themselves.

    Args:
        store: where the runs are.
        runs: runs, or what `Store.run` understands.

    Raises:
        UsageError: fewer than two different runs, or an unknown one.
    """
    infos = list({run.id: run for run in resolve_runs(store, runs)}.values())
    if len(infos) < 2:
        raise UsageError("A comparison needs two different runs: name another one.")
    subjects = _subjects(store, infos)
    before = [*data_checks(subjects), *start_checks(subjects)]
    arithmetic = arithmetic_checks(subjects)
    first_loss = first_loss_check(subjects, [*before, *arithmetic])
    if first_loss is not None:
        before.append(first_loss)
        arithmetic = [loss_by_value(check, first_loss) if check.name == "Loss" else check for check in arithmetic]
    checks = [*before, *arithmetic, *condition_checks(subjects)]
    return ParityCard(verdict=worst([check.verdict for check in checks]), checks=tuple(checks))


def _subjects(store: Store, runs: Sequence[RunInfo]) -> list[Subject]:
    labels = run_labels(runs)
    known = {
        (info.run_id, info.name): info
        for info in store.series_infos(list(labels), [_LEARNING_RATE, *_LEARNING_RATES, _LOSS])
        if info.rank == 0
    }

    def rates(run: RunInfo) -> list[Series]:
        names = [name for name in (_LEARNING_RATE, *_LEARNING_RATES) if (run.id, name) in known]
        return [store.series(run, name) for name in names]

    def reduction(run: RunInfo) -> str | None:
        info = known.get((run.id, _LOSS))
        return None if info is None else info.reduction

    def first_loss(run: RunInfo) -> float | None:
        if (run.id, _LOSS) not in known:
            return None
        series = store.series(run, _LOSS, steps=(0, 0))
        at = np.flatnonzero(series.steps == 0)
        return float(series.values[at[-1]]) if len(at) else None

    return [
        Subject(
            run=run,
            label=labels[run.id],
            fingerprints=store.fingerprints(run),
            learning_rates=next(iter(rates(run)), None),
            loss_reduction=reduction(run),
            other_learning_rates=tuple(rates(run)[1:]),
            first_loss=first_loss(run),
        )
        for run in runs
    ]
