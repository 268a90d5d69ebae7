"""Computes the step that went wrong once more, on a stand-in for the model, to see where it did."""

from __future__ import annotations

import inspect
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .torch_replica import copied_batch, replica
from .torch_search import FirstBad, Origin, is_bad


def replay(trainer: Any, module: nn.Module, batch: Any, batch_index: int, *, backward: bool) -> Origin | None:
    """Return where the first bad value of a step comes from; None where computing it again gives good ones.

    The weights must still be those that the step began with. Random numbers are drawn as they would be next, and put
    back: a dropout falls differently.

    Args:
        trainer: Lightning's trainer.
        module: the model; it is left as it is.
        batch: what the loader gave.
        batch_index: the batch within the epoch.
        backward: look for a bad gradient; otherwise for a bad loss.

    Raises:
        Exception: whatever the step raises before it has given a bad value.
    """
    twin = replica(module)
    watch = FirstBad(twin)
    with _untouched_randomness(module), warnings.catch_warnings(), torch.enable_grad(), _eager():
        warnings.simplefilter("ignore")
        try:
            with trainer.precision_plugin.train_step_context(), watch:
                output = twin.training_step(*_arguments(twin, copied_batch(batch), batch_index))
                loss = output.get("loss") if isinstance(output, dict) else output
            if not backward:
                return _answer(watch, [loss] if isinstance(loss, Tensor) else [])
            if isinstance(loss, Tensor) and loss.requires_grad:
                with watch:
                    loss.backward()
            return _answer(watch, [p.grad for p in twin.parameters() if p.grad is not None])
        except Exception:
            if (found := _answer(watch, [])) is not None:
                return found  # a logger that is not there, after all was seen
            raise


def replayable(module: nn.Module, world_size: int) -> str | None:
    """Return why a step cannot be computed once more; None if it can."""
    if world_size > 1:
        return "In distributed training a step cannot be computed again in one process alone."
    if "dataloader_iter" in inspect.signature(module.training_step).parameters:
        return "A training_step that takes the loader's iterator cannot be computed again: its batch is gone."
    return None


def _answer(watch: FirstBad, results: list[Tensor]) -> Origin | None:
    for result in reversed(results):  # the last layers are the first to get a gradient
        if (origin := watch.origin(result)) is not None:
            return origin
    if results and not any(is_bad(result) for result in results):
        return None
    return next((origin for origin in watch.origins if not origin.told), None)


def _arguments(module: Any, batch: Any, batch_index: int) -> list[Any]:
    taken = inspect.signature(module.training_step).parameters.values()
    every = len(taken) > 1 or any(one.kind is one.VAR_POSITIONAL for one in taken)
    return [batch, batch_index] if every else [batch]


def _eager() -> AbstractContextManager[Any]:
    """Run what was compiled as it was written; where nothing was, the compiler need not be imported for it."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def _untouched_randomness(module: nn.Module) -> Iterator[None]:
    kept, drawn = random.getstate(), np.random.get_state()
    devices = sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(kept)
        np.random.set_state(drawn)
