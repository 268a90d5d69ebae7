"""Series that were computed from runs after they ended, and belong to one of them."""

from __future__ import annotations

import os
import socket
import uuid
from typing import TYPE_CHECKING

import numpy as np

from ..db.errors import UsageError
from ..db.ingest import Commit, SeriesChange
from ..db.records import Float64Array, Int64Array, Reduction, RunInfo
from .tail import SeriesTail

if TYPE_CHECKING:
    from ..db.store import Store


def add_series(
    store: Store,
    run: RunInfo,
    name: str,
    steps: Int64Array,
    times: Float64Array,
    values: Float64Array,
    *,
    unit: str | None = None,
    reduction: Reduction = "batch",
) -> None:
    """Add a series to a run and change nothing else of it: neither its state, nor when it ended.

    Args:
        store: where the run is.
        run: the run.
        name: key of the new series.
        steps: (n,) int64.
        times: (n,) float64, seconds since the epoch (UTC): when what it was computed from was logged.
        values: (n,) float64.
        unit: of the values.
        reduction: what one value stands for.

    Raises:
        UsageError: the run has a series of that name, or there is no point.
    """
    if store.series_infos([run.id], [name]):
        raise UsageError(f"Run {run.id} has a series {name!r} already: choose another name.")
    if not len(steps):
        raise UsageError(f"The series {name!r} has no point: give at least one.")
    micros = np.round(times * 1e6).astype(np.int64)
    tail = SeriesTail.new(name, unit, reduction)
    change, _ = tail.extend(steps.astype(np.int64), micros, values.astype(np.float64))
    journal = f"{run.id}-derived-{uuid.uuid4().hex[:8]}"
    _, _, others = store.writer_state(run.id, 0, journal)
    store.commit(
        Commit(
            run_id=run.id,
            run_created={},
            journal_id=journal,
            rank=0,
            host=socket.gethostname(),
            process_id=os.getpid(),
            position_before=0,
            position_after=0,
            other_bytes=others,
            closed=True,
            series=[SeriesChange(change.summary, change.stretches)],
        )
    )
