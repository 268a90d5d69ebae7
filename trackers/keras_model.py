"""Reads off Keras objects what decides a training: model, optimizer, schedule, loss, normalization."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from . import keras_layers
from .fingerprints import Array

MOST_LAYERS = 500

# Where Keras' own optimizers add epsilon: Adam before the bias correction of the root, RMSprop under the root.
_EPSILON_KINDS = {
    "Adam": "hat", "AdamW": "hat", "Nadam": "hat", "Adamax": "outside",
    "RMSprop": "inside", "Adagrad": "inside", "Adadelta": "inside",
}  # fmt: skip
_NAMES = {"Nadam": "NAdam"}
_CONSTANTS = (
    "momentum", "nesterov", "epsilon", "rho", "centered", "amsgrad", "initial_accumulator_value", "beta",
    "l1_regularization_strength", "l2_regularization_strength", "learning_rate_power", "relative_step",
    "clip_threshold",
)  # fmt: skip
_ALWAYS = ("momentum", "nesterov", "epsilon", "rho")

_LOSSES = {
    "sparse_categorical_crossentropy": "cross_entropy", "categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy", "kl_divergence": "kl_divergence", "huber": "huber",
    "mean_squared_error": "mean_squared_error", "mean_absolute_error": "mean_absolute_error",
}  # fmt: skip


def is_built(model: Any) -> bool:
    """Whether every layer has its weights; a model without input shape gets them with the first batch."""
    return all(layer.built for layer in model._flatten_layers())


def describe_model(model: Any) -> dict[str, Any]:
    """Return class, parameter counts and the layers with their class and own parameters, first to last.

    Returns:
        `{"class", "parameters", "trainable_parameters", "layers": [{"name", "class", "parameters"}, …]}`, where a
        layer is one without layers inside; the first 500 are listed. Statistics of normalization layers are no
        parameters, as in PyTorch.
    """
    layers = [
        {
            # Keras numbers the models of a process: the second of a class would have other layers than the first.
            "name": str(getattr(layer, "path", None) or layer.name).removeprefix(f"{model.path}/"),
            "class": type(layer).__name__,
            "parameters": count_parameters(layer),
        }
        for layer in model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.layers.InputLayer) and not list(layer._flatten_layers(include_self=False))
    ]
    return {
        "class": type(model).__name__,
        "parameters": count_parameters(model),
        "trainable_parameters": trainable_count(model),
        "layers": layers[:MOST_LAYERS],
        "layer_count": len(layers),
    }


def count_parameters(layer: Any) -> int:
    """Return the number of weights that can be trained, frozen ones included and statistics left out."""
    # `trainable_variables` leaves out what is frozen, and `variables` says of a frozen kernel what it says of a mean.
    own = {id(v): v for part in layer._flatten_layers() for v in part._trainable_variables}
    return _elements(own.values())


def trainable_count(model: Any) -> int:
    """Return the number of weights that the training updates."""
    return _elements(model.trainable_variables)


def _elements(variables: Iterable[Any]) -> int:
    return sum(math.prod(v.shape) for v in variables if None not in v.shape)


def trainable_arrays(model: Any) -> Iterator[Array]:
    """Yield the trainable tensors in the model's order, one on the host at a time; a GRU's two biases as two."""
    cells = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.GRUCell)]
    pairs = {id(cell.bias) for cell in cells if cell.reset_after}  # in one variable, where PyTorch has two tensors
    for variable in model.trainable_variables:
        array: Array = np.asarray(keras.ops.convert_to_numpy(variable))
        yield from array if id(variable) in pairs else [array]


def optimizers(model: Any) -> list[Any]:
    """Return the optimizers that a model trains with, in the order in which it was given them.

    That is the one of `compile`, or what a model with a training step of its own keeps as attributes. Those that have
    made an update, as soon as any has: a model that calls `compile` without one is given an RMSprop that nobody uses.
    """
    found: dict[int, Any] = {}
    for value in vars(model).values():
        kept = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        for item in kept:
            if isinstance(item, keras.optimizers.Optimizer):
                inner = inner_optimizer(item)
                if item is not inner or id(inner) not in found:  # what scales the loss stands for what it wraps
                    found[id(inner)] = item
    return [optimizer for optimizer in found.values() if batches_seen(optimizer)] or list(found.values())


def frozen_arrays(model: Any) -> Iterator[tuple[str, Array]]:
    """Yield name and values of the parameters that are not trained, one on the host at a time; no statistics."""
    trained = {id(v) for v in model.trainable_variables}
    seen = set(trained)
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            if id(variable) not in seen:
                seen.add(id(variable))
                name = str(variable.path).removeprefix(f"{model.path}/")
                yield name, np.asarray(keras.ops.convert_to_numpy(variable))


def inner_optimizer(optimizer: Any) -> Any:
    """Return the optimizer that makes the updates, from under loss scaling."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def accumulation(optimizer: Any) -> int:
    """Return how many batches make one update."""
    return int(getattr(inner_optimizer(optimizer), "gradient_accumulation_steps", None) or 1)


