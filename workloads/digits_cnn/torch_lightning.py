"""Digits CNN in PyTorch Lightning.

    python -m trackside.workloads.digits_cnn.torch_lightning
    python -m trackside.workloads.digits_cnn.torch_lightning --precision float64 --mode compile --threads 2

352 updates take about 2 seconds on one CPU core after some 10 seconds of imports, and reach a validation accuracy of
0.98 or more. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from .. import torch_training
from ..problem import Problem, channels_first
from ..settings import Settings
from . import problem as digits

PREPARE = channels_first


class DigitsCNN(pl.LightningModule):  # type: ignore[misc]
    """Two convolutions with batch normalisation and a linear head: 6,138 parameters with 16 channels."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        norm = {"momentum": digits.NORM_MOMENTUM, "eps": digits.NORM_EPSILON}
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)  # the normalisation after it has a bias
        self.norm1 = nn.BatchNorm2d(channels, **norm)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * channels, **norm)
        self.head = nn.Linear(8 * channels, digits.CLASSES)

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 8, 8)
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)  # (B, C, 4, 4)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)  # (B, 2C, 2, 2)
        return self.head(x.flatten(1))  # (B, 10)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch  # (B, 1, 8, 8), (B,)
        logits = self(images)  # (B, 10)
        self.accuracy = (logits.argmax(1) == labels).to(logits.dtype).mean()
        return F.cross_entropy(logits, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train/acc", self.accuracy, sync_dist=True)
        return torch_training.over_all_devices(loss)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        loss = self.loss(batch)
        self.log_dict({"val/loss": loss, "val/acc": self.accuracy}, batch_size=len(batch[0]))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.SGD(self.parameters(), digits.LEARNING_RATE, momentum=digits.MOMENTUM)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build(problem: Problem, settings: Settings) -> DigitsCNN:
    """The model, without its initial weights."""
    return DigitsCNN(settings.size, settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return torch_training.fit(digits.WORKLOAD, digits.load(settings), settings, build, prepare=PREPARE)


if __name__ == "__main__":
    torch_training.run_script(digits.WORKLOAD, __doc__, train)
