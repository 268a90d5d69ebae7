"""What can be run: one entry a workload, read without importing a framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..db.errors import UsageError
from .digits_cnn import problem as digits_cnn

FRAMEWORKS = ("torch", "tensorflow")
MODES = ("eager", "graph", "xla", "compile")
PRECISIONS = ("float32", "float64", "bf16-mixed", "fp16-mixed")
OPTIMIZERS = ("exact", "stock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One training problem and the forms in which it is offered.

    Attributes:
        name: what `trackside run` calls it.
        summary: one line for `trackside workloads`.
        modules: the script of each framework, run as `python -m`.
        modes: execution modes of each framework, its default first.
        precisions: what both frameworks offer, the default first.
        data: what the images are, and whose.
        train_samples: samples in one epoch before the last partial batch is dropped.
        steps: optimizer updates of a default run.
        batch_size: batch size of a default run.
        seconds: how long a default run of both frameworks takes on two slow CPU cores, imports included.
        metric: the final measurement and what a default run reaches.
    """

    name: str
    summary: str
    modules: Mapping[str, str]
    modes: Mapping[str, tuple[str, ...]]
    precisions: tuple[str, ...]
    data: str
    train_samples: int
    steps: int
    batch_size: int
    seconds: int
    metric: str
    optimizers: tuple[str, ...] = field(default=OPTIMIZERS)

    @property
    def frameworks(self) -> tuple[str, ...]:
        """The frameworks it is written in."""
        return tuple(self.modules)

    def to_json(self) -> dict[str, Any]:
        """The entry as `trackside workloads --json` prints it."""
        return {
            "name": self.name,
            "summary": self.summary,
            "frameworks": list(self.frameworks),
            "modes": [mode for mode in MODES if any(mode in modes for modes in self.modes.values())],
            "modes_by_framework": {framework: list(modes) for framework, modes in self.modes.items()},
            "precisions": list(self.precisions),
            "optimizers": list(self.optimizers),
            "data": self.data,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "seconds": self.seconds,
            "metric": self.metric,
        }


WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {
        "digits-cnn": Workload(
            name="digits-cnn",
            summary="Small CNN with batch normalisation on images of handwritten digits",
            modules={
                "torch": "trackside.workloads.digits_cnn.torch_lightning",
                "tensorflow": "trackside.workloads.digits_cnn.keras_tensorflow",
            },
            modes={"torch": ("eager", "compile"), "tensorflow": ("graph", "eager", "xla")},
            precisions=("float32", "float64"),
            data="1,797 real 8x8 images from scikit-learn (UCI handwritten digits, CC BY 4.0); nothing is downloaded",
            train_samples=digits_cnn.TRAIN_SAMPLES,
            steps=digits_cnn.STEPS,
            batch_size=digits_cnn.BATCH_SIZE,
            seconds=45,
            metric="val/acc 0.98 or more",
        ),
    }
)


def list_workloads() -> list[Workload]:
    """All workloads, by name."""
    return [WORKLOADS[name] for name in sorted(WORKLOADS)]


def find_workload(name: str) -> Workload:
    """The workload of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return WORKLOADS[name]
    except KeyError:
        known = ", ".join(sorted(WORKLOADS))
        raise UsageError(f"There is no workload named {name!r}: run one of {known}.") from None
