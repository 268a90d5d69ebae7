"""What every workload's PyTorch half has in common: the Trainer around a LightningModule, told by `Settings`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed
from lightning.pytorch.callbacks import ModelCheckpoint
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

import trackside

from .problem import Arrays, Problem, in_precision, initial_weights, sample_order, with_places
from .settings import Settings, parse_settings
from .workload import Workload

PRECISIONS = {"float32": "32-true", "float64": "64-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}

Build = Callable[[Problem, Settings], pl.LightningModule]
Prepare = Callable[[Arrays], Arrays]

CHECKPOINT = "last.ckpt"


class FixedOrder(Sampler[Any]):  # type: ignore[misc]
    """Hands out the samples of each epoch in an order drawn beforehand; Lightning calls `set_epoch`.

    Args:
        order: (epochs, samples) int64, or (epochs, samples, columns) where several numbers name a sample.
        batch_size: samples an update, over all devices together.
        device: which of the devices this is.
        devices: how many there are. Each takes one stretch of every batch, the first the beginning, as TensorFlow's
            MirroredStrategy does; Lightning's own sampler would deal the samples out one by one.
    """

    def __init__(self, order: NDArray[np.int64], batch_size: int, device: int = 0, devices: int = 1) -> None:
        whole = order.shape[1] // batch_size * batch_size
        batches = order[:, :whole].reshape(len(order), -1, devices, batch_size // devices, *order.shape[2:])
        # (epochs, samples of this device, …)
        self.order = batches[:, :, device].reshape(len(order), whole // devices, *order.shape[2:])
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        yield from self.order[self.epoch].tolist()

    def __len__(self) -> int:
        return len(self.order[0])


class StopAfter(pl.Callback):  # type: ignore[misc]
    """Ends training at a given update with a last validation, wherever in an epoch it falls."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # Batches, not `global_step`: that counts the steps of every optimizer.
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        trainer.should_stop = trainer.should_stop or done >= self.steps


def dataset(inputs: Arrays, targets: Arrays, settings: Settings) -> Dataset[tuple[Tensor, ...]]:
    """Samples as (*inputs, *targets), in the precision asked for."""
    return TensorDataset(*map(torch.from_numpy, in_precision((*inputs, *targets), settings.precision)))


class WithNoise(Dataset[tuple[Tensor, ...]]):  # type: ignore[misc]
    """Samples with the noise of their place in the training before them: (*noise, *sample).

    Args:
        samples: by sample.
        noise: (places, …) each.
    """

    def __init__(self, samples: Dataset[tuple[Tensor, ...]], noise: Sequence[Tensor]) -> None:
        self.samples = samples
        self.noise = noise

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, ...]:
        sample, place = index
        return (*(tensor[place] for tensor in self.noise), *self.samples[sample])


def load_weights(module: pl.LightningModule, problem: Problem, settings: Settings) -> None:
    """Put the initial weights into the module; running statistics and other buffers stay as they are.

    Raises:
        ValueError: a trainable tensor has no initial weights, or other than its shape.
    """
    weights = {name: torch.from_numpy(array) for name, array in initial_weights(problem, settings).items()}
    missing, unexpected = module.load_state_dict(weights, strict=False)
    trainable = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    if unexpected or trainable & set(missing):
        raise ValueError(
            f"The weights do not fit: {sorted(trainable & set(missing))} missing, {unexpected} unexpected."
        )


def prepare_process(settings: Settings) -> None:
    """Threads, random numbers, and float32 that means float32, as in the other framework."""
    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    pl.seed_everything(settings.seed, verbose=False)


def over_all_devices(loss: Tensor) -> Tensor:
    """The loss with its value averaged over all devices; its gradient stays each device's own.

    What a run records is then the loss of the whole batch, the number that one device would have seen.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return loss
    mean = loss.detach().clone()
    torch.distributed.all_reduce(mean)
    return loss + (mean / torch.distributed.get_world_size() - loss.detach())


def fit(
    workload: Workload,
    problem: Problem,
    settings: Settings,
    build: Build,
    *,
    prepare: Prepare = lambda inputs: inputs,
    make_dataset: Callable[[Arrays, Arrays, Settings], Dataset[Any]] = dataset,
    validation_batch_size: int | None = None,
) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation.

    Args:
        workload: what is trained.
        problem: data and start.
        settings: how.
        build: makes the LightningModule. Its `training_step` returns the loss; its `validation_step` logs
            `val/loss` and the workload's metrics.
        prepare: from the problem's layout of the inputs to PyTorch's; `problem.channels_first` for images.
        make_dataset: makes a dataset from inputs and targets.
        validation_batch_size: all of the validation data at once by default.

    Returns:
        `val/loss` and the workload's metrics after the last update.
    """
    prepare_process(settings)
    module = build(problem, settings)
    load_weights(module, problem, settings)
    trainer = _trainer(workload, problem, settings, module)
    training = make_dataset(prepare(problem.inputs), problem.targets, settings)
    validation = make_dataset(prepare(problem.validation_inputs), problem.validation_targets, settings)
    order = sample_order(settings.seed, problem.samples, problem.epochs(settings))
    if noise := problem.noise(order.size):
        training = WithNoise(training, tuple(map(torch.from_numpy, in_precision(noise, settings.precision))))
        order = with_places(order)
    sampler = FixedOrder(order, settings.batch_size, trainer.global_rank, settings.devices)
    batch_size = settings.batch_size // settings.devices
    # Every device validates all of it: a share each would make the numbers depend on how many there are.
    trainer.fit(
        _compiled(module) if settings.mode == "compile" else module,
        DataLoader(training, batch_size, sampler=sampler, drop_last=True),
        DataLoader(validation, validation_batch_size or len(problem.validation_inputs[0])),
        ckpt_path=_checkpoint(settings),
    )
    metrics = trainer.callback_metrics
    return {name: metrics[name].item() for name in ("val/loss", *workload.metrics) if name in metrics}


