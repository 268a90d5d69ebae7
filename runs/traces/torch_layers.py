"""In which layer of the model the events of a PyTorch trace happened, by the ranges around the layers' calls."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .coded import Coded, coded
from .records import PARTS, Part
from .trace import Lane

LAYER = re.compile(r"trackside::layer::(.+)$")
LIGHTNING_LAYER = re.compile(r"\[pl\]\[module\][\w.]+?\.?(\w+): (.+)$")
STACK_LAYER = re.compile(r"nn\.Module: (\w+)_\d+$")


def layers_around(lane: Lane, parents: Sequence[int], known: dict[str, str]) -> list[str | None]:
    """The innermost layer around each event.

    Args:
        lane: of a thread.
        parents: (n,) as from `nesting`.
        known: path of a layer to the name of its class; classes that the trace itself tells are added.
    """
    names = coded(lane.names)
    paths: list[str | None] = [None] * len(names.values)
    for code in names.occurring():
        name = names.values[code]
        if one := LAYER.match(name):
            paths[code] = one[1]
        elif one := LIGHTNING_LAYER.match(name):
            paths[code] = one[2]
            known.setdefault(one[2], one[1])
        elif one := STACK_LAYER.match(name):
            paths[code] = name.removeprefix("nn.Module: ")
            known.setdefault(name.removeprefix("nn.Module: "), one[1])
    # The last, at -1, is of what lies in nothing.
    found: list[str | None] = [None] * (len(lane) + 1)
    for i, (code, above) in enumerate(zip(names.codes.tolist(), parents, strict=True)):
        own = paths[code]
        found[i] = found[above] if own is None else own
    return found[:-1]


def after_layers(parts: Coded[Part], layers: Sequence[str | None]) -> list[bool]:
    """Which events of the forward phase come after the last layer of a batch; none where the trace names no layers."""
    layered = np.array([layer is not None for layer in layers], bool)
    forward = parts.codes == PARTS.index("forward")
    stretch = np.cumsum(np.append(True, forward[1:] != forward[:-1])[: len(forward)])
    last = np.full(len(forward) + 1, len(forward))  # of each stretch, its last event in a layer; beyond all if none
    inside = np.flatnonzero(forward & layered)
    last[stretch[inside]] = inside  # the last of those of one stretch stays
    found: list[bool] = (forward & (np.arange(len(forward)) > last[stretch])).tolist()
    return found
