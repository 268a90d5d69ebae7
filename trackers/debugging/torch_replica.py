"""A stand-in for the user's model that computes the same and leaves no trace on the original.

It shares the weights, which a forward and a backward pass only read, and has buffers, gradients and containers of its
own. So a step can be computed once more without counting twice anywhere.
"""

from __future__ import annotations

import copy
import types
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# What Lightning puts in place of the methods of a module that was compiled as a whole.
_COMPILED = ("forward", "training_step", "validation_step", "test_step", "predict_step")


def replica(module: nn.Module) -> Any:
    """Return the stand-in of a LightningModule.

    `self.log` does nothing in it, `self.logger` is None, and its optimizers never step.

    Raises:
        Exception: whatever the copying of a part that copies itself raises.
    """
    made = _module(module, {})
    made.__class__ = type(
        type(module).__name__, (type(module),), {"logger": None, "loggers": (), "__module__": type(module).__module__}
    )
    idle = _Idle()
    count = len(getattr(getattr(module, "_trainer", None), "optimizers", None) or [None])
    vars(made).update(
        log=idle, log_dict=idle, print=idle, toggle_optimizer=idle, untoggle_optimizer=idle, clip_gradients=idle,
        optimizers=lambda *_, **__: idle if count == 1 else [_Idle() for _ in range(count)],
        lr_schedulers=lambda: idle, manual_backward=lambda loss, *_, **__: loss.backward(),
    )  # fmt: skip
    return made


class _Idle:
    """Does nothing, whatever is asked of it."""

    def __call__(self, *_: Any, **__: Any) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Idle()


def _module(module: nn.Module, made: dict[int, Any]) -> Any:
    if id(module) in made:
        return made[id(module)]
    if type(module).__name__ == "OptimizedModule":  # of torch.compile: what it wraps computes the same
        return _module(module._orig_mod, made)
    own_state = type(module).__getstate__ is not nn.Module.__getstate__
    if (own_state and not hasattr(module, "automatic_optimization")) or isinstance(module, torch.jit.ScriptModule):
        made[id(module)] = copy.deepcopy(module)  # a metric, for one, which binds methods to itself
        return made[id(module)]
    kind: Any = type(module)
    twin = kind.__new__(kind)
    made[id(module)] = twin
    state = dict(vars(module))
    compiled = state.get("_compiler_ctx") is not None
    for name, value in state.items():
        if name == "_modules":
            value = {key: None if child is None else _module(child, made) for key, child in value.items()}
        elif name == "_parameters":
            value = {key: None if p is None else _parameter(p, made) for key, p in value.items()}
        elif name == "_buffers":
            value = {key: b if b is None else b.clone() for key, b in value.items()}
        elif name == "_compiled_call_impl" or (compiled and name in _COMPILED):
            continue
        elif name not in ("_trainer", "_fabric"):
            value = _attribute(value, made)
        vars(twin)[name] = value
    return twin


def _parameter(parameter: Tensor, made: dict[int, Any]) -> Any:
    if id(parameter) not in made:
        # The same numbers in memory, with a gradient of its own.
        made[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
    return made[id(parameter)]


def _attribute(value: Any, made: dict[int, Any]) -> Any:
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, nn.Module):
        return _module(value, made)
    if isinstance(value, Tensor):
        return value.detach().clone() if value.grad_fn is None else value
    if type(value) in (list, dict, set) or isinstance(value, deque):
        return copy.copy(value)
    if isinstance(value, types.MethodType) and id(value.__self__) in made:
        return types.MethodType(value.__func__, made[id(value.__self__)])
    return value


def copied_batch(batch: Any, depth: int = 0) -> Any:
    """Return a batch whose containers and tensors may be written to."""
    if isinstance(batch, Tensor):
        return batch.detach().clone()
    if depth < 6:
        if type(batch) in (list, tuple):
            return type(batch)(copied_batch(item, depth + 1) for item in batch)
        if isinstance(batch, tuple) and hasattr(batch, "_fields"):
            return type(batch)(*(copied_batch(item, depth + 1) for item in batch))
        if type(batch) is dict or (isinstance(batch, Mapping) and hasattr(batch, "copy")):
            twin: Any = copy.copy(batch)
            for key, item in batch.items():
                twin[key] = copied_batch(item, depth + 1)
            return twin
    return copy.copy(batch)
