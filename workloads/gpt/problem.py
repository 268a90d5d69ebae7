"""GPT: the text, the constants and the initial weights that both frameworks are given.

Data: 373,253 characters of the documentation of Python, PSF licence 2.0; `workloads/text.py` says where from. Tokens
are characters. Network, weights and optimizer follow GPT-2 as Karpathy's nanoGPT has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...db.errors import UsageError
from ..problem import Problem, normal, weight_generator
from ..settings import Settings
from ..text import DESCRIPTION, SHA256, SYMBOLS, load_text, windows
from ..workload import Gate, Workload

CONTEXT = 64  # characters a window
NORM_EPSILON = 1e-5
WINDOWS = 5248  # of training text
VALIDATION_WINDOWS = 576  # of 583: to validate on several devices Keras needs equal shares

BETAS = (0.9, 0.99)
EPSILON = 1e-8
WEIGHT_DECAY = 0.1  # of matrices, embeddings among them; biases and the scales of normalisation are left alone
CLIP_NORM = 1.0  # of all gradients together
WARM_UP = 64  # updates over which the learning rate rises to its largest; half a cosine takes it down from there
FINAL_RATE = 0.1  # of the largest


def layers(width: int) -> int:
    """Blocks: 2 of the default width, 6 of 384 as nanoGPT's small model has, 12 of 768 as GPT-2 has."""
    return max(2, width // 64)


def heads(width: int) -> int:
    """Attention heads: of 64 channels each in a wide model, of fewer in a narrow one."""
    return max(4, width // 64)


def check(settings: Settings) -> None:
    """Refuse channels that the heads cannot share."""
    if settings.size % heads(settings.size):
        raise UsageError(
            f"--size is {settings.size}, which {heads(settings.size)} attention heads cannot share: pass a multiple "
            "of 64, or of 4 below 256."
        )


WORKLOAD = Workload(
    name="gpt",
    summary="Small decoder-only transformer, by character, on real text",
    package=__package__,
    data=DESCRIPTION,
    train_samples=WINDOWS,
    steps=656,  # 4 epochs of 164 batches
    batch_size=32,
    size=64,
    size_unit="channels, the width of the transformer",
    smallest_size=4,
    check=check,
    seconds=60,
    metrics=("val/perplexity",),
    result="val/perplexity 5.1 or less",
    gate=Gate(steps=100, tolerance=1e-11),
)

NamedTensors = Iterator[tuple[str, NDArray[np.float32]]]


def learning_rate(width: int) -> float:
    """The largest learning rate, after warm-up: the wider the smaller, 1e-3 at a width of 384."""
    return 6e-3 * 64 / width


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    text = load_text()
    inputs, targets = windows(text.training, CONTEXT)  # each (5248, 64)
    validation_inputs, validation_targets = windows(text.validation, CONTEXT)  # each (583, 64)
    return Problem(
        inputs=(inputs[: settings.samples],),
        targets=(targets[: settings.samples],),
        validation_inputs=(validation_inputs[:VALIDATION_WINDOWS],),
        validation_targets=(validation_targets[:VALIDATION_WINDOWS],),
        weights=dict(initial_weights(settings.seed, settings.size)),
        config={
            "learning_rate": learning_rate(settings.size),
            "schedule": "warm-up, cosine",
            "weight_decay": WEIGHT_DECAY,
            "clip_norm": CLIP_NORM,
            "tokens_per_sample": CONTEXT,
            "data": {"name": "Python documentation, by character", "context": CONTEXT, "text_sha256": SHA256},
        },
    )


def initial_weights(seed: int, width: int) -> NamedTensors:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout, drawn as GPT-2's were.

    Yields:
        Name and tensor, linear layers as (out, in) float32.
    """
    generator = weight_generator(seed)

    def norm(name: str) -> NamedTensors:
        yield f"{name}.weight", np.ones(width, np.float32)
        yield f"{name}.bias", np.zeros(width, np.float32)

    def linear(name: str, out: int, into: int, deviation: float) -> NamedTensors:
        yield f"{name}.weight", normal(generator, out, into, deviation=deviation)
        yield f"{name}.bias", np.zeros(out, np.float32)

    # Each block adds to the stream twice: the sum of all that is added then has the size of one.
    residual = 0.02 / math.sqrt(2 * layers(width))
    yield "tokens.weight", normal(generator, SYMBOLS, width, deviation=0.02)
    yield "positions.weight", normal(generator, CONTEXT, width, deviation=0.02)
    for block in range(layers(width)):
        yield from norm(f"blocks.{block}.norm1")
        yield from linear(f"blocks.{block}.attention.qkv", 3 * width, width, 0.02)
        yield from linear(f"blocks.{block}.attention.projection", width, width, residual)
        yield from norm(f"blocks.{block}.norm2")
        yield from linear(f"blocks.{block}.expand", 4 * width, width, 0.02)
        yield from linear(f"blocks.{block}.contract", width, 4 * width, residual)
    yield from norm("norm")
