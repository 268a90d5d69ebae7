"""Reads off PyTorch objects what decides a training: model, optimizer, schedule, loss, batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .deferred import to_array
from .fingerprints import Array

MOST_LAYERS = 500

_PLAIN = frozenset((Tensor,))

# Decoupled decay shrinks the weight itself; coupled decay adds to the gradient.
_DECOUPLED = {"AdamW", "Muon", "Lion"}
_EPSILON_OUTSIDE = {"Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adamax", "SparseAdam"}

_LOSS_CLASSES = {
    "CrossEntropyLoss": "cross_entropy", "NLLLoss": "negative_log_likelihood", "MSELoss": "mean_squared_error",
    "L1Loss": "mean_absolute_error", "BCELoss": "binary_cross_entropy", "BCEWithLogitsLoss": "binary_cross_entropy",
    "HuberLoss": "huber", "SmoothL1Loss": "smooth_l1", "KLDivLoss": "kl_divergence",
}  # fmt: skip
_LOSS_NODES = {
    "NllLossBackward0": "negative_log_likelihood", "NllLoss2DBackward0": "negative_log_likelihood",
    "NllLossNdBackward0": "negative_log_likelihood", "MseLossBackward0": "mean_squared_error",
    "BinaryCrossEntropyBackward0": "binary_cross_entropy",
    "BinaryCrossEntropyWithLogitsBackward0": "binary_cross_entropy",
    "HuberLossBackward0": "huber", "SmoothL1LossBackward0": "smooth_l1",
}  # fmt: skip
_REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}
# What Lightning or loss scaling may put on top of a loss without changing what it is.
_TRANSPARENT_NODES = {
    "AddBackward0", "DivBackward0", "MulBackward0", "ToCopyBackward0", "CloneBackward0", "AliasBackward0",
}  # fmt: skip


def describe_model(module: nn.Module) -> dict[str, Any]:
    """Return class, parameter counts and the layers with their class and own parameters, first to last.

    Returns:
        `{"class", "parameters", "trainable_parameters", "layers": [{"name", "class", "parameters"}, …]}`, where a
        layer is a module without children; the first 500 are listed.
    """
    layers = [
        {"name": name, "class": type(layer).__name__, "parameters": sum(_count(p) for p in layer.parameters())}
        for name, layer in module.named_modules()
        if name and not any(True for _ in layer.children())
    ]
    return {
        "class": type(module).__name__,
        "parameters": sum(_count(p) for p in module.parameters()),
        "trainable_parameters": trainable_count(module),
        "layers": layers[:MOST_LAYERS],
        "layer_count": len(layers),
    }


def trainable_count(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(_count(p) for p in module.parameters() if p.requires_grad)


def _count(parameter: Tensor) -> int:
    # A lazy layer does not know its size before the first batch.
    return 0 if isinstance(parameter, nn.parameter.UninitializedParameter) else parameter.numel()


def trainable_arrays(module: nn.Module) -> Iterator[Array]:
    """Yield the trainable tensors in the model's order, one on the host at a time.

    Raises:
        ValueError: if a tensor is not whole in this process (sharded) or not made yet (lazy).
    """
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            if hasattr(parameter, "full_tensor") or isinstance(parameter, nn.parameter.UninitializedParameter):
                raise ValueError(f"the tensor {name} is not whole in this process")
            yield to_array(parameter.detach().cpu())


def describe_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's name and constants in the vocabulary that both frameworks share."""
    group = optimizer.param_groups[0]
    name = type(optimizer).__name__
    decay = _number(group.get("weight_decay", 0.0))
    described: dict[str, Any] = {
        "name": name,
        "learning_rate": _number(group.get("initial_lr", group.get("lr"))),
        "weight_decay": decay,
        "weight_decay_kind": None,
    }
    if decay:
        decoupled = name in _DECOUPLED or bool(group.get("decoupled_weight_decay"))
        described["weight_decay_kind"] = "decoupled" if decoupled else "coupled"
    if "betas" in group:
        described["betas"] = [_number(beta) for beta in group["betas"]]
    if "eps" in group:
        described["epsilon"] = _number(group["eps"])
        if name in _EPSILON_OUTSIDE:
            described["epsilon_kind"] = "outside"
    for key, label in (
        ("momentum", "momentum"), ("nesterov", "nesterov"), ("dampening", "dampening"), ("alpha", "rho"),
        ("centered", "centered"), ("amsgrad", "amsgrad"), ("maximize", "maximize"),
        ("lr_decay", "learning_rate_decay"), ("initial_accumulator_value", "initial_accumulator_value"),
    ):  # fmt: skip
        # A switch that is off by default is left out: another framework may not have it at all.
        if key in group and (group[key] or key in ("momentum", "nesterov")):
            described[label] = group[key] if isinstance(group[key], bool) else _number(group[key])
    if len(optimizer.param_groups) > 1:
        described["groups"] = [
            {"learning_rate": _number(g.get("initial_lr", g.get("lr"))), "weight_decay": _number(g.get("weight_decay"))}
            for g in optimizer.param_groups[:20]
        ]
    return described