def batches_seen(optimizer: Any) -> int:
    """Return how many batches an optimizer has taken since it was made."""
    iterations = getattr(inner_optimizer(optimizer), "_iterations", None)
    return 0 if iterations is None else int(keras.ops.convert_to_numpy(iterations))


def describe_optimizer(optimizer: Any, variables: Iterable[Any] | None = None) -> dict[str, Any]:
    """Return an optimizer's name and constants in the vocabulary that both frameworks share.

    An optimizer that computes otherwise than Keras' own may say so: `weight_decay_kind` ("coupled" or "decoupled")
    and `epsilon_kind` ("outside", "hat" or "inside") of its class or instance are taken at their word.

    Args:
        optimizer: the model's.
        variables: those it updates; with them the description says how many parameters decay.
    """
    optimizer = inner_optimizer(optimizer)
    name = _optimizer_name(optimizer)
    decay = float(optimizer.weight_decay or 0.0)
    described: dict[str, Any] = {
        "name": _NAMES.get(name, name),
        "learning_rate": _current_rate(optimizer),
        "weight_decay": decay,
        "weight_decay_kind": None,
    }
    if decay:
        # Keras takes the decay off the weights, in every optimizer it has.
        described["weight_decay_kind"] = getattr(optimizer, "weight_decay_kind", None) or "decoupled"
        decays = getattr(optimizer, "_use_weight_decay", None)
        if variables is not None and decays is not None:
            described["weight_decay_parameters"] = _elements(v for v in variables if decays(v))
    if hasattr(optimizer, "beta_1") and hasattr(optimizer, "beta_2"):
        described["betas"] = [float(optimizer.beta_1), float(optimizer.beta_2)]
    for key in _CONSTANTS:
        value = getattr(optimizer, key, None)
        if isinstance(value, bool | int | float) and (value or key in _ALWAYS):
            described[key] = value if isinstance(value, bool) else float(value)
    if "epsilon" in described and (kind := _epsilon_kind(optimizer)):
        described["epsilon_kind"] = kind
    if optimizer.use_ema:
        described["moving_average_of_weights"] = float(optimizer.ema_momentum)
    return described


def _optimizer_name(optimizer: Any) -> str:
    """The class's name; of a class of one's own that updates as Keras' does, or says how it does, the name of that."""
    kinds: tuple[Any, ...] = type(optimizer).__mro__
    stock = next((kind for kind in kinds if kind.__module__.startswith("keras.src.optimizers")), None)
    if stock is None or stock.__name__ in ("Optimizer", "BaseOptimizer", "KerasOptimizer"):
        return type(optimizer).__name__
    says = any(getattr(optimizer, key, None) for key in ("epsilon_kind", "weight_decay_kind", "momentum_kind"))
    return stock.__name__ if says or type(optimizer).update_step is stock.update_step else type(optimizer).__name__


def _epsilon_kind(optimizer: Any) -> str | None:
    declared = getattr(optimizer, "epsilon_kind", None)
    if declared is not None:
        return str(declared)
    for name, kind in _EPSILON_KINDS.items():
        stock = getattr(keras.optimizers, name)
        if isinstance(optimizer, stock) and type(optimizer).update_step is stock.update_step:
            return kind
    return None


def _current_rate(optimizer: Any) -> float | None:
    if optimizer.learning_rate is None:
        return None
    rate = optimizer.learning_rate
    schedule = getattr(optimizer, "_learning_rate", None)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        # Where it begins, whichever update has been made by now; or what it warms up to, as PyTorch's optimizer says.
        target = getattr(schedule, "warmup_target", None)
        rate = schedule(0) if target is None else target
    rate = np.asarray(keras.ops.convert_to_numpy(rate))
    # Kept in float32, 0.01 is 0.009999999776; the shortest number that means the same is what was asked for.
    return float(str(rate[()]))


