"""What the events of an accelerator are for: each is what the operator is that launched it."""

from __future__ import annotations

from .coded import coded
from .summary import COPY
from .torch_known import FUSED_NOTE, Known, Label
from .torch_names import family_of_kernel, fused
from .trace import Lane


def of_device(lane: Lane, known: Known) -> list[int]:
    """The number of each event's label."""
    names = coded(lane.names)
    nothing: list[int | None] = [None] * len(lane)
    external, correlation = (nothing, nothing) if lane.links is None else (lane.links.external, lane.links.correlation)
    thought: dict[tuple[int, int | None], int] = {}
    found = []
    for name, outer, inner in zip(names.codes.tolist(), external, correlation, strict=True):
        launched = known.by_external.get(outer)
        if launched is None:
            launched = known.by_correlation.get(inner)
        key = name, launched
        code = thought.get(key)
        if code is None:
            origin = None if launched is None else known.labels.values[launched]
            code = thought[key] = known.labels.code(_of_kernel(names.values[name], origin, known))
        found.append(code)
    return found


def _of_kernel(name: str, launched: Label | None, known: Known) -> Label:
    """The label of an accelerator's event, by that of the operator that launched it."""
    kernel = fused(name)
    if kernel is not None:
        known.notes[FUSED_NOTE] = None
        direction, layer = (launched[1], launched[2]) if launched else (kernel[1], None)
        return kernel[0], direction, layer, True
    if launched is not None and launched[0] not in (None, "other"):
        return launched
    if COPY.match(name):
        return "data" if "HtoD" in name else "other", "none", None, launched is None
    guess = family_of_kernel(name)
    direction, layer = (launched[1], launched[2]) if launched else ("none", None)
    return guess or "other", direction, layer, guess is not None
