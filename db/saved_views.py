"""Views of the dashboard that people named: a name and an address, for all who use the store."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from .database import Database
from .errors import UsageError
from .models import SavedViewRow
from .records import SavedView

LONGEST_NAME = 100
LONGEST_ADDRESS = 20_000  # characters; servers refuse a longer line of a request anyway


class SavedViews:
    """The saved views of a store.

    Args:
        database: an open store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[SavedView]:
        """Every view, in alphabetical order."""
        with self._database.read() as connection:
            found = [_view(row) for row in connection.execute(select(*SavedViewRow.__table__.c))]
        return sorted(found, key=lambda view: (view.name.casefold(), view.name))

    def save(self, name: str, address: str) -> SavedView:
        """Keep an address under a name.

        Args:
            name: up to 100 characters, of no other view.
            address: path and query; that it leads to a page is for the caller to see to.

        Raises:
            UsageError: if the name is empty, too long or taken, or the address too long.
        """
        name = _clean(name)
        if len(address) > LONGEST_ADDRESS:
            raise UsageError("This view has too long an address to be saved: choose fewer runs, columns or filters.")
        created = datetime.now(UTC)
        values = {"name": name, "address": address, "created_at": created}
        with self._database.write() as connection:
            try:
                made = connection.execute(insert(SavedViewRow).returning(SavedViewRow.id), [values]).scalar_one()
            except IntegrityError as error:
                raise _taken(name) from error
        return SavedView(id=int(made), name=name, address=address, created=created)

    def rename(self, view_id: int, name: str) -> None:
        """Give a view another name.

        Raises:
            UsageError: if the name is empty, too long or taken, or the view is gone.
        """
        name = _clean(name)
        with self._database.write() as connection:
            try:
                changed = connection.execute(update(SavedViewRow).where(SavedViewRow.id == view_id).values(name=name))
            except IntegrityError as error:
                raise _taken(name) from error
        if not changed.rowcount:
            raise UsageError("This view was deleted meanwhile: save it anew.")

    def remove(self, view_id: int) -> SavedView | None:
        """Delete a view; what it was, or None if there is none of this id."""
        with self._database.write() as connection:
            row = connection.execute(
                select(*SavedViewRow.__table__.c).where(SavedViewRow.id == view_id)
            ).first()  # fmt: skip
            connection.execute(delete(SavedViewRow).where(SavedViewRow.id == view_id))
        return _view(row) if row is not None else None


def _view(row: Any) -> SavedView:
    return SavedView(id=row.id, name=row.name, address=row.address, created=row.created_at)


def _clean(name: str) -> str:
    """The name on one line, without what databases cannot keep."""
    visible = "".join(" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in name)
    name = " ".join(visible.split())
    if not name:
        raise UsageError("A view needs a name: give it at least one letter.")
    if len(name) > LONGEST_NAME:
        raise UsageError(f"A view's name has at most {LONGEST_NAME} characters: choose a shorter one.")
    return name


def _taken(name: str) -> UsageError:
    return UsageError(f"There is a view “{name}” already: choose another name, or delete that one first.")
