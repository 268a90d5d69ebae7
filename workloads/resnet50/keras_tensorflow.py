"""ResNet-50 in Keras on TensorFlow.

    python -m trackside.workloads.resnet50.keras_tensorflow
    python -m trackside.workloads.resnet50.keras_tensorflow --size 224 --batch-size 64 --steps 200

An update of the default run takes about 0.3 seconds of one CPU core; imports, tracing and validation take some 15
more. Its 89 updates, one epoch, reached a validation accuracy of 0.79.

The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
from keras import KerasTensor, layers

from ..layout import CONV2D, DENSE, SAME
from ..problem import Problem
from ..settings import Settings
from . import problem as resnet

MakeNorm = Callable[[str], layers.Layer]


def conv(x: KerasTensor, channels: int, kernel_size: int, stride: int = 1, *, name: str) -> KerasTensor:
    """A convolution padded on all sides alike; the normalisation after it has a bias."""
    padding = "same"
    if stride > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2)(x)  # "same" would pad even sizes at the bottom and right only
        padding = "valid"
    return layers.Conv2D(channels, kernel_size, stride, padding=padding, use_bias=False, name=name)(x)


def bottleneck(x: KerasTensor, channels: int, stride: int, norm: MakeNorm, name: str) -> KerasTensor:
    """Narrow, convolve, widen, and add the result to the input; the stride is in the 3x3 convolution."""
    out_channels = resnet.EXPANSION * channels
    shortcut = x  # (B, H, W, in)
    if stride != 1 or x.shape[-1] != out_channels:
        shortcut = norm(f"{name}_downsample_1")(conv(x, out_channels, 1, stride, name=f"{name}_downsample_0"))
    y = norm(f"{name}_bn1")(conv(x, channels, 1, name=f"{name}_conv1"))
    y = layers.ReLU()(y)  # (B, H, W, C)
    y = norm(f"{name}_bn2")(conv(y, channels, 3, stride, name=f"{name}_conv2"))
    y = layers.ReLU()(y)  # (B, H / stride, W / stride, C)
    y = norm(f"{name}_bn3")(conv(y, out_channels, 1, name=f"{name}_conv3"))
    return layers.ReLU()(layers.Add()([y, shortcut]))  # (B, H / stride, W / stride, 4C)


def build_model(size: int, optimizer: str) -> keras.Model:
    """Four stages of bottleneck blocks between a strided stem and a linear head: 23,528,522 trainable parameters.

    Layers have the names of PyTorch's, with underscores for dots.
    """

    def norm(name: str) -> layers.Layer:
        if optimizer == "exact":
            return torch_exact.BatchNormalization(resnet.NORM_MOMENTUM, resnet.NORM_EPSILON, name=name)
        return layers.BatchNormalization(momentum=1 - resnet.NORM_MOMENTUM, epsilon=resnet.NORM_EPSILON, name=name)

    inputs = keras.Input((size, size, 3))  # (B, S, S, 3)
    x = norm("bn1")(conv(inputs, resnet.STEM_CHANNELS, 7, 2, name="conv1"))
    x = layers.ReLU()(x)  # (B, S/2, S/2, 64)
    # Zeros will do: nothing after a ReLU is smaller. "same" would pad at the bottom and right only.
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # (B, S/4, S/4, 64)
    for number, (blocks, channels, stride) in enumerate(resnet.STAGES, start=1):
        for index in range(blocks):
            x = bottleneck(x, channels, stride if index == 0 else 1, norm, f"layer{number}_{index}")
    x = layers.GlobalAveragePooling2D()(x)  # (B, 2048), from (B, S/32, S/32, 2048)
    x = layers.Dense(resnet.CLASSES, name="fc")(x)  # (B, 10)
    logits = layers.Activation("linear", dtype=keras.config.floatx())(x)  # half precision ends before the loss
    return keras.Model(inputs, logits, name="resnet50")


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    model = build_model(settings.size, settings.optimizer)
    sgd = torch_exact.TorchSGD if settings.optimizer == "exact" else keras.optimizers.SGD
    # A NumPy double makes Keras evaluate the schedule in double precision; a Python float would give float32.
    rate = np.float64(resnet.LEARNING_RATE)
    schedule = keras.optimizers.schedules.CosineDecay(
        resnet.WARMUP_START * rate,
        resnet.decay_steps(settings.steps),
        warmup_target=rate,
        warmup_steps=resnet.warmup_steps(settings.steps),
    )
    model.compile(
        optimizer=sgd(schedule, momentum=resnet.MOMENTUM, weight_decay=resnet.WEIGHT_DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
        **keras_training.compile_options(settings),
    )
    return model


def pairings(model: keras.Model) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    paired: list[keras_training.Pairing] = []
    for layer in model.layers:
        name = layer.name.replace("_", ".")
        if isinstance(layer, layers.Conv2D):
            paired.append((f"{name}.weight", layer.kernel, CONV2D))
        elif isinstance(layer, layers.BatchNormalization):
            paired += [(f"{name}.weight", layer.gamma, SAME), (f"{name}.bias", layer.beta, SAME)]
        elif isinstance(layer, layers.Dense):
            paired += [(f"{name}.weight", layer.kernel, DENSE), (f"{name}.bias", layer.bias, SAME)]
    return paired


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return keras_training.fit(
        resnet.WORKLOAD,
        resnet.load(settings),
        settings,
        build,
        pairings,
        validation_batch_size=resnet.VALIDATION_BATCH_SIZE,
    )


if __name__ == "__main__":
    keras_training.run_script(resnet.WORKLOAD, __doc__, train)
