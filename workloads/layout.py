"""How one tensor lies in memory in PyTorch and in Keras, and the way from one to the other.

Every layout is a permutation of the elements, so that it carries weights and gradients alike, and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """The way from PyTorch's layout of a tensor to Keras', and back."""

    to_keras: Callable[[Array], Array]
    to_torch: Callable[[Array], Array]


def transposed(*axes: int) -> Layout:
    """Keras' axis i is PyTorch's axis `axes[i]`."""
    back = np.argsort(axes)
    return Layout(lambda array: array.transpose(axes), lambda array: array.transpose(back))


SAME = Layout(lambda array: array, lambda array: array)
"""Biases, scales, embeddings."""

DENSE = transposed(1, 0)
"""`Linear` (out, in) to `Dense` (in, out); also the kernels of recurrent cells with equal gates."""

CONV2D = transposed(2, 3, 1, 0)
"""`Conv2d` (out, in, h, w) to `Conv2D` (h, w, in, out)."""

CONV2D_TRANSPOSE = transposed(2, 3, 1, 0)
"""`ConvTranspose2d` (in, out, h, w) to `Conv2DTranspose` (h, w, out, in)."""


def flattened_images(channels: int, height: int, width: int) -> Layout:
    """`Linear` (out, channels · height · width) after PyTorch's flatten to `Dense` after Keras', channels last."""

    def to_keras(array: Array) -> Array:
        return array.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(channels * height * width, -1)

    def to_torch(array: Array) -> Array:
        return array.reshape(height, width, channels, -1).transpose(3, 2, 0, 1).reshape(-1, channels * height * width)

    return Layout(to_keras, to_torch)


def gates(order: tuple[int, ...]) -> Layout:
    """Recurrent kernels (gates · units, in) to (in, gates · units), and biases, with the gates in another order.

    Args:
        order: Keras' gate i is PyTorch's gate `order[i]`. LSTM: i, f, g, o in both. GRU: r, z, n to z, r, h.
    """
    back = tuple(int(i) for i in np.argsort(order))

    def reordered(array: Array, by: tuple[int, ...]) -> Array:
        parts = np.split(array, len(by), axis=0)
        return np.concatenate([parts[i] for i in by], axis=0)

    return Layout(lambda array: reordered(array, order).T, lambda array: reordered(array.T, back))


LSTM = gates((0, 1, 2, 3))
GRU = gates((1, 0, 2))

_Z_R_H = (1, 0, 2)
GRU_BIASES = Layout(
    lambda stacked: stacked.reshape(2, 3, -1)[:, _Z_R_H].reshape(2, -1),
    lambda array: array.reshape(2, 3, -1)[:, _Z_R_H].reshape(2, -1),  # swapping two gates is its own way back
)
"""`bias_ih` and `bias_hh`, stacked, to the one bias (2, gates · units) of Keras' GRU with `reset_after`."""
