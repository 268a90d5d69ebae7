"""Scenes to detect digits in: real handwriting pasted onto real photographs, so that every box is known exactly.

A scene is a window of a photograph at reduced brightness, with two to six digits on it: each at a random place, 10 to
28 pixels high, as bright ink with soft edges. Training and validation share neither a digit nor a part of a photograph.
Each scene is drawn by a generator of its own, so that a smaller set is the beginning of a larger one.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TRAIN_DIGITS = 1437  # the other 360 are for validation
SEED = 20242  # which digits and scenes there are does not depend on the run's seed

FEWEST, MOST = 2, 6  # digits in a scene
LOWEST, HIGHEST = 10, 28  # pixels a digit is high
ATTEMPTS = 20  # at finding a free place; after that the scene does without the digit
BACKGROUND = 0.5  # brightness left to the photograph
INK = (0.75, 1.0)  # brightness of a digit
EDGE = 0.5  # ink from which a pixel counts as the digit's own


class Scenes(NamedTuple):
    """Images and the digits on them; object i is `labels[i]` within `boxes[i]` on `images[scene[i]]`."""

    images: NDArray[np.float32]  # (scenes, size, size, 1), 0…1 in steps of 1/255
    scene: NDArray[np.int64]  # (objects,)
    boxes: NDArray[np.float32]  # (objects, 4): left, top, right, bottom in pixels, the last two exclusive
    labels: NDArray[np.int64]  # (objects,)


class Material(NamedTuple):
    """What scenes are made of."""

    digits: NDArray[np.float64]  # (digits, 8, 8) ink, 0…1
    labels: NDArray[np.int64]  # (digits,)
    photos: tuple[NDArray[np.float64], ...]  # each (height, width), 0…1


def make_scenes(count: int, size: int, *, validation: bool = False) -> Scenes:
    """The first scenes of the training or the validation set, on canvases of `size` pixels a side."""
    material = load_material()[validation]
    images, scene, boxes, labels = [], [], [], []
    for number in range(count):
        image, places, digits = _draw_scene(np.random.default_rng([SEED, validation, number]), material, size)
        images.append(image)
        scene += [number] * len(digits)
        boxes += places
        labels += digits
    return Scenes(
        np.stack(images)[..., np.newaxis],
        np.array(scene, np.int64),
        np.array(boxes, np.float32),
        np.array(labels, np.int64),
    )


@cache
def load_material() -> tuple[Material, Material]:
    """For training and for validation: one fixed split of the digits, and the left 2/3 and right 1/3 of the photos."""
    from sklearn import datasets  # a second or two to import: only where the data is wanted

    bunch = datasets.load_digits()
    ink = bunch.images / 16.0  # (1797, 8, 8)
    labels = bunch.target.astype(np.int64)  # (1797,)
    shuffled = np.random.default_rng(SEED).permutation(len(ink))
    train, validation = shuffled[:TRAIN_DIGITS], shuffled[TRAIN_DIGITS:]

    photos = [photo.mean(axis=-1) / 255.0 for photo in datasets.load_sample_images().images]  # grey, 427 × 640
    left = tuple(photo[:, : photo.shape[1] * 2 // 3] for photo in photos)
    right = tuple(photo[:, photo.shape[1] * 2 // 3 :] for photo in photos)
    return Material(ink[train], labels[train], left), Material(ink[validation], labels[validation], right)


def _draw_scene(
    generator: np.random.Generator, material: Material, size: int
) -> tuple[NDArray[np.float32], list[tuple[int, ...]], list[int]]:
    """One image (size, size), and the boxes and labels of its digits."""
    photo = material.photos[generator.integers(len(material.photos))]
    row, column = generator.integers(photo.shape)
    # A window that goes over the photograph's edge goes on at the opposite one.
    window = photo.take(range(row, row + size), axis=0, mode="wrap")
    canvas = BACKGROUND * window.take(range(column, column + size), axis=1, mode="wrap")  # (size, size)

    boxes: list[tuple[int, ...]] = []
    labels: list[int] = []
    for _ in range(generator.integers(FEWEST, MOST + 1)):
        index = generator.integers(len(material.digits))
        ink = enlarged(material.digits[index], int(generator.integers(LOWEST, HIGHEST + 1)))  # (height, height)
        brightness = generator.uniform(*INK)
        height = len(ink)
        for _ in range(ATTEMPTS):
            top, left = generator.integers(size - height + 1, size=2)
            box = _box_of(ink, top, left)
            if not any(_overlap(box, other) for other in boxes):
                place = canvas[top : top + height, left : left + height]
                place += ink * (brightness - place)
                boxes.append(box)
                labels.append(int(material.labels[index]))
                break
    return (np.round(255 * canvas) / 255).astype(np.float32), boxes, labels


def enlarged(digit: NDArray[np.float64], height: int) -> NDArray[np.float64]:
    """A square image with `height` pixels a side, linear between the pixels it had."""
    weights = _interpolation(len(digit), height)
    return weights @ digit @ weights.T


@cache
def _interpolation(before: int, after: int) -> NDArray[np.float64]:
    """(after, before) weights of the old pixels in each new one; pixels are squares, so ends are half a pixel in."""
    at = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)  # (after,)
    return np.maximum(0.0, 1.0 - np.abs(at[:, np.newaxis] - np.arange(before)))


def _box_of(ink: NDArray[np.float64], top: int, left: int) -> tuple[int, ...]:
    """The smallest box around the pixels that are ink, where the digit's image begins at (top, left)."""
    rows, columns = np.nonzero(ink >= EDGE)
    return (
        int(left + columns.min()),
        int(top + rows.min()),
        int(left + columns.max() + 1),
        int(top + rows.max() + 1),
    )


def _overlap(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
