"""What a training step computed, read off the autograd graph of its loss: the loss function, convolutions, activations.

A model may do all of this with functions, of which its modules say nothing; the graph has them as they were called.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_NODES = 100_000
MOST_WEIGHTS = 100

_LOSS_NODES = {
    "NllLossBackward0": "negative_log_likelihood", "NllLoss2DBackward0": "negative_log_likelihood",
    "NllLossNdBackward0": "negative_log_likelihood", "MseLossBackward0": "mean_squared_error",
    "BinaryCrossEntropyBackward0": "binary_cross_entropy",
    "BinaryCrossEntropyWithLogitsBackward0": "binary_cross_entropy",
    "HuberLossBackward0": "huber", "SmoothL1LossBackward0": "smooth_l1",
}  # fmt: skip
_REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}
_REDUCING_NODES = {"MeanBackward0": "mean", "SumBackward0": "sum"}
_SCALING_NODES = {"DivBackward0": -1, "MulBackward0": 1}
# What may lie on top of a loss without changing what it is. An addend that takes no part in the gradient, such as what
# makes one process's loss the mean of all, has no node of its own.
_TRANSPARENT_NODES = {"AddBackward0", "ToCopyBackward0", "CloneBackward0", "AliasBackward0", "SqueezeBackward0"}

_ACTIVATION_NODES = {
    "ReluBackward0": "relu", "SiluBackward0": "silu", "MishBackward0": "mish", "SoftplusBackward0": "softplus",
    "HardswishBackward0": "hard_silu", "HardsigmoidBackward0": "hard_sigmoid", "PreluKernelBackward0": "prelu",
}  # fmt: skip


def loss_of_graph(loss: Tensor, batches: int = 1) -> dict[str, Any] | None:
    """Return which loss function computed a tensor, from its autograd graph; None where it is none that we know.

    Args:
        loss: what `training_step` returned, as it is about to be differentiated.
        batches: how many batches make an update: Lightning divides by it.

    Returns:
        `{"name", "reduction"}` and `"weighted": True` where classes or samples have weights, `pos_weight` with its
        value where positive samples have one. Without `reduction` where the loss is scaled: a sum over the number of
        samples is a mean, but nothing says what the number is.
    """
    node: Any = loss.grad_fn
    scale, reduced = float(batches), None
    for _ in range(12):
        name = type(node).__name__
        if name in _LOSS_NODES:
            return _described(node, reduced, scaled=abs(scale - 1.0) > 1e-6)
        following = [edge for edge, _ in getattr(node, "next_functions", ()) if edge is not None]
        if len(following) != 1:
            return None
        if name in _SCALING_NODES:
            scale *= _factor(node) ** _SCALING_NODES[name]
        elif name in _REDUCING_NODES and reduced is None:
            reduced = _REDUCING_NODES[name]
        elif name not in _TRANSPARENT_NODES:
            return None
        node = following[0]
    return None


def is_sum(loss: Tensor) -> bool:
    """Whether a loss is the sum of several terms that take part in the gradient, such as a penalty on the weights."""
    node: Any = loss.grad_fn
    for _ in range(12):
        following = [edge for edge, _ in getattr(node, "next_functions", ()) if edge is not None]
        name = type(node).__name__
        if len(following) != 1 or name not in {*_SCALING_NODES, *_TRANSPARENT_NODES}:
            return len(following) > 1 and name in ("AddBackward0", "SubBackward0")
        node = following[0]
    return False


def _described(node: Any, reduced: str | None, *, scaled: bool) -> dict[str, Any]:
    kind = _LOSS_NODES[type(node).__name__]
    inputs = [type(following).__name__ for following, _ in node.next_functions]
    if kind == "negative_log_likelihood" and "LogSoftmaxBackward0" in inputs:
        kind = "cross_entropy"
    described: dict[str, Any] = {"name": kind}
    own = _REDUCTIONS.get(int(getattr(node, "_saved_reduction", 1)))
    if not scaled:
        described["reduction"] = reduced if own == "none" and reduced else own
    if any(getattr(node, f"_saved_{name}", None) is not None for name in ("weight", "pos_weight")):
        described["weighted"] = True
    return described | positive_weight(getattr(node, "_saved_pos_weight", None))


def positive_weight(weight: Any) -> dict[str, Any]:
    """How many times positive samples count in a binary loss: `{"pos_weight": 20.0}`, a list for several outputs.

    Empty where none is given, where there are more outputs than anybody reads, and on a device that would have to be
    waited for.
    """
    if not isinstance(weight, Tensor) or not weight.is_cpu or weight.numel() > MOST_WEIGHTS:
        return {}
    values = [float(value) for value in weight.flatten().tolist()]
    return {"pos_weight": values[0] if len(set(values)) == 1 else values}


def _factor(node: Any) -> float:
    """What a node multiplies or divides by. A scale on the device is that of mixed precision, and taken off again."""
    other = getattr(node, "_saved_other", None)
    if isinstance(other, Tensor) and other.is_cpu and other.numel() == 1 and float(other) != 0.0:
        return float(other)
    return 1.0


def describe_operations(loss: Tensor, shapes: Iterable[Sequence[int]] = ()) -> dict[str, Any]:
    """Return the convolutions and activations that a loss was computed through.

    Args:
        loss: with its graph.
        shapes: those of what the model was given. What is done to it before the first layer has no part in the
            graph: that it was not padded shows in its shape.

    Returns:
        `{"convolutions": [{"kernel", "stride", "dilation", "padding"}, …], "activations": ["relu", …]}`: a convolution
        for each kernel, every activation once. `padding` is None where it cannot be told. Empty where the graph does
        not show them: in a compiled model, or without gradient.
    """
    convolutions: dict[Any, dict[str, Any]] = {}
    given = {_sizes(shape) for shape in shapes}
    activations = set()
    for node in _nodes(loss):
        name = type(node).__name__
        if name.startswith(("CompiledFunction", "CheckpointFunction")):
            return {}
        if name == "ConvolutionBackward0":
            weight = node._saved_weight
            convolutions.setdefault(weight.data_ptr(), _convolution(node, weight, given))
        elif (activation := _activation(node, name)) is not None:
            activations.add(activation)
    if not convolutions and not activations:
        return {}
    return {"convolutions": list(convolutions.values()), "activations": sorted(activations)}


def _nodes(loss: Tensor) -> Iterator[Any]:
    waiting, seen = [loss.grad_fn], {loss.grad_fn}
    while waiting and len(seen) < MOST_NODES:
        node = waiting.pop()
        if node is None:
            continue
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape, but for the order and number of dimensions."""
    return tuple(sorted(size for size in shape if size > 1))


