"""Reads off a Lightning trainer what a run says of itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from . import torch_model

_PRECISIONS = {
    "32-true": "float32",
    "64-true": "float64",
    "16-mixed": "fp16-mixed",
    "bf16-mixed": "bf16-mixed",
    "16-true": "float16",
    "bf16-true": "bfloat16",
}

_TRAINER_FIELDS = (
    "max_epochs", "min_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val",
    "gradient_clip_algorithm", "limit_train_batches", "limit_val_batches", "val_check_interval",
    "check_val_every_n_epoch", "overfit_batches", "reload_dataloaders_every_n_epochs",
)  # fmt: skip


def properties(trainer: Any, module: Any) -> dict[str, Any]:
    """Return framework, versions, mode, precision and devices, as `Run.update` takes them."""
    package = package_of(trainer)
    version = getattr(sys.modules.get(package), "__version__", "")
    devices = int(getattr(trainer, "num_devices", 1)) * int(getattr(trainer, "num_nodes", 1))
    return {
        "framework": "torch",
        "framework_version": str(torch.__version__),
        "backend": f"{package} {version}".strip(),
        "mode": "compile" if torch_model.is_compiled(module) else "eager",
        "precision": precision(trainer, module),
        "device": trainer.strategy.root_device.type,
        "device_count": max(devices, int(trainer.world_size)),
        "world_size": int(trainer.world_size),
    }


def package_of(trainer: Any) -> str:
    """Return which package the trainer comes from: `lightning` or `pytorch_lightning`."""
    for kind in type(trainer).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in ("lightning", "pytorch_lightning"):
            return package
    return "lightning"


def precision(trainer: Any, module: Any) -> str:
    """Return the precision that runs, in the vocabulary both frameworks share.

    Lightning turns `16-mixed` into bfloat16 on a CPU, and a model converted by hand computes in its own type.
    """
    name = str(trainer.precision)
    if name == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        name = "bf16-mixed"
    if name == "32-true":
        types = {p.dtype for p in module.parameters() if p.is_floating_point()}
        if len(types) == 1:
            return str(next(iter(types))).removeprefix("torch.")
    return _PRECISIONS.get(name, name)


def total_steps(trainer: Any) -> int | None:
    """Return how many optimizer updates the whole training will make; None where nobody can know."""
    steps = trainer.num_training_batches if _manual(trainer) else trainer.estimated_stepping_batches
    if _manual(trainer):
        steps = steps * trainer.max_epochs if trainer.max_epochs not in (None, -1) else float("inf")
    return int(steps) if steps not in (None, -1) and steps != float("inf") else None


def _manual(trainer: Any) -> bool:
    return not trainer.lightning_module.automatic_optimization


def settings(trainer: Any, module: Any) -> dict[str, Any]:
    """Return the run's configuration: trainer, optimizers, schedules, data and hyperparameters."""
    config: dict[str, Any] = {
        "trainer": {name: getattr(trainer, name, None) for name in _TRAINER_FIELDS},
        "data": data(trainer),
    }
    optimizers = [torch_model.describe_optimizer(optimizer) for optimizer in trainer.optimizers]
    schedules = [torch_model.describe_schedule(schedule) for schedule in trainer.lr_scheduler_configs]
    for name, several in (("optimizer", optimizers), ("schedule", schedules)):
        if len(several) == 1:
            config[name] = several[0]
        elif several:
            config[f"{name}s"] = several
    hyperparameters = dict(getattr(module, "hparams", None) or {})
    datamodule = getattr(trainer, "datamodule", None)
    hyperparameters.update(getattr(datamodule, "hparams", None) or {})
    if hyperparameters:
        config["hparams"] = hyperparameters
    return config


