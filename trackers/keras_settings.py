"""Reads off a Keras model that is about to train what a run says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import keras

from . import keras_layers, keras_model

_FRAMEWORKS = {"tensorflow": "tensorflow", "torch": "torch", "jax": "jax"}
_PRECISIONS = {"mixed_bfloat16": "bf16-mixed", "mixed_float16": "fp16-mixed"}


def properties(model: Any) -> dict[str, Any]:
    """Return framework, versions, mode, precision and devices, as `Run.update` takes them."""
    backend = keras.backend.backend()
    framework = _FRAMEWORKS.get(backend, backend)
    device, count = devices(model)
    return {
        "framework": framework,
        "framework_version": framework_version(framework),
        "backend": f"keras {keras.__version__}",
        "mode": mode(model),
        "precision": precision(model),
        "device": device,
        "device_count": count,
        "world_size": 1,
    }


def framework_version(framework: str) -> str | None:
    """Return the version of the package under Keras; TensorFlow is published under several names."""
    names = {"tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tf-nightly")}
    for name in names.get(framework, (framework,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def devices(model: Any) -> tuple[str, int]:
    """Return the kind of device that computes and how many take part."""
    strategy = getattr(model, "distribute_strategy", None)
    return _device(keras.backend.backend()), int(getattr(strategy, "num_replicas_in_sync", 1))


def _device(backend: str) -> str:
    if backend == "tensorflow":
        return "cuda" if import_module("tensorflow").config.list_logical_devices("GPU") else "cpu"
    if backend == "torch":
        return "cuda" if import_module("torch").cuda.is_available() else "cpu"
    kinds = {device.partition(":")[0].lower() for device in keras.distribution.list_devices()}
    return "cuda" if kinds & {"gpu", "cuda"} else next(iter(kinds), "cpu")


def mode(model: Any) -> str:
    """Return how the step is executed: `eager`, `graph` or `xla`; on the torch back end `eager` or `compile`."""
    if model.run_eagerly:
        return "eager"
    backend = keras.backend.backend()
    if backend == "torch":
        return "compile" if model.jit_compile else "eager"
    return "xla" if model.jit_compile or backend == "jax" else "graph"


def precision(model: Any) -> str:
    """Return the precision in the vocabulary both frameworks share."""
    name = str(model.dtype_policy.name)
    return _PRECISIONS.get(name, name)


def total_steps(params: Mapping[str, Any], model: Any) -> int | None:
    """Return how many optimizer updates the training will make; None where the length of an epoch is unknown."""
    steps, epochs = params.get("steps"), params.get("epochs")
    if not steps or not epochs:
        return None
    return int(steps) * int(epochs) // keras_model.accumulation(model.optimizer)


def settings(model: Any, params: Mapping[str, Any], callbacks: Iterable[Any]) -> dict[str, Any]:
    """Return the run's configuration: how it is trained, optimizer, schedule, loss and metrics."""
    config: dict[str, Any] = {
        "trainer": {
            "max_epochs": params.get("epochs"),
            "steps_per_epoch": params.get("steps"),
            "steps_per_execution": int(model.steps_per_execution),
            "run_eagerly": bool(model.run_eagerly),
            "jit_compile": bool(model.jit_compile),
            "accumulate_grad_batches": keras_model.accumulation(model.optimizer),
        }
    }
    optimizers = keras_model.optimizers(model)
    if len(optimizers) > 1 and not keras_model.batches_seen(optimizers[0]):
        optimizers = []  # which of them the model trains with shows at the first update
    config |= one_or_several("optimizer", [keras_model.describe_optimizer(optimizer) for optimizer in optimizers])
    schedules = [keras_model.describe_schedule(optimizer, callbacks) for optimizer in optimizers]
    config |= one_or_several("schedule", [schedule for schedule in schedules if schedule is not None])
    loss = keras_model.describe_loss(model)
    if loss is not None:
        config["loss"] = loss
    return config


def arithmetic(model: Any, callbacks: Iterable[Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the parity check compares of the arithmetic; what could not be established is left out.

    Args:
        model: the model, with all its layers built.
        callbacks: those of the fit.
        seen: what is known of the first step: `random`, whether it drew random numbers, and `weighted`, whether its
            samples had weights.
    """
    found: dict[str, Any] = {
        "normalization": keras_model.describe_normalization(model),
        "trainable_parameter_count": keras_model.trainable_count(model),
        "convolutions": keras_layers.describe_convolutions(model),
        "activations": keras_layers.describe_activations(model),
    }
    if seen.get("random") is not None:
        found["random"] = seen["random"]
    dropout = keras_layers.dropout_rates(model)
    if dropout or not seen.get("random"):  # else there is something random that is no dropout
        found["dropout"] = dropout
    optimizers = keras_model.optimizers(model)
    found |= one_or_several("optimizer", [_described(model, optimizer, optimizers) for optimizer in optimizers])
    if optimizers:
        found["accumulation"] = keras_model.accumulation(optimizers[0])
        schedules = [keras_model.describe_schedule(optimizer, callbacks) for optimizer in optimizers]
        clippings = [keras_model.describe_clipping(optimizer) for optimizer in optimizers]
        # What several optimizers do alike needs no list.
        found |= {
            name: several[0]
            for name, several in (("schedule", schedules), ("clipping", clippings))
            if all(one == several[0] for one in several)
        }
    loss = keras_model.describe_loss(model)
    if loss is not None:
        found["loss"] = {**loss, "weighted": True} if seen.get("weighted") else loss
    return found


def _described(model: Any, optimizer: Any, optimizers: list[Any]) -> dict[str, Any]:
    """Return an optimizer's constants, and how many of the parameters it updates decay."""
    own = keras_model.inner_optimizer(optimizer)
    updated = model.trainable_variables if len(optimizers) == 1 else own._trainable_variables if own.built else None
    return keras_model.describe_optimizer(optimizer, updated)


def one_or_several(name: str, several: list[dict[str, Any]]) -> dict[str, Any]:
    """Return `{"optimizer": …}` for one thing, `{"optimizers": […]}` for more, nothing for none."""
    return {name: several[0]} if len(several) == 1 else {f"{name}s": several} if several else {}


def early_stop(model: Any, callbacks: Iterable[Any], epoch: int, epochs: int | None) -> str | None:
    """Return why training ends before its last epoch, in one sentence; None where it does not.

    Args:
        model: the model, after its last epoch.
        callbacks: those of the fit.
        epoch: the last epoch, counted from 0.
        epochs: how many there should have been.
    """
    if not model.stop_training or (epochs is not None and epoch + 1 >= epochs):
        return None
    for callback in callbacks:
        if getattr(callback, "stopped_epoch", 0):
            monitor = getattr(callback, "monitor", None)
            watching = f", which watches {monitor}," if monitor else ""
            return f"{type(callback).__name__}{watching} stopped training after epoch {epoch + 1} of {epochs}."
    return f"Training was told to stop after epoch {epoch + 1} of {epochs}."
