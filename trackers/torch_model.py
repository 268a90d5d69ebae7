"""Reads off PyTorch objects what decides a training: model, optimizer, schedule, loss, batches."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .deferred import to_array
from .fingerprints import Array
from .torch_graph import positive_weight

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
        "parameters": parameter_count(module),
        "trainable_parameters": trainable_count(module),
        "layers": layers[:MOST_LAYERS],
        "layer_count": len(layers),
    }


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters, frozen ones included."""
    return sum(_count(p) for p in module.parameters())


def trained_ids(optimizers: Iterable[torch.optim.Optimizer]) -> set[int] | None:
    """Return the ids of the parameters that optimizers update; None without any."""
    return {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]} or None


def trainable_count(module: nn.Module, trained: set[int] | None = None) -> int:
    """Return the number of trainable parameters, of those in `trained` if given."""
    return sum(_count(p) for _, p, is_trained in _told_apart(module, trained) if is_trained)


def _told_apart(module: nn.Module, trained: set[int] | None) -> Iterator[tuple[str, Tensor, bool]]:
    """Yield name, parameter and whether the training updates it."""
    if trained is not None and not any(id(p) in trained for p in module.parameters()):
        trained = None  # the optimizer holds copies of its own
    for name, parameter in module.named_parameters():
        yield name, parameter, parameter.requires_grad and (trained is None or id(parameter) in trained)


def _count(parameter: Tensor) -> int:
    # A lazy layer does not know its size before the first batch.
    return 0 if isinstance(parameter, nn.parameter.UninitializedParameter) else parameter.numel()


def trainable_arrays(module: nn.Module, trained: set[int] | None = None) -> Iterator[Array]:
    """Yield the tensors that are trained in the model's order, one on the host at a time.

    Args:
        module: the model.
        trained: ids of the parameters that its optimizers update; a parameter in none of them is frozen all the same.

    Raises:
        ValueError: if a tensor is not whole in this process (sharded) or not made yet (lazy).
    """
    for name, parameter, is_trained in _told_apart(module, trained):
        if is_trained:
            yield _array(name, parameter)


def frozen_arrays(module: nn.Module, trained: set[int] | None = None) -> Iterator[tuple[str, Array]]:
    """Yield name and values of the parameters that are not trained; arguments and errors as in `trainable_arrays`."""
    for name, parameter, is_trained in _told_apart(module, trained):
        if not is_trained:
            yield name, _array(name, parameter)


def _array(name: str, parameter: Tensor) -> Array:
    if hasattr(parameter, "full_tensor") or isinstance(parameter, nn.parameter.UninitializedParameter):
        raise ValueError(f"the tensor {name} is not whole in this process")
    return to_array(parameter.detach().cpu())


def describe_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's name and constants in the vocabulary that both frameworks share.

    Groups that differ in nothing but that some have no weight decay, as biases often do, are described by the decay
    of the others and how many parameters it takes hold of.
    """
    groups = optimizer.param_groups
    group = groups[0]
    name = _optimizer_name(optimizer)
    decays = [decay for g in groups if (decay := _number(g.get("weight_decay", 0.0)))]
    described: dict[str, Any] = {
        "name": name,
        "learning_rate": _number(group.get("initial_lr", group.get("lr"))),
        "weight_decay": decays[0] if decays else _number(group.get("weight_decay", 0.0)),
        "weight_decay_kind": None,
    }
    if decays:
        decoupled = name in _DECOUPLED or bool(group.get("decoupled_weight_decay"))
        described["weight_decay_kind"] = "decoupled" if decoupled else "coupled"
        described["weight_decay_parameters"] = sum(
            _count(p) for g in groups if _number(g.get("weight_decay")) for p in g["params"] if p.requires_grad
        )
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
    rates = {_number(g.get("initial_lr", g.get("lr"))) for g in groups}
    if len(rates) > 1 or len(set(decays)) > 1:
        described["groups"] = [
            {"learning_rate": _number(g.get("initial_lr", g.get("lr"))), "weight_decay": _number(g.get("weight_decay"))}
            for g in groups[:20]
        ]
    return described


def _optimizer_name(optimizer: torch.optim.Optimizer) -> str:
    """The class's name; of a class of one's own that makes its updates as PyTorch's does, the name of that."""
    own: Any = type(optimizer)
    stock = next((kind for kind in own.__mro__ if kind.__module__.startswith("torch.optim")), torch.optim.Optimizer)
    # PyTorch wraps the step of each class that is made an instance of.
    same = stock is not torch.optim.Optimizer and inspect.unwrap(own.step) is inspect.unwrap(stock.step)
    return str(stock.__name__ if same else own.__name__)


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
    loss = losses[0]
    name = type(loss).__name__
    described = {"name": _LOSS_CLASSES.get(name, name), "reduction": loss.reduction}
    if smoothing := getattr(loss, "label_smoothing", 0.0):
        described["label_smoothing"] = float(smoothing)
    if getattr(loss, "weight", None) is not None or getattr(loss, "pos_weight", None) is not None:
        described["weighted"] = True
    return described | positive_weight(getattr(loss, "pos_weight", None))


