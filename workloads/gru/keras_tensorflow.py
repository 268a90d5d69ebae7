"""GRU in Keras on TensorFlow: the character language model of `workloads/lstm` around another recurrent layer.

    python -m trackside.workloads.gru.keras_tensorflow

656 updates take about 20 seconds on one CPU core after some 10 seconds of imports, and reach a validation perplexity of
4.6. The same network, data and arithmetic in PyTorch: `torch_lightning.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import keras_training  # before Keras, whose environment it sets

# isort: split
import keras
from keras import layers

from ..layout import DENSE, GRU, GRU_BIASES, SAME
from ..lstm.keras_tensorflow import character_model, compile_model
from ..problem import Problem
from ..settings import Settings
from . import problem as gru


def build(problem: Problem, settings: Settings) -> keras.Model:
    """The compiled model, without its initial weights."""
    cudnn = False if settings.mode == "xla" else "auto"  # XLA cannot call cuDNN
    # `reset_after`, PyTorch's form and cuDNN's: the reset gate acts on the product with the state, not on the state.
    layer = layers.GRU(settings.size, return_sequences=True, reset_after=True, use_cudnn=cudnn, name="rnn")
    return compile_model(character_model(layer), settings)


def pairings(model: keras.Model) -> Sequence[keras_training.Pairing]:
    """Which variable holds which of PyTorch's tensors."""
    cell, head = model.get_layer("rnn").cell, model.get_layer("head")
    return [
        ("embedding.weight", model.get_layer("embedding").embeddings, SAME),
        ("rnn.weight_ih_l0", cell.kernel, GRU),
        ("rnn.weight_hh_l0", cell.recurrent_kernel, GRU),
        (("rnn.bias_ih_l0", "rnn.bias_hh_l0"), cell.bias, GRU_BIASES),
        ("head.weight", head.kernel, DENSE),
        ("head.bias", head.bias, SAME),
    ]


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    return keras_training.fit(gru.WORKLOAD, gru.load(settings), settings, build, pairings)


if __name__ == "__main__":
    keras_training.run_script(gru.WORKLOAD, __doc__, train)
