"""Names of layers in a PyTorch trace: a range around each call of a module, put in for a window and taken out again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.autograd.profiler import record_function

from .window import PREFIX


def mark(name: str) -> None:
    """Write a marker, which takes no time, into the trace that is recorded."""
    with record_function(PREFIX + name):
        pass


def layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules in a model with their paths, each once, but for what runs through a compiler.

    A hook inside of a compiled part would have it compiled anew, or be ignored.
    """
    seen: set[int] = set()

    def walk(parent: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        for name, child in parent.named_children():
            if id(child) in seen or _compiled(child):
                continue
            seen.add(id(child))
            path = f"{prefix}{name}"
            yield path, child
            yield from walk(child, f"{path}.")

    if not _compiled(module):
        yield from walk(module, "")


def _compiled(module: nn.Module) -> bool:
    kinds = {kind.__name__ for kind in type(module).__mro__}
    return bool(kinds & {"OptimizedModule", "ScriptModule"}) or getattr(module, "_compiled_call_impl", None) is not None


class _Hook:
    """A hook that is not there any more in a copy of its module, nor in a file that the module was written to."""

    def __init__(self, name: str, open_ranges: list[Any]) -> None:
        self.name = name
        self.open_ranges = open_ranges

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


class _Enter(_Hook):
    def __call__(self, *_: Any) -> None:
        opened = record_function(self.name)
        opened.__enter__()
        self.open_ranges.append(opened)


class _Exit(_Hook):
    def __call__(self, *_: Any) -> None:
        if self.open_ranges and self.open_ranges[-1].name == self.name:
            self.open_ranges.pop().__exit__(None, None, None)


class _Nothing:
    def __call__(self, *_: Any) -> None:
        """Leave everything as it is: what the hook returned would take the place of the output."""


def _nothing() -> _Nothing:
    return _Nothing()


class LayerRanges:
    """Ranges `trackside::layer::<path>` around the calls of a model's layers, until `remove`."""

    def __init__(self, module: nn.Module) -> None:
        self._open: list[Any] = []
        self._handles: list[Any] = []
        for path, layer in layers(module):
            name = f"{PREFIX}layer::{path}"
            self._handles.append(layer.register_forward_pre_hook(_Enter(name, self._open)))
            # Also where the layer raises: a range that stays open would take in all that follows.
            self._handles.append(layer.register_forward_hook(_Exit(name, self._open), always_call=True))

    def remove(self) -> None:
        """Leave the model as it was, and end the ranges of calls that are under way."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        while self._open:
            self._open.pop().__exit__(None, None, None)
