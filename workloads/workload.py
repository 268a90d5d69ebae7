"""What a workload says of itself: the entry that the registry lists and the command line is checked against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .settings import Settings

FRAMEWORKS = ("torch", "tensorflow")
MODES = ("eager", "graph", "xla", "compile")
PRECISIONS = ("float32", "float64", "bf16-mixed", "fp16-mixed")
OPTIMIZERS = ("exact", "stock")

FRAMEWORK_MODES: Mapping[str, tuple[str, ...]] = {
    "torch": ("eager", "compile"),
    "tensorflow": ("graph", "eager", "xla"),
}
"""Execution modes of each framework, its default first."""

SCRIPTS: Mapping[str, str] = {"torch": "torch_lightning", "tensorflow": "keras_tensorflow"}
"""The module in a workload's folder that trains it in each framework."""


def any_settings(settings: Settings) -> None:
    """The rule of a workload that can be run with all settings the command line takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How closely the two frameworks must agree in double precision for the workload to count as the same.

    Attributes:
        steps: updates compared. Smooth networks agree for as long as one likes; where a network is chaotic, rounding
            grows until it shows, and beyond that nothing is proven.
        tolerance: largest relative difference of a loss within those steps.
    """

    steps: int = 100
    tolerance: float = 1e-11


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One training problem and the forms in which it is offered.

    Attributes:
        name: what `trackside run` calls it.
        summary: one line for `trackside workloads`.
        package: the folder it lives in, as Python imports it; holds `problem`, and a script for each framework.
        data: what the data are, and whose.
        train_samples: samples in one epoch of a default run, before the last partial batch is dropped.
        steps: optimizer updates of a default run.
        batch_size: batch size of a default run.
        size: how large a default run's model or data is, in `size_unit`.
        size_unit: what `--size` counts: "pixels a side", "hidden units", …
        smallest_size: the least `size` that works.
        check: raises a UsageError, a sentence that ends with the cure, for settings that the workload cannot be run
            with; asked before any training starts. `smallest_size` needs no such rule.
        seconds: how long a default run of both frameworks takes on two slow CPU cores, imports included.
        metrics: what is measured on the validation data; the first is the one to look at.
        result: what a default run reaches.
        frameworks: the frameworks it is written in.
        modes: execution modes of each framework, its default first.
        precisions: what both frameworks offer, the default first.
        optimizers: whose arithmetic the optimizer follows, the default first.
        devices: whether it can train on several devices.
        gate: how closely the frameworks agree in double precision.
        requires: packages beyond a framework that it imports, by import name, with the one pip installs.
        root: folder to put on Python's path before `package` can be imported; None for those of trackside.
    """

    name: str
    summary: str
    package: str
    data: str
    train_samples: int
    steps: int
    batch_size: int
    size: int
    size_unit: str
    seconds: int
    metrics: tuple[str, ...]
    result: str
    smallest_size: int = 1
    check: Callable[[Settings], None] = any_settings
    frameworks: tuple[str, ...] = FRAMEWORKS
    modes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: FRAMEWORK_MODES)
    precisions: tuple[str, ...] = PRECISIONS
    optimizers: tuple[str, ...] = OPTIMIZERS
    devices: bool = True
    gate: Gate = Gate()
    requires: tuple[tuple[str, str], ...] = ()
    root: str | None = None

    @property
    def reference(self) -> str:
        """What `trackside run` finds it by: its name, or its folder where it is somebody's own."""
        return self.name if self.root is None else f"{self.root}/{self.package.replace('.', '/')}"

    def script(self, framework: str) -> str:
        """The module that trains it in a framework, run as `python -m`."""
        return f"{self.package}.{SCRIPTS[framework]}"

    def to_json(self) -> dict[str, Any]:
        """The entry as `trackside workloads --json` prints it."""
        return {
            "name": self.name,
            "summary": self.summary,
            "frameworks": list(self.frameworks),
            "modes": [mode for mode in MODES if any(mode in self.modes[each] for each in self.frameworks)],
            "modes_by_framework": {framework: list(self.modes[framework]) for framework in self.frameworks},
            "precisions": list(self.precisions),
            "optimizers": list(self.optimizers),
            "devices": self.devices,
            "data": self.data,
            "train_samples": self.train_samples,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "size": self.size,
            "size_unit": self.size_unit,
            "seconds": self.seconds,
            "metrics": list(self.metrics),
            "result": self.result,
        }
