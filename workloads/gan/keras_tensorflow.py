"""DCGAN in Keras on TensorFlow, with a training step of its own.

    python -m trackside.workloads.gan.keras_tensorflow
    python -m trackside.workloads.gan.keras_tensorflow --precision float64 --mode xla --optimizer stock

660 updates of each network take about 12 seconds on one CPU core after some 10 seconds of imports, and reach a Fréchet
distance of 10 or less. The same networks, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from ..layout import CONV2D, CONV2D_TRANSPOSE, SAME
from ..problem import Problem, in_precision
from ..settings import Settings
from . import problem as gan


def build_generator(size: int, optimizer: str) -> keras.Model:
    """From noise to images: the side begins at 4 pixels and doubles with each layer. 99,009 parameters at 16 pixels."""
    widths = gan.widths(size)  # (64, 32)
    noise = keras.Input((gan.LATENT,))  # (B, Z)
    x = layers.Reshape((1, 1, gan.LATENT))(noise)  # (B, 1, 1, Z)
    for index, channels in enumerate(widths):
        strides, padding = (1, "valid") if index == 0 else (2, "same")
        # The normalisation after it has the bias.
        x = layers.Conv2DTranspose(channels, 4, strides, padding, use_bias=False, name=f"convs.{index}")(x)
        x = batch_norm(optimizer, f"norms.{index}")(x)
        x = layers.ReLU()(x)  # (B, 4, 4, 64), (B, 8, 8, 32)
    x = layers.Conv2DTranspose(1, 4, 2, "same", name=f"convs.{len(widths)}")(x)
    images = layers.Activation("tanh")(x)  # (B, 16, 16, 1)
    return keras.Model(noise, images, name="generator")


def build_discriminator(size: int, optimizer: str) -> keras.Model:
    """From images to a verdict: the generator turned around. 34,465 parameters at 16 pixels."""
    widths = gan.widths(size)[::-1]  # (32, 64)
    leaky_relu = torch_exact.LeakyReLU if optimizer == "exact" else layers.LeakyReLU
    images = keras.Input((size, size, 1))  # (B, 16, 16, 1)
    x = images
    for index, channels in enumerate(widths):
        normalised = index > 0  # as in the paper, what sees the image is not
        x = layers.Conv2D(channels, 4, 2, "same", use_bias=not normalised, name=f"convs.{index}")(x)
        if normalised:
            x = batch_norm(optimizer, f"norms.{index}")(x)
        x = leaky_relu(gan.NEGATIVE_SLOPE)(x)  # (B, 8, 8, 32), (B, 4, 4, 64)
    x = layers.Conv2D(1, 4, name=f"convs.{len(widths)}")(x)  # (B, 1, 1, 1)
    x = layers.Flatten()(x)
    verdicts = layers.Activation("linear", dtype=keras.config.floatx())(x)  # half precision ends before the loss
    return keras.Model(images, verdicts, name="discriminator")  # (B, 1)


def batch_norm(optimizer: str, name: str) -> layers.Layer:
    """Normalisation as in PyTorch, or Keras' own with the same constants."""
    if optimizer == "exact":
        return torch_exact.BatchNormalization(gan.NORM_MOMENTUM, gan.NORM_EPSILON, name=name)
    return layers.BatchNormalization(momentum=1 - gan.NORM_MOMENTUM, epsilon=gan.NORM_EPSILON, name=name)


