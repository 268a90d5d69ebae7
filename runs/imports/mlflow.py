"""MLflow's stores: a folder `mlruns`, or its SQLite file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from ...db.errors import UsageError
from ...db.records import State
from .records import FoundRun, FoundSeries, keys

# Milliseconds since the epoch, step, value.
Point = tuple[int, int, float]

_STATES: dict[str, State] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
_FILE_STATES: dict[str, State] = {"3": "finished", "4": "failed", "5": "killed"}
_HUGE = 1.7976931348623157e308  # what MLflow's database has in the place of an infinity


def read_mlflow(path: Path) -> Iterator[FoundRun]:
    """The runs of a folder `mlruns` or of MLflow's SQLite file, those in its trash left out.

    Raises:
        UsageError: it is neither.
    """
    if path.is_file():
        yield from _of_database(path)
    elif path.is_dir():
        yield from _of_folder(path)
    else:
        raise UsageError(f"There is no {path}: name the folder mlruns or MLflow's .db file.")


def _found(
    run_id: str,
    name: str,
    experiment: str,
    state: State,
    metrics: dict[str, list[Point]],
    params: dict[str, str],
    tags: dict[str, str],
    source: str,
    left_out: Sequence[str] = (),
) -> FoundRun:
    named = keys(list(metrics))
    series = []
    for metric, points in metrics.items():
        points.sort(key=lambda point: point[:2])
        series.append(
            FoundSeries(
                name=named[metric][0],
                source=metric,
                steps=np.array([step for _, step, _ in points], np.int64),
                times=np.array([time for time, _, _ in points], np.float64) / 1000,
                values=np.array([value for _, _, value in points], np.float64),
                reduction=named[metric][1],
            )
        )
    return FoundRun(
        identity=f"mlflow {run_id}",
        name=name or run_id[:12],
        source=source,
        series=series,
        config={key: _value(value) for key, value in params.items()},
        state=state,
        properties={
            "project": experiment,
            "notes": tags.get("mlflow.note.content", ""),
            "tags": tuple(f"{key}={value}" for key, value in tags.items() if not key.startswith("mlflow.")),
        },
        left_out=["artifacts: their files stay where they are", *left_out],
    )


def _value(written: str) -> Any:
    """MLflow keeps parameters as text."""
    try:
        number = float(written)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(written, written)
    return int(written) if written.lstrip("+-").isdigit() else number


def _of_database(path: Path) -> Iterator[FoundRun]:
    engine = create_engine(f"sqlite:///file:{path.resolve()}?mode=ro&uri=true", poolclass=NullPool)
    try:
        with engine.connect() as connection:
            runs = connection.execute(
                text(
                    "select r.run_uuid, r.name, r.status, e.name as experiment from runs r"
                    " left join experiments e on e.experiment_id = r.experiment_id"
                    " where r.lifecycle_stage = 'active' order by r.start_time"
                )
            ).all()
            for run in runs:
                one = {"run": run.run_uuid}
                metrics: dict[str, list[Point]] = {}
                query = "select key, value, timestamp, step, is_nan from metrics where run_uuid = :run"
                for row in connection.execute(text(query), one):
                    value = math.nan if row.is_nan else _with_infinity(row.value)
                    metrics.setdefault(row.key, []).append((row.timestamp, row.step, value))
                params = connection.execute(text("select key, value from params where run_uuid = :run"), one).all()
                tags = connection.execute(text("select key, value from tags where run_uuid = :run"), one).all()
                yield _found(
                    run.run_uuid, run.name or "", run.experiment or "mlflow", _STATES.get(run.status, "lost"), metrics,
                    {row.key: row.value for row in params}, {row.key: row.value for row in tags}, str(path.resolve()),
                )  # fmt: skip
    except DatabaseError as error:
        raise UsageError(f"{path} is no database of MLflow: name its .db file, or the folder mlruns.") from error
    finally:
        engine.dispose()


def _with_infinity(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= _HUGE else value


def _of_folder(path: Path) -> Iterator[FoundRun]:
    metas = sorted(meta for meta in path.rglob("meta.yaml") if (meta.parent / "metrics").is_dir())
    if not metas:
        raise UsageError(f"There is no run of MLflow under {path}: name the folder mlruns or MLflow's .db file.")
    for meta in metas:
        about, folder = _lines(meta), meta.parent
        if about.get("lifecycle_stage", "active") != "active":
            continue
        metrics: dict[str, list[Point]] = {}
        damaged = 0
        for file in sorted(folder.joinpath("metrics").rglob("*")):
            if file.is_file():
                points = [_point(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
                damaged += points.count(None)
                name = unquote(file.relative_to(folder / "metrics").as_posix())
                metrics[name] = [point for point in points if point is not None]
        tags = _values(folder / "tags")
        experiment = _lines(folder.parent / "meta.yaml").get("name", "mlflow")
        yield _found(
            about.get("run_id") or about.get("run_uuid") or folder.name,
            about.get("run_name") or tags.get("mlflow.runName", ""),
            experiment,
            _FILE_STATES.get(about.get("status", ""), "lost"),
            metrics,
            _values(folder / "params"),
            tags,
            str(folder.resolve()),
            [f"{damaged:,} × a line of a metric that cannot be read"] if damaged else [],
        )


def _point(line: str) -> Point | None:
    parts = line.split()
    try:
        return int(parts[0]), int(parts[2]) if len(parts) > 2 else 0, float(parts[1])
    except (ValueError, IndexError):
        return None


def _values(folder: Path) -> dict[str, str]:
    """A folder with a file a key, as MLflow keeps parameters and tags."""
    files = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
    return {file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8").strip() for file in sorted(files)}


def _lines(file: Path) -> dict[str, str]:
    """The plain entries of `meta.yaml`, which MLflow writes one to a line."""
    if not file.is_file():
        return {}
    pairs = (line.partition(":") for line in file.read_text(encoding="utf-8").splitlines() if line[:1].strip())
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}
