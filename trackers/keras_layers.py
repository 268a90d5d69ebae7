"""What the layers of a Keras model compute, in the words both frameworks share: convolutions, activations, dropout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

_PADDING_LAYERS = ("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
_NAMED_ACTIVATIONS = {
    "relu", "relu6", "elu", "selu", "gelu", "silu", "mish", "softplus", "hard_silu", "hard_sigmoid", "leaky_relu",
}  # fmt: skip


def describe_convolutions(model: Any) -> list[dict[str, Any]]:
    """Return `{"kernel", "stride", "dilation", "padding"}` of each convolution, in the model's order.

    Padding is that on each side, with that of a `ZeroPadding` layer right before; None where it cannot be told, or is
    not the same on both sides, as `same` is not where the stride is above 1.
    """
    padded = any(type(layer).__name__ in _PADDING_LAYERS for layer in _layers(model))
    rows = []
    for layer in _layers(model):
        kernel = getattr(layer, "kernel_size", None)
        if not isinstance(kernel, tuple | list) or not hasattr(layer, "dilation_rate"):
            continue
        if type(layer).__name__.startswith("ConvLSTM"):
            continue
        rows.append(
            {
                "kernel": list(kernel),
                "stride": _each(layer.strides, len(kernel)),
                "dilation": _each(layer.dilation_rate, len(kernel)),
                "padding": _padding(layer, len(kernel), padded=padded),
            }
        )
        if hasattr(layer, "pointwise_kernel"):
            one = [1] * len(kernel)
            rows.append({"kernel": one, "stride": one, "dilation": one, "padding": [0] * len(kernel)})
    return rows


def _layers(model: Any) -> Iterator[Any]:
    yield from model._flatten_layers(include_self=False)


def _each(value: Any, dimensions: int) -> list[int]:
    return [int(value)] * dimensions if isinstance(value, int) else [int(item) for item in value]


def _padding(layer: Any, dimensions: int, *, padded: bool) -> list[int] | None:
    if "Transpose" in type(layer).__name__:
        return None
    if layer.padding == "same":
        spans = [d * (k - 1) for k, d in zip(layer.kernel_size, _each(layer.dilation_rate, dimensions), strict=True)]
        symmetric = max(_each(layer.strides, dimensions)) == 1 and not any(span % 2 for span in spans)
        return [span // 2 for span in spans] if symmetric else None
    if layer.padding != "valid":
        return None
    if not padded:
        return [0] * dimensions
    before = _before(layer)
    if before is None:
        return None
    if type(before).__name__ not in _PADDING_LAYERS:
        return [0] * dimensions
    sides = np.asarray(before.padding).reshape(-1, 2).tolist()
    return [one for one, _ in sides] if all(one == other for one, other in sides) else None


def _before(layer: Any) -> Any:
    """The layer whose output this one takes; None in a model that is no graph of layers."""
    nodes = list(getattr(layer, "_inbound_nodes", ()))
    if len(nodes) != 1 or len(nodes[0].input_tensors) != 1:
        return None
    history = getattr(nodes[0].input_tensors[0], "_keras_history", None)
    return getattr(history, "operation", None)


def describe_activations(model: Any) -> list[str]:
    """Return the activations of the layers, each once; what a model calls as a function is not among them."""
    found = set()
    for layer in _layers(model):
        kind = type(layer).__name__
        if kind == "ReLU":
            found.add("relu6" if layer.max_value == 6 else "relu")
        elif kind == "LeakyReLU":
            found.add(f"leaky_relu {float(layer.negative_slope):g}")
        elif kind in ("PReLU", "ELU"):
            found.add(kind.lower())
        elif not isinstance(layer, keras.layers.RNN):
            name = getattr(getattr(layer, "activation", None), "__name__", None)
            if name in _NAMED_ACTIVATIONS:
                found.add("leaky_relu 0.2" if name == "leaky_relu" else str(name))
    return sorted(found)


def dropout_rates(model: Any) -> list[float]:
    """Return the dropout rates of the model's layers above 0, each once."""
    found = set()
    for layer in _layers(model):
        if "Dropout" in type(layer).__name__:
            found.add(getattr(layer, "rate", 0.0))
        for name in ("dropout", "recurrent_dropout", "_dropout"):
            found.add(getattr(layer, name, 0.0))
    return sorted(float(rate) for rate in found if isinstance(rate, int | float) and rate > 0)


def random_draws(model: Any) -> dict[int, int]:
    """Return how often each source of random numbers in the model's layers has been drawn from, by its identity."""
    return {
        id(source): int(np.asarray(keras.ops.convert_to_numpy(source.state)).reshape(-1)[-1])
        for layer in model._flatten_layers()
        for source in getattr(layer, "_seed_generators", ())
    }


def has_penalties(model: Any) -> bool:
    """Whether layers add a penalty on their weights or outputs to the loss."""
    names = ("kernel", "bias", "activity", "embeddings", "depthwise", "pointwise", "recurrent", "gamma", "beta")
    return any(getattr(layer, f"{name}_regularizer", None) is not None for layer in _layers(model) for name in names)
