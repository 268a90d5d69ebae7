"""Bringing in what dead processes left: their journals, and the state of runs that could not say how they ended."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..db.errors import StoreError, StoreUnreachableError
from ..db.store import Store
from . import attachments
from .ingester import Ingester
from .journal import abandoned, journal_folder


@dataclass(frozen=True, slots=True)
class Recovered:
    """One journal that was brought in."""

    run_id: str
    path: Path
    finished: bool  # whether the process had ended its run itself


def recover(store: Store, *, only_run: str | None = None) -> list[Recovered]:
    """Take every abandoned journal of a store into it. Journals of living processes are left to them.

    A run whose process died without a word is marked `lost`, as of its last point.

    Args:
        store: an open store.
        only_run: only the journals of this run.

    Raises:
        StoreError: if the store does not take one of them, once the others are in; it stays, for the next time.
    """
    recovered = []
    refused: StoreError | None = None
    for path, fd in abandoned(journal_folder(store.url)):
        try:
            found = _bring_in(store, path, only_run)
            if found is not None:
                recovered.append(found)
        except StoreUnreachableError:
            raise
        except StoreError as error:
            refused = refused or error  # one that can never be taken must not keep the others waiting
        finally:
            os.close(fd)
    if refused is not None:
        raise refused
    return recovered


def _bring_in(store: Store, path: Path, only_run: str | None) -> Recovered | None:
    if only_run is not None and only_run not in path.name:
        return None
    try:
        ingester = Ingester(store, path)
    except FileNotFoundError:
        return None
    try:
        ingester.drain()
        header = ingester.header
        if header is None:
            if not ingester.reader.blank():
                raise StoreError(f"{path} is damaged from its first byte: move it away; nothing in it can be read.")
            with suppress(OSError):
                path.unlink(missing_ok=True)  # the process died before its first record
            return None
        if not ingester.closed and header["rank"] == 0:
            store.mark(header["run_id"], "lost", ingester.last_time or datetime.now(UTC))
        with suppress(OSError):  # not ours to remove: the store knows that it has everything in it
            path.unlink(missing_ok=True)
            attachments.remove(list(attachments.left_by(path)))
        return Recovered(header["run_id"], path, ingester.closed)
    finally:
        ingester.close()
