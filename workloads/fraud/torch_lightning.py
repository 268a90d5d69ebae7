"""Fraud in PyTorch Lightning.

    python -m trackside.workloads.fraud.torch_lightning
    python -m trackside.workloads.fraud.torch_lightning --size 256 --precision float64 --mode compile

930 updates take about 5 seconds on one CPU core after some 10 seconds of imports, and reach an area under the
precision-recall curve of 0.48. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from .. import torch_training
from ..problem import Problem
from ..settings import Settings
from . import problem as fraud


class FraudMLP(pl.LightningModule):  # type: ignore[misc]
    """Two hidden layers: 5,249 parameters with 64 units each."""

    def __init__(self, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.hidden1 = nn.Linear(fraud.FEATURES, hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, 15)
        x = F.relu(self.hidden1(x))  # (B, H)
        x = F.relu(self.hidden2(x))  # (B, H)
        return self.head(x)  # (B, 1)

    def weighted_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over all samples, fraud counting several times."""
        weight = torch.tensor(fraud.POSITIVE_WEIGHT, dtype=logits.dtype, device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        features, labels = batch  # (B, 15), (B, 1)
        logits = self(features).to(labels.dtype)  # half precision ends before the loss
        return self.weighted_loss(logits, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return torch_training.over_all_devices(self.loss(batch))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        features, labels = batch  # (12000, 15), (12000, 1): all of it, as the areas need
        logits = self(features).to(labels.dtype)  # (12000, 1)
        self.log("val/loss", self.weighted_loss(logits, labels), batch_size=len(labels))
        for name, value in fraud.measure(labels.cpu(), logits.cpu()).items():
            self.log(f"val/{name}", value, batch_size=len(labels))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(
            self.parameters(),
            fraud.LEARNING_RATE,
            betas=fraud.BETAS,
            eps=fraud.EPSILON,
            weight_decay=fraud.WEIGHT_DECAY,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build(problem: Problem, settings: Settings) -> FraudMLP:
    """The model, without its initial weights."""
    return FraudMLP(settings.size, settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    problem = fraud.load(settings)
    return torch_training.fit(fraud.WORKLOAD, problem, settings, build, gradient_clip_val=fraud.CLIPPED_NORM)


if __name__ == "__main__":
    torch_training.run_script(fraud.WORKLOAD, __doc__, train)
