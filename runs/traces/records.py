"""One vocabulary for what a profiler recorded, whichever framework it was.

A raw trace (`chrome`: torch.profiler's JSON; `xplane`: tf.profiler's protocol buffer) is read into a `Trace`,
classified and summed up as a `Profile`. Times are in seconds unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Family = Literal[
    "convolution",
    "matmul",
    "attention",
    "normalisation",
    "activation",
    "pooling",
    "embedding",
    "recurrent",
    "loss",
    "optimizer",
    "data",
    "communication",
    "other",
]
"""What an operator is for. `other` is what could be given no name; `communication` is between devices."""
FAMILIES: tuple[Family, ...] = get_args(Family)

Direction = Literal["forward", "backward", "none"]
"""`none`: neither, as of the optimizer and the data, or unknown."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

Part = Literal["data", "forward", "backward", "optimizer", "kernel", "copy", "communication", "other"]
"""Where the wall clock of a step went. The parts of a step add up to it.

`data`: waiting for the next batch. `forward`, `backward`, `optimizer`: the training thread working on these. `kernel`,
`copy`, `communication`: an accelerator at work while the training thread did none of those. Without an accelerator,
`communication` is the training thread exchanging data with other processes, or waiting for that. `other`: the rest,
Python, the framework's loop and hooks.
"""
PARTS: tuple[Part, ...] = get_args(Part)

Format = Literal["chrome", "xplane"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """What the tracker knew when it recorded a trace: kept beside the raw file as the JSON of `to_json`.

    A trace that somebody recorded without us has next to nothing of it.

    Attributes:
        framework: `torch` or `tensorflow`.
        mode: `eager`, `graph`, `xla` or `compile`.
        first_step, last_step: optimizer updates recorded, both included, counted from 0; None where unknown.
        layers: path of a layer to the name of its class, as the framework spells both.
        optimizer: name of the optimizer's class, or None.
        options: what was asked to be recorded: `shapes`, `memory`, `stacks`, each a bool.
        recording: what recording cost: `start_seconds`, `stop_seconds`, `export_seconds` on the training thread.
        versions: of the framework and its front end.
    """

    framework: str
    mode: str | None = None
    first_step: int | None = None
    last_step: int | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    optimizer: str | None = None
    options: Mapping[str, bool] = field(default_factory=dict)
    recording: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` takes back."""
        return {
            "framework": self.framework,
            "mode": self.mode,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "layers": dict(self.layers),
            "optimizer": self.optimizer,
            "options": dict(self.options),
            "recording": dict(self.recording),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TraceContext:
        """Read what `to_json` wrote; keys that are missing or unknown do no harm."""
        known = {name: value[name] for name in cls.__slots__ if value.get(name) is not None}
        return cls(**{"framework": "", **known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """All calls of one operator in one layer and direction, over all recorded steps together.

    Attributes:
        name: as the framework spells it: `aten::convolution_backward`, `Conv2DBackpropFilter`, `fusion.12`.
        family, direction: what it is for.
        calls: how often it ran.
        self_seconds: time in it and in nothing that it called.
        total_seconds: time in it with all that it called.
        layer: path of the layer it worked for, or None.
        shapes: shapes of its inputs, such as `[32, 16, 30, 30] × [32, 16, 3, 3]`; empty where not recorded.
        memory_bytes: allocated less freed by it, or None where not recorded.
        flops: floating-point operations, or None where unknown.
        inferred: the family or direction is a guess (a fused kernel that lost its origin, say), not read off the trace.
        device: whether it ran on an accelerator (`gpu`) or not (`cpu`).
        background: it ran on a thread on which training does not wait, such as the input pipeline's.
    """

    name: str
    family: Family
    direction: Direction = "none"
    calls: int = 1
    self_seconds: float = 0.0
    total_seconds: float = 0.0
    layer: str | None = None
    shapes: str = ""
    memory_bytes: int | None = None
    flops: float | None = None
    inferred: bool = False
    device: Literal["cpu", "gpu"] = "cpu"
    background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the time of some training steps went.

    Attributes:
        format: of the raw trace.
        context: what the tracker knew.
        step_seconds: wall clock of each recorded step, from the start of one to the start of the next.
        split: mean seconds a step by part; the values add up to the mean of `step_seconds`.
        operators: by self time, the longest first.
        classified_fraction: share of the self time of operators (background ones and Python left out; an accelerator's
            alone where there is one) that has a family other than `other`; NaN where there are none.
        notes: sentences that a reader of the numbers must know: what is missing, what was guessed, what is fused.
    """

    format: Format
    context: TraceContext
    step_seconds: tuple[float, ...]
    split: Mapping[Part, float]
    operators: tuple[Operator, ...]
    classified_fraction: float
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps were recorded."""
        return len(self.step_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One bar of a timeline: an operator, or a stretch of Python, of one thread or stream in one step.

    Attributes:
        name, family, direction, layer: as of `Operator`; family None for what is no operator.
        start, duration: seconds, counted from the start of the step.
        lane: name of the thread or stream.
        depth: how many other slices of its lane it lies in.
    """

    name: str
    family: Family | None
    direction: Direction
    layer: str | None
    start: float
    duration: float
    lane: str
    depth: int
