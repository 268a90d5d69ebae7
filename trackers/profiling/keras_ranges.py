"""Names for what a Keras model does eagerly: ranges in the trace, put in for a window and taken out again.

In a graph the operations carry the names of their layers; eagerly they carry none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .window import PREFIX

_NOTHING = object()


def layer_path(model: Any, layer: Any) -> str:
    """What a layer is called: its path in the model, as in the run's `model`."""
    # Keras numbers the models of a process: the second of a class would have other layers than the first.
    return str(getattr(layer, "path", None) or layer.name).removeprefix(f"{model.path}/")


class EagerRanges:
    """Ranges around the calls of the layers, the loss, the backward pass and the optimizer, until `remove`."""

    def __init__(self, model: Any) -> None:
        self._put: list[tuple[dict[str, Any], str, Any, Any]] = []
        self._gradient: tuple[Any, Any] | None = None
        self._on = True
        for layer in model._flatten_layers(include_self=False):
            self._wrap(layer, "call", f"layer::{layer_path(model, layer)}")
        self._wrap(model, "compute_loss", "loss")
        if getattr(model, "optimizer", None) is not None:
            self._wrap(model.optimizer, "apply", "optimizer")
        original = tf.GradientTape.gradient
        ours = self._ranged(original, "backward")
        self._gradient = ours, original
        tf.GradientTape.gradient = ours

    def _wrap(self, owner: Any, name: str, label: str) -> None:
        # Past the attribute tracking of Keras, which would look into what it is given.
        own = vars(owner)
        before = own.get(name, _NOTHING)
        ours = self._ranged(getattr(owner, name), label)
        own[name] = ours
        self._put.append((own, name, ours, before))

    def _ranged(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        name = PREFIX + label

        @functools.wraps(function)
        def ranged(*args: Any, **kwargs: Any) -> Any:
            if not self._on:
                return function(*args, **kwargs)
            with tf.profiler.experimental.Trace(name):
                return function(*args, **kwargs)

        return ranged

    def remove(self) -> None:
        """Leave everything as it was. What somebody wrapped over ours meanwhile stays, and does nothing of ours."""
        self._on = False
        for own, name, ours, before in reversed(self._put):
            if own.get(name) is ours:
                if before is _NOTHING:
                    del own[name]
                else:
                    own[name] = before
        self._put.clear()
        if self._gradient is not None and tf.GradientTape.gradient is self._gradient[0]:
            tf.GradientTape.gradient = self._gradient[1]
