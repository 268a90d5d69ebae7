"""From rows of the tables to the records that the store hands out."""

from __future__ import annotations

from typing import Any

from .records import RunInfo, SeriesInfo, State


def run_info(row: Any) -> RunInfo:
    """A row of `runs` with `overdue` beside it."""
    state: State = "lost" if row.state == "running" and row.overdue else row.state
    return RunInfo(
        id=row.id,
        name=row.name,
        project=row.project,
        state=state,
        workload=row.workload,
        group=row.group_name,
        framework=row.framework,
        framework_version=row.framework_version,
        backend=row.backend,
        mode=row.mode,
        precision=row.precision,
        device=row.device,
        device_count=row.device_count,
        world_size=row.world_size,
        created=row.created_at,
        started=row.started_at,
        ended=row.ended_at,
        heartbeat=row.heartbeat_at,
        heartbeat_due=row.heartbeat_due_at,
        last_step=row.last_step,
        total_steps=row.total_steps,
        process_seconds=row.process_seconds,
        config=row.config,
        environment=row.environment or {},  # these two may not have been read
        model=row.model or {},
        tags=tuple(row.tags),
        notes=row.notes,
        baseline=row.is_baseline,
        log_directory=row.log_directory,
        error=row.error,
        warnings=row.warnings,
        deleted=row.deleted_at,
    )


def series_info(row: Any) -> SeriesInfo:
    """A row of `series`."""
    return SeriesInfo(
        id=row.id,
        run_id=row.run_id,
        name=row.name,
        rank=row.rank,
        split=row.split,
        unit=row.unit,
        reduction=row.reduction,
        count=row._mapping["count"],  # a row is a tuple, whose count is a method
        first_step=row.first_step,
        last_step=row.last_step,
        first=row.first_value,
        last=row.last_value,
        minimum=row.min_value,
        maximum=row.max_value,
        total=row.sum_value,
        nan_count=row.nan_count,
        positive_infinity_count=row.positive_infinity_count,
        negative_infinity_count=row.negative_infinity_count,
        first_nan_step=row.first_nan_step,
        first_positive_infinity_step=row.first_positive_infinity_step,
        first_negative_infinity_step=row.first_negative_infinity_step,
        repeated_steps=row.repeated_steps,
    )
