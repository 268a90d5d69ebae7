"""LSTM: the text, the constants and the initial weights that both frameworks are given.

Data: 373,253 characters of the documentation of Python, PSF licence 2.0; `workloads/text.py` says where from. Tokens
are characters. The GRU of `workloads/gru` is trained on the same problem.
"""

from __future__ import annotations

from ..problem import Problem, Weights, normal, uniform_by_fan_in, weight_generator
from ..settings import Settings
from ..text import DESCRIPTION, SHA256, SYMBOLS, load_text, windows
from ..workload import Gate, Workload

CONTEXT = 64  # characters a window; each window begins with a state of zeros
EMBEDDING = 32
WINDOWS = 5248  # of training text
VALIDATION_WINDOWS = 576  # of 583: to validate on several devices Keras needs equal shares

LEARNING_RATE = 5e-3  # at the first step; a half cosine takes it to zero at the last
CLIP_NORM = 1.0  # of all gradients together

WORKLOAD = Workload(
    name="lstm",
    summary="Character language model with an LSTM layer, on real text",
    package=__package__,
    data=DESCRIPTION,
    train_samples=WINDOWS,
    steps=656,  # 4 epochs of 164 batches
    batch_size=32,
    size=128,
    size_unit="hidden units",
    seconds=45,
    metrics=("val/perplexity",),
    result="val/perplexity 5.5 or less",
    # torch.compile leaves recurrent layers to PyTorch's own kernels without a word: a run in that mode would be eager.
    modes={"torch": ("eager",), "tensorflow": ("graph", "eager", "xla")},
    gate=Gate(steps=100, tolerance=1e-11),
)


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    return character_problem(settings, initial_weights(settings.seed, settings.size))


def character_problem(settings: Settings, weights: Weights) -> Problem:
    """For each character of a window, which one follows it; whatever the network."""
    text = load_text()
    inputs, targets = windows(text.training, CONTEXT)  # each (5248, 64)
    validation_inputs, validation_targets = windows(text.validation, CONTEXT)  # each (583, 64)
    return Problem(
        inputs=(inputs[: settings.samples],),
        targets=(targets[: settings.samples],),
        validation_inputs=(validation_inputs[:VALIDATION_WINDOWS],),
        validation_targets=(validation_targets[:VALIDATION_WINDOWS],),
        weights=weights,
        config={
            "learning_rate": LEARNING_RATE,
            "schedule": "cosine",
            "clip_norm": CLIP_NORM,
            "tokens_per_sample": CONTEXT,
            "data": {"name": "Python documentation, by character", "context": CONTEXT, "text_sha256": SHA256},
        },
    )


def initial_weights(seed: int, hidden: int, gates: int = 4, biases: int = 1) -> Weights:
    """The weights before the first update, by PyTorch's names and in PyTorch's layout, drawn as PyTorch draws them.

    Args:
        seed: of the run.
        hidden: units.
        gates: 4 of an LSTM (i, f, g, o), 3 of a GRU (r, z, n).
        biases: how many of PyTorch's two are trained. An LSTM adds them up: there the second stays at zero.

    Returns:
        The gates one below the other, (gates · hidden, in) float32.
    """
    generator = weight_generator(seed)
    names = ("rnn.bias_ih_l0", "rnn.bias_hh_l0")[:biases]
    return {
        "embedding.weight": normal(generator, SYMBOLS, EMBEDDING, deviation=1.0),
        "rnn.weight_ih_l0": uniform_by_fan_in(generator, gates * hidden, EMBEDDING, fan_in=hidden),
        "rnn.weight_hh_l0": uniform_by_fan_in(generator, gates * hidden, hidden, fan_in=hidden),
        **{name: uniform_by_fan_in(generator, gates * hidden, fan_in=hidden) for name in names},
        "head.weight": uniform_by_fan_in(generator, SYMBOLS, hidden, fan_in=hidden),
        "head.bias": uniform_by_fan_in(generator, SYMBOLS, fan_in=hidden),
    }
