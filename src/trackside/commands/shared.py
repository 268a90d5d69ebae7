"""What every command needs: the store option, the store itself, and printing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from ..db.engine import STORE_VARIABLE
from ..db.errors import StoreError
from ..db.store import Store, open_store

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help=f"Where runs live: sqlite:///file.db or postgresql://user:password@host/database. "
        f"Default: ${STORE_VARIABLE}, else .trackside/trackside.db here.",
        show_default=False,
    ),
]
JSONOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else.")]
References = Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Ids, unique beginnings of ids, or names.")]
Reference = Annotated[str, typer.Argument(metavar="RUN", help="Id, unique beginning of an id, or name.")]

# Not cut to 80 columns where nobody looks at columns: in a pipe, a file, a report of continuous integration.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)


@contextmanager
def the_store(url: str | None) -> Iterator[Store]:
    """The store, with what dead processes left for it brought in first."""
    from ..runs.recovery import recover

    with open_store(url) as store:
        try:
            for found in recover(store):
                state = "ended" if found.finished else "did not say how it ended and is marked lost"
                err.print(f"Brought in what run {found.run_id} left behind; it {state}.", style="dim")
        except StoreError as error:
            # What waits for a store that may only be read, or is damaged, is no reason not to show what is there.
            err.print(f"Not everything that waits could be brought in: {error}", style="yellow", markup=False)
        yield store


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.buffer.flush()


def ago(moment: datetime | None) -> str:
    """How long ago something was, in a word or two."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def number(value: float | str | None, unit: str = "") -> str:
    """A measured number for people: four significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.4g}{unit}"
