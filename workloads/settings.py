"""What one training process is told, as a record and as its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields

from ..db.errors import UsageError
from ..trackers.options import ProfileSchedule
from . import lifeline
from .workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one framework's half of a workload is to be run.

    Attributes:
        mode: execution mode of the framework.
        steps: optimizer updates.
        batch_size: samples an update, over all devices together.
        size: of the model or its data, in the workload's own unit.
        precision: of the arithmetic.
        optimizer: `exact` is PyTorch's arithmetic in both frameworks, `stock` each framework's own.
        seed: of the initial weights and the batch order.
        samples: train on so many samples only; None for all there are.
        threads: CPU threads for the arithmetic.
        devices: how many devices share each batch.
        perturb: not 0: move every initial weight by one unit in the last place, at random from this seed.
        checkpoints: folder for the training's state, written after each epoch; None for no checkpoints.
        resume: go on from the state in `checkpoints`, where there is one.
        name, project, group, store, tags: of the run, as `start_run` takes them.
        tensorboard: folder for TensorBoard event files.
        profile: record a few steps with the framework's profiler.
        debug: measure every layer at every update.
    """

    mode: str
    steps: int
    batch_size: int
    size: int
    precision: str = "float32"
    optimizer: str = "exact"
    seed: int = 0
    samples: int | None = None
    threads: int = 1
    devices: int = 1
    perturb: int = 0
    checkpoints: str | None = None
    resume: bool = False
    name: str | None = None
    project: str | None = None
    group: str | None = None
    store: str | None = None
    tags: tuple[str, ...] = ()
    tensorboard: str | None = None
    profile: bool = False
    debug: bool = False

    @property
    def schedule(self) -> ProfileSchedule | None:
        """Which steps a tracker is to profile: with shapes, by which operators of two frameworks are told to match."""
        return ProfileSchedule(shapes=True) if self.profile else None

    def to_arguments(self) -> list[str]:
        """The command line that `parse_settings` turns back into this record."""
        arguments = []
        for field in fields(self):
            value = getattr(self, field.name)
            option = f"--{field.name.replace('_', '-')}"
            if isinstance(value, bool):
                arguments += [option] if value else []
            elif isinstance(value, tuple):
                arguments += [f"{option}={item}" for item in value]
            elif value is not None:
                arguments.append(f"{option}={value}")
        return arguments


def parse_settings(
    workload: Workload, framework: str, description: str | None = None, arguments: Sequence[str] | None = None
) -> Settings:
    """Settings from a training script's command line. From here on, a script that a runner started ends with it.

    Args:
        workload: offers what may be chosen, and says what holds where nothing is.
        framework: the script's.
        description: the script's docstring, shown by `--help`.
        arguments: the command line; `sys.argv` where None.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = workload.modes[framework]
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--precision", choices=workload.precisions, default=workload.precisions[0])
    parser.add_argument(
        "--optimizer",
        choices=workload.optimizers,
        default=workload.optimizers[0],
        help="torch's arithmetic in both, or Keras' own",
    )
    parser.add_argument("--steps", type=int, default=workload.steps, help="optimizer updates")
    parser.add_argument("--batch-size", type=int, default=workload.batch_size)
    parser.add_argument("--size", type=int, default=workload.size, help=workload.size_unit)
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the batch order")
    parser.add_argument("--samples", type=int, help="train on so many samples only")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for the arithmetic")
    parser.add_argument("--devices", type=int, default=1, help="devices that share each batch")
    parser.add_argument("--perturb", type=int, default=0, help="move the initial weights by one unit in the last place")
    parser.add_argument("--checkpoints", help="folder for the training's state, written after each epoch")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --checkpoints")
    parser.add_argument("--name", help="name of the run")
    parser.add_argument("--project", help="project of the run")
    parser.add_argument("--group", help="group of the run: what was started together")
    parser.add_argument("--store", help="URL of the store")
    parser.add_argument("--tags", action="append", default=[], help="a word to find the run by; may be given again")
    parser.add_argument("--tensorboard", help="folder for TensorBoard event files")
    parser.add_argument("--profile", action="store_true", help="record a few steps with the framework's profiler")
    parser.add_argument("--debug", action="store_true", help="measure every layer at every update")
    parsed = vars(parser.parse_args(arguments))
    settings = Settings(**{**parsed, "tags": tuple(parsed["tags"])})
    try:
        workload.check(settings)
    except UsageError as error:
        parser.error(str(error))
    lifeline.hold_on()
    return settings
