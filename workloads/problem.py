"""What both frameworks are given: data, the order of the samples, and the initial weights. NumPy alone.

Neither framework's random numbers, shuffling or initialisers play a part in a workload: all that is drawn is drawn
here, once, and handed to both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .settings import Settings

Arrays = tuple[NDArray[Any], ...]
Weights = Mapping[str, NDArray[np.float32]]


def no_noise(places: int) -> Arrays:
    """The noise of a problem without any."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A workload's data and start for one setting.

    Arrays have the samples first; images are (samples, height, width, channels). Floating arrays are float32, whole
    numbers int64.

    Attributes:
        inputs: what the model is given, for training: each (samples, …).
        targets: what it should answer: each (samples, …).
        validation_inputs: the same for validation: each (validation samples, …).
        validation_targets: the same for validation.
        weights: of the trainable tensors before the first update, by the names and in the layout of PyTorch's
            `state_dict`. Single precision for every run, so that one in double precision starts from the same point.
        probe_weights: in place of those of `weights` where the gate probes the network, and only there: for tensors
            whose initial value, such as zero, would leave others without a gradient to compare.
        config: what both runs record as their configuration, beyond the settings.
        expand: from some samples of the inputs to what the model is given of them, in NumPy. For inputs that are kept
            small and made large batch by batch, such as images that are enlarged; None where they are ready.
        noise: further inputs of training, before `inputs`, that belong to no sample but to a place in the order of all
            that training takes, such as latent vectors or dropout masks: never used twice. Given how many places there
            are, each (places, …); more places begin with what fewer hold.
    """

    inputs: Arrays
    targets: Arrays
    validation_inputs: Arrays
    validation_targets: Arrays
    weights: Weights
    probe_weights: Weights = field(default_factory=dict)
    config: Mapping[str, Any]
    expand: Callable[[Arrays], Arrays] | None = None
    noise: Callable[[int], Arrays] = no_noise

    @property
    def samples(self) -> int:
        """Training samples."""
        return len((*self.inputs, *self.targets)[0])

    def expanded(self, inputs: Arrays) -> Arrays:
        """Some samples of the inputs as the model is given them."""
        return inputs if self.expand is None else self.expand(inputs)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Whole batches in one pass over the training samples; what is left over is dropped."""
        return self.samples // batch_size

    def epochs(self, settings: Settings) -> int:
        """Passes over the data that the updates asked for take, a last one that is cut short included."""
        return math.ceil(settings.steps / self.steps_per_epoch(settings.batch_size))

    def first_batch(self, settings: Settings) -> tuple[Arrays, Arrays]:
        """Inputs, noise included, and targets of the first update of a run."""
        index = sample_order(settings.seed, self.samples, 1)[0, : settings.batch_size]
        noise = tuple(array[: len(index)] for array in self.noise(self.samples))
        inputs = self.expanded(tuple(array[index] for array in self.inputs))
        return (*noise, *inputs), tuple(array[index] for array in self.targets)

    def full_config(self, settings: Settings) -> dict[str, Any]:
        """What the run records as its configuration, key by key the same where two runs are the same."""
        given = {
            "seed": settings.seed,
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "size": settings.size,
            "precision": settings.precision,
            "optimizer_arithmetic": settings.optimizer,
            "threads": settings.threads,
        }
        if settings.perturb:
            given["perturbation"] = settings.perturb
        arrays = (*self.inputs, *self.targets, *self.validation_inputs, *self.validation_targets)
        data = {"samples": self.samples, "sha256": sha256(arrays), **dict(self.config.get("data", {}))}
        return {**given, **self.config, "data": data}


def sha256(arrays: Iterable[NDArray[Any]]) -> str:
    """Digest of arrays: two runs with the same one were given the same data."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def sample_order(seed: int, samples: int, epochs: int) -> NDArray[np.int64]:
    """Which sample comes when.

    Args:
        seed: the run's seed.
        samples: how many there are.
        epochs: how many passes. A longer run begins with the order of a shorter one.

    Returns:
        (epochs, samples) int64, each row a permutation of the samples.
    """
    generator = np.random.default_rng([seed, 1])
    return np.stack([generator.permutation(samples) for _ in range(epochs)])


def with_places(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each sample with its place in the training, which says what noise goes with it.

    Args:
        order: (epochs, samples).

    Returns:
        (epochs, samples, 2) int64: the sample, and its place counted from 0 over all epochs.
    """
    return np.stack([order, np.arange(order.size).reshape(order.shape)], axis=-1)


def noise_generator(seed: int) -> np.random.Generator:
    """The generator that the noise of training is drawn from."""
    return np.random.default_rng([seed, 3])


def weight_generator(seed: int) -> np.random.Generator:
    """The generator that initial weights are drawn from."""
    return np.random.default_rng([seed, 0])


def uniform_by_fan_in(generator: np.random.Generator, *shape: int, fan_in: int) -> NDArray[np.float32]:
    """Weights as PyTorch's linear, convolution and recurrent layers draw them: uniform within ±1/sqrt(fan in)."""
    bound = 1.0 / math.sqrt(fan_in)
    return generator.uniform(-bound, bound, shape).astype(np.float32)


def linear_by_fan_in(generator: np.random.Generator, name: str, out: int, into: int) -> dict[str, NDArray[np.float32]]:
    """Weight (out, into) and bias (out,) of a linear layer, drawn in this order as PyTorch draws them."""
    return {
        f"{name}.weight": uniform_by_fan_in(generator, out, into, fan_in=into),
        f"{name}.bias": uniform_by_fan_in(generator, out, fan_in=into),
    }


def normal(generator: np.random.Generator, *shape: int, deviation: float) -> NDArray[np.float32]:
    """Weights from a normal distribution around 0."""
    return (deviation * generator.standard_normal(shape)).astype(np.float32)


def perturbed(weights: Weights, seed: int) -> dict[str, NDArray[np.float32]]:
    """The weights with every element moved by one unit in the last place, up or down at random.

    What a training makes of that is its own noise: no difference between two frameworks below it means anything.
    """
    generator = np.random.default_rng([seed, 2])

    def moved(array: NDArray[np.float32]) -> NDArray[np.float32]:
        towards = np.where(generator.random(array.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
        return np.nextafter(array, towards)

    return {name: moved(array) for name, array in weights.items()}


def initial_weights(problem: Problem, settings: Settings) -> Weights:
    """The weights this run starts from."""
    return perturbed(problem.weights, settings.perturb) if settings.perturb else problem.weights


def in_precision(arrays: Arrays, precision: str) -> Arrays:
    """Floating arrays as float64 where that is asked for; everything else as it is."""
    if precision != "float64":
        return arrays
    return tuple(a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays)


def channels_first(arrays: Arrays) -> Arrays:
    """Images as PyTorch lays them out: (n, height, width, channels) to (n, channels, height, width)."""
    return tuple(np.ascontiguousarray(np.moveaxis(a, -1, 1)) if a.ndim == 4 else a for a in arrays)
