"""GAN: the digits, the latent noise, the constants and the initial weights that both frameworks are given.

The network is a DCGAN (A. Radford, L. Metz, S. Chintala: "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", 2016, https://arxiv.org/abs/1511.06434) for images of 16 pixels a side. Each batch
makes one update of the discriminator, then one of the generator, on the same images and the same noise.

Data: the 1,797 grey images of handwritten digits of `digits_cnn`, in the same split, enlarged by linear interpolation.

What is measured is the Fréchet distance (M. Heusel et al.: "GANs Trained by a Two Time-Scale Update Rule Converge to a
Local Nash Equilibrium", 2017, https://arxiv.org/abs/1706.08500) between the digits held out and as many generated ones.
There it compares what a large pretrained network sees. Here no such network is at hand, and an image is described by
its first 32 principal components among the training images, each scaled to a variance of one: 99 % of how digits vary,
but blind to what no digit has. As many training images are at a distance of 1.8, those of the digit 3 alone at 15,
white noise at 149.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...db.errors import UsageError
from ..digits_cnn.problem import TRAIN_SAMPLES, load_digits
from ..problem import Arrays, Problem, Weights, noise_generator, normal, weight_generator
from ..settings import Settings
from ..workload import Gate, Workload

LATENT = 64  # numbers of noise that an image is made of
CHANNELS = 32  # of the largest feature maps; each halving of the side doubles them

LEARNING_RATE = 2e-4  # of both optimizers
BETAS = (0.5, 0.999)
EPSILON = 1e-8
NEGATIVE_SLOPE = 0.2
NORM_MOMENTUM = 0.1  # PyTorch's convention: the weight of the new batch in the running statistics
NORM_EPSILON = 1e-5
DEVIATION = 0.02  # of the initial weights

FEATURES = 32  # principal components that the Fréchet distance looks at
VALIDATION_SEED = 20240  # of the noise that is validated with, whatever the run's seed


def widths(size: int) -> tuple[int, ...]:
    """Channels of the feature maps of 4, 8, … pixels a side, as far as half the image's: (64, 32) for 16 pixels.

    Raises:
        UsageError: no number of doublings leads to that size.
    """
    doublings = (size // 4).bit_length() - 1
    if doublings < 1 or size != 4 << doublings:
        raise UsageError(f"--size is {size} pixels a side, which doubling 8 never gives: pass 8, 16, 32 or 64.")
    return tuple(CHANNELS << level for level in reversed(range(doublings)))


def check(settings: Settings) -> None:
    """Refuse a size that doubling never reaches."""
    widths(settings.size)


WORKLOAD = Workload(
    name="gan",
    summary="DCGAN with two optimizers on images of handwritten digits",
    package=__package__,
    data="1,797 real 8x8 images from scikit-learn (UCI handwritten digits, CC BY 4.0), enlarged; nothing is downloaded",
    train_samples=TRAIN_SAMPLES,
    steps=660,  # 30 epochs of 22 batches
    batch_size=64,
    size=16,
    size_unit="pixels a side (8, 16, 32, …)",
    smallest_size=8,
    check=check,
    seconds=60,
    metrics=("val/frechet_distance",),
    result="val/frechet_distance 10 or less",
    gate=Gate(steps=100, tolerance=1e-11),  # at most 3e-13 over four seeds; another 100 updates, and it is 2e-10
    requires=(("sklearn", "scikit-learn"),),
)


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    training, validation = load_images(settings.size)
    fixed = np.random.default_rng(VALIDATION_SEED).standard_normal((len(validation), LATENT), np.float32)
    return Problem(
        inputs=(),
        targets=(training[: settings.samples],),
        validation_inputs=(fixed,),
        validation_targets=(validation,),
        weights=initial_weights(settings.seed, settings.size),
        noise=lambda places: latent_noise(settings.seed, places),
        config={
            "learning_rate": LEARNING_RATE,
            "betas": list(BETAS),
            "latent": LATENT,
            "data": {"name": "scikit-learn digits"},
        },
    )


def load_images(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images of -1 (paper) to 1 (ink): for training (1437, size, size, 1) and for validation (360, size, size, 1)."""
    digits = load_digits()
    return enlarged(digits.train_images, size), enlarged(digits.validation_images, size)