def _trainer(workload: Workload, problem: Problem, settings: Settings, module: pl.LightningModule) -> pl.Trainer:
    callbacks: list[pl.Callback] = [tracker(workload, problem, settings), StopAfter(settings.steps)]
    if settings.checkpoints is not None:
        kept = ModelCheckpoint(settings.checkpoints, Path(CHECKPOINT).stem, enable_version_counter=False)
        callbacks.append(kept)
    return pl.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=settings.devices,
        strategy=_strategy(settings, module),
        precision=PRECISIONS[settings.precision],
        # With several optimizers each of their steps counts; there StopAfter alone says when.
        max_steps=settings.steps if module.automatic_optimization else -1,
        max_epochs=problem.epochs(settings),
        callbacks=callbacks,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=settings.checkpoints is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _compiled(module: pl.LightningModule) -> pl.LightningModule:
    if module.automatic_optimization:
        return torch.compile(module)
    # A step that makes its updates itself is no one graph: TorchDynamo breaks it some forty times, at backward passes,
    # updates and hooks, and traces callbacks too. So its networks are compiled instead. Each needs a `forward` of its
    # own: that of a Sequential, which is PyTorch's, would silently stay as it is.
    for network in module.children():
        if any(True for _ in network.parameters()):
            network.compile()
    return module


def _strategy(settings: Settings, module: pl.LightningModule) -> str:
    if settings.devices == 1:
        return "auto"
    # With several optimizers, each loss reaches only some of the parameters.
    return "ddp" if module.automatic_optimization else "ddp_find_unused_parameters_true"


def tracker(workload: Workload, problem: Problem, settings: Settings) -> trackside.LightningTracker:
    """The callback that records the run."""
    return trackside.LightningTracker(
        name=settings.name,
        project=settings.project or workload.name,
        group=settings.group,
        tags=settings.tags,
        workload=workload.name,
        config=problem.full_config(settings),
        store=settings.store,
        tensorboard=settings.tensorboard,
    )


def _checkpoint(settings: Settings) -> str | None:
    if not settings.resume or settings.checkpoints is None:
        return None
    path = Path(settings.checkpoints) / CHECKPOINT
    return str(path) if path.is_file() else None


def probe(module: Any, problem: Problem, settings: Settings, prepare: Prepare) -> dict[str, NDArray[Any]]:
    """What the network computes from its initial weights for the first batch.

    Args:
        module: a LightningModule with a method `loss(batch)` that gives the scalar loss of training.
        problem: data and start.
        settings: precision, seed and batch size count.
        prepare: as in `fit`.

    Returns:
        `outputs`: of `module(*inputs)` in training mode; `loss`: (); `gradient/<name>`: of each trainable tensor.
    """
    load_weights(module, problem, settings)
    module.train().to(torch.float64 if settings.precision == "float64" else torch.float32)
    inputs, targets = problem.first_batch(settings)
    batch = tuple(map(torch.from_numpy, in_precision((*prepare(inputs), *targets), settings.precision)))
    with torch.no_grad():
        outputs = module(*batch[: len(inputs)])
    loss = module.loss(batch)
    loss.backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    found: Mapping[str, Tensor] = {
        "outputs": outputs,
        "loss": loss.detach(),
        **{f"gradient/{name}": gradient for name, gradient in gradients.items()},
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def run_script(workload: Workload, description: str | None, train: Callable[[Settings], dict[str, float]]) -> None:
    """Train as the command line says and print the last validation."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")  # about torch, not about us
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # arrays in memory need none
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # checkpoints, on resuming
    metrics = train(parse_settings(workload, "torch", description))
    print(*(f"{name} {value:.4f}" for name, value in metrics.items()))
