"""DCGAN in PyTorch Lightning, with manual optimization.

    python -m trackside.workloads.gan.torch_lightning
    python -m trackside.workloads.gan.torch_lightning --precision float64 --size 32 --threads 2

660 updates of each network take about 12 seconds on one CPU core after some 10 seconds of imports, and reach a Fréchet
distance of 10 or less. The same networks, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from .. import torch_training
from ..problem import Arrays, Problem, channels_first, in_precision
from ..settings import Settings
from . import problem as gan


class Generator(nn.Module):  # type: ignore[misc]
    """From noise to images: the side begins at 4 pixels and doubles with each layer. 99,009 parameters at 16 pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        widths = gan.widths(size)  # (64, 32)
        # Where a normalisation follows, it has the bias.
        self.convs = nn.ModuleList([nn.ConvTranspose2d(gan.LATENT, widths[0], 4, bias=False)])
        for before, after in pairwise(widths):
            self.convs.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
        self.convs.append(nn.ConvTranspose2d(widths[-1], 1, 4, stride=2, padding=1))
        self.norms = nn.ModuleList([batch_norm(channels) for channels in widths])

    def forward(self, noise: Tensor) -> Tensor:  # (B, Z)
        x = noise[:, :, None, None]  # (B, Z, 1, 1)
        *hidden, last = self.convs
        for conv, norm in zip(hidden, self.norms, strict=True):
            x = F.relu(norm(conv(x)))  # (B, 64, 4, 4), (B, 32, 8, 8)
        return torch.tanh(last(x))  # (B, 1, 16, 16)


class Discriminator(nn.Module):  # type: ignore[misc]
    """From images to a verdict: the generator turned around. 34,465 parameters at 16 pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        widths = gan.widths(size)[::-1]  # (32, 64)
        # As in the paper, what sees the image is not normalised.
        self.convs = nn.ModuleList([nn.Conv2d(1, widths[0], 4, stride=2, padding=1)])
        for before, after in pairwise(widths):
            self.convs.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))
        self.convs.append(nn.Conv2d(widths[-1], 1, 4))
        self.norms = nn.ModuleList([nn.Identity(), *map(batch_norm, widths[1:])])

    def forward(self, images: Tensor) -> Tensor:  # (B, 1, 16, 16)
        x = images
        *hidden, last = self.convs
        for conv, norm in zip(hidden, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), gan.NEGATIVE_SLOPE)  # (B, 32, 8, 8), (B, 64, 4, 4)
        return last(x).flatten(1)  # (B, 1)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Normalisation over batch and image."""
    return nn.BatchNorm2d(channels, eps=gan.NORM_EPSILON, momentum=gan.NORM_MOMENTUM)


class DCGAN(pl.LightningModule):  # type: ignore[misc]
    """A generator that learns from a discriminator which learns to tell its images from real ones."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.automatic_optimization = False  # two losses, two optimizers
        self.generator = Generator(size)
        self.discriminator = Discriminator(size)
        self.cross_entropy = nn.BCEWithLogitsLoss()  # autocast takes it out of half precision
        self.distance = gan.FrechetDistance(size)

    def forward(self, noise: Tensor) -> Tensor:  # (B, Z)
        return self.generator(noise)  # (B, 1, S, S)

    def discriminator_loss(self, images: Tensor, fakes: Tensor) -> Tensor:
        real, fake = self.discriminator(images), self.discriminator(fakes)  # (B, 1) each
        return self.cross_entropy(real, torch.ones_like(real)) + self.cross_entropy(fake, torch.zeros_like(fake))

    def generator_loss(self, fakes: Tensor) -> Tensor:
        fake = self.discriminator(fakes)  # (B, 1)
        return self.cross_entropy(fake, torch.ones_like(fake))  # to have been taken for real

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        noise, images = batch  # (B, Z), (B, 1, S, S)
        discriminator_optimizer, generator_optimizer = self.optimizers()
        fakes = self(noise)

        self.toggle_optimizer(discriminator_optimizer)
        discriminator_loss = self.discriminator_loss(images, fakes.detach())
        discriminator_optimizer.zero_grad()
        self.manual_backward(discriminator_loss)
        discriminator_optimizer.step()
        self.untoggle_optimizer(discriminator_optimizer)

        # The discriminator, updated a moment ago, stands still: no gradients of its own. In half precision this is also
        # what keeps autocast from computing with the copy of the weights that it made before the update.
        self.toggle_optimizer(generator_optimizer)
        generator_loss = self.generator_loss(fakes)
        generator_optimizer.zero_grad()
        self.manual_backward(generator_loss)
        generator_optimizer.step()
        self.untoggle_optimizer(generator_optimizer)

        discriminator_loss = torch_training.over_all_devices(discriminator_loss.detach())
        generator_loss = torch_training.over_all_devices(generator_loss.detach())
        self.log_dict({"train/discriminator_loss": discriminator_loss, "train/generator_loss": generator_loss})
        return discriminator_loss + generator_loss  # for the record alone

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        noise, images = batch  # (360, Z), (360, 1, S, S)
        fakes = self(noise)
        discriminator_loss, generator_loss = self.discriminator_loss(images, fakes), self.generator_loss(fakes)
        metrics = {
            "val/discriminator_loss": discriminator_loss,
            "val/generator_loss": generator_loss,
            "val/loss": discriminator_loss + generator_loss,
            "val/frechet_distance": self.distance(fakes.permute(0, 2, 3, 1).double().numpy(force=True)),
        }
        self.log_dict(metrics, batch_size=len(images))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        networks = (self.discriminator, self.generator)
        return [torch.optim.Adam(each.parameters(), gan.LEARNING_RATE, gan.BETAS, gan.EPSILON) for each in networks]


def dataset(inputs: Arrays, targets: Arrays, settings: Settings) -> Dataset[tuple[Tensor, ...]]:
    """Images with their channels first."""
    return torch_training.dataset(inputs, channels_first(targets), settings)


def build(problem: Problem, settings: Settings) -> DCGAN:
    """The model, without its initial weights."""
    return DCGAN(settings.size)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return torch_training.fit(gan.WORKLOAD, gan.load(settings), settings, build, make_dataset=dataset)


def probe(settings: Settings) -> dict[str, NDArray[Any]]:
    """What both networks compute for the first batch from their initial weights, and the gradients of their losses."""
    torch_training.prepare_process(settings)
    problem = gan.load(settings)
    module = build(problem, settings).train()
    torch_training.load_weights(module, problem, settings)
    (noise,), images = problem.first_batch(settings)
    arrays = in_precision((noise, *channels_first(images)), settings.precision)
    noise, images = map(torch.from_numpy, arrays)
    module.to(noise.dtype)

    fakes = module(noise)  # (B, 1, S, S)
    verdicts = [module.discriminator(each) for each in (images, fakes)]  # (B, 1) each
    losses = torch.stack([module.discriminator_loss(images, fakes.detach()), module.generator_loss(fakes)])
    found = {"outputs": torch.cat([part.flatten() for part in (fakes, *verdicts)]), "loss": losses}
    for network, loss in zip(("discriminator", "generator"), losses, strict=True):
        parameters = dict(getattr(module, network).named_parameters(network))
        gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
        found.update({f"gradient/{name}": each for name, each in zip(parameters, gradients, strict=True)})
    return {name: tensor.numpy(force=True) for name, tensor in found.items()}


if __name__ == "__main__":
    torch_training.run_script(gan.WORKLOAD, __doc__, train)