def describe_schedule(config: Any) -> dict[str, Any]:
    """Return a learning-rate schedule's name and constants, given Lightning's configuration of it."""
    scheduler = config.scheduler
    state = scheduler.state_dict() if hasattr(scheduler, "state_dict") else {}
    constants = {
        key: value
        for key, value in state.items()
        if not key.startswith("_") and key not in ("last_epoch", "verbose") and _is_constant(value)
    }
    return {
        "name": type(scheduler).__name__,
        "interval": getattr(config, "interval", None),
        "frequency": getattr(config, "frequency", None),
        **constants,
    }


def _is_constant(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= 20 and all(isinstance(item, bool | int | float | str) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def describe_loss(module: nn.Module) -> dict[str, Any] | None:
    """Return the loss that the model keeps as a layer; None unless there is exactly one."""
    losses = [m for m in module.modules() if isinstance(m, nn.modules.loss._Loss)]
    if len(losses) != 1:
        return None
    name = type(losses[0]).__name__
    return {"name": _LOSS_CLASSES.get(name, name), "reduction": losses[0].reduction}


def loss_of_graph(loss: Tensor) -> dict[str, Any] | None:
    """Return which loss function computed a tensor, from its autograd graph; None where it is none that we know."""
    node: Any = loss.grad_fn
    for _ in range(8):
        name = type(node).__name__
        if name in _LOSS_NODES:
            kind = _LOSS_NODES[name]
            inputs = [type(following).__name__ for following, _ in node.next_functions]
            if kind == "negative_log_likelihood" and "LogSoftmaxBackward0" in inputs:
                kind = "cross_entropy"
            return {"name": kind, "reduction": _REDUCTIONS.get(int(getattr(node, "_saved_reduction", 1)))}
        following = [edge for edge, _ in getattr(node, "next_functions", ()) if edge is not None]
        if name not in _TRANSPARENT_NODES or len(following) != 1:
            return None
        node = following[0]
    return None


def describe_normalization(module: nn.Module) -> list[dict[str, Any]]:
    """Return kind and constants of each normalization layer, in the model's order."""
    rows: list[dict[str, Any]] = []
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            rows.append({"kind": "batch", "momentum": layer.momentum, "epsilon": layer.eps, "variance": "unbiased"})
        elif isinstance(layer, nn.LayerNorm):
            rows.append({"kind": "layer", "epsilon": layer.eps})
        elif isinstance(layer, nn.GroupNorm):
            rows.append({"kind": "group", "epsilon": layer.eps})
    return rows


def is_compiled(module: nn.Module) -> bool:
    """Whether the model, or a part of it, runs through torch.compile."""
    if getattr(module, "_compiler_ctx", None) is not None:  # Lightning unwraps a compiled module and keeps this
        return True
    return any(
        getattr(m, "_compiled_call_impl", None) is not None or type(m).__name__ == "OptimizedModule"
        for m in module.modules()
    )


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor | None:
    """Return the 2-norm over all gradients of an optimizer's parameters, on their device; None without gradients.

    Costs one pass over them, which memory bounds: about 70 µs for 0.1 M parameters on a CPU, 7 ms for 13 M.

    Raises:
        ValueError: if gradients are sharded over processes, where the norm needs communication.
    """
    gradients = [
        gradient for group in optimizer.param_groups for p in group["params"] if (gradient := p.grad) is not None
    ]
    if not gradients:
        return None
    with torch.no_grad():
        if _PLAIN.issuperset(map(type, gradients)):
            try:
                # What get_total_norm does in the end; its sorting by device and type takes as long again.
                return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))).detach()
            except RuntimeError:
                pass  # sparse ones, or on several devices
        if any(hasattr(gradient, "full_tensor") for gradient in gradients):
            raise ValueError("the gradients are sharded over processes")
        dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return nn.utils.get_total_norm(dense).detach()


def _number(value: Any) -> Any:
    """Return a plain number, also of a setting kept as a tensor on the CPU; one on a device is left out."""
    if isinstance(value, Tensor):
        return value.item() if value.device.type == "cpu" and value.numel() == 1 else None
    return value
