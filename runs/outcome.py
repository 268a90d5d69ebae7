"""How a run ended: its state, and the exception as the store keeps it."""

from __future__ import annotations

import traceback as traceback_module
from typing import Any

from ..db.records import State
from . import clean
from .debugging.failure import plain


def describe_error(error: BaseException | None) -> dict[str, Any]:
    """An exception as the store keeps it: `type`, `message`, `traceback`; empty for None."""
    if error is None:
        return {}
    lines = traceback_module.format_exception(type(error), error, error.__traceback__)
    return {
        "type": type(error).__qualname__,
        "message": clean.text(plain(error), 2_000),
        # The end says what happened; a recursion error has thousands of lines before it.
        "traceback": clean.text(plain("".join(lines)[-20_000:])),
    }


def outcome(error: BaseException | None) -> tuple[State, BaseException | None]:
    """The state that a block or a script leaves behind that ended with this exception, and what is kept of it."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    return ("killed" if isinstance(error, KeyboardInterrupt) else "failed"), error
