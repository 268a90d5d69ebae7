"""Tabular in PyTorch Lightning.

    python -m trackside.workloads.tabular.torch_lightning
    python -m trackside.workloads.tabular.torch_lightning --size 256 --precision float64 --mode compile

280 updates take about a second on one CPU core after some 10 seconds of imports, and reach a validation accuracy of
0.96. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from .. import torch_training
from ..problem import Problem
from ..ranking_metrics import roc_auc
from ..settings import Settings
from . import problem as tumours


class TumourMLP(pl.LightningModule):  # type: ignore[misc]
    """Two hidden layers: 6,209 parameters with 64 units each."""

    def __init__(self, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.hidden1 = nn.Linear(tumours.FEATURES, hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, 30)
        x = F.relu(self.hidden1(x))  # (B, H)
        x = F.relu(self.hidden2(x))  # (B, H)
        return self.head(x)  # (B, 1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        features, labels = batch  # (B, 30), (B, 1)
        logits = self(features).to(labels.dtype)  # half precision ends before the loss
        return F.binary_cross_entropy_with_logits(logits, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        features, labels = batch  # (B, 30), (B, 1)
        logits = self(features).to(labels.dtype)  # (B, 1)
        self.log("train/acc", ((logits > 0) == (labels > 0)).to(logits.dtype).mean(), sync_dist=True)
        return torch_training.over_all_devices(F.binary_cross_entropy_with_logits(logits, labels))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        features, labels = batch  # (114, 30), (114, 1)
        logits = self(features).to(labels.dtype)  # (114, 1)
        metrics = {
            "val/loss": F.binary_cross_entropy_with_logits(logits, labels),
            "val/acc": ((logits > 0) == (labels > 0)).to(logits.dtype).mean(),
            "val/auc": roc_auc(labels.cpu(), logits.cpu()),
        }
        self.log_dict(metrics, batch_size=len(labels))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(
            self.parameters(),
            tumours.LEARNING_RATE,
            betas=tumours.BETAS,
            eps=tumours.EPSILON,
            weight_decay=tumours.WEIGHT_DECAY,
        )
        schedule = torch.optim.lr_scheduler.MultiStepLR(
            optimizer, tumours.rate_drops(self.steps), gamma=tumours.RATE_FACTOR
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build(problem: Problem, settings: Settings) -> TumourMLP:
    """The model, without its initial weights."""
    return TumourMLP(settings.size, settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return torch_training.fit(tumours.WORKLOAD, tumours.load(settings), settings, build)


if __name__ == "__main__":
    torch_training.run_script(tumours.WORKLOAD, __doc__, train)
