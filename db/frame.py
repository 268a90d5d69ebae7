"""Points as one pandas table, for people who would rather query in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import StoreError
from .records import RunInfo

if TYPE_CHECKING:
    import pandas as pd

    from .store import Store

COLUMNS = ("run", "metric", "step", "epoch", "samples", "time", "value")


def frame(store: Store, runs: Iterable[RunInfo | str], metrics: Iterable[str] | None = None) -> pd.DataFrame:
    """Points of rank 0, one a row, in the order logged; `time` is aware UTC, `run` the id.

    Raises:
        StoreError: if pandas is not installed.
        RunNotFoundError: for an unknown run.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise StoreError("A table of points needs pandas: pip install 'trackside[frame]'.") from error
    chosen = [run if isinstance(run, RunInfo) else store.run(run) for run in runs]
    wanted = None if metrics is None else list(metrics)
    parts = []
    for run in chosen:
        axes = store.axes(run)
        for info in store.series_infos([run.id], wanted):
            if info.rank != 0:
                continue
            series = store.series(run, info.name)
            epochs, samples = axes.at(series.steps)
            parts.append(
                pd.DataFrame(
                    {
                        "run": run.id,
                        "metric": info.name,
                        "step": series.steps,
                        "epoch": epochs,
                        "samples": samples,
                        "time": pd.to_datetime((series.times * 1e6).round().astype("int64"), unit="us", utc=True),
                        "value": series.values,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
