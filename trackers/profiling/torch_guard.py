"""Who profiles in this process: PyTorch allows one at a time, and two end the process with a segmentation fault.

Measured with torch 2.13: a profiler that starts while another is warming up or active crashes the process, in either
order, and `torch.autograd._profiler_enabled()` is False while one warms up. So the three functions through which
every profiler of PyTorch goes are wrapped, in the module that calls them: what begins there and is not ours is
somebody else's, which we give way to.
"""

from __future__ import annotations

import functools
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import profiler as autograd_profiler

BEGIN = ("_prepare_profiler", "_enable_profiler")
END = "_disable_profiler"

PATIENCE_SECONDS = 5.0
"""How long a profiler that begins on another thread waits for the training thread to end ours, which only that can."""


class ProfilerWatch:
    """Knows whether somebody else's profiler is at work, and tells ours to stop before another begins.

    One a process, made by `watch`.
    """

    def __init__(self) -> None:
        self._foreign = False
        self._own_thread: int | None = None  # that is starting or stopping ours at this moment
        self._recorder_thread: int | None = None  # on which ours was started
        self._on_foreign: Callable[[], None] | None = None
        self._asked = False
        self._stopped = threading.Event()

    @property
    def asked_to_stop(self) -> bool:
        """Whether a profiler on another thread waits for ours to end."""
        return self._asked

    def install(self) -> None:
        """Put the wrappers in, and find out whether somebody was there before.

        Raises:
            AttributeError: if this version of PyTorch has other functions.
        """
        for name in BEGIN:
            setattr(autograd_profiler, name, self._beginning(getattr(autograd_profiler, name)))
        setattr(autograd_profiler, END, self._ending(getattr(autograd_profiler, END)))
        self._foreign = self._foreign or _made_ready()

    def busy(self) -> bool:
        """Whether somebody else's profiler is warming up or active."""
        return self._foreign or bool(torch.autograd._profiler_enabled())

    @contextmanager
    def own(self) -> Iterator[None]:
        """What begins or ends in here is ours."""
        self._own_thread = threading.get_ident()
        try:
            yield
        finally:
            self._own_thread = None

    def started(self, on_foreign: Callable[[], None]) -> None:
        """Ours records from now on, on this thread."""
        self._recorder_thread, self._on_foreign = threading.get_ident(), on_foreign
        self._asked = False
        self._stopped.clear()

    def stopped(self) -> None:
        """Ours does not record any more."""
        self._on_foreign = None
        self._asked = False
        self._stopped.set()

    def _beginning(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def begin(*args: Any, **kwargs: Any) -> Any:
            if self._own_thread != threading.get_ident():
                self._make_way()
                self._foreign = True
            return function(*args, **kwargs)

        return begin

    def _ending(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def end(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            finally:
                if self._own_thread != threading.get_ident():
                    self._foreign = False

        return end

    def _make_way(self) -> None:
        on_foreign = self._on_foreign
        if on_foreign is None:
            return
        if self._recorder_thread == threading.get_ident():
            on_foreign()
        else:
            self._asked = True
            self._stopped.wait(PATIENCE_SECONDS)


def _made_ready() -> bool:
    """Whether a profiler is ready or active that nobody saw begin. Takes a tenth of a second."""
    kind = autograd_profiler.profile
    # An object refers to its class.
    return any(
        type(thing) is kind and getattr(thing, "entered", False) and getattr(thing, "kineto_results", None) is None
        for thing in gc.get_referrers(kind)
    )


@functools.cache
def watch() -> ProfilerWatch:
    """The watch of this process, put in on first use; from then on it stays.

    Raises:
        AttributeError: if this version of PyTorch has other functions.
    """
    made = ProfilerWatch()
    made.install()
    return made


def lightning_profiles(trainer: Any) -> bool:
    """Whether the trainer has Lightning's own PyTorchProfiler, which is at work throughout the training."""
    kinds = type(getattr(trainer, "profiler", None)).__mro__
    return any(kind.__name__ == "PyTorchProfiler" for kind in kinds)
