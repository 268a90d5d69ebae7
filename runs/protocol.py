"""The line under a run's numbers: under what conditions they were taken."""

from __future__ import annotations

from collections.abc import Mapping

from ..db.records import RunInfo
from .checks import count

_THREADS = {"torch": "torch_intraop", "tensorflow": "tensorflow_intraop"}


def protocol(run: RunInfo) -> str:
    """Batch size, precision, mode, devices, threads and versions of a run, as far as it said; one line."""
    batch, threads = count(run.config.get("batch_size")), _threads(run)
    version = f"{run.framework} {run.framework_version or ''}".strip() if run.framework else None
    devices = run.device_count * run.world_size
    parts = (
        f"batch size {batch}" if batch else None,
        run.precision,
        run.mode,
        f"{devices} × {run.device}" if run.device and devices > 1 else run.device,
        f"{threads} thread{'s' if threads != 1 else ''}" if threads else None,
        version,
        run.backend,
    )
    return ", ".join(part for part in parts if part) or "conditions not recorded"


def _threads(run: RunInfo) -> int | None:
    said = run.environment.get("threads")
    if not isinstance(said, Mapping):
        return None
    return count(said.get(_THREADS.get(run.framework or "", "")))
