"""What a caller says of a run, checked and cleaned before it goes into the journal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..db.errors import UsageError
from ..db.ingest import MERGED_COLUMNS
from . import clean, numbers
from .scrub import scrub_json

PROPERTIES = (
    "workload", "group_name", "framework", "framework_version", "backend", "mode", "precision", "device",
    "device_count", "world_size", "total_steps", "log_directory", "notes",
)  # fmt: skip

LARGEST_COUNT = 2**31 - 1
_LARGEST_STEPS = 2**63 - 1


def known_properties(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a run, checked and cleaned.

    Raises:
        UsageError: there is no such property, or it cannot have that value.
    """
    if not isinstance(columns, Mapping):
        raise UsageError(f"properties are a mapping such as {{'framework': 'torch'}}, not {type(columns).__name__}.")
    kept: dict[str, Any] = {}
    for given, value in columns.items():
        name = "group_name" if given == "group" else given
        if name in MERGED_COLUMNS:
            kept[name] = json_object(name, value)
            if name == "config":
                kept[name] = scrub_json(kept[name])
        elif value is None and name in ("device_count", "world_size", "notes"):
            continue  # never unknown in the store: what it is stays
        elif name in ("device_count", "world_size"):
            kept[name] = whole_number(name, value, 1, LARGEST_COUNT)
        elif name == "total_steps":
            kept[name] = None if value is None else whole_number(name, value, 0, _LARGEST_STEPS)
        elif name == "notes":
            kept[name] = clean.text(value)
        elif name in PROPERTIES:
            kept[name] = None if value is None else clean.text(value, 1000)
        else:
            raise UsageError(f"a run has no property {name!r}: it has {', '.join((*MERGED_COLUMNS, *PROPERTIES))}.")
    return kept


def json_object(what: str, value: Any) -> dict[str, Any]:
    """A JSON object; UsageError for what is none."""
    try:
        return clean.json_object(value or {})
    except TypeError as error:
        raise UsageError(f"{what}: {error}.") from error


def whole_number(what: str, value: Any, least: int, most: int) -> int:
    """A whole number within bounds; UsageError for anything else."""
    number = numbers.step_number(value)
    if number is None or not least <= number <= most:
        raise UsageError(f"{what} is a whole number from {least} to {most}, not {clean.text(value, 60)!r}.")
    return number


def chosen_id(given: Any) -> str:
    """An id that somebody chose; UsageError for one that no run can have."""
    # It becomes part of a file's name, and is typed on a command line. 40: the journal's id, which adds the rank and
    # nine more, must fit into 64 characters.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}", str(given)):
        raise UsageError(
            f"A run cannot have the id {clean.text(given, 60)!r}: use up to 40 letters, digits, '_', '-' and '.', "
            "beginning with a letter, a digit or '_'."
        )
    return str(given)


def tag_words(tags: Any) -> list[str]:
    """Tags, each once and in order; UsageError for what is no list of words."""
    if not isinstance(tags, Iterable):
        raise UsageError(f"tags are words such as ['paper', 'final'], not {type(tags).__name__}.")
    return sorted({clean.name(tag) for tag in ([tags] if isinstance(tags, str) else tags)} - {""})
