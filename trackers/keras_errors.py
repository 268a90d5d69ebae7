"""Learns of the exception that ends a Keras fit: Keras has no hook for it."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from typing import Any

HOOKS = (
    "on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end", "on_train_end",
    "on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end",
)  # fmt: skip

OnError = Callable[[BaseException], None]


def end_of_data() -> tuple[type[BaseException], ...]:
    """Return what a training function raises to say that the data has come to its end."""
    if "tensorflow" in sys.modules:
        from tensorflow.errors import OutOfRangeError

        return (StopIteration, OutOfRangeError)
    return (StopIteration,)


def reporting(function: Callable[..., Any], on_error: OnError) -> Callable[..., Any]:
    """Return the function, which tells `on_error` of an exception that leaves it; the exception goes its way."""
    harmless = end_of_data()

    @functools.wraps(function)
    def reported(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except harmless:
            raise
        except BaseException as error:
            on_error(error)
            raise

    return reported


def callback_list() -> Any | None:
    """Return the list of callbacks that is calling us; None outside of one."""
    from keras.callbacks import CallbackList

    frame = sys._getframe(1)
    for _ in range(12):
        owner = frame.f_locals.get("self")
        if isinstance(owner, CallbackList):
            return owner
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


class CallbackWatch:
    """Tells of exceptions raised by any callback of one fit, and of the end of the fit if it comes without a word.

    Args:
        callbacks: the fit's list of callbacks. It lives as long as the fit does, and so the hooks put on it vanish
            with it.
        on_error: called with an exception that a callback raised.
        on_vanished: called when the fit is gone and nobody called `release`: it was left by an exception that was
            raised between two hooks, and that nobody can name any more.
    """

    def __init__(self, callbacks: Any, on_error: OnError, on_vanished: Callable[[], None]) -> None:
        self._list = weakref.ref(callbacks)
        self._finalizer = weakref.finalize(callbacks, on_vanished)
        self._finalizer.atexit = False  # at the end of the process the run's own end comes first
        for name in HOOKS:
            vars(callbacks)[name] = self._hook(getattr(type(callbacks), name), on_error)

    def _hook(self, method: Callable[..., Any], on_error: OnError) -> Callable[..., Any]:
        # Holds the list weakly: through a strong reference the list would keep itself alive.
        reference = self._list

        def hook(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(reference(), *args, **kwargs)
            except BaseException as error:
                on_error(error)
                raise

        return hook

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks of the fit, in order; empty once it is gone."""
        callbacks = self._list()
        return [] if callbacks is None else list(callbacks.callbacks)

    def release(self) -> None:
        """Take the hooks off again."""
        self._finalizer.detach()
        callbacks = self._list()
        if callbacks is not None:
            for name in HOOKS:
                vars(callbacks).pop(name, None)
