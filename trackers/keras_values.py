"""The batch's own loss, metrics and gradient norm, picked up while Keras' training step computes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from . import keras_model
from .guard import Guard
from .keras_batches import sample_weights

if TYPE_CHECKING:
    from .debugging.keras_layers import LayerProbes
    from .debugging.keras_moment import MomentKeeper

VALUES = "_trackside_values"
"""The key under which the values travel in what `train_step` returns; Keras never sees it."""


@dataclass(slots=True)
class _Found:
    """What one call (or one tracing) of `train_step` brought up, as tensors."""

    losses: list[Any] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    states: dict[int, Any] = field(default_factory=dict)  # of the model's own means, by metric, from this batch alone
    gradient_norms: dict[int, Any] = field(default_factory=dict)  # by optimizer
    layers: Any = None  # what was measured of the layers
    begun: Any = None  # what the keeper of bad steps needs of the step's beginning


class StepValues:
    """Wraps `train_step` so that it also returns the batch's own values, as one vector.

    The methods it looks into are replaced on the instance only while the step itself runs or is traced, so the model
    can be copied and saved at any time between.

    Args:
        model: a compiled Keras model on the TensorFlow back end.
        gradient_norm: also compute the global norm of the gradients before clipping.
        before_update: called once, when all weights exist and this training has updated none of them.
        guard: takes what goes wrong in here.
        moments: keeps a step whose loss or gradients are not finite.
        layers: measures the layers.

    Attributes:
        columns: names of the values, known after the first call: `loss` (the mean over the batch, penalties
            included), `samples`, `gradient_norm`, `metric/<name>`, `layers/<path>/<statistic>`.
        optimizers: those that the model may train with.
        used: those of them that the step was seen to apply gradients with, in the same order; known after the first
            call.
        without_gradient: the variables that a step's loss did not reach.
        losses_per_step: how often the step computed a loss through `compute_loss`. Unless that is once, nothing says
            which is the batch's, and there is no `loss`. None before the first call.
        weighted: whether the samples of the batches come with weights.
    """

    def __init__(
        self,
        model: Any,
        *,
        gradient_norm: bool,
        before_update: Callable[[], None] | None,
        guard: Guard,
        moments: MomentKeeper | None = None,
        layers: LayerProbes | None = None,
    ) -> None:
        self.columns: tuple[str, ...] = ()
        self.losses_per_step: int | None = None
        self.optimizers = keras_model.optimizers(model)
        self.used: list[Any] = []
        self.weighted = False
        self._model = model
        self._replicas = int(model.distribute_strategy.num_replicas_in_sync)
        self._gradient_norm = gradient_norm and self._replicas == 1
        self._before_update = before_update
        self._guard = guard
        self._moments = moments
        self._layers = layers
        self.without_gradient: list[Any] = []
        self._found: dict[int, _Found] = {}  # by thread
        self._watched = ExitStack()

    def wrap(self, train_step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a step that computes and returns what `train_step` does, and under `VALUES` a vector more."""

        def step(data: Any) -> Any:
            found = _Found(layers=None if self._layers is None else self._layers.begin())
            self.weighted = bool(sample_weights(data))
            if all(layer.built for layer in self._model._flatten_layers()):
                self._call_before_update()
            if self._moments is not None:
                with self._guard("watch for values that are not finite"):
                    found.begun = self._moments.begin(data)
            with self._watching(found):
                logs = train_step(data)
            if isinstance(logs, dict):
                with self._guard("read the batch's values"):
                    return {**logs, VALUES: self._vector(found, data)}
            return logs

        return step

    @contextmanager
    def _watching(self, found: _Found) -> Iterator[None]:
        # Replicas are traced in threads that take turns: the second enters before the first has left, and the first may
        # leave before the second.
        replica = threading.get_ident()
        if not self._found:
            self._watched.enter_context(replaced(self._model, compute_loss=self._watched_loss()))
            self._watched.enter_context(self._watching_metrics())
            self._watched.enter_context(self._watching_own_metrics())
            self._watched.enter_context(self._watching_updates())
            if self._layers is not None:
                self._watched.enter_context(self._layers.watching(lambda: self._current.layers))
        self._found[replica] = found
        try:
            yield
        finally:
            del self._found[replica]
            if not self._found:
                self._watched.close()

    @property
    def _current(self) -> _Found:
        """What the replica at hand brings up; outside of any it is of no use to anybody."""
        return self._found.get(threading.get_ident()) or _Found()

    def _watched_loss(self) -> Callable[..., Any]:
        compute_loss = self._model.compute_loss

        def watched(*args: Any, **kwargs: Any) -> Any:
            loss = compute_loss(*args, **kwargs)
            self._call_before_update()  # the forward pass is done: every layer has its weights
            if loss is not None:
                self._current.losses.append(loss)
            return loss

        return watched

    @contextmanager
    def _watching_metrics(self) -> Iterator[None]:
        """Compute the batch's metrics beside the running ones, from the same predictions and from zero."""
        metrics = getattr(self._model, "_compile_metrics", None)
        if metrics is None or self._replicas > 1:
            yield
            return
        update_state = metrics.update_state

        def watched(*args: Any, **kwargs: Any) -> Any:
            result = update_state(*args, **kwargs)
            with self._guard("compute the batch's metrics"), replaced(metrics, update_state=update_state):
                state = metrics.stateless_update_state(metrics.stateless_reset_state(), *args, **kwargs)
                values = metrics.stateless_result(state)
                for metric, (name, value) in zip(metrics.metrics, values.items(), strict=True):
                    # A mean over the epoch is made of the batches' means; a batch's AUC is no part of the epoch's.
                    if isinstance(metric, keras.metrics.Mean):
                        self._current.metrics[name] = value
            return result

        with replaced(metrics, update_state=watched):
            yield

    @contextmanager
    def _watching_own_metrics(self) -> Iterator[None]:
        """Compute the batch's own value of each mean that a training step of the user's own updates."""
        means: list[Any] = []
        with self._guard("find the metrics of the training step"):
            means = own_means(self._model)
        with ExitStack() as watching:
            for metric in means:
                watched = self._watched_mean(metric, metric.update_state)
                watching.enter_context(replaced(metric, update_state=watched))
            yield

    def _watched_mean(self, metric: Any, update_state: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            result = update_state(*args, **kwargs)
            found = self._current
            with self._guard("compute the batch's metrics"), replaced(metric, update_state=update_state):
                before = found.states.get(id(metric))
                state = metric.stateless_reset_state() if before is None else before
                found.states[id(metric)] = state = metric.stateless_update_state(state, *args, **kwargs)
                found.metrics[metric.name] = metric.stateless_result(state)
            return result

        return watched

    @contextmanager
    def _watching_updates(self) -> Iterator[None]:
        with ExitStack() as watching:
            for optimizer in self.optimizers:
                watching.enter_context(replaced(optimizer, apply=self._watched_apply(optimizer, optimizer.apply)))
            yield

    def _watched_apply(self, optimizer: Any, apply: Callable[..., Any]) -> Callable[..., Any]:
        def watched(grads: Any, trainable_variables: Any = None) -> Any:
            self._call_before_update()  # a step that computes its loss by itself comes by here only
            if optimizer not in self.used:
                self.used = [other for other in self.optimizers if other is optimizer or other in self.used]
            grads = list(grads)
            variables = None if trainable_variables is None else list(trainable_variables)
            targets = optimizer._trainable_variables if variables is None else variables
            self.without_gradient = [v for v, g in zip(targets, grads, strict=False) if g is None]
            if self._gradient_norm:
                with self._guard("compute the gradient norm"):
                    self._current.gradient_norms[id(optimizer)] = gradient_norm(optimizer, grads, variables)
            before = None
            if self._layers is not None:
                with self._guard("measure the layers"):
                    dense, scale = used_gradients(optimizer, grads, variables)
                    dense = [None if g is None else g / tf.cast(tf.convert_to_tensor(scale), g.dtype) for g in dense]
                    before = self._layers.before_update(self._current.layers, targets, dense)
            with self._after_a_look(optimizer, grads):
                result = apply(grads, variables)
            if self._layers is not None and before is not None:
                with self._guard("measure the layers"):
                    self._layers.after_update(self._current.layers, targets, before)
            return result

        return watched

    @contextmanager
    def _after_a_look(self, optimizer: Any, grads: list[Any]) -> Iterator[None]:
        """Let operations wait until a step that is not finite has been kept."""
        found, looked = self._current, None
        if self._moments is not None and found.begun is not None:
            with self._guard("watch for values that are not finite"):
                # Scaled up, gradients may be infinite: that is how the scale is found.
                scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or optimizer.loss_scale_factor
                losses = [loss for loss in found.losses if _belongs_here(loss)]
                looked = self._moments.look(found.begun, losses, [] if scaled else grads)
        if looked is None:
            yield
            return
        build = optimizer.build

        def unhindered(variables: Any) -> None:
            # A variable that is made while its graph is traced must not wait for anything in it.
            with tf.control_dependencies(None):
                build(variables)

        with replaced(optimizer, build=unhindered), tf.control_dependencies([looked]):
            yield

    def _call_before_update(self) -> None:
        if self._before_update is not None:
            call, self._before_update = self._before_update, None
            # While a graph is traced nothing of it has run: outside of it the variables hold what they began with.
            with self._guard("fingerprint the initial weights"), tf.init_scope():
                call()

    def _vector(self, found: _Found, data: Any) -> tf.Tensor:
        """Return the values in the order of `columns`: (columns,) float64."""
        self.losses_per_step = len(found.losses)
        # The mean over the replicas is what arrives; each sees its share of the batch.
        values = {"samples": tf.cast(batch_samples(data), tf.float64) * self._replicas}
        if len(found.losses) == 1 and _belongs_here(found.losses[0]):
            values["loss"] = tf.reduce_mean(found.losses[0]) * self._replicas
        norms = (found.gradient_norms.get(id(optimizer)) for optimizer in self.used)
        for name, norm in zip(each_optimizers("gradient_norm", len(self.used)), norms, strict=True):
            if norm is not None and _belongs_here(norm):
                values[name] = norm
        for name, value in found.metrics.items():
            # A mean of the user's own that is called loss is the batch's loss only where no other is known.
            if _belongs_here(value) and not (name == "loss" and "loss" in values):
                values[f"metric/{name}"] = value
        if self._layers is not None:
            values.update(self._layers.values(found.layers, _belongs_here))
        if not self.columns:
            self.columns = tuple(values)
        return tf.stack([tf.cast(values.get(name, np.nan), tf.float64) for name in self.columns])


def own_means(model: Any) -> list[Any]:
    """Return the means that a model keeps beside those of `compile`, which Keras updates itself."""
    compiled = [model._loss_tracker, model._compile_metrics, *getattr(model._compile_loss, "metrics", ())]
    means = [metric for metric in model.metrics if isinstance(metric, keras.metrics.Mean)]
    return [metric for metric in means if not any(metric is other for other in compiled)]


def each_optimizers(quantity: str, count: int) -> list[str]:
    """Return the names of a quantity of each of so many optimizers."""
    return [quantity] if count == 1 else [f"optimizer{index}/{quantity}" for index in range(count)]


def gradient_norm(optimizer: Any, grads: list[Any], variables: list[Any] | None) -> tf.Tensor:
    """Return the global 2-norm of the gradients that an update uses, before clipping: scalar float64."""
    dense, scale = used_gradients(optimizer, grads, variables)
    # Half the sum of squares, in one pass over each.
    halves = [tf.cast(tf.nn.l2_loss(g), tf.float64) for g in dense if g is not None]
    norm = tf.sqrt(2.0 * tf.add_n(halves)) if halves else tf.zeros([], tf.float64)
    return norm / tf.cast(tf.convert_to_tensor(scale), tf.float64)


def used_gradients(optimizer: Any, grads: list[Any], variables: list[Any] | None) -> tuple[list[Any], Any]:
    """Return the gradients that an update uses, before clipping, and a number that all are still to be divided by.

    That is how loss scaling is undone. With gradient accumulation they are the mean gradient so far, which at the last
    batch of an update is the one the update uses.
    """
    scale: Any = 1.0
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        scale = optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale
        optimizer = optimizer.inner_optimizer
    elif optimizer.loss_scale_factor:
        scale = optimizer.loss_scale_factor
    # Slices of an embedding may name a row twice; its gradient is their sum.
    dense = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in grads]
    dense = [tf.cast(g, tf.float32) if g is not None and g.dtype.size < 4 else g for g in dense]
    batches = optimizer.gradient_accumulation_steps or 1
    if batches > 1 and optimizer.built:
        targets = variables if variables is not None else optimizer._trainable_variables
        before = [optimizer._accumulated_gradients[optimizer._get_variable_index(v)] for v in targets]
        dense = [
            None if g is None else g / tf.cast(scale, g.dtype) + tf.cast(tf.convert_to_tensor(sum_), g.dtype)
            for g, sum_ in zip(dense, before, strict=True)
        ]
        scale = batches
    return dense, scale


def batch_samples(data: Any) -> Any:
    """Return how many samples a batch holds, as a scalar tensor; NaN if nothing in it has a first dimension."""
    for item in keras.tree.flatten(data):
        if isinstance(item, tf.RaggedTensor):
            return item.nrows()
        if isinstance(item, tf.SparseTensor):
            return item.dense_shape[0]
        if isinstance(item, tf.Tensor) and item.shape.rank != 0:
            return tf.shape(item)[0]
    return np.nan


@contextmanager
def replaced(owner: Any, **attributes: Any) -> Iterator[None]:
    """Set attributes on one instance for a while, past Keras' attribute tracking, and leave no trace of it."""
    own = vars(owner)
    missing = object()
    before = {name: own.get(name, missing) for name in attributes}
    own.update(attributes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                own.pop(name, None)
            else:
                own[name] = value


def _belongs_here(tensor: Any) -> bool:
    """Whether a tensor can be used in the graph being built; one made inside a loop or a branch cannot leave it."""
    graph = getattr(tensor, "graph", None) if not isinstance(tensor, tf.__internal__.EagerTensor) else None
    return graph is None or graph is tf.compat.v1.get_default_graph()
