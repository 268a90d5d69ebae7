"""What every workload's PyTorch half has in common: the Trainer around a LightningModule, told by `Settings`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed
from lightning.pytorch.callbacks import ModelCheckpoint
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import trackside

from .problem import Arrays, Problem, in_precision, initial_weights, sample_order, with_places
from .settings import Settings, parse_settings
from .torch_data import ExpandedDataset, FixedOrder, Prepare, WithNoise, collate
from .torch_data import dataset as dataset  # for the workloads
from .workload import Workload

PRECISIONS = {"float32": "32-true", "float64": "64-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}

Build = Callable[[Problem, Settings], pl.LightningModule]

CHECKPOINT = "last.ckpt"


class StopAfter(pl.Callback):  # type: ignore[misc]
    """Ends training at a given update with a last validation, wherever in an epoch it falls.

    The Trainer's own `max_steps` would do, but a fit that has it resumes from the end of an epoch as if from within it,
    and counts one epoch too many (Lightning 2.6).

    Args:
        steps: updates.
        tracker: told how many there will be; Lightning itself knows of whole epochs only.
    """

    def __init__(self, steps: int, tracker: trackside.LightningTracker) -> None:
        self.steps = steps
        self.tracker = tracker

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.tracker.run is not None:
            self.tracker.run.update(total_steps=self.steps)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # Batches, not `global_step`: that counts the steps of every optimizer.
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        trainer.should_stop = trainer.should_stop or done >= self.steps


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
    gradient_clip_val: float | None = None,
) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation.

    Args:
        workload: what is trained.
        problem: data and start.
        settings: how.
        build: makes the LightningModule. Its `training_step` returns the loss; its `validation_step` logs
            `val/loss` and the workload's metrics.
        prepare: from the problem's layout of the inputs to PyTorch's; `problem.channels_first` for images.
        make_dataset: makes a dataset from inputs and targets, unless the problem expands its inputs.
        validation_batch_size: all of the validation data at once by default.
        gradient_clip_val: largest norm of all gradients together; None for no clipping.

    Returns:
        `val/loss` and the workload's metrics after the last update.
    """
    prepare_process(settings)
    module = build(problem, settings)
    if settings.precision == "float64":
        module.double()  # Lightning would, but only after it has put a checkpoint's weights into single precision
    if settings.mode == "compile":
        # Lightning looks at the signature of a training step that logs, which the compiler cannot follow.
        module.log = torch.compiler.disable(module.log)
    load_weights(module, problem, settings)
    trainer = _trainer(workload, problem, settings, _strategy(settings, module), gradient_clip_val)

    def samples(inputs: Arrays, targets: Arrays) -> Dataset[Any]:
        if problem.expand is None:
            return make_dataset(prepare(inputs), targets, settings)
        return ExpandedDataset(inputs, targets, lambda some: prepare(problem.expanded(some)), settings)

    training = samples(problem.inputs, problem.targets)
    validation = samples(problem.validation_inputs, problem.validation_targets)
    order = sample_order(settings.seed, problem.samples, problem.epochs(settings))
    if noise := problem.noise(order.size):
        training = WithNoise(training, tuple(map(torch.from_numpy, in_precision(noise, settings.precision))))
        order = with_places(order)
    sampler = FixedOrder(order, settings.batch_size, trainer.global_rank, settings.devices)
    batch_size = settings.batch_size // settings.devices
    # Every device validates all of it: a share each would make the numbers depend on how many there are.
    trainer.fit(
        _compiled(module) if settings.mode == "compile" else module,
        DataLoader(training, batch_size, sampler=sampler, drop_last=True, collate_fn=collate),
        DataLoader(validation, validation_batch_size or len(problem.validation_inputs[0]), collate_fn=collate),
        ckpt_path=_checkpoint(settings),
    )
    metrics = trainer.callback_metrics
    return {name: metrics[name].item() for name in ("val/loss", *workload.metrics) if name in metrics}


def _trainer(
    workload: Workload, problem: Problem, settings: Settings, strategy: str, gradient_clip_val: float | None
) -> pl.Trainer:
    recorder = tracker(workload, problem, settings)
    callbacks: list[pl.Callback] = [recorder, StopAfter(settings.steps, recorder)]
    if settings.checkpoints is not None:
        # At the end of the epoch: one saved after the validation, which comes before, would repeat its end on resuming.
        kept = ModelCheckpoint(
            settings.checkpoints, Path(CHECKPOINT).stem, enable_version_counter=False, save_on_train_epoch_end=True
        )
        callbacks.append(kept)
    return pl.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=settings.devices,
        strategy=strategy,
        precision=PRECISIONS[settings.precision],
        max_epochs=problem.epochs(settings),
        gradient_clip_val=gradient_clip_val,
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
        profile=settings.schedule,
        debug=settings.debug,
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
