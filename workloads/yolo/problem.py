"""YOLO: the scenes, the grid they are encoded on, the constants and the initial weights that both frameworks are given.

Data, nothing of it downloaded (`scenes.py` puts it together):

- digits: the 1,797 grey images of 8x8 pixels that scikit-learn ships (`sklearn.datasets.load_digits`, BSD-3-Clause), a
  copy of the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine
  Learning Repository, CC BY 4.0, https://doi.org/10.24432/C50P49;
- backgrounds: the photographs china.jpg and flower.jpg that scikit-learn ships (`load_sample_images`), by the Flickr
  users danielbuechele (photo 6061409035) and vultilion (6056698931), CC BY 2.0
  (https://creativecommons.org/licenses/by/2.0/), made grey, darker and cut into windows.

The encoding is that of YOLOv2 (Redmon and Farhadi, 2016, https://arxiv.org/abs/1612.08242). The image is a grid of
cells of 8 × 8 pixels, and each cell predicts one object an anchor, an anchor being a box shape to start from:

    0, 1    x and y of the box's centre within the cell, 0…1 of its side (from the network: before the sigmoid)
    2, 3    logarithm of the box's width and height over the anchor's
    4       whether there is an object (from the network: a logit)
    5 …     which class it has (from the network: logits; as a target: one-hot)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...db.errors import UsageError
from ..problem import Problem, Weights, uniform_by_fan_in, weight_generator
from ..settings import Settings
from ..workload import Gate, Workload
from .scenes import Scenes, make_scenes

TRAIN_SCENES = 4096
VALIDATION_SCENES = 256

CLASSES = 10
STRIDE = 8  # pixels a cell is wide and high: three convolutions halve the image
# Width and height in pixels: medians of the training boxes in three clusters of greatest overlap (k-means with the
# overlap of boxes laid over each other as likeness, as YOLOv2 finds its own). Mean overlap with the nearest: 0.81.
ANCHORS = np.array([(7, 12), (11, 18), (15, 25)], np.float32)
VALUES = 5 + CLASSES  # predicted for each anchor of a cell

LAYERS = ((8, 1), (16, 2), (32, 2), (64, 2), (64, 1), (64, 1))  # output channels and stride of each 3x3 convolution
NORM_MOMENTUM = 0.1  # PyTorch's convention: the weight of the new batch in the running statistics
NORM_EPSILON = 1e-5
NEGATIVE_SLOPE = 0.125  # of the leaky ReLU: a power of two is exact in single precision, which Keras takes it through

# Of the loss, which sums over all cells and anchors of a scene. Almost all of them hold nothing: 188 of 192.
BOX_WEIGHT = 5.0
NO_OBJECT_WEIGHT = 0.5
PRIOR = 0.02  # probability of an object that the untrained network predicts: about as many as there are

LEARNING_RATE = 4e-3  # after the warm-up; a half cosine takes it to zero at the last step
WARM_UP = 64  # updates over which the rate rises to that; at once, the first of them took the loss from 47 to 63


def check(settings: Settings) -> None:
    """Refuse an image that cannot be cut into whole cells."""
    if settings.size % STRIDE:
        raise UsageError(
            f"--size is {settings.size} pixels a side, which cells of {STRIDE} do not fill: pass a multiple of "
            f"{STRIDE}."
        )


WORKLOAD = Workload(
    name="yolo",
    summary="One-stage detector (YOLO) that finds and reads handwritten digits on photographs",
    package=__package__,
    data="4,352 scenes of real digits (UCI, CC BY 4.0) on real photographs (CC BY 2.0) from scikit-learn; no download",
    train_samples=TRAIN_SCENES,
    steps=2048,  # 8 epochs of 256 batches
    batch_size=16,
    size=64,
    size_unit="pixels a side of the image, a multiple of 8",
    smallest_size=32,
    check=check,
    seconds=120,
    metrics=("val/map_50", "val/box_loss", "val/object_loss", "val/class_loss"),
    result="val/map_50 0.91",
    gate=Gate(steps=100, tolerance=1e-11),
    requires=(("sklearn", "scikit-learn"), ("PIL", "pillow")),
)


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    train = make_scenes(min(settings.samples or TRAIN_SCENES, TRAIN_SCENES), settings.size)
    validation = make_scenes(VALIDATION_SCENES, settings.size, validation=True)
    return Problem(
        inputs=(train.images,),
        targets=(encode(train),),
        validation_inputs=(validation.images,),
        validation_targets=(encode(validation),),
        weights=initial_weights(settings.seed),
        config={
            "learning_rate": LEARNING_RATE,
            "schedule": "linear warm-up, then cosine",
            "warmup_steps": WARM_UP,
            "box_weight": BOX_WEIGHT,
            "no_object_weight": NO_OBJECT_WEIGHT,
            "anchors": ANCHORS.tolist(),
            "data": {"name": "digits on photographs"},
        },
    )


def encode(scenes: Scenes) -> NDArray[np.float32]:
    """What the network should answer; cells and anchors without an object are all zeros.

    An object belongs to the cell that its centre is in, and there to the free anchor of the likest shape.

    Returns:
        (scenes, rows, columns, anchors, VALUES) float32.
    """
    cells = scenes.images.shape[1] // STRIDE
    targets = np.zeros((len(scenes.images), cells, cells, len(ANCHORS), VALUES), np.float32)
    sizes = scenes.boxes[:, 2:] - scenes.boxes[:, :2]  # (objects, 2)
    centres = (scenes.boxes[:, :2] + scenes.boxes[:, 2:]) / 2 / STRIDE  # (objects, 2), in cells
    by_likeness = np.argsort(-_overlap_of_shapes(sizes), axis=1, kind="stable")  # (objects, anchors)
    for scene, (x, y), size, label, anchors in zip(
        scenes.scene, centres, sizes, scenes.labels, by_likeness, strict=True
    ):
        row, column = int(y), int(x)
        anchor = next(anchor for anchor in anchors if not targets[scene, row, column, anchor, 4])
        target = targets[scene, row, column, anchor]  # (VALUES,)
        target[:2] = x - column, y - row
        target[2:4] = np.log(size / ANCHORS[anchor])
        target[4] = 1.0
        target[5 + label] = 1.0
    return targets


def _overlap_of_shapes(sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(objects, anchors) intersection over union of boxes of these sizes (objects, 2) with the anchors, centred."""
    common = np.minimum(sizes[:, np.newaxis], ANCHORS).prod(axis=-1)
    union = sizes.prod(axis=-1)[:, np.newaxis] + ANCHORS.prod(axis=-1) - common
    overlap: NDArray[np.float32] = common / union
    return overlap


def initial_weights(seed: int) -> Weights:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout, drawn as PyTorch draws them.

    Returns:
        Convolutions as (out, in, height, width) float32.
    """
    generator = weight_generator(seed)
    weights: dict[str, NDArray[np.float32]] = {}
    before = 1
    for number, (channels, _) in enumerate(LAYERS):
        weights[f"backbone.{number}.conv.weight"] = uniform_by_fan_in(
            generator, channels, before, 3, 3, fan_in=9 * before
        )
        weights[f"backbone.{number}.norm.weight"] = np.ones(channels, np.float32)
        weights[f"backbone.{number}.norm.bias"] = np.zeros(channels, np.float32)
        before = channels
    outputs = len(ANCHORS) * VALUES
    weights["head.weight"] = uniform_by_fan_in(generator, outputs, before, 1, 1, fan_in=before)
    bias = uniform_by_fan_in(generator, outputs, fan_in=before).reshape(len(ANCHORS), VALUES)
    bias[:, 4] = math.log(PRIOR / (1 - PRIOR))  # or thousands of empty cells would make the first updates
    weights["head.bias"] = bias.reshape(outputs)
    return weights
