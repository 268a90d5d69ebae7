"""Mean average precision of a detector on the grid of `problem.py`, in NumPy: the same number for both frameworks.

As in Pascal VOC since 2010 (Everingham et al., https://doi.org/10.1007/s11263-009-0275-4): a detection is right if it
overlaps an object of its class that no better one has taken by half or more; the precision of a class is averaged over
all its recall, and that over the classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .problem import ANCHORS, STRIDE

MOST_DETECTIONS = 50  # considered in an image, before suppression; it holds six digits at most
LEAST_SCORE = 0.01
OVERLAP = 0.5  # intersection over union: from here on two boxes are of the same object

Array = NDArray[Any]
Float64Array = NDArray[np.float64]


class Detections(NamedTuple):
    """What was found in a set of images, or what is there to be found."""

    image: NDArray[np.int64]  # (objects,)
    boxes: Float64Array  # (objects, 4): left, top, right, bottom in pixels
    labels: NDArray[np.int64]  # (objects,)
    scores: Float64Array  # (objects,) probability of being an object of this class


def mean_average_precision(outputs: Array, targets: Array) -> float:
    """Mean over the classes that occur, 0…1.

    Args:
        outputs: what the network gave: (images, rows, columns, anchors, VALUES).
        targets: what it should have given, as `encode` makes it.
    """
    found, objects = detect(outputs), decode_targets(targets)
    return float(np.mean([average_precision(found, objects, label) for label in np.unique(objects.labels)]))


def detect(outputs: Array) -> Detections:
    """Objects found: the best of each image, without those that cover a better one of the same class."""
    outputs = outputs.astype(np.float64)
    images = len(outputs)
    probabilities = softmax(outputs[..., 5:])  # (N, rows, columns, anchors, classes)
    scores = sigmoid(outputs[..., 4]) * probabilities.max(axis=-1)  # (N, rows, columns, anchors)
    boxes = to_pixels(sigmoid(outputs[..., :2]), outputs[..., 2:4]).reshape(images, -1, 4)
    scores, labels = scores.reshape(images, -1), probabilities.argmax(axis=-1).reshape(images, -1)

    best = np.argsort(-scores, axis=1, kind="stable")[:, :MOST_DETECTIONS]  # (N, K)
    scores, labels = np.take_along_axis(scores, best, 1), np.take_along_axis(labels, best, 1)
    boxes = np.take_along_axis(boxes, best[..., np.newaxis], 1)  # (N, K, 4)
    kept = (scores >= LEAST_SCORE) & ~suppressed(boxes, labels)
    image, rank = np.nonzero(kept)
    return Detections(image, boxes[image, rank], labels[image, rank], scores[image, rank])


def suppressed(boxes: Float64Array, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Non-maximum suppression.

    Args:
        boxes: (images, K, 4), best first.
        labels: (images, K).

    Returns:
        (images, K) whether a better box of the same class, itself not suppressed, covers it.
    """
    alike = labels[:, :, np.newaxis] == labels[:, np.newaxis]  # (N, K, K)
    alike &= overlap(boxes[:, :, np.newaxis], boxes[:, np.newaxis]) >= OVERLAP
    gone = np.zeros(labels.shape, np.bool_)
    for rank in range(labels.shape[1] - 1):
        gone[:, rank + 1 :] |= alike[:, rank, rank + 1 :] & ~gone[:, rank, np.newaxis]
    return gone


def decode_targets(targets: Array) -> Detections:
    """The objects that targets stand for."""
    boxes = to_pixels(targets[..., :2].astype(np.float64), targets[..., 2:4].astype(np.float64))
    place = np.nonzero(targets[..., 4])
    labels = targets[..., 5:].argmax(axis=-1)
    return Detections(place[0], boxes[place], labels[place], np.ones(len(place[0])))


def to_pixels(offsets: Float64Array, log_sizes: Float64Array) -> Float64Array:
    """Boxes (…, rows, columns, anchors, 4) in pixels from centres within the cell and logarithms over the anchor."""
    rows, columns = offsets.shape[-4:-2]
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    cell = np.stack([column, row], axis=-1)[:, :, np.newaxis]  # (rows, columns, 1, 2)
    centres = (cell + offsets) * STRIDE
    halves = np.exp(np.minimum(log_sizes, 10.0)) * ANCHORS / 2  # an untrained network may say anything
    return np.concatenate([centres - halves, centres + halves], axis=-1)


def overlap(one: Float64Array, other: Float64Array) -> Float64Array:
    """Intersection over union of boxes (…, 4), broadcast."""
    corner = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    common = np.maximum(corner, 0.0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (one, other)]
    return np.asarray(common / (areas[0] + areas[1] - common))


def average_precision(found: Detections, objects: Detections, label: int) -> float:
    """Area under the precision of a class over its recall, where precision is the best at this recall or beyond."""
    mine = np.flatnonzero(found.labels == label)
    mine = mine[np.argsort(-found.scores[mine], kind="stable")]
    right = np.array(matched(found, objects, label, mine), np.float64)  # best first
    recall = np.cumsum(right) / np.count_nonzero(objects.labels == label)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(precision * np.diff(recall, prepend=0.0)))


def matched(found: Detections, objects: Detections, label: int, order: NDArray[np.int64]) -> list[bool]:
    """Of each detection in `order`, whether it is the first to match the object of its class that it covers best."""
    taken = np.zeros(len(objects.labels), np.bool_)
    right = []
    for index in order:
        there = np.flatnonzero((objects.image == found.image[index]) & (objects.labels == label))
        overlaps = overlap(found.boxes[index], objects.boxes[there])
        best = there[overlaps.argmax()] if len(there) else None
        right.append(best is not None and overlaps.max() >= OVERLAP and not taken[best])
        if right[-1]:
            taken[best] = True
    return right


def sigmoid(logits: Float64Array) -> Float64Array:
    """1 / (1 + exp(-x)), for any x."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def softmax(logits: Float64Array) -> Float64Array:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
