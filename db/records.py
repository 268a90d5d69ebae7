"""What the store hands out: frozen records and NumPy arrays, free of SQLAlchemy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]

State = Literal["running", "finished", "failed", "killed", "lost"]
STATES: tuple[State, ...] = ("running", "finished", "failed", "killed", "lost")

Reduction = Literal["batch", "epoch_mean", "sample", "running_mean"]
"""What one value of a series stands for.

`batch`: the quantity of that one optimizer update. `epoch_mean`: a mean over an epoch or a whole validation
pass. `sample`: a reading of a gauge at a moment (GPU power, memory). `running_mean`: a mean since the epoch
began, as Keras reports it; kept only where the batch value could not be had.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One run as the store knows it.

    `state` is what holds now: a run whose process stopped reporting reads `lost` once its heartbeat is overdue.
    Times are aware UTC datetimes. `config`, `environment` and `model` are JSON objects; `error` is None or
    `{"type", "message", "traceback"}`.
    """

    id: str
    name: str
    project: str
    state: State
    workload: str | None = None
    group: str | None = None
    framework: str | None = None  # "torch" | "tensorflow" | None for a plain loop
    framework_version: str | None = None
    backend: str | None = None  # "lightning 2.6.6", "keras 3.15.1"
    mode: str | None = None  # "eager" | "graph" | "xla" | "compile"
    precision: str | None = None  # "float32" | "float64" | "bf16-mixed" | "fp16-mixed"
    device: str | None = None  # "cpu" | "cuda" | "mps" | …
    device_count: int = 1
    world_size: int = 1
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    heartbeat: datetime | None = None
    heartbeat_due: datetime | None = None
    last_step: int | None = None
    total_steps: int | None = None
    process_seconds: float = 0.0  # time the run's processes were up, summed over resumes
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    notes: str = ""
    baseline: bool = False
    log_directory: str | None = None  # where TensorBoard finds the run's event files, if it wrote any
    error: dict[str, Any] | None = None
    warnings: dict[str, int] = field(default_factory=dict)  # sentence -> how often
    deleted: datetime | None = None

    def _repr_html_(self) -> str:
        """What a notebook shows of the run: its state and properties, its settings and, if it failed, of what."""
        from .notebook import settings, table  # only notebooks need it

        rows: list[tuple[str, object]] = [
            ("id", self.id),
            ("project", self.project),
            ("state", self.state),
            ("framework", " ".join(filter(None, (self.framework, self.framework_version))) or None),
            ("device", self.device),
            ("precision", self.precision),
            ("last step", self.last_step),
            ("started", self.started and f"{self.started:%Y-%m-%d %H:%M:%S} UTC"),
            ("tags", ", ".join(self.tags) or None),
            ("notes", self.notes or None),
            ("error", self.error and f"{self.error.get('type')}: {self.error.get('message')}"),
        ]
        return table(self.name, (), [row for row in rows if row[1] is not None] + settings(self.config))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesInfo:
    """What is known of one metric of one run without reading a point.

    `minimum`, `maximum` and `total` are over finite values (NaN where there is none); `first` and `last` are the
    values as logged and may be NaN or infinite. The `first_*_step` are None where that kind never came.
    """

    id: int
    run_id: str
    name: str
    rank: int = 0
    split: str | None = None  # the part before the slash: "train", "val", "step", "gpu0"
    unit: str | None = None  # "seconds", "bytes", "watts", "percent", … or None
    reduction: Reduction = "batch"
    count: int = 0
    first_step: int = 0
    last_step: int = 0
    first: float = math.nan
    last: float = math.nan
    minimum: float = math.nan
    maximum: float = math.nan
    total: float = 0.0
    nan_count: int = 0
    positive_infinity_count: int = 0
    negative_infinity_count: int = 0
    first_nan_step: int | None = None
    first_positive_infinity_step: int | None = None
    first_negative_infinity_step: int | None = None
    repeated_steps: int = 0  # points whose step did not lie after the step before

    @property
    def finite_count(self) -> int:
        """How many of the values are neither NaN nor infinite."""
        return self.count - self.nan_count - self.positive_infinity_count - self.negative_infinity_count

    @property
    def mean(self) -> float:
        """Mean of the finite values; NaN where there is none."""
        return self.total / self.finite_count if self.finite_count else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The points of one metric of one run, in the order they were logged.

    Attributes:
        info: the summary the store keeps beside the points.
        steps: (n,) int64, optimizer updates counted from 0. Not necessarily increasing: a resumed run repeats steps.
        values: (n,) float64, NaN and infinities as logged.
        times: (n,) float64, seconds since the epoch (UTC), microsecond resolution.
    """

    info: SeriesInfo
    steps: Int64Array
    values: Float64Array
    times: Float64Array

    @property
    def name(self) -> str:
        """The metric's key, for example `train/loss`."""
        return self.info.name

    @property
    def run_id(self) -> str:
        """Id of the run that logged it."""
        return self.info.run_id

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """What else a run knew at each step: stored once a step, not once a metric. In the order logged.

    Attributes:
        steps: (n,) int64.
        epochs: (n,) float64, NaN where unknown. Fractional epochs are allowed.
        samples: (n,) float64 training samples seen once the step was done, NaN where unknown.
        times: (n,) float64 seconds since the epoch (UTC).
        process_seconds: (n,) float64 seconds that the run's processes had been up, pauses between resumes left out.
        tokens: (n,) float64 training tokens seen once the step was done, NaN where unknown; None where nobody looked
            (`runs.tokens`).
    """

    steps: Int64Array
    epochs: Float64Array
    samples: Float64Array
    times: Float64Array
    process_seconds: Float64Array
    tokens: Float64Array | None = None

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, steps: Int64Array) -> tuple[Float64Array, Float64Array]:
        """Epoch and samples seen at each of some steps, as last logged for it.

        Args:
            steps: (m,) int64, in any order.

        Returns:
            Two (m,) float64 arrays; NaN for a step that the run never placed.
        """
        order = np.argsort(self.steps, kind="stable")
        known = self.steps[order]
        found = np.searchsorted(known, steps, side="right") - 1
        placed = (found >= 0) & (known[np.maximum(found, 0)] == steps) if len(known) else np.zeros(len(steps), bool)
        rows = order[np.maximum(found, 0)] if len(known) else np.zeros(len(steps), np.int64)
        if not len(known):
            return np.full(len(steps), np.nan), np.full(len(steps), np.nan)
        return np.where(placed, self.epochs[rows], np.nan), np.where(placed, self.samples[rows], np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a moment of a run: an exception, a signal, a sentence about what could not be had."""

    run_id: str
    kind: str  # "exception" | "signal" | "notice" | "resume" | …
    time: datetime
    step: int | None = None
    rank: int = 0
    message: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInfo:
    """A file that a run left, without its content.

    `kind` says what it is: `trace/chrome`, `trace/xplane`, `tfdbg`, … `detail` is what its writer knew of it, a JSON
    object. `size_bytes` is that of the file as it was written. `path` is None where the content is in the store.
    """

    id: int
    run_id: str
    kind: str
    name: str
    rank: int = 0
    step: int | None = None
    created: datetime
    media_type: str = "application/octet-stream"
    size_bytes: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
    path: str | None = None  # where a file lies that is too large for a database, on the machine that trained


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptProfile:
    """What the analysis of a trace found, as the store keeps it; `runs.traces.reading` makes a `Profile` of it.

    `operators` are JSON objects with the fields of `runs.traces.records.Operator`.
    """

    artifact_id: int
    run_id: str
    rank: int = 0
    format: str
    first_step: int | None = None
    last_step: int | None = None
    step_seconds: tuple[float, ...] = ()
    split: dict[str, float] = field(default_factory=dict)
    classified_fraction: float = math.nan
    notes: tuple[str, ...] = ()
    version: int = 0  # of the analysis
    operators: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView:
    """A view of the dashboard that someone named.

    Attributes:
        id: in the store.
        name: as people call it; no two views share one.
        address: path and query of a page, for example `/?state=failed&sort=-started`.
        created: when it was saved.
    """

    id: int
    name: str
    address: str
    created: datetime
