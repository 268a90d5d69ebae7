"""Recommender in PyTorch Lightning.

    python -m trackside.workloads.recommender.torch_lightning
    python -m trackside.workloads.recommender.torch_lightning --size 64 --precision float64 --mode compile

1,120 updates take about 10 seconds on one CPU core after some 10 seconds of imports, and rank the last pick of 60 %
of the users among the first 10. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside it.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from .. import torch_training
from ..problem import Problem
from ..settings import Settings
from . import problem as picks

Batch = tuple[Tensor, Tensor, Tensor]


class NeuMF(pl.LightningModule):  # type: ignore[misc]
    """Matrix factorisation beside a network, each with embeddings of its own: 48,689 parameters with 16 dimensions."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.gmf_user = nn.Embedding(picks.USERS, dimensions)
        self.gmf_item = nn.Embedding(picks.ITEMS, dimensions)
        self.mlp_user = nn.Embedding(picks.USERS, dimensions)
        self.mlp_item = nn.Embedding(picks.ITEMS, dimensions)
        self.hidden1 = nn.Linear(2 * dimensions, dimensions)
        self.hidden2 = nn.Linear(dimensions, dimensions // 2)
        self.head = nn.Linear(dimensions + dimensions // 2, 1)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:  # (B,), (B,)
        factors = self.gmf_user(users) * self.gmf_item(items)  # (B, D)
        x = torch.cat([self.mlp_user(users), self.mlp_item(items)], dim=1)  # (B, 2D)
        x = F.relu(self.hidden1(x))  # (B, D)
        x = F.relu(self.hidden2(x))  # (B, D/2)
        return self.head(torch.cat([factors, x], dim=1))  # (B, 1)

    def loss(self, batch: Batch) -> Tensor:
        users, items, picked = batch  # (B,), (B,), (B, 1)
        logits = self(users, items).to(picked.dtype)  # half precision ends before the loss
        return F.binary_cross_entropy_with_logits(logits, picked)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return torch_training.over_all_devices(self.loss(batch))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        users, items, picked = batch  # (100000,), (100000,), (100000, 1): all candidates of all users
        logits = self(users, items).to(picked.dtype)  # (100000, 1)
        self.log("val/loss", F.binary_cross_entropy_with_logits(logits, picked), batch_size=len(users))
        for name, value in picks.measure(logits.cpu().numpy()).items():
            self.log(f"val/{name}", value, batch_size=len(users))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.Adam(self.parameters(), picks.LEARNING_RATE, betas=picks.BETAS, eps=picks.EPSILON)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=picks.RATE_DECAY)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def build(problem: Problem, settings: Settings) -> NeuMF:
    """The model, without its initial weights."""
    return NeuMF(settings.size)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return torch_training.fit(picks.WORKLOAD, picks.load(settings), settings, build)


if __name__ == "__main__":
    torch_training.run_script(picks.WORKLOAD, __doc__, train)
