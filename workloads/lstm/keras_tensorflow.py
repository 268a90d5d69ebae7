"""LSTM in Keras on TensorFlow: a character language model.

    python -m trackside.workloads.lstm.keras_tensorflow
    python -m trackside.workloads.lstm.keras_tensorflow --size 1024 --batch-size 128   # for a GPU

656 updates take about 20 seconds on one CPU core after some 10 seconds of imports, and reach a validation perplexity of
5.4. With `--optimizer stock` the losses are others: Keras' Adam squares the gradient of a repeated character each
time it occurs. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import keras_training, torch_exact  # before Keras, whose environment it sets

# isort: split
import keras
import numpy as np
from keras import layers, ops

from ..layout import DENSE, LSTM, SAME
from ..problem import Problem
from ..settings import Settings
from ..text import SYMBOLS
from . import problem as characters


def character_model(rnn: layers.RNN) -> keras.Model:
    """Embedding, recurrent layer, and a score for every character that may come next."""
    return keras.Sequential(
        [
            keras.Input((characters.CONTEXT,), dtype="int64"),  # (B, T)
            layers.Embedding(SYMBOLS, characters.EMBEDDING, name="embedding"),  # (B, T, E)
            rnn,  # (B, T, H), from a state of zeros
            layers.Dense(SYMBOLS, name="head"),  # (B, T, V)
            layers.Activation("linear", dtype=keras.config.floatx()),  # half precision ends before the loss
        ]
    )


class Perplexity(keras.metrics.SparseCategoricalCrossentropy):  # type: ignore[misc]
    """Among how many equally likely characters the model still has to choose."""

    def result(self) -> object:
        return ops.exp(super().result())


def compile_model(model: keras.Model, settings: Settings) -> keras.Model:
    """The model with its optimizer, loss and metric."""
    adam = torch_exact.TorchAdam if settings.optimizer == "exact" else keras.optimizers.Adam
    # A NumPy double makes Keras evaluate the schedule in double precision; a Python float would give float32.
    rate = np.float64(characters.LEARNING_RATE)
    schedule = keras.optimizers.schedules.CosineDecay(rate, decay_steps=settings.steps)
    model.compile(
        optimizer=adam(schedule, epsilon=1e-8, global_clipnorm=characters.CLIP_NORM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[Perplexity(from_logits=True, name="perplexity")],
        **keras_training.compile_options(settings),
    )
    return model


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    cudnn = False if settings.mode == "xla" else "auto"  # XLA cannot call cuDNN
    lstm = layers.LSTM(settings.size, return_sequences=True, use_cudnn=cudnn, name="rnn")
    return compile_model(character_model(lstm), settings)


def pairings(model: keras.Model) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    cell, head = model.get_layer("rnn").cell, model.get_layer("head")
    return [
        ("embedding.weight", model.get_layer("embedding").embeddings, SAME),
        ("rnn.weight_ih_l0", cell.kernel, LSTM),
        ("rnn.weight_hh_l0", cell.recurrent_kernel, LSTM),
        ("rnn.bias_ih_l0", cell.bias, SAME),
        ("head.weight", head.kernel, DENSE),
        ("head.bias", head.bias, SAME),
    ]


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return keras_training.fit(characters.WORKLOAD, characters.load(settings), settings, build, pairings)


if __name__ == "__main__":
    keras_training.run_script(characters.WORKLOAD, __doc__, train)
