"""A trace of torch.profiler, read and interpreted."""

from __future__ import annotations

from .chrome import read_lanes
from .interpreted import Interpreted
from .records import TraceContext
from .torch_labels import labels
from .torch_phases import phases, steps, waiting_for_device, waiting_for_others
from .trace import Trace


def interpret(raw: bytes, context: TraceContext) -> Interpreted:
    """What is in a Chrome trace of PyTorch's.

    Raises:
        TraceError: it is none, or cut short.
    """
    lanes, wall_clock = read_lanes(raw)
    edges, about_steps = steps(lanes[0])
    found, about_phases = phases(lanes)
    made, about_labels = labels(lanes, found, context.layers)
    return Interpreted(
        Trace(lanes, edges, wall_clock),
        made,
        [*found, *waiting_for_others(lanes), *waiting_for_device(lanes[0])],
        (*about_steps, *about_phases, *about_labels),
    )
