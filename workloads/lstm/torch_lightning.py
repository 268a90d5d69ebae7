"""LSTM in PyTorch Lightning: a character language model.

    python -m trackside.workloads.lstm.torch_lightning
    python -m trackside.workloads.lstm.torch_lightning --size 1024 --batch-size 128   # for a GPU

656 updates take about 10 seconds on one CPU core after some 5 seconds of imports, and reach a validation perplexity of
5.4. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from .. import torch_training
from ..problem import Problem
from ..settings import Settings
from ..text import SYMBOLS
from . import problem as characters


class CharacterModel(pl.LightningModule):  # type: ignore[misc]
    """Embedding, recurrent layer, and a score for every character that may come next."""

    def __init__(self, rnn: nn.RNNBase, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.embedding = nn.Embedding(SYMBOLS, rnn.input_size)
        self.rnn = rnn
        self.head = nn.Linear(rnn.hidden_size, SYMBOLS)

    def forward(self, tokens: Tensor) -> Tensor:  # (B, T)
        x = self.embedding(tokens)  # (B, T, E)
        x, _ = self.rnn(x)  # (B, T, H), from a state of zeros
        return self.head(x).to(self.head.weight.dtype)  # (B, T, V); half precision ends before the loss

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        tokens, following = batch  # (B, T), (B, T)
        return F.cross_entropy(self(tokens).flatten(0, 1), following.flatten())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train/perplexity", loss.detach().exp(), sync_dist=True)
        return torch_training.over_all_devices(loss)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        loss = self.loss(batch)  # all of the held-out text is one batch, so its perplexity is that of the mean
        self.log_dict({"val/loss": loss, "val/perplexity": loss.exp()}, batch_size=len(batch[0]))

    def configure_optimizers(self) -> dict[str, object]:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, characters.LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build(problem: Problem, settings: Settings) -> CharacterModel:
    """The model, without its initial weights."""
    lstm = nn.LSTM(characters.EMBEDDING, settings.size, batch_first=True)
    # PyTorch adds a second bias to that of the inputs. Trained, it would move their sum at twice the rate.
    nn.init.zeros_(lstm.bias_hh_l0).requires_grad_(False)
    return CharacterModel(lstm, settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    problem = characters.load(settings)
    return torch_training.fit(characters.WORKLOAD, problem, settings, build, gradient_clip_val=characters.CLIP_NORM)


if __name__ == "__main__":
    torch_training.run_script(characters.WORKLOAD, __doc__, train)
