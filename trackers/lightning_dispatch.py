"""Spares a training the calls of hooks that have nothing to do.

Between cold steps Lightning takes some 10 µs to reach a callback's hook, whether or not there is something in it, but
passes over one that is not callable.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any


def silence(callback: Any, trainer: Any, hooks: Sequence[str], packages: Sequence[str]) -> None:
    """Have Lightning pass over some hooks of a callback, if that is how it goes about them.

    Args:
        callback: one that the trainer calls itself; somebody else's wrapper would stumble over what is not callable.
        trainer: Lightning's trainer.
        hooks: names of the hooks.
        packages: names that Lightning goes by.
    """
    if any(known is callback for known in trainer.callbacks) and all(
        _passes_over(package) for package in packages if package in sys.modules
    ):
        vars(callback).update(dict.fromkeys(hooks))


def restore(callback: Any, hooks: Sequence[str]) -> None:
    """Have them called again."""
    for name in hooks:
        vars(callback).pop(name, None)


def _passes_over(package: str) -> bool:
    dispatch = getattr(import_module(f"{package}.trainer.call"), "_call_callback_hooks", None)
    return "callable" in getattr(getattr(dispatch, "__code__", None), "co_names", ())
