"""GPT in Keras on TensorFlow: a small decoder-only transformer, by character.

    python -m trackside.workloads.gpt.keras_tensorflow
    python -m trackside.workloads.gpt.keras_tensorflow --size 384 --batch-size 64   # for a GPU: 10.7 million weights

656 updates take about 20 seconds on one CPU core after some 10 seconds of imports, and reach a validation perplexity of
5.0. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from ..layout import DENSE, SAME
from ..problem import Problem
from ..settings import Settings
from ..text import SYMBOLS
from . import problem as gpt


class CausalSelfAttention(layers.Layer):  # type: ignore[misc]
    """Every character looks at itself and those before it, in several heads at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.heads = width, gpt.heads(width)
        self.qkv = layers.Dense(3 * width)  # queries, keys and values of all heads
        self.projection = layers.Dense(width)

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, T, C)
        size = self.width // self.heads
        qkv = ops.reshape(self.qkv(x), (-1, gpt.CONTEXT, 3, self.heads, size))
        q, k, v = ops.unstack(qkv, axis=2)  # each (B, T, H, C/H)
        scores = ops.einsum("bthd,bshd->bhts", q, k) / math.sqrt(size)  # (B, H, T, T)
        scores = ops.where(np.tri(gpt.CONTEXT, dtype=bool), scores, -math.inf)  # what comes later has no share
        y = ops.einsum("bhts,bshd->bthd", ops.softmax(scores), v)  # (B, T, H, C/H)
        return self.projection(ops.reshape(y, (-1, gpt.CONTEXT, self.width)))  # (B, T, C)


def gelu(x: tf.Tensor) -> tf.Tensor:
    """The exact GELU, with erf; Keras' own rounds its constants to single precision whatever it computes in."""
    return 0.5 * x * (1.0 + ops.erf(x / math.sqrt(2.0)))


class Block(layers.Layer):  # type: ignore[misc]
    """Attention, then a network for each character by itself; both add to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = layers.LayerNormalization(epsilon=gpt.NORM_EPSILON)
        self.attention = CausalSelfAttention(width)
        self.norm2 = layers.LayerNormalization(epsilon=gpt.NORM_EPSILON)
        self.expand = layers.Dense(4 * width, activation=gelu)
        self.contract = layers.Dense(width)

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, T, C)
        x = x + self.attention(self.norm1(x))
        return x + self.contract(self.expand(self.norm2(x)))


class GPT(keras.Model):  # type: ignore[misc]
    """Embeddings of characters and their places, blocks, and a score for every character that may come next."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens = layers.Embedding(SYMBOLS, width)
        self.positions = layers.Embedding(gpt.CONTEXT, width)
        self.blocks = [Block(width) for _ in range(gpt.layers(width))]
        self.norm = layers.LayerNormalization(epsilon=gpt.NORM_EPSILON)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:  # (B, T)
        x = self.tokens(tokens) + self.positions(ops.arange(gpt.CONTEXT))  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        head = ops.transpose(self.tokens.embeddings)  # (C, V); the embeddings are the head's weights too
        logits = ops.matmul(self.norm(x), head)  # (B, T, V)
        return ops.cast(logits, keras.config.floatx())  # half precision ends before the loss


class Perplexity(keras.metrics.SparseCategoricalCrossentropy):  # type: ignore[misc]
    """Among how many equally likely characters the model still has to choose."""

    def result(self) -> tf.Tensor:
        return ops.exp(super().result())


def make_optimizer(settings: Settings) -> keras.optimizers.Optimizer:
    """AdamW with warm-up, half a cosine and clipping; the weights of matrices decay, biases and scales do not."""
    # A NumPy double makes Keras evaluate the schedule in double precision; a Python float would give float32.
    rate = np.float64(gpt.learning_rate(settings.size))
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / gpt.WARM_UP,
        decay_steps=max(1, settings.steps - gpt.WARM_UP),
        alpha=gpt.FINAL_RATE,
        warmup_target=rate,
        warmup_steps=gpt.WARM_UP,
    )
    options: dict[str, Any] = {
        "beta_1": gpt.BETAS[0],
        "beta_2": gpt.BETAS[1],
        "epsilon": gpt.EPSILON,
        "weight_decay": gpt.WEIGHT_DECAY,
        "global_clipnorm": gpt.CLIP_NORM,
    }
    if settings.optimizer == "exact":
        optimizer = torch_exact.TorchAdam(schedule, decoupled=True, **options)
    else:
        optimizer = keras.optimizers.AdamW(schedule, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    model = GPT(settings.size)
    model(keras.Input((gpt.CONTEXT,), dtype="int64"))  # makes the variables
    model.compile(
        optimizer=make_optimizer(settings),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[Perplexity(from_logits=True, name="perplexity")],
        **keras_training.compile_options(settings),
    )
    return model


def pairings(model: GPT) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    norms: dict[str, Any] = {"norm": model.norm}
    linear: dict[str, Any] = {}
    for number, block in enumerate(model.blocks):
        at = f"blocks.{number}"
        norms |= {f"{at}.norm1": block.norm1, f"{at}.norm2": block.norm2}
        linear |= {f"{at}.attention.qkv": block.attention.qkv, f"{at}.attention.projection": block.attention.projection}
        linear |= {f"{at}.expand": block.expand, f"{at}.contract": block.contract}
    paired: list[keras_training.Pairing] = [
        ("tokens.weight", model.tokens.embeddings, SAME),
        ("positions.weight", model.positions.embeddings, SAME),
    ]
    for name, norm in norms.items():
        paired += [(f"{name}.weight", norm.gamma, SAME), (f"{name}.bias", norm.beta, SAME)]
    for name, dense in linear.items():
        paired += [(f"{name}.weight", dense.kernel, DENSE), (f"{name}.bias", dense.bias, SAME)]
    return paired


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return keras_training.fit(gpt.WORKLOAD, gpt.load(settings), settings, build, pairings)


if __name__ == "__main__":
    keras_training.run_script(gpt.WORKLOAD, __doc__, train)
