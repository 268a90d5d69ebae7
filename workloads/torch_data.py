"""A problem's arrays as the samples that a DataLoader takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, TensorDataset

from .problem import Arrays, in_precision
from .settings import Settings

Prepare = Callable[[Arrays], Arrays]
"""From the problem's layout of some inputs to PyTorch's."""


class FixedOrder(Sampler[Any]):  # type: ignore[misc]
    """Hands out the samples of each epoch in an order drawn beforehand; Lightning calls `set_epoch`.

    Args:
        order: (epochs, samples) int64, or (epochs, samples, columns) where several numbers name a sample.
        batch_size: samples an update, over all devices together.
        device: which of the devices this is.
        devices: how many there are. Each takes one stretch of every batch, the first the beginning, as TensorFlow's
            MirroredStrategy does; Lightning's own sampler would deal the samples out one by one.
    """

    def __init__(self, order: NDArray[np.int64], batch_size: int, device: int = 0, devices: int = 1) -> None:
        whole = order.shape[1] // batch_size * batch_size
        batches = order[:, :whole].reshape(len(order), -1, devices, batch_size // devices, *order.shape[2:])
        # (epochs, samples of this device, …)
        self.order = batches[:, :, device].reshape(len(order), whole // devices, *order.shape[2:])
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        yield from self.order[self.epoch].tolist()

    def __len__(self) -> int:
        return len(self.order[0])


def dataset(inputs: Arrays, targets: Arrays, settings: Settings) -> Dataset[tuple[Tensor, ...]]:
    """Samples as (*inputs, *targets), in the precision asked for."""
    return TensorDataset(*map(torch.from_numpy, in_precision((*inputs, *targets), settings.precision)))


class ExpandedDataset(Dataset[tuple[Tensor, ...]]):  # type: ignore[misc]
    """Samples as (*inputs, *targets) that are made when they are asked for: see `Problem.expand`.

    Args:
        inputs: before they are expanded.
        targets: as they are.
        expand: from some samples of the inputs to what the module is given of them.
        settings: the precision counts.
    """

    def __init__(self, inputs: Arrays, targets: Arrays, expand: Prepare, settings: Settings) -> None:
        self.inputs = inputs
        self.targets = targets
        self.expand = expand
        self.precision = settings.precision

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs, targets = (tuple(a[index : index + 1] for a in arrays) for arrays in (self.inputs, self.targets))
        arrays = in_precision((*self.expand(inputs), *targets), self.precision)
        return tuple(torch.from_numpy(array)[0] for array in arrays)

    def __len__(self) -> int:
        return len(self.inputs[0])


class WithNoise(Dataset[tuple[Tensor, ...]]):  # type: ignore[misc]
    """Samples with the noise of their place in the training before them: (*noise, *sample).

    Args:
        samples: by sample.
        noise: (places, …) each.
    """

    def __init__(self, samples: Dataset[tuple[Tensor, ...]], noise: Sequence[Tensor]) -> None:
        self.samples = samples
        self.noise = noise

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, ...]:
        sample, place = index
        return (*(tensor[place] for tensor in self.noise), *self.samples[sample])