def dropout_rates(module: nn.Module) -> list[float]:
    """Return the dropout rates of the model's layers above 0, each once."""
    rates = set()
    for layer in module.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            rates.add(layer.p)
        elif isinstance(layer, nn.RNNBase | nn.MultiheadAttention) and getattr(layer, "num_layers", 2) > 1:
            rates.add(layer.dropout)
    return sorted(float(rate) for rate in rates if rate > 0)


def describe_normalization(module: nn.Module) -> list[dict[str, Any]]:
    """Return kind and constants of each normalization layer, in the model's order.

    A batch normalization that trains on its running statistics, not on the batch's, has `"statistics": "running"`.
    """
    rows: list[dict[str, Any]] = []
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            row = {"kind": "batch", "momentum": layer.momentum, "epsilon": layer.eps, "variance": "unbiased"}
            running = not layer.training and layer.running_mean is not None
            rows.append({**row, "statistics": "running"} if running else row)
        elif isinstance(layer, nn.LayerNorm):
            rows.append({"kind": "layer", "epsilon": layer.eps})
        elif isinstance(layer, nn.GroupNorm):
            rows.append({"kind": "group", "epsilon": layer.eps})
        elif isinstance(layer, nn.RMSNorm):
            rows.append({"kind": "rms", "epsilon": torch.finfo().eps if layer.eps is None else layer.eps})
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


class GradientWatch:
    """Finds out whether anybody changes gradients between `backward` and an optimizer's update, as clipping does.

    A tensor counts how often it was changed in place; to look at the count costs nothing, on any device. Only the first
    update of each optimizer is looked at.

    Args:
        optimizers: those that train the model.

    Attributes:
        untouched: True once each optimizer made an update with its gradients as they were computed, False once one
            was seen to use others, None before.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.untouched: bool | None = None
        self._waiting = list(optimizers)
        self._computed: dict[int, tuple[int, int]] = {}

    def after_backward(self) -> None:
        """Gradients have been computed."""
        for optimizer in self._waiting:
            self._computed.update(_gradients(optimizer))

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to use the gradients."""
        if optimizer not in self._waiting:
            return
        self._waiting.remove(optimizer)
        if any(self._computed.get(key) != state for key, state in _gradients(optimizer).items()):
            self.untouched = False
        if not self._waiting:
            self.untouched = self.untouched is None
            self._computed.clear()


def _gradients(optimizer: torch.optim.Optimizer) -> dict[int, tuple[int, int]]:
    """Return which tensor holds each gradient, and how often it was changed, by parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return {id(p): (id(p.grad), p.grad._version) for p in parameters}


def _number(value: Any) -> Any:
    """Return a plain number, also of a setting kept as a tensor on the CPU; one on a device is left out."""
    if isinstance(value, Tensor):
        return value.item() if value.device.type == "cpu" and value.numel() == 1 else None
    return value
