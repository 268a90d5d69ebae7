"""YOLO in PyTorch Lightning.

    python -m trackside.workloads.yolo.torch_lightning
    python -m trackside.workloads.yolo.torch_lightning --precision float64 --size 128 --steps 100

2,048 updates take about 45 seconds on one CPU core after some 10 seconds of imports, and reach a mean average precision
(`val/map_50`) of 0.91. The same network, data and arithmetic in Keras:
`keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from .. import torch_training
from ..problem import Problem, channels_first
from ..settings import Settings
from . import problem as yolo
from .average_precision import mean_average_precision

PREPARE = channels_first


class Block(nn.Sequential):  # type: ignore[misc]
    """A 3x3 convolution, batch normalisation and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # The normalisation after the convolution has a bias.
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, momentum=yolo.NORM_MOMENTUM, eps=yolo.NORM_EPSILON)
        self.activation = nn.LeakyReLU(yolo.NEGATIVE_SLOPE)


# Outputs and targets are (B, G, G, A, V): rows and columns of cells, anchors, and the values that problem.py lists.
# What a cell without an object says of boxes and classes does not count.


def box_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of centre and size: (B,)."""
    errors = torch.cat([outputs[..., :2].sigmoid() - targets[..., :2], outputs[..., 2:4] - targets[..., 2:4]], -1)
    return yolo.BOX_WEIGHT * (targets[..., 4] * errors.square().sum(-1)).sum((1, 2, 3))


def object_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of whether there is an object: (B,)."""
    objects = targets[..., 4]  # (B, G, G, A)
    weights = objects + yolo.NO_OBJECT_WEIGHT * (1 - objects)
    entropy = F.binary_cross_entropy_with_logits(outputs[..., 4], objects, reduction="none")
    return (weights * entropy).sum((1, 2, 3))


def class_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the class: (B,)."""
    entropy = -(targets[..., 5:] * F.log_softmax(outputs[..., 5:], dim=-1)).sum(-1)  # (B, G, G, A)
    return (targets[..., 4] * entropy).sum((1, 2, 3))


class DetectionLoss(nn.modules.loss._Loss):  # type: ignore[misc]
    """Of box, object and class, summed over the cells and anchors of a scene, averaged over the scenes."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (box_loss(outputs, targets) + object_loss(outputs, targets) + class_loss(outputs, targets)).mean()


def parts(split: str, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """What the loss is the sum of, as metrics of a split."""
    return {f"{split}/{part.__name__}": part(outputs, targets).mean() for part in (box_loss, object_loss, class_loss)}


class YOLO(pl.LightningModule):  # type: ignore[misc]
    """Six convolutions, three of which halve the image, and a linear head: 101,413 parameters."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        channels = [1, *(outputs for outputs, _ in yolo.LAYERS)]
        self.backbone = nn.Sequential(
            *(Block(inputs, outputs, stride) for inputs, (outputs, stride) in zip(channels, yolo.LAYERS, strict=False))
        )
        self.head = nn.Conv2d(channels[-1], len(yolo.ANCHORS) * yolo.VALUES, 1)
        self.criterion = DetectionLoss()
        self.validated: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:  # (B, 1, S, S)
        x = self.backbone(images)  # (B, 64, G, G)
        x = self.head(x).permute(0, 2, 3, 1).unflatten(-1, (len(yolo.ANCHORS), yolo.VALUES))  # (B, G, G, A, V)
        return x.to(torch.promote_types(x.dtype, torch.float32))  # half precision ends before the loss

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, targets = batch  # (B, 1, S, S), (B, G, G, A, V)
        return self.criterion(self(images), targets)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, targets = batch
        outputs = self(images)
        self.log_dict(parts("train", outputs.detach(), targets), sync_dist=True)
        return torch_training.over_all_devices(self.criterion(outputs, targets))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, targets = batch
        outputs = self(images)
        losses = {"val/loss": self.criterion(outputs, targets), **parts("val", outputs, targets)}
        self.log_dict(losses, batch_size=len(images))
        self.validated.append((outputs, targets))

    def on_validation_epoch_end(self) -> None:
        outputs, targets = (torch.cat(batches).cpu().numpy() for batches in zip(*self.validated, strict=True))
        self.validated.clear()
        # In double precision, or what is logged would be rounded.
        self.log("val/map_50", torch.tensor(mean_average_precision(outputs, targets), dtype=torch.float64))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.Adam(self.parameters(), yolo.LEARNING_RATE)
        rise = LinearLR(optimizer, 1 / yolo.WARM_UP, total_iters=yolo.WARM_UP)
        fall = CosineAnnealingLR(optimizer, T_max=max(1, self.steps - yolo.WARM_UP))
        schedule = SequentialLR(optimizer, [rise, fall], milestones=[yolo.WARM_UP])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build(problem: Problem, settings: Settings) -> YOLO:
    """The model, without its initial weights."""
    return YOLO(settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return torch_training.fit(yolo.WORKLOAD, yolo.load(settings), settings, build, prepare=PREPARE)


if __name__ == "__main__":
    torch_training.run_script(yolo.WORKLOAD, __doc__, train)
