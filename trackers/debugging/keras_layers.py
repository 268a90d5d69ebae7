"""Measures each layer of a Keras model at each update, inside the training step: the same series as in PyTorch.

Everything travels in the row that a step leaves anyway. The layers' `call` is replaced on the instances only while the
step runs or is traced, so that the model can be saved, copied and exported at any time between.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from ...runs.debugging.source import own_place, stack_frames
from ..guard import Guard
from ..keras_values import replaced
from .keras_frames import named

PERCENTILES = (5, 25, 50, 75, 95)
MOST_SORTED = 100_000


@dataclass(slots=True)
class Measured:
    """What one call (or one tracing) of the training step brought up, as tensors."""

    outputs: dict[str, list[tuple[Any, Any, Any]]] = field(default_factory=dict)  # squares, zeros, elements
    statistics: dict[str, Any] = field(default_factory=dict)  # by the name of their series


class LayerProbes:
    """`layers/<path>/gradient_norm`, `activation_norm`, `zero_fraction` and `update_ratio` of each layer.

    A layer is one without layers inside, or with weights of its own; a recurrent layer is one with its cell. Norms are
    2-norms. Where a layer is called several times in a step, its outputs are taken together.

    Args:
        model: a compiled Keras model with one replica.
        percentiles: measure those of the gradients as well.
        guard: takes what goes wrong in here.

    Attributes:
        layers: path to layer.
        lines: file, line and function of the user's code that each layer was called from; None where only `fit` is.
    """

    def __init__(self, model: Any, *, percentiles: bool, guard: Guard) -> None:
        self._model = model
        self._percentiles = percentiles
        self._guard = guard
        self.layers: dict[str, Any] = {}
        self.lines: dict[str, tuple[str, int, str] | None] = {}
        self._owner: dict[int, str] = {}

    def begin(self) -> Measured:
        """A step begins; returns what is to take the statistics."""
        return Measured()

    @contextmanager
    def watching(self, current: Callable[[], Measured]) -> Iterator[None]:
        """Measure what comes out of the layers while a step runs or is traced."""
        with ExitStack() as stack:
            with self._guard("measure the layers"):
                self.layers = {named(layer, self._model): layer for layer in measured_layers(self._model)}
                for path, layer in self.layers.items():
                    stack.enter_context(replaced(layer, call=self._measuring(path, layer.call, current)))
            yield

    def _measuring(self, path: str, call: Callable[..., Any], current: Callable[[], Measured]) -> Callable[..., Any]:
        def measured(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            with self._guard("measure a layer"):
                tensor = output[0] if isinstance(output, tuple | list) and output else output
                if isinstance(tensor, tf.Tensor) and tensor.dtype.is_floating:
                    if path not in self.lines:
                        self.lines[path] = own_place(stack_frames(sys._getframe(1)))
                    values = _wide(tf.stop_gradient(tensor))
                    zeros = tf.reduce_sum(tf.cast(tf.equal(values, 0.0), tf.float32))
                    squares = tf.reduce_sum(tf.square(values))
                    found = squares, zeros, tf.cast(tf.size(values), tf.float32)
                    current().outputs.setdefault(path, []).append(found)
            return output

        return measured

    def before_update(self, measured: Measured, variables: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
        """Measure the gradients that an update uses, before clipping; returns the weights before it.

        Args:
            measured: takes the statistics.
            variables: those to be updated.
            gradients: theirs, dense and without a loss scale; None where one has none.
        """
        self._own()
        squares: dict[str, list[Any]] = {}
        together: dict[str, list[Any]] = {}
        for variable, gradient in zip(variables, gradients, strict=True):
            path = self._owner.get(id(variable))
            if gradient is not None and path is not None:
                wide = _wide(gradient)
                squares.setdefault(path, []).append(2.0 * tf.cast(tf.nn.l2_loss(wide), tf.float64))
                together.setdefault(path, []).append(tf.reshape(wide, [-1]))
        for path, halves in squares.items():
            measured.statistics[f"layers/{path}/gradient_norm"] = tf.sqrt(tf.add_n(halves))
        if self._percentiles:
            for path, parts in together.items():
                for name, value in _percentiles(parts).items():
                    measured.statistics[f"layers/{path}/gradient_{name}"] = value
        return [tf.identity(tf.convert_to_tensor(variable.value)) for variable in variables]

    def after_update(self, measured: Measured, variables: Sequence[Any], before: Sequence[Any]) -> None:
        """Measure how far the weights have moved."""
        moved: dict[str, list[Any]] = {}
        sizes: dict[str, list[Any]] = {}
        for variable, old in zip(variables, before, strict=True):
            path = self._owner.get(id(variable))
            if path is not None and old.dtype.is_floating:
                new, was = _wide(tf.convert_to_tensor(variable.value)), _wide(old)
                moved.setdefault(path, []).append(2.0 * tf.cast(tf.nn.l2_loss(new - was), tf.float64))
                sizes.setdefault(path, []).append(2.0 * tf.cast(tf.nn.l2_loss(was), tf.float64))
        for path in moved:
            ratio = tf.sqrt(tf.add_n(moved[path])) / tf.sqrt(tf.add_n(sizes[path]))
            measured.statistics[f"layers/{path}/update_ratio"] = ratio

    def values(self, measured: Measured, belongs: Callable[[Any], bool]) -> Mapping[str, Any]:
        """Return the statistics of a step by the names of their series, layers in the order in which they ran.

        Args:
            measured: what was found.
            belongs: whether a tensor can be used where the step ends; one from inside a loop cannot.
        """
        found: dict[str, Any] = {}
        for path, calls in measured.outputs.items():
            usable = [call for call in calls if belongs(call[0])]
            if usable:
                squares, zeros, sizes = (tf.add_n(list(parts)) for parts in zip(*usable, strict=True))
                found[f"layers/{path}/activation_norm"] = tf.sqrt(squares)
                found[f"layers/{path}/zero_fraction"] = zeros / sizes
        found.update({name: value for name, value in measured.statistics.items() if belongs(value)})
        return found

    def _own(self) -> None:
        for path, layer in self.layers.items():
            inner = layer._flatten_layers() if isinstance(layer, keras.layers.RNN) else [layer]
            for part in inner:
                for variable in part._trainable_variables:
                    self._owner.setdefault(id(variable), path)


def measured_layers(model: Any) -> list[Any]:
    """Return the layers of a model that are measured, in its order."""
    cells = {
        id(part)
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.RNN)
        for part in layer._flatten_layers(include_self=False)
    }
    found = []
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.InputLayer) or id(layer) in cells:
            continue
        inside = list(layer._flatten_layers(include_self=False))
        if not inside or layer._trainable_variables or isinstance(layer, keras.layers.RNN):
            found.append(layer)
    return found


def _wide(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor


def _percentiles(parts: Sequence[Any]) -> dict[str, Any]:
    """The percentiles of some values: `p05` and so on; of many, those of evenly spaced ones."""
    thinned = [part[:: max(1, (part.shape[0] or 1) // MOST_SORTED)] for part in parts]
    ordered = tf.sort(tf.concat([tf.cast(part, tf.float32) for part in thinned], axis=0))
    last = tf.cast(tf.size(ordered) - 1, tf.float32)
    found = {}
    for percentile in PERCENTILES:
        place = last * percentile / 100
        low = tf.cast(tf.floor(place), tf.int32)
        high = tf.minimum(low + 1, tf.size(ordered) - 1)
        share = place - tf.floor(place)
        found[f"p{percentile:02d}"] = ordered[low] * (1 - share) + ordered[high] * share
    return found