def describe_schedule(optimizer: Any, callbacks: Iterable[Any]) -> dict[str, Any] | None:
    """Return the learning-rate schedule's name and constants; None for a constant rate.

    Args:
        optimizer: the model's.
        callbacks: those of the fit; `LearningRateScheduler` and `ReduceLROnPlateau` change the rate as well.
    """
    rate = getattr(inner_optimizer(optimizer), "_learning_rate", None)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return {"name": type(rate).__name__, **_constants(rate.get_config(), without=("name",))}
    if callable(rate):
        return {"name": getattr(rate, "__name__", type(rate).__name__)}
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ReduceLROnPlateau):
            fields = ("monitor", "factor", "patience", "min_delta", "cooldown", "min_lr")
            return {"name": "ReduceLROnPlateau", **{field: getattr(callback, field, None) for field in fields}}
        if isinstance(callback, keras.callbacks.LearningRateScheduler):
            return {"name": "LearningRateScheduler"}
    return None


def _constants(config: Mapping[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        key: value
        for key, value in config.items()
        if key not in without and (isinstance(value, bool | int | float | str | list) or value is None)
    }


def describe_clipping(optimizer: Any) -> dict[str, Any] | None:
    """Return how gradients are clipped; None where they are not. `clipnorm` clips each variable by itself."""
    optimizer = inner_optimizer(optimizer)
    for field, kind in (("global_clipnorm", "norm"), ("clipnorm", "variable_norm"), ("clipvalue", "value")):
        value = getattr(optimizer, field, None)
        if value:
            return {"kind": kind, "value": float(value)}
    return None


def describe_loss(model: Any) -> dict[str, Any] | None:
    """Return name and reduction of the loss given to `compile`, or else of the only one that the model keeps.

    None where the model computes one of its own, or keeps several.
    """
    if type(model).compute_loss is not keras.Model.compute_loss:
        return None
    described = _describe_losses(model)
    if described is not None and keras_layers.has_penalties(model):
        described["penalties"] = True
    return described


def _describe_losses(model: Any) -> dict[str, Any] | None:
    if model.loss is None:
        kept = {id(value): value for value in vars(model).values() if isinstance(value, keras.losses.Loss)}
        return describe_one_loss(*kept.values()) if len(kept) == 1 else None
    losses = [describe_one_loss(loss) for loss in keras.tree.flatten(model.loss) if loss is not None]
    if not losses:
        return None
    distinct = list(dict.fromkeys((loss["name"], loss["reduction"]) for loss in losses))
    if len(distinct) == 1:
        return losses[0]
    reductions = {reduction for _, reduction in distinct}
    return {
        "name": " + ".join(sorted(name for name, _ in distinct)),
        "reduction": reductions.pop() if len(reductions) == 1 else None,
    }


def describe_one_loss(loss: Any) -> dict[str, Any]:
    """Return a loss's name in the vocabulary both frameworks share, and its reduction."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    reduction = getattr(loss, "reduction", "sum_over_batch_size")
    function = getattr(loss, "fn", loss)
    name = getattr(function, "__name__", None) or type(loss).__name__
    if isinstance(loss, keras.losses.Loss):
        computing = (type(loss).call, type(loss).__call__)
        if not all(method.__module__.startswith("keras.") for method in computing):
            name = type(loss).__name__  # somebody's own, whatever it is derived from
    averages = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
    described = {"name": _LOSSES.get(name, name), "reduction": "mean" if reduction in averages else reduction}
    smoothing = getattr(loss, "label_smoothing", None)
    if isinstance(smoothing, int | float) and smoothing:
        described["label_smoothing"] = float(smoothing)
    weight = getattr(loss, "pos_weight", None)  # Keras has none of its own; the name is PyTorch's and TensorFlow's
    if isinstance(weight, int | float) and not isinstance(weight, bool):
        described |= {"weighted": True, "pos_weight": float(weight)}
    return described


def describe_normalization(model: Any) -> list[dict[str, Any]]:
    """Return kind and constants of each normalization layer, in the model's order.

    Momentum is given as PyTorch does: the weight of the new batch. A layer that keeps another running variance than
    Keras' biased one says so in `running_variance`. A frozen batch normalization trains on its running statistics, not
    on the batch's, and has `"statistics": "running"`.
    """
    rows: list[dict[str, Any]] = []
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            row = {
                "kind": "batch",
                "momentum": round(1.0 - float(layer.momentum), 12),
                "epsilon": float(layer.epsilon),
                "variance": getattr(layer, "running_variance", "biased"),
            }
            rows.append(row if layer.trainable else {**row, "statistics": "running"})
        elif isinstance(layer, keras.layers.LayerNormalization):
            rows.append({"kind": "layer", "epsilon": float(layer.epsilon)})
        elif isinstance(layer, keras.layers.GroupNormalization):
            rows.append({"kind": "group", "epsilon": float(layer.epsilon)})
        elif type(layer).__name__ == "RMSNormalization":  # of Keras 3.9 and later
            rows.append({"kind": "rms", "epsilon": float(layer.epsilon)})
    return rows
