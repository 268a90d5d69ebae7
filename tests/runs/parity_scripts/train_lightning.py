"""A user's training with PyTorch Lightning, with one thing changed at a time.

python train_lightning.py problem.npz sqlite:///runs.db [variant ...]

`train_keras.py` beside it is the same training in Keras. `problem.npz` holds images, labels and initial weights.
"""

import sys
import warnings

import lightning
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trackside

VARIANTS = {
    "base": {},
    "again": {},
    # The data
    "batch-size": {"batch_size": 20},
    "data-order": {"order": "reversed"},
    "other-data": {"data": "other"},
    "other-validation": {"validation": "other"},
    "drop-last": {"samples": 152, "drop_last": True},
    "keep-last": {"samples": 152},
    "first-batches": {"max_steps": 6},
    "first-of-fewer": {"max_steps": 6, "samples": 128},
    # Where it starts
    "weights": {"weights": "other"},
    "frozen": {"frozen": ("conv1",)},
    "frozen-other": {"frozen": ("bn2",)},
    "left-out-of-optimizer": {"left_out": ("conv1",)},
    # What the network computes
    "padding": {"padding": 0},
    "dilation": {"dilation": 2},
    "activation": {"activation": "elu"},
    "gelu": {"activation": "gelu"},
    "gelu-tanh": {"activation": "gelu-tanh"},
    "pooling": {"pooling": "max"},
    "dropout": {"dropout": 0.5},
    "more-dropout": {"dropout": 0.6},
    "functional-dropout": {"functional_dropout": 0.5},
    "norm-momentum": {"norm_momentum": 0.01},
    "norm-epsilon": {"norm_epsilon": 1e-3},
    # The loss
    "loss-sum": {"loss": "sum"},
    "loss-sum-by-hand": {"loss": "sum by hand"},
    "loss-mean-by-hand": {"loss": "mean by hand"},
    "loss-own": {"loss": "own"},
    "label-smoothing": {"loss": "smooth"},
    "class-weights": {"loss": "weighted"},
    "positive-weight": {"loss": "binary", "positive_weight": 3.0},
    "other-positive-weight": {"loss": "binary", "positive_weight": 5.0},
    # The update
    "learning-rate": {"lr": 0.04},
    "schedule-late": {"milestones": (4, 7)},
    "momentum": {"momentum": 0.9},
    "clip-norm": {"clip": 0.1},
    "decay": {"decay": 0.01},
    "accumulation": {"accumulate": 2},
    "adam": {"optimizer": "Adam", "lr": 0.005},
    "adam-epsilon": {"optimizer": "Adam", "lr": 0.005, "epsilon": 1e-7},
    "adam-decay": {"optimizer": "Adam", "lr": 0.005, "decay": 0.01},
    "adamw": {"optimizer": "AdamW", "lr": 0.005, "decay": 0.01},
    "adamw-groups": {"optimizer": "AdamW", "lr": 0.005, "decay": 0.01, "decay_only": "weights"},
    # How it is computed
    "float64": {"precision": "64-true"},
    "double": {"double": True},
    "bf16": {"precision": "bf16-mixed"},
    "threads": {"threads": 2},
}

ACTIVATIONS = {"relu": F.relu, "elu": F.elu, "gelu": F.gelu, "gelu-tanh": lambda x: F.gelu(x, approximate="tanh")}


