"""Broken trainings in PyTorch, each as somebody might write it. The line at fault says `culprit`.

Each function trains with the tracker it is given, and lets whatever comes of it pass.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

import os
from typing import Any

import lightning.pytorch as L  # noqa: N812
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

FEATURES, CLASSES, SAMPLES, BATCH = 8, 3, 48, 8


def data() -> TensorDataset:
    """Samples (48, 8) whose class can be learned."""
    x = torch.randn(SAMPLES, FEATURES, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, x[:, :CLASSES].argmax(1))


class Classifier(L.LightningModule):
    """Two layers, and what a case puts in between or in their place."""

    def __init__(self, net: nn.Module | None = None, lr: float = 0.1) -> None:
        super().__init__()
        self.net = net or nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def fit(model: L.LightningModule, tracker: Any, loader: Any = None, **settings: Any) -> None:
    """Two epochs without output."""
    torch.manual_seed(0)
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[tracker], **settings,
    )  # fmt: skip
    trainer.fit(model, loader or DataLoader(data(), batch_size=BATCH))


class Normalise(nn.Module):
    """Divides each sample by its spread, which is zero where all features are the same."""

    def forward(self, x: Tensor) -> Tensor:
        spread = x.max(1, keepdim=True).values - x.min(1, keepdim=True).values
        return x / spread  # culprit: division_by_zero


def division_by_zero(tracker: Any) -> None:
    """A sample without any spread in the fourth batch."""
    samples = data()
    samples.tensors[0][27] = 1.0
    net = nn.Sequential(Normalise(), nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    fit(Classifier(net), tracker, DataLoader(samples, batch_size=BATCH))


def exploding_rate(tracker: Any) -> None:
    """A regression whose learning rate is a hundred times too large."""

    class Regression(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            return F.mse_loss(self.net(x)[:, 0], y.float())  # culprit: exploding_rate

    fit(Regression(lr=30.0), tracker)


def log_of_negative(tracker: Any) -> None:
    """A loss that takes the logarithm of a prediction that may be negative."""

    class Logarithm(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            predicted = self(x).gather(1, y[:, None])
            return -torch.log(predicted).mean()  # culprit: log_of_negative

    fit(Logarithm(), tracker)


class TwoStage(nn.Module):
    """A head that expects more features than it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 16)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.body(x))
        return self.head(hidden)  # culprit: wrong_shape


def wrong_shape(tracker: Any) -> None:
    """16 features into a layer of 32."""
    fit(Classifier(TwoStage()), tracker)


def wrong_dtype(tracker: Any) -> None:
    """Samples in double precision, a model in single."""

    class Double(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            x = x.double()
            return F.cross_entropy(self.net(x), y)  # culprit: wrong_dtype

    fit(Double(), tracker)


def label_out_of_range(tracker: Any) -> None:
    """One label that no output stands for, in the fourth batch."""

    class Labelled(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            return F.cross_entropy(self(x), y)  # culprit: label_out_of_range

    samples = data()
    samples.tensors[1][27] = CLASSES
    fit(Labelled(), tracker, DataLoader(samples, batch_size=BATCH))


def dead_relu(tracker: Any) -> None:
    """A bias so low that no unit of the hidden layer ever fires."""
    model = Classifier()
    with torch.no_grad():
        model.net[0].bias.fill_(-100.0)
    fit(model, tracker)


class Failing(Dataset):
    """A data set with one file that cannot be read."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 27:
            raise OSError("image 27 is truncated")  # culprit: worker_dies
        return torch.ones(FEATURES), torch.tensor(0)


class Killed(Failing):
    """A data set at whose 27th sample the system kills the process."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 27:
            os._exit(9)
        return torch.ones(FEATURES), torch.tensor(0)


def worker_dies(tracker: Any, dataset: Dataset | None = None) -> None:
    """An exception in a process of the data loader."""
    fit(Classifier(), tracker, DataLoader(dataset or Failing(), batch_size=BATCH, num_workers=1))


class Pairs(nn.Module):
    """Compares everything with everything, which needs more memory than there is."""

    def forward(self, x: Tensor) -> Tensor:
        every = x.new_ones(2**40, 2**10)  # culprit: out_of_memory
        return x @ every[: x.shape[1]]


def out_of_memory(tracker: Any) -> None:
    """Four petabytes."""
    fit(Classifier(nn.Sequential(Pairs(), nn.Linear(FEATURES, CLASSES))), tracker)


def frozen_layer(tracker: Any) -> None:
    """A layer that was meant to train, and is cut off by `detach`."""

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(FEATURES, 16)
            self.head = nn.Linear(16, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.body(x)).detach())  # culprit: frozen_layer

    fit(Classifier(Cut()), tracker)
