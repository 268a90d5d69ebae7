"""GRU: the problem of `workloads/lstm` with the other recurrent layer; the text and the constants are the same."""

from __future__ import annotations

from dataclasses import replace

from ..lstm import problem as characters
from ..problem import Problem
from ..settings import Settings

WORKLOAD = replace(
    characters.WORKLOAD,
    name="gru",
    summary="Character language model with a GRU layer, on real text",
    package=__package__,
    result="val/perplexity 4.7 or less",
)


def load(settings: Settings) -> Problem:
    """Data and start for one setting."""
    # Both of PyTorch's biases are trained: the second is multiplied by a gate, so no first one can stand for it.
    weights = characters.initial_weights(settings.seed, settings.size, gates=3, biases=2)
    return characters.character_problem(settings, weights)
