"""Digits CNN in PyTorch Lightning.

    python -m trackside.workloads.digits_cnn.torch_lightning
    python -m trackside.workloads.digits_cnn.torch_lightning --precision float64 --mode compile --threads 2

352 updates take about 2 seconds on one CPU core after some 10 seconds of imports, and reach a validation accuracy of
0.98 or more. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

import trackside

from ..settings import Settings, parse_settings
from . import problem

MODES = ("eager", "compile")
PRECISIONS = {"float32": "32-true", "float64": "64-true"}


class DigitsCNN(pl.LightningModule):  # type: ignore[misc]
    """Two convolutions with batch normalisation and a linear head: 6,138 parameters."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        norm = {"momentum": problem.NORM_MOMENTUM, "eps": problem.NORM_EPSILON}
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)  # the normalisation after it has a bias
        self.norm1 = nn.BatchNorm2d(16, **norm)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32, **norm)
        self.head = nn.Linear(128, problem.CLASSES)

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 8, 8)
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)  # (B, 16, 4, 4)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)  # (B, 32, 2, 2)
        return self.head(x.flatten(1))  # (B, 10)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch  # (B, 1, 8, 8), (B,)
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch  # (360, 1, 8, 8), (360,)
        logits = self(images)  # (360, 10)
        accuracy = (logits.argmax(1) == labels).to(logits.dtype).mean()
        self.log_dict({"val/loss": F.cross_entropy(logits, labels), "val/acc": accuracy}, batch_size=len(labels))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.SGD(self.parameters(), problem.LEARNING_RATE, momentum=problem.MOMENTUM)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class FixedOrder(Sampler[int]):  # type: ignore[misc]
    """Hands out the samples of each epoch in an order drawn beforehand; Lightning calls `set_epoch`."""

    def __init__(self, order: NDArray[np.int64]) -> None:
        self.order = order  # (epochs, samples)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        yield from self.order[self.epoch].tolist()

    def __len__(self) -> int:
        return len(self.order[0])


class StopAfter(pl.Callback):  # type: ignore[misc]
    """Ends training at a given update with a last validation, wherever in an epoch it falls."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.steps


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32, in both frameworks
    torch.backends.cudnn.allow_tf32 = False
    pl.seed_everything(settings.seed, verbose=False)

    digits = problem.load_digits()
    epochs = problem.epochs(settings.steps, settings.batch_size)
    training, validation = (
        TensorDataset(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels))  # (N, 1, 8, 8), (N,)
        for images, labels in (digits[:2], digits[2:])
    )
    order = FixedOrder(problem.sample_order(settings.seed, epochs))
    train_loader = DataLoader(training, settings.batch_size, sampler=order, drop_last=True)
    validation_loader = DataLoader(validation, batch_size=len(validation))

    model = DigitsCNN(settings.steps)
    weights = {name: torch.from_numpy(array) for name, array in problem.initial_weights(settings.seed).items()}
    model.load_state_dict(weights, strict=False)  # the running statistics stay at 0 and 1

    tracker = trackside.LightningTracker(
        name=settings.name,
        project=settings.project or "digits-cnn",
        group=settings.group,
        workload="digits-cnn",
        config=problem.config(settings, digits),
        store=settings.store,
        tensorboard=settings.tensorboard,
    )
    trainer = pl.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        precision=PRECISIONS[settings.precision],
        max_steps=settings.steps,
        max_epochs=epochs,
        callbacks=[tracker, StopAfter(settings.steps)],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(torch.compile(model) if settings.mode == "compile" else model, train_loader, validation_loader)
    return {name: trainer.callback_metrics[name].item() for name in ("val/loss", "val/acc")}


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")  # about torch, not about us
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # 1,437 small images need none
    options = parse_settings(
        __doc__, modes=MODES, precisions=tuple(PRECISIONS), steps=problem.STEPS, batch_size=problem.BATCH_SIZE
    )
    print(*(f"{name} {value:.4f}" for name, value in train(options).items()))
