"""Computes a step once more, eagerly and under watch, and finds the operation that its bad loss or gradient comes from.

TensorFlow calls back after every operation, with its inputs and outputs. What is not finite is followed from operation
to operation to where it came up; an infinity that a later operation swallows, such as the mask of an attention, has no
part in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework import op_callbacks  # what TensorFlow's own numerics check is made with

from ...runs.debugging.records import Source
from ...runs.debugging.source import is_own, source_at
from .. import keras_model
from ..keras_values import replaced
from .keras_frames import Place, describe_tensors, named
from .keras_moment import Moment, seed_generators


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The operation that what is not finite comes from.

    Attributes:
        operator: its type, as TensorFlow spells it.
        source: the user's line it was called from; for the backward pass, that of the operation it differentiates.
        place: the layer; None outside of any, as in a loss.
        backward: whether it belongs to the backward pass.
        counts: of its output, as in `DebugRecord`.
        inputs: shape and type of what went into it.
        outputs: and of what came out.
    """

    operator: str
    source: Source | None
    place: Place | None
    backward: bool
    counts: dict[str, int]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]


@dataclass(slots=True)
class _Call:
    """An operation of the forward pass: where it was called from."""

    operator: str
    line: tuple[str, int, str] | None
    place: Place | None


class _Applied(BaseException):
    """The step came to its update."""

    def __init__(self, gradients: tuple[Any, ...]) -> None:
        super().__init__()
        self.gradients = gradients


def replay(model: Any, moment: Moment) -> Origin | None:
    """Compute a step again as it was, and leave the model as it is.

    Args:
        model: the model, between two steps.
        moment: with the batch.

    Returns:
        None where this time everything was finite.
    """
    follower = _Follower(model)
    gradients: Sequence[Any] = ()
    with _as_it_was(model, moment), follower.watching():
        try:
            model.train_step(moment.data)
        except _Applied as applied:
            gradients = applied.gradients
    return follower.origin(gradients)


@contextmanager
def _as_it_was(model: Any, moment: Moment) -> Iterator[None]:
    """Put weights and random state back for a while, and everything that a step changes to what it is now after."""
    seeds = seed_generators(model)
    kept = {id(v): v for v in [*model.variables, *model.metrics_variables, *(seed.state for seed in seeds)]}
    now = [(variable, variable.numpy()) for variable in kept.values()]
    try:
        for variable, value in zip(model.variables, moment.weights, strict=True):
            variable.assign(value)
        for seed, value in zip(
            seeds, moment.seeds, strict=False
        ):  # none where the weights were copied at the beginning
            seed.state.assign(value)
        yield
    finally:
        for variable, value in now:
            variable.assign(value)