class DCGAN(keras.Model):  # type: ignore[misc]
    """A generator that learns from a discriminator which learns to tell its images from real ones."""

    def __init__(self, generator: keras.Model, discriminator: keras.Model) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.loss_tracker = keras.metrics.Mean(name="loss")  # the sum of the other two, for the record alone
        self.discriminator_loss_tracker = keras.metrics.Mean(name="discriminator_loss")
        self.generator_loss_tracker = keras.metrics.Mean(name="generator_loss")

    def compile(
        self,
        d_optimizer: keras.optimizers.Optimizer,
        g_optimizer: keras.optimizers.Optimizer,
        loss_fn: keras.losses.Loss,
        **options: bool,
    ) -> None:
        super().compile(optimizer=None, **options)
        self.d_optimizer = d_optimizer
        self.g_optimizer = g_optimizer
        self.loss_fn = loss_fn
        # Now and not at the first update, so that a checkpoint finds where to put their state.
        d_optimizer.build(self.discriminator.trainable_variables)
        g_optimizer.build(self.generator.trainable_variables)

    def call(self, noise: tf.Tensor, training: bool = False) -> tf.Tensor:  # (B, Z)
        return self.generator(noise, training=training)  # (B, S, S, 1)

    def discriminator_loss(self, images: tf.Tensor, fakes: tf.Tensor, training: bool) -> tf.Tensor:
        real, fake = (self.discriminator(each, training=training) for each in (images, fakes))  # (B, 1) each
        return self.loss_fn(tf.ones_like(real), real) + self.loss_fn(tf.zeros_like(fake), fake)

    def generator_loss(self, fakes: tf.Tensor, training: bool) -> tf.Tensor:
        fake = self.discriminator(fakes, training=training)  # (B, 1)
        return self.loss_fn(tf.ones_like(fake), fake)  # to have been taken for real

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        noise, images = data  # (B, Z), (B, S, S, 1)
        with tf.GradientTape() as generating:
            fakes = self(noise, training=True)

        with tf.GradientTape() as judging:
            discriminator_loss = self.discriminator_loss(images, fakes, training=True)
            scaled = self.d_optimizer.scale_loss(discriminator_loss)
        weights = self.discriminator.trainable_variables
        self.d_optimizer.apply_gradients(zip(judging.gradient(scaled, weights), weights, strict=True))

        with generating:  # goes on recording, now that the discriminator is updated
            generator_loss = self.generator_loss(fakes, training=True)
            scaled = self.g_optimizer.scale_loss(generator_loss)
        weights = self.generator.trainable_variables
        self.g_optimizer.apply_gradients(zip(generating.gradient(scaled, weights), weights, strict=True))

        return self.track(discriminator_loss, generator_loss)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        noise, images = data  # (360, Z), (360, S, S, 1)
        fakes = self(noise)
        return self.track(
            self.discriminator_loss(images, fakes, training=False), self.generator_loss(fakes, training=False)
        )

    def track(self, discriminator_loss: tf.Tensor, generator_loss: tf.Tensor) -> dict[str, tf.Tensor]:
        # On several devices Keras divides a loss by their number, since their gradients are added up.
        devices = self.distribute_strategy.num_replicas_in_sync
        self.discriminator_loss_tracker.update_state(discriminator_loss * devices)
        self.generator_loss_tracker.update_state(generator_loss * devices)
        self.loss_tracker.update_state((discriminator_loss + generator_loss) * devices)
        return {metric.name: metric.result() for metric in self.metrics}


def build(problem: Problem, settings: Settings) -> DCGAN:
    """The compiled model, without its initial weights."""
    model = DCGAN(
        build_generator(settings.size, settings.optimizer), build_discriminator(settings.size, settings.optimizer)
    )
    model.build((None, gan.LATENT))
    model.compile(
        d_optimizer=adam(settings),
        g_optimizer=adam(settings),
        loss_fn=keras.losses.BinaryCrossentropy(from_logits=True),
        **keras_training.compile_options(settings),
    )
    return model


def adam(settings: Settings) -> keras.optimizers.Optimizer:
    """The optimizer of either network."""
    kind = torch_exact.TorchAdam if settings.optimizer == "exact" else keras.optimizers.Adam
    optimizer = kind(gan.LEARNING_RATE, *gan.BETAS, epsilon=gan.EPSILON)
    # Keras does this by itself for the one optimizer that it knows of.
    return keras.optimizers.LossScaleOptimizer(optimizer) if settings.precision == "fp16-mixed" else optimizer


def pairings(model: DCGAN) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    paired: list[keras_training.Pairing] = []
    for network in (model.generator, model.discriminator):
        for layer in network.layers:
            name = f"{network.name}.{layer.name}"
            if isinstance(layer, layers.BatchNormalization):
                paired += [(f"{name}.weight", layer.gamma, SAME), (f"{name}.bias", layer.beta, SAME)]
            elif isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
                layout = CONV2D if isinstance(layer, layers.Conv2D) else CONV2D_TRANSPOSE
                paired.append((f"{name}.weight", layer.kernel, layout))
                if layer.use_bias:
                    paired.append((f"{name}.bias", layer.bias, SAME))
    return paired


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    problem, distance = gan.load(settings), gan.FrechetDistance(settings.size)
    measured = keras_training.MeasureValidation(problem, lambda images: {"frechet_distance": distance(images)})
    return keras_training.fit(gan.WORKLOAD, problem, settings, build, pairings, callbacks=[measured])


def probe(settings: Settings) -> dict[str, NDArray[Any]]:
    """What both networks compute for the first batch from their initial weights, and the gradients of their losses."""
    keras_training.prepare_process(settings)
    problem = gan.load(settings)
    model = build(problem, settings)
    paired = pairings(model)
    keras_training.load_weights(model, paired, problem, settings)
    noise, images = (in_precision(arrays, settings.precision)[0] for arrays in problem.first_batch(settings))

    with tf.GradientTape(persistent=True) as tape:
        fakes = model(noise, training=True)  # (B, S, S, 1)
        verdicts = [model.discriminator(each, training=True) for each in (images, fakes)]  # (B, 1) each
        losses = {
            "discriminator": model.discriminator_loss(images, tf.stop_gradient(fakes), training=True),
            "generator": model.generator_loss(fakes, training=True),
        }
    found = {
        "outputs": np.concatenate([np.ravel(part) for part in (fakes, *verdicts)]),
        "loss": np.stack(list(losses.values())),
    }
    for name, variable, layout in paired:
        assert isinstance(name, str)
        gradient = tape.gradient(losses[name.partition(".")[0]], variable.value)
        found[f"gradient/{name}"] = layout.to_torch(np.asarray(gradient))
    return found


if __name__ == "__main__":
    keras_training.run_script(gan.WORKLOAD, __doc__, train)
