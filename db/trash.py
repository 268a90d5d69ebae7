"""The trash of a store: many runs at once, as the dashboard moves them.

One run at a time goes through `Store.delete`, `restore` and `purge`. Here, what somebody else has changed meanwhile is
left out and no error: of a hundred runs that were ticked a minute ago, one may be gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, update

from .chunks import chunks
from .models import Run
from .records import RunInfo
from .store import Store

_AT_ONCE = 100  # runs a transaction: between two of them, trainings get their turn to write


@dataclass(frozen=True, slots=True)
class Purged:
    """What became of runs that were to be removed for good.

    Attributes:
        removed: ids of those that are gone.
        training: those still training, which stay in the trash.
    """

    removed: tuple[str, ...]
    training: tuple[RunInfo, ...]


class Trash:
    """The runs of a store that were deleted and can still be had back.

    Args:
        store: an open store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def runs(self) -> list[RunInfo]:
        """What is in the trash, the last deleted first."""
        found = self._store.runs(deleted=True)
        return sorted(found, key=lambda run: run.deleted or run.created, reverse=True)

    def put(self, run_ids: Iterable[str]) -> list[RunInfo]:
        """Move runs into the trash; those that were not in it before."""
        found = self._found(run_ids, deleted=False)
        self._set_deleted(found, datetime.now(UTC))
        return found

    def restore(self, run_ids: Iterable[str]) -> list[RunInfo]:
        """Take runs out of the trash; those that were in it."""
        found = self._found(run_ids, deleted=True)
        self._set_deleted(found, None)
        return found

    def purge(self, run_ids: Iterable[str]) -> Purged:
        """Remove runs in the trash and all their points for good. Those still training stay, and those not in it."""
        found = self._found(run_ids, deleted=True)
        training = tuple(run for run in found if run.state == "running")
        gone = [run.id for run in found if run.state != "running"]
        for ids in chunks(gone, _AT_ONCE):
            with self._store.write() as connection:
                connection.execute(delete(Run).where(Run.id.in_(ids), Run.deleted_at.is_not(None)))
        return Purged(tuple(gone), training)

    def _found(self, run_ids: Iterable[str], *, deleted: bool) -> list[RunInfo]:
        distinct = list(dict.fromkeys(run_ids))
        return [run for ids in chunks(distinct, _AT_ONCE) for run in self._store.runs(deleted=deleted, ids=ids)]

    def _set_deleted(self, runs: Iterable[RunInfo], deleted: datetime | None) -> None:
        for ids in chunks([run.id for run in runs], _AT_ONCE):
            with self._store.write() as connection:
                connection.execute(update(Run).where(Run.id.in_(ids)).values(deleted_at=deleted))
