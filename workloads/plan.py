"""From what was asked for to the exact list of trainings, or a sentence on why it cannot be."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ..db.errors import UsageError
from .registry import FRAMEWORKS, MODES, OPTIMIZERS, PRECISIONS, Workload, find_workload
from .settings import Settings

# What must be importable, and the extra that brings it.
REQUIREMENTS = {
    "torch": (("torch", "lightning"), "lightning"),
    "tensorflow": (("tensorflow", "keras"), "keras"),
}
DISPLAY = {"torch": "PyTorch Lightning", "tensorflow": "Keras/TensorFlow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: a framework's half of a workload with its settings."""

    workload: Workload
    framework: str  # "torch" | "tensorflow"
    settings: Settings

    @property
    def label(self) -> str:
        """What the terminal calls it, short enough for a line with its numbers."""
        return f"{self.framework} {self.settings.mode}"


def plan_jobs(
    name: str,
    *,
    framework: str = "both",
    mode: str | None = None,
    precision: str = "float32",
    optimizer: str = "exact",
    devices: int = 1,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    threads: int = 1,
    repeat: int = 1,
    store: str | None = None,
    project: str | None = None,
    group: str | None = None,
    tensorboard: str | None = None,
) -> list[Job]:
    """The trainings in the order they will run: repeat by repeat, the frameworks alternating.

    Every repeat adds one to the seed, for both frameworks alike. All jobs share one group.

    Raises:
        UsageError: the request cannot be met; nothing was started.
    """
    workload = find_workload(name)
    frameworks = _frameworks(workload, framework)
    modes = {each: _mode(workload, each, mode, alone=framework != "both") for each in frameworks}
    _offered("precision", precision, PRECISIONS, workload.precisions, workload.name)
    _offered("optimizer", optimizer, OPTIMIZERS, workload.optimizers, workload.name)
    _at_least("--threads", threads, 1)
    _at_least("--repeat", repeat, 1)
    _at_least("--seed", seed, 0)
    _at_least("--devices", devices, 1)
    if devices > 1:
        raise UsageError(f"{workload.name} trains on one device so far: leave out --devices or pass --devices 1.")
    batch_size = workload.batch_size if batch_size is None else batch_size
    _at_least("--batch-size", batch_size, 1)
    if batch_size > workload.train_samples:
        raise UsageError(
            f"A batch of {batch_size} is larger than the {workload.train_samples} training samples of "
            f"{workload.name}: pass a smaller --batch-size."
        )
    steps = _steps(workload, steps, epochs, batch_size)
    for each in frameworks:
        _require_installed(workload, each, modes[each])

    group = group or f"{workload.name}-{uuid.uuid4().hex[:8]}"
    return [
        Job(
            workload=workload,
            framework=each,
            settings=Settings(
                mode=modes[each],
                precision=precision,
                optimizer=optimizer,
                steps=steps,
                batch_size=batch_size,
                seed=seed + index,
                threads=threads,
                name=_run_name(workload, each, modes[each], precision, optimizer, seed + index),
                project=project or workload.name,
                group=group,
                store=store,
                tensorboard=tensorboard,
            ),
        )
        for index in range(repeat)
        for each in frameworks
    ]


def _frameworks(workload: Workload, framework: str) -> tuple[str, ...]:
    if framework == "both":
        return workload.frameworks
    if framework not in FRAMEWORKS:
        raise UsageError(f"There is no framework {framework!r}: choose torch, tensorflow or both.")
    if framework not in workload.frameworks:
        raise UsageError(f"{workload.name} is not written for {framework}: choose {_join(workload.frameworks)}.")
    return (framework,)


def _mode(workload: Workload, framework: str, mode: str | None, *, alone: bool) -> str:
    modes = workload.modes[framework]
    if mode is None:
        return modes[0]
    if mode not in MODES:
        raise UsageError(f"There is no mode {mode!r}: choose {_join(MODES)}.")
    if mode in modes:
        return mode
    others = [other for other in workload.frameworks if mode in workload.modes[other]]
    if alone or not others:
        raise UsageError(f"{workload.name} has no mode {mode!r} in {framework}: choose {_join(modes)}.")
    raise UsageError(
        f"{workload.name} has no mode {mode!r} in {framework}, which offers {_join(modes)}: "
        f"add --framework {others[0]}."
    )


def _offered(option: str, value: str, known: Sequence[str], offered: Sequence[str], workload: str) -> None:
    if value not in known:
        raise UsageError(f"There is no {option} {value!r}: choose {_join(offered)}.")
    if value not in offered:
        raise UsageError(f"{workload} does not offer {option} {value!r} yet: choose {_join(offered)}.")


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{option} is {value}, which cannot be: pass {least} or more.")


def _steps(workload: Workload, steps: int | None, epochs: int | None, batch_size: int) -> int:
    if steps is not None and epochs is not None:
        raise UsageError("--steps and --epochs both say how long to train: pass one of them.")
    if epochs is not None:
        _at_least("--epochs", epochs, 1)
        return epochs * (workload.train_samples // batch_size)
    if steps is None:
        return workload.steps
    _at_least("--steps", steps, 1)
    return steps


def _require_installed(workload: Workload, framework: str, mode: str) -> None:
    modules, extra = REQUIREMENTS[framework]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(
            f"{DISPLAY[framework]} needs {_join(missing, 'and')}, which is not installed: "
            f"run pip install 'trackside[{extra},workloads]', or choose the other --framework."
        )
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError(
            f"{workload.name} takes its data from scikit-learn, which is not installed: "
            "run pip install 'trackside[workloads]'."
        )
    if mode == "compile" and not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        raise UsageError("torch.compile needs a C++ compiler, and there is none: install g++, or pass --mode eager.")


def _run_name(workload: Workload, framework: str, mode: str, precision: str, optimizer: str, seed: int) -> str:
    parts = [workload.name, framework]
    if mode != workload.modes[framework][0]:
        parts.append(mode)
    if precision != workload.precisions[0]:
        parts.append(precision)
    if optimizer != workload.optimizers[0]:
        parts.append(optimizer)
    if seed:
        parts.append(f"seed{seed}")
    return "-".join(parts)


def _join(words: Sequence[str], last: str = "or") -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
