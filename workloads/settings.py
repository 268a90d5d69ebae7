"""What one training process is told, as a record and as its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one framework's half of a workload is to be run."""

    mode: str
    steps: int
    batch_size: int
    precision: str = "float32"
    optimizer: str = "exact"
    seed: int = 0
    threads: int = 1
    name: str | None = None
    project: str | None = None
    group: str | None = None
    store: str | None = None
    tensorboard: str | None = None

    def to_arguments(self) -> list[str]:
        """The command line that `parse_settings` turns back into this record."""
        arguments = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                arguments.append(f"--{field.name.replace('_', '-')}={value}")
        return arguments


def parse_settings(
    description: str | None,
    *,
    modes: Sequence[str],
    precisions: Sequence[str],
    steps: int,
    batch_size: int,
    arguments: Sequence[str] | None = None,
) -> Settings:
    """Settings from a training script's command line.

    Args:
        description: the script's docstring, shown by `--help`.
        modes: execution modes the script offers, its default first.
        precisions: precisions the script offers, its default first.
        steps: default number of optimizer updates.
        batch_size: default batch size.
        arguments: the command line; `sys.argv` where None.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--precision", choices=precisions, default=precisions[0])
    parser.add_argument(
        "--optimizer", choices=("exact", "stock"), default="exact", help="torch's arithmetic in both, or Keras' own"
    )
    parser.add_argument("--steps", type=int, default=steps, help="optimizer updates")
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the batch order")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for the arithmetic")
    parser.add_argument("--name", help="name of the run")
    parser.add_argument("--project", help="project of the run")
    parser.add_argument("--group", help="group of the run: what was started together")
    parser.add_argument("--store", help="URL of the store")
    parser.add_argument("--tensorboard", help="folder for TensorBoard event files")
    return Settings(**vars(parser.parse_args(arguments)))
