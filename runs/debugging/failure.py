"""From an exception to a record, without a framework."""

from __future__ import annotations

import re
import traceback as traceback_module
from collections.abc import Iterator
from typing import Any

from ..clean import text
from ..scrub import scrub_text
from .records import DebugRecord, Source
from .source import innermost_listed, innermost_own, listed_places, traceback_frames

LONGEST_MESSAGE = 500
LONGEST_TRACEBACK = 18_000

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# A run of numbers, as of a tensor whose values somebody put into a message.
_NUMBERS = re.compile(r"\[[-+\d.,eE\sinfa\[\]]{200,}(?:\.\.\.|…)?[-+\d.,eE\sinfa\[\]]*\]?")
# PyTorch's loader sends the traceback of a worker process as text.
_IN_WORKER = re.compile(r"Caught (?P<type>\w+) in (?P<where>DataLoader worker process \d+|[^\n.]+)\.")


def plain(said: str | BaseException) -> str:
    """A message without colour codes, long lists of numbers and secrets."""
    message = said if isinstance(said, str) else _message(said)
    return scrub_text(_NUMBERS.sub("[…]", _ANSI.sub("", message)))


def full_name(kind: type[BaseException]) -> str:
    """Name of an exception's class as a traceback has it: with its module, unless that is Python's own."""
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def first_line(error: BaseException) -> str:
    """The first line of an exception's message that says something, at most 500 characters."""
    lines = [line.strip() for line in plain(error).splitlines() if line.strip()]
    worker = _IN_WORKER.match(lines[0]) if lines else None
    if worker and len(lines) > 1:
        said = lines[-1].removeprefix(f"{worker['type']}: ")
        return text(f"{said} (in {worker['where']})", LONGEST_MESSAGE)
    return text(lines[0] if lines else type(error).__name__, LONGEST_MESSAGE)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from or while handling, the latest first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def own_source(error: BaseException) -> Source | None:
    """The innermost place in the user's code that an exception passed; None where it passed none.

    The message comes first where it lists places: a worker process and a graph send their own traceback in it, and
    Python's leads only to who waited for them.
    """
    message = _message(error)
    if any(True for _ in listed_places(message)) and (found := innermost_listed(message)) is not None:
        return found
    for link in chain(error):
        if (found := innermost_own(traceback_frames(link.__traceback__))) is not None:
            return found
    return None


def whole_traceback(error: BaseException) -> str:
    """An exception's traceback as text; the end of it, which says what happened, where it is very long."""
    # Values of locals are never in it; what a message quotes may be long or secret.
    lines = traceback_module.format_exception(type(error), error, error.__traceback__)
    return text(plain("".join(lines))[-LONGEST_TRACEBACK:])


def failure_record(error: BaseException, **known: Any) -> DebugRecord:
    """The record of an exception.

    Args:
        error: as it was caught.
        known: fields of `DebugRecord` that the tracker can tell; they go before what is read off the exception.
    """
    read: dict[str, Any] = {
        "type": full_name(type(error)),
        "message": first_line(error),
        "traceback": whole_traceback(error),
        "how": "traceback",
    }
    if "source" not in known:
        read["source"] = own_source(error)
    read["exact"] = read.get("source") is not None or known.get("source") is not None
    return DebugRecord(**{**read, **known})


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception whose own __str__ fails is still an exception
        return ""
