"""GPT in PyTorch Lightning: a small decoder-only transformer, by character.

    python -m trackside.workloads.gpt.torch_lightning
    python -m trackside.workloads.gpt.torch_lightning --size 384 --batch-size 64   # for a GPU: 10.7 million weights

656 updates take about 20 seconds on one CPU core after some 5 seconds of imports, and reach a validation perplexity of
5.0. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
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
from . import problem as gpt


class CausalSelfAttention(nn.Module):  # type: ignore[misc]
    """Every character looks at itself and those before it, in several heads at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = gpt.heads(width)
        self.qkv = nn.Linear(width, 3 * width)  # queries, keys and values of all heads
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, T, C/H)
        # softmax(q kᵀ / √(C/H)) v, with what comes later left out of the softmax
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, C/H)
        return self.projection(y.transpose(1, 2).flatten(2))  # (B, T, C)


class Block(nn.Module):  # type: ignore[misc]
    """Attention, then a network for each character by itself; both add to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=gpt.NORM_EPSILON)
        self.attention = CausalSelfAttention(width)
        self.norm2 = nn.LayerNorm(width, eps=gpt.NORM_EPSILON)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C)
        x = x + self.attention(self.norm1(x))
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))  # the exact GELU, with erf


class GPT(pl.LightningModule):  # type: ignore[misc]
    """Embeddings of characters and their places, blocks, and a score for every character that may come next."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.rate = gpt.learning_rate(width)
        self.steps = steps
        self.tokens = nn.Embedding(SYMBOLS, width)
        self.positions = nn.Embedding(gpt.CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(gpt.layers(width)))
        self.norm = nn.LayerNorm(width, eps=gpt.NORM_EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:  # (B, T)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.positions(places)  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)  # (B, T, V); the embeddings are the head's weights too
        return logits.to(self.tokens.weight.dtype)  # half precision ends before the loss

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
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        others = [p for p in self.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": gpt.WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, self.rate, betas=gpt.BETAS, eps=gpt.EPSILON)
        rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / gpt.WARM_UP, total_iters=gpt.WARM_UP)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=max(1, self.steps - gpt.WARM_UP), eta_min=gpt.FINAL_RATE * self.rate
        )
        schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[gpt.WARM_UP])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build(problem: Problem, settings: Settings) -> GPT:
    """The model, without its initial weights."""
    return GPT(settings.size, settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return torch_training.fit(gpt.WORKLOAD, gpt.load(settings), settings, build, gradient_clip_val=gpt.CLIP_NORM)


if __name__ == "__main__":
    torch_training.run_script(gpt.WORKLOAD, __doc__, train)
