"""Statements about files that a run left, and about what was found in profiler traces.

Each takes the connection of a transaction that its caller opened.
"""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from .chunks import chunks
from .errors import ArtifactNotFoundError, StoreError
from .models import ArtifactRow, ProfileOperator, ProfileRow
from .records import ArtifactInfo, KeptProfile

LARGEST_BYTES = 500_000_000
"""A larger file stays where it is, and only its path is kept."""

LARGEST_PAYLOAD = 200_000_000
"""As does one that is larger than this when compressed: a value of a database ends at 1 GB, and is written as text
twice as long on its way to PostgreSQL."""

MEDIA_TYPES = {
    "trace/chrome": "application/json",
    "trace/xplane": "application/x-protobuf",
}

_INFO = [column for column in ArtifactRow.__table__.c if column.key != "payload"]
_OPERATOR = [column for column in ProfileOperator.__table__.c if column.key not in ("id", "profile_id")]
_READ_BYTES = 1 << 20


def compress(data: bytes) -> bytes:
    """`data` as `artifacts.payload` holds it."""
    return gzip.compress(data, compresslevel=4, mtime=0)


def compress_file(source: Path, target: Path) -> None:
    """Write the content of a file as `artifacts.payload` holds it, bit by bit: zlib lets other threads run meanwhile.

    Raises:
        OSError: if it cannot be read, or the other not be written.
    """
    packer = zlib.compressobj(4, zlib.DEFLATED, 31)  # 31: with gzip's head
    with source.open("rb") as file, target.open("wb") as packed:
        for part in iter(lambda: file.read(_READ_BYTES), b""):
            packed.write(packer.compress(part))
        packed.write(packer.flush())


def add(connection: Connection, columns: dict[str, Any]) -> int:
    """Store an artifact; the id it was given."""
    made = connection.execute(insert(ArtifactRow).returning(ArtifactRow.id), [columns])
    return int(made.scalar_one())


def infos(connection: Connection, run_id: str, kind: str | None) -> list[ArtifactInfo]:
    """The artifacts of a run, in the order stored. No content is read."""
    query = select(*_INFO).where(ArtifactRow.run_id == run_id).order_by(ArtifactRow.id)
    if kind is not None:
        query = query.where(ArtifactRow.kind == kind)
    return [
        ArtifactInfo(
            id=row.id, run_id=row.run_id, kind=row.kind, name=row.name, rank=row.rank, step=row.step,
            created=row.created_at, media_type=row.media_type, size_bytes=row.size_bytes, detail=row.detail,
            path=row.path,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def content(connection: Connection, artifact_id: int) -> bytes:
    """What an artifact holds, as it was written.

    Raises:
        ArtifactNotFoundError: if there is none of this id.
        StoreError: if it lies in a file that cannot be read here, or is damaged.
    """
    query = select(ArtifactRow.payload, ArtifactRow.path, ArtifactRow.name).where(ArtifactRow.id == artifact_id)
    row = connection.execute(query).first()
    if row is None:
        raise ArtifactNotFoundError(f"There is no artifact {artifact_id}: it was removed, or its run was purged.")
    try:
        return gzip.decompress(row.payload) if row.payload is not None else Path(row.path).read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"{row.name} was too large for the store and is not at {row.path}: look on the machine that trained."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{row.name} cannot be read ({error}): record it again.") from error


def remove(connection: Connection, artifact_id: int) -> None:
    """Remove an artifact and what was found in it; a file outside the store stays."""
    connection.execute(delete(ArtifactRow).where(ArtifactRow.id == artifact_id))


def keep_profile(connection: Connection, profile: KeptProfile) -> bool:
    """Store what was found in a trace in the place of what an earlier analysis found.

    Returns:
        False if the trace is not there any more.
    """
    artifact = select(ArtifactRow.id).where(ArtifactRow.id == profile.artifact_id).with_for_update()
    if connection.execute(artifact).first() is None:
        return False
    connection.execute(delete(ProfileRow).where(ProfileRow.artifact_id == profile.artifact_id))
    made = connection.execute(
        insert(ProfileRow).returning(ProfileRow.id),
        [
            {
                "run_id": profile.run_id, "rank": profile.rank, "artifact_id": profile.artifact_id,
                "format": profile.format, "first_step": profile.first_step, "last_step": profile.last_step,
                "step_seconds": list(profile.step_seconds), "split": dict(profile.split),
                "classified_fraction": profile.classified_fraction, "notes": list(profile.notes),
                "version": profile.version,
            }
        ],
    )  # fmt: skip
    profile_id = int(made.scalar_one())
    if profile.operators:
        names = [column.key for column in _OPERATOR]
        rows = [{"profile_id": profile_id, **{name: one[name] for name in names}} for one in profile.operators]
        connection.execute(insert(ProfileOperator), rows)
    return True


def kept_profiles(connection: Connection, run_id: str) -> list[KeptProfile]:
    """What was found in the traces of a run, in the order of the traces; operators by self time, the longest first."""
    query = select(*ProfileRow.__table__.c).where(ProfileRow.run_id == run_id).order_by(ProfileRow.artifact_id)
    rows = connection.execute(query).all()
    operators = _operators(connection, [row.id for row in rows])
    return [
        KeptProfile(
            artifact_id=row.artifact_id, run_id=row.run_id, rank=row.rank, format=row.format,
            first_step=row.first_step, last_step=row.last_step, step_seconds=tuple(row.step_seconds), split=row.split,
            classified_fraction=row.classified_fraction, notes=tuple(row.notes), version=row.version,
            operators=tuple(operators.get(row.id, ())),
        )
        for row in rows
    ]  # fmt: skip


def _operators(connection: Connection, profile_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for some in chunks(profile_ids):
        query = select(ProfileOperator.profile_id, ProfileOperator.flops.is_(None).label("no_flops"), *_OPERATOR)
        query = query.where(ProfileOperator.profile_id.in_(some))
        query = query.order_by(ProfileOperator.self_seconds.desc(), ProfileOperator.id)
        for row in connection.execute(query).mappings():
            operator = {column.key: row[column.key] for column in _OPERATOR}
            if row["no_flops"]:
                operator["flops"] = None  # not the NaN that other columns of floats mean by NULL
            found.setdefault(row["profile_id"], []).append(operator)
    return found


def columns(
    run_id: str,
    rank: int,
    kind: str,
    name: str,
    *,
    step: int | None = None,
    detail: dict[str, Any] | None = None,
    media_type: str | None = None,
) -> dict[str, Any]:
    """Columns of a new artifact but for its content."""
    return {
        "run_id": run_id,
        "rank": rank,
        "kind": kind,
        "name": name,
        "step": step,
        "created_at": datetime.now(UTC),
        "media_type": media_type or MEDIA_TYPES.get(kind, "application/octet-stream"),
        "detail": detail or {},
    }
