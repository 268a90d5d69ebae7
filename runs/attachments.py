"""Files on their way from a training process into the store, beside the journal that speaks of them.

The training thread only renames (or copies) a file and appends a record. Whoever carries the journal compresses the
file, stores it in the transaction that moves the journal's position, and deletes it then: a process may be killed at
any moment in between, and the file is in the store once.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from ..db import artifacts
from ..db.errors import StoreUnreachableError
from ..db.ingest import ArtifactFile
from .journal import JournalWriter, Kind

SUFFIX = ".artifact"
_LARGE_FOLDER = "large"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def append(journal: JournalWriter, path: Path, described: Mapping[str, Any], *, move: bool) -> None:
    """Put a file beside the journal, and a record of it into the journal.

    Args:
        journal: the run's.
        path: the file. A copy is taken, unless `move`, or unless it is too large for a store and stays where it is.
        described: `kind`, `name`, `step`, `created_at`, `media_type`, `detail`: JSON.
        move: the file is the run's own from here on.

    Raises:
        OSError: if there is no such file, or no room for a copy.
    """
    size = path.stat().st_size
    record = {**described, "size_bytes": size}
    if size > artifacts.LARGEST_BYTES and not move:
        record["path"] = str(path.absolute())
    else:
        record["file"] = _place(path, journal.path, move=move)
    journal.append(Kind.ARTIFACT, orjson.dumps(record))


def scratch(journal: Path, suffix: str) -> Path:
    """A path beside a journal that nobody has taken.

    It is named for the journal, so that a recovery which is done with the journal knows what to sweep away.
    """
    return journal.with_name(f"{journal.stem}-{uuid.uuid4().hex[:8]}{suffix}")


def _place(path: Path, journal: Path, *, move: bool) -> str:
    target = scratch(journal, SUFFIX)
    if move:
        with suppress(OSError):  # another file system, perhaps
            path.replace(target)
            return target.name
    partial = target.with_suffix(".partial")
    try:
        shutil.copyfile(path, partial)
        partial.rename(target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if move:
        path.unlink(missing_ok=True)
    return target.name


class Taken:
    """What became of one record: something to store, files to delete once it is, and what to say of it.

    Attributes:
        artifact: what to store, or None where the file is gone.
        spent: files to delete once it is stored.
        notice: a sentence about it, or empty.
        lost: a sentence to count as a warning, or empty.
    """

    def __init__(self, record: dict[str, Any], folder: Path) -> None:
        self.artifact: ArtifactFile | None = None
        self.spent: list[Path] = []
        self.notice = self.lost = ""
        columns = {
            name: record.get(name) for name in ("kind", "name", "step", "media_type", "size_bytes", "detail", "path")
        }
        columns["created_at"] = datetime.fromisoformat(record["created_at"])
        if record.get("path") is not None:
            self._keep_outside(columns, Path(record["path"]))
            return
        file = folder / Path(record["file"]).name
        try:
            self._take(columns, file)
        except FileNotFoundError:
            self.lost = f"the file of {record['name']} vanished before it reached the store"
        except OSError as error:
            if error.errno in _FULL:
                raise StoreUnreachableError(
                    f"The disk that holds {folder} is full: make room; the files and the points in it wait."
                ) from error
            self.lost = f"the file of {record['name']} could not be read ({error.strerror})"

    def _take(self, columns: dict[str, Any], file: Path) -> None:
        outside = file.parent / _LARGE_FOLDER / file.name
        packed = file.with_name(f"{file.name}.gz")
        if outside.exists():  # decided by an earlier attempt, whose commit failed
            self._keep_outside(columns, outside)
            return
        if columns["size_bytes"] <= artifacts.LARGEST_BYTES:
            if not packed.exists():
                partial = file.with_suffix(".packing")
                artifacts.compress_file(file, partial)
                partial.rename(packed)
            if packed.stat().st_size <= artifacts.LARGEST_PAYLOAD:
                self.artifact, self.spent = ArtifactFile(columns, packed), [file, packed]
                return
            packed.unlink()
        outside.parent.mkdir(exist_ok=True)
        file.rename(outside)
        self._keep_outside(columns, outside)

    def _keep_outside(self, columns: dict[str, Any], path: Path) -> None:
        size = columns["size_bytes"] / 1e6
        self.artifact = ArtifactFile({**columns, "path": str(path)}, None)
        self.notice = f"{columns['name']} ({size:.0f} MB) is too large for the store: it stays at {path}."


def remove(files: list[Path]) -> None:
    """Delete files that nobody needs; a recovery sweeps away what cannot be deleted now."""
    for file in files:
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
            continue
        with suppress(OSError):
            file.unlink(missing_ok=True)


def left_by(journal: Path) -> Iterator[Path]:
    """Files and folders that belong to a journal: once the store has all of the journal, nobody needs them."""
    prefix = f"{journal.stem}-"
    for entry in os.scandir(journal.parent):
        if entry.name.startswith(prefix):
            yield Path(entry.path)