def enlarged(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Images of 0…1 interpolated linearly to `size` pixels a side and scaled to -1…1, exact in single precision."""
    side = images.shape[1]
    positions = (np.arange(size) + 0.5) * (side / size) - 0.5  # of the new pixels among the old
    weights = np.stack([np.interp(positions, np.arange(side), row) for row in np.eye(side)], axis=1)  # (size, side)
    scaled: NDArray[np.float64] = np.einsum("ih,nhwc,jw->nijc", weights, 2.0 * images - 1.0, weights)
    return scaled.astype(np.float32)


def latent_noise(seed: int, places: int) -> Arrays:
    """The latent vectors of a training: (places, 64), a fresh one for every image that is taken."""
    return (noise_generator(seed).standard_normal((places, LATENT), np.float32),)


def initial_weights(seed: int, size: int) -> Weights:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout, drawn as in the DCGAN paper.

    Returns:
        Transposed convolutions as (in, out, height, width), convolutions as (out, in, height, width) float32.
    """
    random = weight_generator(seed)
    up = (LATENT, *widths(size), 1)  # channels from the noise to the image
    down = (1, *reversed(widths(size)), 1)  # and from the image to the verdict
    weights: dict[str, NDArray[np.float32]] = {}

    def layer(network: str, index: int, *shape: int, channels: int, normalised: bool) -> None:
        weights[f"{network}.convs.{index}.weight"] = normal(random, *shape, 4, 4, deviation=DEVIATION)
        biased = "norms" if normalised else "convs"  # where a normalisation follows, it has the bias
        if normalised:
            weights[f"{network}.norms.{index}.weight"] = 1 + normal(random, channels, deviation=DEVIATION)
        weights[f"{network}.{biased}.{index}.bias"] = np.zeros(channels, np.float32)

    for index, (before, after) in enumerate(pairwise(up)):
        layer("generator", index, before, after, channels=after, normalised=index < len(up) - 2)
    for index, (before, after) in enumerate(pairwise(down)):
        layer("discriminator", index, after, before, channels=after, normalised=0 < index < len(down) - 2)
    return weights


class FrechetDistance:
    """Measures how far generated images are from the digits held out; see the module's docstring.

    Args:
        size: pixels a side.
    """

    def __init__(self, size: int) -> None:
        training, validation = load_images(size)
        flat = training.reshape(len(training), -1).astype(np.float64)
        variances, axes = np.linalg.eigh(np.cov(flat, rowvar=False))  # ascending
        self.mean = flat.mean(axis=0)
        self.axes = axes[:, -FEATURES:] / np.sqrt(variances[-FEATURES:])  # (pixels, 32)
        self.real = self.features(validation)

    def features(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """(n, size, size, 1) images to (n, 32) principal components of unit variance."""
        features: NDArray[np.float64] = (images.reshape(len(images), -1).astype(np.float64) - self.mean) @ self.axes
        return features

    def __call__(self, images: NDArray[Any]) -> float:
        """|μ - ν|² + tr(Σ + Τ - 2 (ΣΤ)^½) of the means and covariances of the features of real and given images."""
        real, generated = self.real, self.features(images)
        means = real.mean(axis=0) - generated.mean(axis=0)
        real = (real - real.mean(axis=0)) / np.sqrt(len(real) - 1)  # now Σ is realᵀ real
        generated = (generated - generated.mean(axis=0)) / np.sqrt(len(generated) - 1)
        # The eigenvalues of ΣΤ are the squares of the singular values of real generatedᵀ.
        root = np.linalg.svd(real @ generated.T, compute_uv=False).sum()
        return float(means @ means + (real**2).sum() + (generated**2).sum() - 2 * root)
