"""The tables. Points live in columnar segments, a few thousand to a row; everything else is a row each.

`docs/schema.md` describes every table and column for people who query with SQL; a test keeps it true.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .types import Double, JSONObject, UTCDateTime

# SQLite autoincrements only an INTEGER primary key; PostgreSQL wants a BIGINT for tables that grow.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """Gives constraints the same names in both databases, so that a migration can drop what it made."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UTCDateTime(),
        float: Double(),
        dict[str, Any]: JSONObject,
        list[str]: JSONObject,
        str: Text(),
        bytes: LargeBinary(),
    }


class Run(Base):
    """One training run: what it is, where it stands, when it last gave a sign of life."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    project: Mapped[str] = mapped_column(index=True)
    workload: Mapped[str | None]
    group_name: Mapped[str | None]
    framework: Mapped[str | None]
    framework_version: Mapped[str | None]
    backend: Mapped[str | None]
    mode: Mapped[str | None]
    precision: Mapped[str | None]
    device: Mapped[str | None]
    device_count: Mapped[int] = mapped_column(default=1)
    world_size: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(index=True)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    heartbeat_due_at: Mapped[datetime | None]
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    total_steps: Mapped[int | None] = mapped_column(BigInteger)
    process_seconds: Mapped[float] = mapped_column(default=0.0)
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    environment: Mapped[dict[str, Any]] = mapped_column(default=dict)
    model: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tags: Mapped[list[str]] = mapped_column(default=list)
    notes: Mapped[str] = mapped_column(default="")
    is_baseline: Mapped[bool] = mapped_column(Boolean, default=False)
    log_directory: Mapped[str | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONObject)
    warnings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    deleted_at: Mapped[datetime | None]


class SeriesRow(Base):
    """One metric of one rank of one run, with a running summary, so that a run table needs no point."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("run_id", "name", "rank"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    name: Mapped[str]
    rank: Mapped[int] = mapped_column(default=0)
    split: Mapped[str | None]
    unit: Mapped[str | None]
    reduction: Mapped[str] = mapped_column(String(16))
    count: Mapped[int] = mapped_column(BigInteger)
    first_step: Mapped[int] = mapped_column(BigInteger)
    last_step: Mapped[int] = mapped_column(BigInteger)
    first_value: Mapped[float | None]
    last_value: Mapped[float | None]
    min_value: Mapped[float | None]
    max_value: Mapped[float | None]
    sum_value: Mapped[float | None]
    nan_count: Mapped[int] = mapped_column(BigInteger)
    positive_infinity_count: Mapped[int] = mapped_column(BigInteger)
    negative_infinity_count: Mapped[int] = mapped_column(BigInteger)
    first_nan_step: Mapped[int | None] = mapped_column(BigInteger)
    first_positive_infinity_step: Mapped[int | None] = mapped_column(BigInteger)
    first_negative_infinity_step: Mapped[int | None] = mapped_column(BigInteger)
    repeated_steps: Mapped[int] = mapped_column(BigInteger, default=0)


class Segment(Base):
    """A stretch of one series: columns step, time and value packed by `segments.encode`."""

    __tablename__ = "segments"
    __table_args__ = (Index(None, "series_id", "first_step"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    series_id: Mapped[int] = mapped_column(BigId, ForeignKey("series.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(BigInteger)  # index of its first point in the series, as logged
    first_step: Mapped[int] = mapped_column(BigInteger)  # smallest and largest step inside
    last_step: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int]
    min_value: Mapped[float | None]
    max_value: Mapped[float | None]
    last_value: Mapped[float | None]
    payload: Mapped[bytes]


class AxisSegment(Base):
    """A stretch of a run's axes: columns step, epoch, samples, time and process seconds, stored once a step."""

    __tablename__ = "axis_segments"
    __table_args__ = (Index(None, "run_id", "rank", "position"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    rank: Mapped[int] = mapped_column(default=0)
    position: Mapped[int] = mapped_column(BigInteger)
    first_step: Mapped[int] = mapped_column(BigInteger)
    last_step: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int]
    payload: Mapped[bytes]


class Journal(Base):
    """How far the journal of one training process has been taken into the store.

    `position` moves in the same transaction as the points it covers: that is what makes a retry neither lose nor
    double a point.
    """

    __tablename__ = "journals"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    rank: Mapped[int] = mapped_column(default=0)
    host: Mapped[str]
    process_id: Mapped[int]
    position: Mapped[int] = mapped_column(BigInteger)
    closed: Mapped[bool] = mapped_column(Boolean, default=False)


class EventRow(Base):
    """Something that happened: an exception, a signal, a resume, a sentence about what could not be had."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    time: Mapped[datetime]
    step: Mapped[int | None] = mapped_column(BigInteger)
    rank: Mapped[int] = mapped_column(default=0)
    message: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Fingerprint(Base):
    """What the parity check compares: one JSON object a kind."""

    __tablename__ = "fingerprints"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]]


class ArtifactRow(Base):
    """A file that a run left: a profiler's trace, a debugger's dump. Small ones travel with the store."""

    __tablename__ = "artifacts"
    __table_args__ = (Index(None, "run_id", "kind"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    rank: Mapped[int] = mapped_column(default=0)
    kind: Mapped[str] = mapped_column(String(64))
    name: Mapped[str]
    step: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    media_type: Mapped[str] = mapped_column(String(128))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    payload: Mapped[bytes | None]  # gzip; NULL for a file too large for a database, which stays at `path`
    path: Mapped[str | None]


class ProfileRow(Base):
    """What the analysis of one trace found: where the time of some training steps went."""

    __tablename__ = "profiles"
    __table_args__ = (UniqueConstraint("artifact_id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    rank: Mapped[int] = mapped_column(default=0)
    artifact_id: Mapped[int] = mapped_column(BigId, ForeignKey("artifacts.id", ondelete="CASCADE"))
    format: Mapped[str] = mapped_column(String(16))
    first_step: Mapped[int | None] = mapped_column(BigInteger)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    step_seconds: Mapped[list[float]] = mapped_column(JSONObject)
    split: Mapped[dict[str, Any]]
    classified_fraction: Mapped[float | None]
    notes: Mapped[list[str]]
    version: Mapped[int]  # of the analysis: an older one is made anew


class ProfileOperator(Base):
    """One operator of a profile: all its calls in one layer and direction."""

    __tablename__ = "profile_operators"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigId, ForeignKey("profiles.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    family: Mapped[str] = mapped_column(String(32))
    direction: Mapped[str] = mapped_column(String(16))
    calls: Mapped[int] = mapped_column(BigInteger)
    self_seconds: Mapped[float]
    total_seconds: Mapped[float]
    layer: Mapped[str | None]
    shapes: Mapped[str]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    flops: Mapped[float | None]
    inferred: Mapped[bool] = mapped_column(Boolean)
    device: Mapped[str] = mapped_column(String(16))
    background: Mapped[bool] = mapped_column(Boolean)


class SavedViewRow(Base):
    """A view of the dashboard that someone named: the address of a page with all its filters."""

    __tablename__ = "saved_views"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    address: Mapped[str]
    created_at: Mapped[datetime]