class ConvNet(lightning.LightningModule):
    def __init__(
        self,
        *,
        lr=0.05,
        milestones=(3, 7),
        optimizer="SGD",
        momentum=0.0,
        decay=0.0,
        decay_only="all",
        epsilon=1e-8,
        loss="mean",
        positive_weight=1.0,
        padding=1,
        dilation=1,
        activation="relu",
        pooling="mean",
        dropout=0.0,
        functional_dropout=0.0,
        norm_momentum=0.1,
        norm_epsilon=1e-5,
        left_out=(),
    ):
        super().__init__()
        self.save_hyperparameters()
        norm = {"momentum": norm_momentum, "eps": norm_epsilon}
        self.conv1 = nn.Conv2d(1, 8, 3, padding=padding * dilation, dilation=dilation)
        self.bn1 = nn.BatchNorm2d(8, **norm)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(8, **norm)
        self.fc1 = nn.Linear(8, 16)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(16, 4)

    def forward(self, x):
        h = self.hparams
        activation = ACTIVATIONS[h.activation]
        x = activation(self.bn1(self.conv1(x)))  # (B, 8, 8, 8)
        x = activation(self.bn2(self.conv2(x)))  # (B, 8, 4, 4)
        x = x.mean((2, 3)) if h.pooling == "mean" else x.amax((2, 3))  # (B, 8)
        x = self.dropout(activation(self.fc1(x)))
        if h.functional_dropout:
            x = F.dropout(x, h.functional_dropout, self.training)
        return self.fc2(x)  # (B, 4)

    def loss(self, logits, y):
        kind = self.hparams.loss
        if kind == "sum":
            return F.cross_entropy(logits, y, reduction="sum")
        if kind == "sum by hand":
            return F.cross_entropy(logits, y, reduction="sum") / len(y)
        if kind == "mean by hand":
            return F.cross_entropy(logits, y, reduction="none").mean()
        if kind == "own":
            return (logits.logsumexp(1) - logits[range(len(y)), y]).mean()
        if kind == "smooth":
            return F.cross_entropy(logits, y, label_smoothing=0.1)
        if kind == "weighted":
            return F.cross_entropy(logits, y, weight=torch.tensor([1.0, 2.0, 1.0, 1.0]))
        if kind == "binary":
            weight = torch.tensor(self.hparams.positive_weight)
            return F.binary_cross_entropy_with_logits(logits, F.one_hot(y, 4).to(logits), pos_weight=weight)
        return F.cross_entropy(logits, y)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", self.loss(self(x), y))

    def configure_optimizers(self):
        h = self.hparams
        parameters = [p for name, p in self.named_parameters() if name.partition(".")[0] not in h.left_out]
        if h.decay_only == "weights":
            parameters = [
                {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
                {"params": [p for p in parameters if p.ndim > 1]},
            ]
        if h.optimizer == "SGD":
            optimizer = torch.optim.SGD(parameters, h.lr, momentum=h.momentum, weight_decay=h.decay)
        else:
            kind = getattr(torch.optim, h.optimizer)
            optimizer = kind(parameters, h.lr, eps=h.epsilon, weight_decay=h.decay)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, h.milestones, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loader(problem, split, which, *, samples=None, batch_size=16, reverse=False, drop_last=False, dtype=np.float32):
    x, y = problem[f"{which}/{split}_x"][:samples], problem[f"{which}/{split}_y"][:samples]
    if reverse:
        x, y = x[::-1].copy(), y[::-1].copy()
    x = x.transpose(0, 3, 1, 2).astype(dtype)
    return DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size, drop_last=drop_last)


def train(problem, store, name, **how):
    data, validation = how.pop("data", "base"), how.pop("validation", "base")
    order, samples = how.pop("order", "given"), how.pop("samples", 160)
    batch_size, drop_last = how.pop("batch_size", 16), how.pop("drop_last", False)
    weights, frozen = how.pop("weights", "base"), how.pop("frozen", ())
    precision, double = how.pop("precision", "32-true"), how.pop("double", False)
    clip, accumulate = how.pop("clip", None), how.pop("accumulate", 1)
    max_steps = how.pop("max_steps", -1)
    torch.set_num_threads(how.pop("threads", 1))
    torch.manual_seed(0)

    model = ConvNet(**how)
    initial = {key.removeprefix(f"{weights}/weights/"): problem[key] for key in problem if "/weights/" in key}
    model.load_state_dict({k: torch.tensor(v) for k, v in initial.items() if k in model.state_dict()}, strict=False)
    for layer in frozen:
        getattr(model, layer).requires_grad_(False)
    if double:
        model.double()

    dtype = np.float64 if double else np.float32
    trainer = lightning.Trainer(
        max_epochs=1,
        max_steps=max_steps,
        val_check_interval=max_steps if max_steps > 0 else None,
        accelerator="cpu",
        precision=precision,
        gradient_clip_val=clip,
        accumulate_grad_batches=accumulate,
        callbacks=[trackside.LightningTracker(name=f"torch {name}", store=store, system=False)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        model,
        loader(problem, "train", data, samples=samples, batch_size=batch_size, reverse=order == "reversed",
               drop_last=drop_last, dtype=dtype),
        loader(problem, "val", validation, dtype=dtype),
    )  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    arrays, url, *chosen = sys.argv[1:]
    with np.load(arrays) as file:
        given = dict(file)
    for variant in chosen or VARIANTS:
        train(given, url, variant, **VARIANTS[variant])