def data(trainer: Any) -> dict[str, Any]:
    """Return what the training loader says of itself; empty for anything but one PyTorch DataLoader."""
    loader = trainer.train_dataloader
    if not isinstance(loader, torch.utils.data.DataLoader):
        return {}
    sampler = type(loader.sampler).__name__
    return {
        "batch_size": loader.batch_size,
        "drop_last": loader.drop_last,
        "num_workers": loader.num_workers,
        "pin_memory": loader.pin_memory,
        "shuffle": sampler in ("RandomSampler", "DistributedSampler"),
        "sampler": sampler,
    }


def samples_per_epoch(trainer: Any) -> int | None:
    """Return how many samples one epoch will show, over all processes; None where the loader cannot tell."""
    loader = trainer.train_dataloader
    if not isinstance(loader, torch.utils.data.DataLoader) or loader.batch_size is None:
        return None
    batches = trainer.num_training_batches
    if isinstance(loader.dataset, torch.utils.data.IterableDataset) or batches in (None, float("inf")):
        return None
    shown: int = min(int(batches) * loader.batch_size, len(loader.sampler)) * int(trainer.world_size)
    return shown


def arithmetic(trainer: Any, module: Any, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the parity check compares of the arithmetic; what could not be established is left out.

    Args:
        trainer: Lightning's trainer, about to train.
        module: the model.
        seen: what is known of the first step: `loss`, `convolutions`, `activations`, `random`;
            and `unclipped`, whether the gradients of manual optimization were seen to be used as they were computed.
    """
    found: dict[str, Any] = {
        "accumulation": int(trainer.accumulate_grad_batches),
        "normalization": torch_model.describe_normalization(module),
        "trainable_parameter_count": torch_model.trainable_count(module, torch_model.trained_ids(trainer.optimizers)),
        **{key: value for key, value in seen.items() if value is not None and key != "unclipped"},
    }
    dropout = torch_model.dropout_rates(module)
    if dropout or not seen.get("random"):  # else there is something random that is no layer
        found["dropout"] = dropout
    if len(trainer.optimizers) == 1:
        found["optimizer"] = torch_model.describe_optimizer(trainer.optimizers[0])
    elif trainer.optimizers:
        found["optimizers"] = [torch_model.describe_optimizer(optimizer) for optimizer in trainer.optimizers]
    if _manual(trainer):
        # It steps schedules and clips wherever it likes: what is not seen is not known.
        found |= {"clipping": None} if seen.get("unclipped") else {}
    else:
        schedules = [torch_model.describe_schedule(schedule) for schedule in trainer.lr_scheduler_configs]
        found["schedule"] = schedules[0] if schedules else None
        clip = trainer.gradient_clip_val
        kind = str(getattr(trainer.gradient_clip_algorithm, "value", trainer.gradient_clip_algorithm) or "norm")
        found["clipping"] = {"kind": kind, "value": float(clip)} if clip else None
    return found


def gpu_uuids(trainer: Any) -> list[str] | None:
    """Return the UUIDs of the GPUs to sample, in the framework's order; None where NVML must find out.

    None are sampled for a training on the CPU, and of the processes on one machine only the first samples.
    """
    if trainer.strategy.root_device.type != "cuda" or trainer.local_rank != 0:
        return []
    uuids = [getattr(torch.cuda.get_device_properties(i), "uuid", None) for i in range(torch.cuda.device_count())]
    return [str(uuid) for uuid in uuids] if all(uuids) else None


def early_stop(trainer: Any) -> str | None:
    """Return why training ends before its limits, in one sentence; None where it does not."""
    if not trainer.should_stop:
        return None
    reached_epochs = trainer.max_epochs not in (None, -1) and trainer.current_epoch + 1 > trainer.max_epochs
    if reached_epochs or (trainer.max_steps not in (None, -1) and trainer.global_step >= trainer.max_steps):
        return None
    for callback in trainer.callbacks:
        if getattr(callback, "stopped_epoch", 0) > 0 or getattr(callback, "stopping_reason_message", None):
            reason = getattr(callback, "stopping_reason_message", None)
            return (
                f"{type(callback).__name__} stopped training: {reason}"
                if reason
                else (f"{type(callback).__name__} stopped training.")
            )
    return "Training was told to stop before its last epoch."