class _Follower:
    """Follows what is not finite through a step."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._layers: list[tuple[Any, Any]] = []  # those being called, with what they were called with
        self._kept: list[Any] = []  # keeps tensors alive, so that their identities stay theirs
        self._made: dict[int, _Call] = {}  # by each output of the forward pass
        self._used: dict[tuple[int, str], _Call] = {}  # by each input and type
        self._bad: dict[int, tuple[int, Origin]] = {}  # by tensor: where what is bad in it came up, and how early
        self._losses: list[Any] = []
        self._order = 0
        self._backward = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch all that TensorFlow computes in this thread; an optimizer that is called ends the step."""
        model = self._model
        with ExitStack() as stack:
            for layer in model._flatten_layers():
                stack.enter_context(replaced(layer, call=self._entering(layer, layer.call)))
            stack.enter_context(replaced(model, compute_loss=self._noting_loss(model.compute_loss)))
            for optimizer in keras_model.optimizers(model):
                stack.enter_context(replaced(optimizer, apply=self._apply))
            op_callbacks.add_op_callback(self._see)
            stack.callback(op_callbacks.remove_op_callback, self._see)
            yield

    def origin(self, gradients: Sequence[Any]) -> Origin | None:
        """Return where a bad loss comes from, or else the bad gradient that came up first."""
        for tensors in (self._losses, gradients):
            found = [self._bad[id(tensor)] for tensor in tensors if id(tensor) in self._bad]
            if found:
                return min(found, key=lambda pair: pair[0])[1]
        return None

    def _apply(self, gradients: Any, trainable_variables: Any = None) -> None:
        tensors = [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients]
        raise _Applied(tuple(tensors))

    def _entering(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def entered(*args: Any, **kwargs: Any) -> Any:
            self._layers.append((layer, (args, kwargs)))
            try:
                return call(*args, **kwargs)
            finally:
                self._layers.pop()

        return entered

    def _noting_loss(self, compute_loss: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            loss = compute_loss(*args, **kwargs)
            if loss is not None:
                self._losses.append(loss)
            return loss

        return noted

    def _see(
        self, operator: Any, inputs: Any, attributes: Any, outputs: Any, op_name: Any = None, graph: Any = None
    ) -> None:
        """Take note of an operation; TensorFlow calls this after each."""
        if graph is not None:
            return  # a function inside the step is traced; as a whole it is one operation
        kind = operator.decode() if isinstance(operator, bytes) else str(operator)
        inputs, outputs = inputs or (), outputs or ()
        self._order += 1
        self._kept.append((inputs, outputs))
        frame = sys._getframe(1)
        differentiated = _differentiated(frame)
        if differentiated is None:
            call = _Call(kind, _own_line(frame), self._place())
            for tensor in outputs:
                self._made[id(tensor)] = call
            for tensor in inputs:
                self._used[id(tensor), kind] = call
        else:
            call = self._forward(differentiated) or _Call(kind, None, None)
        before = [self._bad[id(tensor)] for tensor in inputs if id(tensor) in self._bad]
        for tensor in outputs:
            values = _floats(tensor)
            if values is None or np.isfinite(values).all():
                continue
            origin = min(before, key=lambda pair: pair[0]) if before else None
            if origin is None:
                origin = self._order, self._describe(kind, call, values, inputs, outputs, differentiated is not None)
            self._bad[id(tensor)] = origin

    def _describe(
        self, kind: str, call: _Call, values: NDArray[Any], inputs: Any, outputs: Any, backward: bool
    ) -> Origin:
        return Origin(
            operator=f"{kind} (gradient of {call.operator})" if backward and call.operator != kind else kind,
            source=None if call.line is None else source_at(*call.line),
            place=call.place,
            backward=backward,
            counts=count_bad(values),
            inputs=describe_tensors(list(inputs)),
            outputs=describe_tensors(list(outputs)),
        )

    def _place(self) -> Place | None:
        if not self._layers:
            return None
        layer, given = self._layers[-1]
        return Place(named(layer, self._model), type(layer).__name__, describe_tensors(given))

    def _forward(self, operation: Any) -> _Call | None:
        """The call that a gradient function differentiates."""
        for tensor in operation.outputs or ():
            if (call := self._made.get(id(tensor))) is not None:
                return call
        kind = operation.type.decode() if isinstance(operation.type, bytes) else str(operation.type)
        for tensor in operation.inputs or ():
            if (call := self._used.get((id(tensor), kind))) is not None:
                return call
        return None


def _differentiated(frame: FrameType | None) -> Any:
    """The operation whose gradient is being computed; None outside of a backward pass."""
    for _ in range(60):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_name == "_gradient_function" and code.co_filename.endswith("eager/backprop.py"):
            return frame.f_locals.get("mock_op")
        if is_own(code.co_filename):
            return None
        frame = frame.f_back
    return None


def _own_line(frame: FrameType | None) -> tuple[str, int, str] | None:
    """The innermost line of the user's that is being executed."""
    while frame is not None:
        if is_own(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname
        frame = frame.f_back
    return None


def _floats(tensor: Any) -> NDArray[Any] | None:
    """The values of a tensor of floating-point numbers; None of any other."""
    dtype = getattr(tensor, "dtype", None)
    if dtype is None or not (dtype.is_floating or dtype.is_complex):
        return None
    values: NDArray[Any] = tensor.numpy()
    return values.astype(np.float32) if dtype == tf.bfloat16 else values


def count_bad(values: NDArray[Any]) -> dict[str, int]:
    """Return how many elements are what: `nan`, `positive_infinity`, `negative_infinity`, and `size` of all."""
    parts = values.real if np.iscomplexobj(values) else values
    return {
        "nan": int(np.isnan(values).sum()),
        "positive_infinity": int(np.isposinf(parts).sum()),
        "negative_infinity": int(np.isneginf(parts).sum()),
        "size": int(values.size),
    }


def first_bad_weight(model: Any, moment: Moment) -> tuple[Place, str, dict[str, int]] | None:
    """Return layer, name and counts of the first weight that was not finite before the step."""
    bad = {
        id(variable): values
        for variable, values in zip(model.variables, moment.weights, strict=True)
        if np.issubdtype(np.asarray(values).dtype, np.inexact) and not np.isfinite(values).all()
    }
    for layer in model._flatten_layers():
        for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
            if id(variable) in bad:
                place = Place(named(layer, model), type(layer).__name__)
                return place, str(variable.name), count_bad(bad[id(variable)])
    return None


def bad_data(data: Any) -> dict[str, int] | None:
    """Return the counts of the first tensor of a batch that is not finite; None where all are."""
    for item in keras.tree.flatten(data):
        values = _floats(item) if isinstance(item, tf.Tensor) else None
        if values is not None and not np.isfinite(values).all():
            return count_bad(values)
    return None
