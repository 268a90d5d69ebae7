"""Keeps our errors out of someone's training: counted, said once, never raised."""

from __future__ import annotations

import functools
import logging
import traceback
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Concatenate, ParamSpec, Protocol, TypeVar

logger = logging.getLogger("trackside")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Guard:
    """Takes what went wrong in our own code while someone trains.

    A failure is counted under what we were doing, and the first of each kind is said in one sentence: through
    `warn` (a run's `warn`, set by `attach`), else through the `trackside` logger.

    Attributes:
        failures: how often each kind of work failed; empty in a healthy run.
    """

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self._warn: Callable[[str], None] = _say

    def attach(self, warn: Callable[[str], None]) -> None:
        """Send the sentences to `warn` from now on."""
        self._warn = warn

    def report(self, doing: str, error: Exception) -> None:
        """Count one failure and say the first of its kind."""
        self.failures[doing] += 1
        if self.failures[doing] == 1:
            reason = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:300]
            self._warn(f"could not {doing} ({reason}); training goes on without it")
            logger.debug("could not %s", doing, exc_info=error)

    def __call__(self, doing: str) -> GuardedBlock:
        """Return a context manager for work that may fail: `with guard("read the schedule"): …`."""
        return GuardedBlock(self, doing)


def _say(sentence: str) -> None:
    logger.warning("trackside: %s.", sentence)


class GuardedBlock:
    """What `with guard(...)` enters: swallows an `Exception` raised in the block, lets `KeyboardInterrupt` pass."""

    __slots__ = ("_doing", "_guard")

    def __init__(self, guard: Guard, doing: str) -> None:
        self._guard = guard
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self._guard.report(self._doing, error)
            return True
        return False


class Guarded(Protocol):
    """Anything whose methods may carry `guarded`."""

    guard: Guard


Owner = TypeVar("Owner", bound=Guarded)


def guarded(
    doing: str,
) -> Callable[
    [Callable[Concatenate[Owner, Parameters], Result]], Callable[Concatenate[Owner, Parameters], Result | None]
]:
    """Decorate a hook: its errors go to `self.guard` and the hook returns None.

    Args:
        doing: what the hook does, to follow "could not".
    """

    def decorate(
        method: Callable[Concatenate[Owner, Parameters], Result],
    ) -> Callable[Concatenate[Owner, Parameters], Result | None]:
        @functools.wraps(method)
        def hook(self: Owner, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result | None:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the one place: training is protected from us here
                self.guard.report(doing, error)
                return None

        return hook

    return decorate