def _convolution(node: Any, weight: Tensor, given: set[tuple[int, ...]]) -> dict[str, Any]:
    padding: list[int] | None = list(node._saved_padding)
    before = node.next_functions[0][0]
    kind = type(before).__name__
    if node._saved_transposed:
        padding = None  # it takes away from the output there, which Keras says in other words
    elif kind == "ConstantPadNdBackward0" and padding is not None:
        # Two numbers a dimension, the last dimension first.
        pads = list(before._saved_pad)
        sides = [pads[i : i + 2] for i in range(0, len(pads), 2)][::-1]
        same = len(sides) == len(padding) and all(one == other for one, other in sides)
        padding = [own + side[0] for own, side in zip(padding, sides, strict=True)] if same else None
    elif "Pad" in kind or (before is None and _sizes(node._saved_input.shape) not in given):
        padding = None
    return {
        "kernel": list(weight.shape[2:]),
        "stride": list(node._saved_stride),
        "dilation": list(node._saved_dilation),
        "padding": padding,
    }


def _activation(node: Any, name: str) -> str | None:
    if name == "GeluBackward0":
        return "gelu tanh" if node._saved_approximate == "tanh" else "gelu"
    if name == "LeakyReluBackward0":
        return f"leaky_relu {float(node._saved_negative_slope):g}"
    if name == "EluBackward0":
        return "elu" if float(node._saved_scale) == 1.0 else "selu"
    return _ACTIVATION_NODES.get(name)


def random_state(device: torch.device) -> tuple[Any, ...]:
    """Return the state of every global generator that a training step may draw from; compare with `==`."""
    numpy_state: tuple[Any, ...] = np.random.get_state(legacy=True)  # type: ignore[assignment]
    states: list[Any] = [torch.get_rng_state().numpy().tobytes(), random.getstate()]
    states += [numpy_state[1].tobytes(), *numpy_state[2:]]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device).numpy().tobytes())
    return tuple(states)
