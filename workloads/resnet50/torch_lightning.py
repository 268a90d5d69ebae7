"""ResNet-50 in PyTorch Lightning.

    python -m trackside.workloads.resnet50.torch_lightning
    python -m trackside.workloads.resnet50.torch_lightning --size 224 --batch-size 64 --steps 200

An update of the default run takes about 0.3 seconds of one CPU core. Its 89 updates, one epoch, reached a validation
accuracy of 0.75, and 0.79 from initial weights moved by one unit in the last place: differences of that size are noise.

On a GPU (not measured): float32 means float32, TF32 is off in both frameworks. Images are in PyTorch's own order of
memory, channels first; that is what cuDNN should be fastest with in float32. With bf16-mixed and fp16-mixed its tensor
cores want channels last, which TensorFlow always has: there `module.to(memory_format=torch.channels_last)` in `build`
is worth measuring. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
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
from . import problem as resnet

PREPARE = channels_first


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution padded on all sides alike; the normalisation after it has a bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation."""
    return nn.BatchNorm2d(channels, momentum=resnet.NORM_MOMENTUM, eps=resnet.NORM_EPSILON)


class Bottleneck(nn.Module):  # type: ignore[misc]
    """Narrow, convolve, widen, and add the result to the input; the stride is in the 3x3 convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = resnet.EXPANSION * channels
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = norm(channels)
        self.conv3 = conv(channels, out_channels, 1)
        self.bn3 = norm(out_channels)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(conv(in_channels, out_channels, 1, stride), norm(out_channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W)
        y = F.relu(self.bn1(self.conv1(x)))  # (B, C, H, W)
        y = F.relu(self.bn2(self.conv2(y)))  # (B, C, H / stride, W / stride)
        y = self.bn3(self.conv3(y))  # (B, 4C, H / stride, W / stride)
        return F.relu(y + self.downsample(x))


class ResNet50(pl.LightningModule):  # type: ignore[misc]
    """Four stages of bottleneck blocks between a strided stem and a linear head: 23,528,522 parameters."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.conv1 = conv(3, resnet.STEM_CHANNELS, 7, stride=2)
        self.bn1 = norm(resnet.STEM_CHANNELS)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = resnet.STEM_CHANNELS
        for number, (blocks, channels, stride) in enumerate(resnet.STAGES, start=1):
            stage = [Bottleneck(in_channels, channels, stride)]
            in_channels = resnet.EXPANSION * channels
            stage += [Bottleneck(in_channels, channels, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(resnet.FEATURES, resnet.CLASSES)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, S, S)
        x = F.relu(self.bn1(self.conv1(x)))  # (B, 64, S/2, S/2)
        x = self.maxpool(x)  # (B, 64, S/4, S/4)
        x = self.layer1(x)  # (B, 256, S/4, S/4)
        x = self.layer2(x)  # (B, 512, S/8, S/8)
        x = self.layer3(x)  # (B, 1024, S/16, S/16)
        x = self.layer4(x)  # (B, 2048, S/32, S/32)
        logits = self.fc(x.mean((2, 3)))  # (B, 10)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))  # half precision ends before the loss

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch  # (B, 3, S, S), (B,)
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
        optimizer = torch.optim.SGD(
            self.parameters(), resnet.LEARNING_RATE, momentum=resnet.MOMENTUM, weight_decay=resnet.WEIGHT_DECAY
        )
        warmup = resnet.warmup_steps(self.steps)
        schedule = SequentialLR(
            optimizer,
            [
                LinearLR(optimizer, start_factor=resnet.WARMUP_START, total_iters=warmup),
                CosineAnnealingLR(optimizer, T_max=resnet.decay_steps(self.steps)),
            ],
            milestones=[warmup],
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build(problem: Problem, settings: Settings) -> ResNet50:
    """The model, without its initial weights."""
    return ResNet50(settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return torch_training.fit(
        resnet.WORKLOAD,
        resnet.load(settings),
        settings,
        build,
        prepare=PREPARE,
        validation_batch_size=resnet.VALIDATION_BATCH_SIZE,
    )


if __name__ == "__main__":
    torch_training.run_script(resnet.WORKLOAD, __doc__, train)
