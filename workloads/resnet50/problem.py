"""ResNet-50: the images, the constants and the initial weights that both frameworks are given.

Data: the 1,797 grey images of 8x8 pixels that scikit-learn ships (`sklearn.datasets.load_digits`, BSD-3-Clause), a copy
of the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, CC BY 4.0, https://doi.org/10.24432/C50P49. Nothing is downloaded. Each batch is enlarged to RGB images of
`--size` pixels a side as it is needed, by repeating pixels: all 1,437 of them at 224 pixels would take 865 MB.

Network: K. He et al., "Deep Residual Learning for Image Recognition" (2015), with the stride in the 3x3 convolution of
a block as torchvision has it ("v1.5"), whose names and initialisation it follows: its weights fit, except for the head,
which has 10 classes here: 23.5 million parameters instead of 25.6 million.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...db.errors import UsageError
from ..digits_cnn.problem import load_digits
from ..problem import Arrays, Problem, Weights, normal, uniform_by_fan_in, weight_generator
from ..settings import Settings
from ..workload import Gate, Workload

CLASSES = 10

LEARNING_RATE = 0.05  # after the warm-up; a half cosine then takes it to zero at the last step
WARMUP_SHARE = 0.1  # of the steps
WARMUP_START = 0.1  # of the learning rate, at the first step
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4  # of every parameter, biases and normalisation included, as torchvision's reference training has it
NORM_MOMENTUM = 0.1  # PyTorch's convention: the weight of the new batch in the running statistics
NORM_EPSILON = 1e-5

REDUCTION = 32  # how many times the last feature map is smaller than the image: five times half


def check(settings: Settings) -> None:
    """Refuse a single number a channel to normalise: PyTorch takes that for an error, and it tells nothing."""
    share = settings.batch_size // settings.devices
    if share == 1 and settings.size <= REDUCTION:
        raise UsageError(
            f"One image of {settings.size} pixels a side on a device ends as one number a channel, which batch "
            f"normalisation cannot train on: pass a larger --batch-size, or a --size above {REDUCTION}."
        )


WORKLOAD = Workload(
    name="resnet50",
    summary="ResNet-50 on enlarged images of handwritten digits",
    package=__package__,
    data="1,797 real 8x8 images from scikit-learn (UCI handwritten digits, CC BY 4.0), enlarged; nothing is downloaded",
    train_samples=1437,
    steps=89,  # one epoch
    batch_size=16,
    size=64,
    size_unit="pixels a side",
    smallest_size=32,
    check=check,
    seconds=100,
    metrics=("val/acc",),
    result="val/acc 0.75 to 0.79 after its one epoch",
    gate=Gate(steps=6, tolerance=1e-9),
    requires=(("sklearn", "scikit-learn"),),
)


class Stage(NamedTuple):
    """Bottleneck blocks in a row; the first halves height and width if the stride is 2."""

    blocks: int
    channels: int  # of the 3x3 convolutions; a block puts out EXPANSION times as many
    stride: int


STEM_CHANNELS = 64
EXPANSION = 4
STAGES = (Stage(3, 64, 1), Stage(4, 128, 2), Stage(6, 256, 2), Stage(3, 512, 2))
FEATURES = STAGES[-1].channels * EXPANSION  # 2048

PROBE_SCALE = 0.25  # of the last normalisation of each block where the gate compares gradients, instead of 0

VALIDATION_BATCH_SIZE = 60  # divides the 360 images; at 224 pixels all of them at once would take gigabytes


def warmup_steps(steps: int) -> int:
    """How many of a training's updates warm up; the rate is at its highest right after them."""
    return max(1, int(steps * WARMUP_SHARE))


def decay_steps(steps: int) -> int:
    """How many updates the half cosine spans."""
    return max(1, steps - warmup_steps(steps))


def enlarge(images: Arrays, size: int) -> Arrays:
    """RGB images of `size` pixels a side, each the nearest pixel of the small ones.

    Args:
        images: (n, 8, 8, 1), of any type.
        size: pixels a side.

    Returns:
        (n, size, size, 3) of the same type.
    """
    (small,) = images
    nearest = np.arange(size) * small.shape[1] // size  # (size,): row or column of the small image
    large = small[:, nearest][:, :, nearest]  # (n, size, size, 1)
    return (np.repeat(large, 3, axis=-1),)


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    digits = load_digits()
    weights = initial_weights(settings.seed)
    return Problem(
        inputs=(digits.train_images[: settings.samples],),
        targets=(digits.train_labels[: settings.samples],),
        validation_inputs=(digits.validation_images,),
        validation_targets=(digits.validation_labels,),
        weights=weights,
        config={
            "learning_rate": LEARNING_RATE,
            "schedule": "linear warm-up, then cosine",
            "warmup_steps": warmup_steps(settings.steps),
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
            "data": {"name": "scikit-learn digits", "enlarged": "nearest pixel, grey as RGB"},
        },
        expand=lambda images: enlarge(images, settings.size),
        # While these are zero, the 112 tensors before them in their blocks have no gradient.
        probe_weights={n: np.full_like(w, PROBE_SCALE) for n, w in weights.items() if n.endswith("bn3.weight")},
    )


def initial_weights(seed: int) -> Weights:
    """The weights before the first update, by torchvision's names and in PyTorch's layout.

    As torchvision draws them: convolutions normal, their variance 2 / fan out (He), the head as every linear layer of
    PyTorch. The last normalisation of each block starts at zero, which makes the block pass on its input (P. Goyal et
    al., 2017, section 5.1). Without that the norm of the gradient is 2,000 instead of 10 at the start, and rounding
    alone moves the loss by 0.2 within five updates: nothing could be compared.

    Returns:
        Convolutions as (out, in, height, width), the head as (out, in) float32.
    """
    generator = weight_generator(seed)
    weights = {}
    for conv, norm, (out_channels, in_channels, kernel) in convolutions():
        deviation = math.sqrt(2 / (out_channels * kernel * kernel))
        weights[f"{conv}.weight"] = normal(generator, out_channels, in_channels, kernel, kernel, deviation=deviation)
        last_of_block = norm.endswith("bn3")
        weights[f"{norm}.weight"] = (np.zeros if last_of_block else np.ones)(out_channels, np.float32)
        weights[f"{norm}.bias"] = np.zeros(out_channels, np.float32)
    weights["fc.weight"] = uniform_by_fan_in(generator, CLASSES, FEATURES, fan_in=FEATURES)
    weights["fc.bias"] = uniform_by_fan_in(generator, CLASSES, fan_in=FEATURES)
    return weights


def convolutions() -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """The 53 convolutions: name, name of the normalisation after it, and (out channels, in channels, kernel size)."""
    yield "conv1", "bn1", (STEM_CHANNELS, 3, 7)
    into = STEM_CHANNELS
    for number, (blocks, channels, _) in enumerate(STAGES, start=1):
        out = channels * EXPANSION
        for index in range(blocks):
            block = f"layer{number}.{index}"
            yield f"{block}.conv1", f"{block}.bn1", (channels, into, 1)
            yield f"{block}.conv2", f"{block}.bn2", (channels, channels, 3)
            yield f"{block}.conv3", f"{block}.bn3", (out, channels, 1)
            if index == 0:
                yield f"{block}.downsample.0", f"{block}.downsample.1", (out, into, 1)
            into = out
