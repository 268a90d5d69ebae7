"""A run's own noise, where it was measured: how far apart two runs may be by it, and where they are beyond it.

`trackside parity WORKLOAD --noise` trains each framework against itself and keeps the envelope of the differences
with the runs, as a series beside the metric. It is of this network on this data; what rounding explains in general
(`difference.FLOAT32_RELATIVE`) is a guess beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..db.records import Float64Array, Int64Array, RunInfo
from .curves import NOISE
from .series import read_aligned
from .starts import FROM_THE_FIRST, Starts

if TYPE_CHECKING:
    from ..db.store import Store

POINTWISE = 20.0
TEN_STEPS = 3.0
"""How many times the envelope the frameworks may be apart, at a step and over means of ten. Measured on eight kinds
of network: at most 15 and 2 where everything else was equal; the envelope of a few runs is itself a rough figure."""
MEAN_OF = 10


def noise_envelope(
    store: Store,
    runs: tuple[RunInfo, RunInfo],
    metric: str,
    steps: Int64Array,
    starts: Starts = FROM_THE_FIRST,
) -> Float64Array | None:
    """How far noise alone carries a metric of one of two runs by each step; None where neither measured it.

    Args:
        store: where the runs are.
        runs: the two; of two envelopes the wider counts.
        metric: the metric's key.
        steps: (n,) int64, increasing; counted from where each run begins.
        starts: where that is, if it is not the first step.

    Returns:
        (n,) float64, above zero. Past the last step measured it stays as it was there.
    """
    ids = {run.id: run for run in runs}
    envelopes = []
    for info in store.series_infos(list(ids), [f"{NOISE}{metric}"]):
        points = read_aligned(store, ids[info.run_id], info, "step")
        known = np.isfinite(points.values) & (points.values > 0)
        if info.rank == 0 and known.any():
            own = steps.astype(np.float64) + starts.get(info.run_id, 0)
            envelopes.append(np.interp(own, points.x[known], points.values[known]))
    return np.maximum.reduce(envelopes) if envelopes else None


def first_beyond_noise(difference: Float64Array, one_sided: NDArray[np.bool_], envelope: Float64Array) -> int | None:
    """Index of the first point at which two runs are further apart than their noise explains; None if they never are.

    Args:
        difference: (n,) float64, run a minus run b, at consecutive points.
        one_sided: (n,) bool, where one of the two is not finite and the other not the same: that is never noise.
        envelope: (n,) float64.
    """
    out = one_sided | (np.abs(difference) > POINTWISE * envelope)
    if len(difference) >= MEAN_OF:
        with np.errstate(invalid="ignore"):  # infinity minus infinity: no mean, and no verdict from it
            means = np.convolve(
                np.where(np.isfinite(difference), difference, 0.0), np.full(MEAN_OF, 1 / MEAN_OF), "valid"
            )
        widest = np.maximum.accumulate(envelope)[MEAN_OF - 1 :]
        out[: len(means)] |= np.abs(means) > TEN_STEPS * widest
    found = np.flatnonzero(out)
    return int(found[0]) if len(found) else None
