"""GRU in PyTorch Lightning: the character language model of `workloads/lstm` around another recurrent layer.

    python -m trackside.workloads.gru.torch_lightning

656 updates take about 15 seconds on one CPU core after some 5 seconds of imports, and reach a validation perplexity of
4.6. The same network, data and arithmetic in Keras: `keras_tensorflow.py` beside this file.
"""

from __future__ import annotations

from torch import nn

from .. import torch_training
from ..lstm import problem as characters
from ..lstm.torch_lightning import CharacterModel
from ..problem import Problem
from ..settings import Settings
from . import problem as gru


def build(problem: Problem, settings: Settings) -> CharacterModel:
    """The model, without its initial weights."""
    return CharacterModel(nn.GRU(characters.EMBEDDING, settings.size, batch_first=True), settings.steps)


def train(settings: Settings) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation."""
    problem = gru.load(settings)
    return torch_training.fit(gru.WORKLOAD, problem, settings, build, gradient_clip_val=characters.CLIP_NORM)


if __name__ == "__main__":
    torch_training.run_script(gru.WORKLOAD, __doc__, train)
