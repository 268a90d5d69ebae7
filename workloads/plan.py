"""From what was asked for to the exact list of trainings, or a sentence on why it cannot be."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..db.errors import UsageError
from .devices import count_gpus
from .registry import find_workload
from .settings import Settings
from .workload import FRAMEWORKS, MODES, OPTIMIZERS, PRECISIONS, Workload

# What must be importable, and the extra that brings it.
REQUIREMENTS = {
    "torch": (("torch", "lightning"), "lightning"),
    "tensorflow": (("tensorflow", "keras"), "keras"),
}
DISPLAY = {"torch": "PyTorch Lightning", "tensorflow": "Keras/TensorFlow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody wants to train; None is the workload's or the framework's own default.

    Attributes:
        workload: name of the workload, or the folder of one's own.
        framework: `torch`, `tensorflow` or `both`.
        mode: execution mode.
        precision: of the arithmetic.
        optimizer: `exact` computes PyTorch's formulas in both frameworks, `stock` uses each framework's own.
        devices: how many devices share each batch.
        steps: optimizer updates.
        epochs: passes over the data, instead of `steps`.
        batch_size: samples an update.
        size: of the model or its data, in the workload's unit.
        samples: train on so many samples only.
        seed: of the initial weights and the order of the batches; each repeat adds one.
        threads: CPU threads for the arithmetic.
        repeat: how often to train everything.
        perturb: not 0: move the initial weights by one unit in the last place, from this seed.
        checkpoints: folder that keeps each training's state after each epoch.
        resume: go on from the state in `checkpoints`.
        store: URL of the store; None for `TRACKSIDE_STORE` or the default.
        project: project of the runs.
        group: shared by all runs of the request; made up where None.
        tags: words to find the runs by.
        tensorboard: folder for TensorBoard event files as well.
        profile: record a few steps of each training with its framework's profiler.
        debug: measure every layer of each training at every update.
    """

    workload: str
    framework: str = "both"
    mode: str | None = None
    precision: str = "float32"
    optimizer: str = "exact"
    devices: int = 1
    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    size: int | None = None
    samples: int | None = None
    seed: int = 0
    threads: int = 1
    repeat: int = 1
    perturb: int = 0
    checkpoints: str | None = None
    resume: bool = False
    store: str | None = None
    project: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    tensorboard: str | None = None
    profile: bool = False
    debug: bool = False


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


def plan_jobs(request: Request) -> list[Job]:
    """The trainings in the order they will run: repeat by repeat, the order of the frameworks turned around each time.

    A B, then B A: what drifts while they run, the clock rate or other people's jobs, then falls on both alike. Every
    repeat adds one to the seed, for both frameworks alike. All jobs share one group.

    Raises:
        UsageError: the request cannot be met; nothing was started.
    """
    workload = find_workload(request.workload)
    frameworks = _frameworks(workload, request.framework)
    modes = {each: _mode(workload, each, request.mode, alone=request.framework != "both") for each in frameworks}
    _check_forms(workload, request, modes)
    _check_numbers(request)
    batch_size, samples = _batch_size(workload, request)
    steps = _steps(workload, request, samples // batch_size)
    size = workload.size if request.size is None else request.size
    if size < workload.smallest_size:
        raise UsageError(
            f"--size is {size} {workload.size_unit}, too small for {workload.name}: pass {workload.smallest_size} or "
            "more."
        )
    for each in frameworks:
        _require_installed(workload, each, modes[each])

    group = request.group or f"{workload.name}-{uuid.uuid4().hex[:8]}"
    jobs = []
    for index in range(request.repeat):
        for each in frameworks if index % 2 == 0 else tuple(reversed(frameworks)):
            name = _run_name(workload, each, modes[each], request, size, request.seed + index)
            settings = Settings(
                mode=modes[each],
                precision=request.precision,
                optimizer=request.optimizer,
                steps=steps,
                batch_size=batch_size,
                size=size,
                samples=request.samples,
                seed=request.seed + index,
                threads=request.threads,
                devices=request.devices,
                perturb=request.perturb,
                checkpoints=None if request.checkpoints is None else str(Path(request.checkpoints).absolute() / name),
                resume=request.resume,
                name=name,
                project=request.project or workload.name,
                group=group,
                store=request.store,
                tags=request.tags,
                tensorboard=request.tensorboard,
                profile=request.profile,
                debug=request.debug,
            )
            workload.check(settings)
            jobs.append(Job(workload=workload, framework=each, settings=settings))
    return jobs


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


def _check_forms(workload: Workload, request: Request, modes: dict[str, str]) -> None:
    """Refuse what the workload, a framework or this machine does not offer."""
    _offered("precision", request.precision, PRECISIONS, workload.precisions, workload.name)
    _offered("optimizer", request.optimizer, OPTIMIZERS, workload.optimizers, workload.name)
    gpus = count_gpus()
    if request.precision == "fp16-mixed" and not gpus:
        raise UsageError(
            "fp16-mixed needs a GPU, and there is none here (Lightning would train in bfloat16 instead): "
            "pass --precision bf16-mixed."
        )
    _at_least("--devices", request.devices, 1)
    if request.devices == 1:
        return
    if not workload.devices:
        raise UsageError(f"{workload.name} trains on one device only: leave out --devices.")
    available = gpus or os.cpu_count() or 1
    if request.devices > available:
        kind = "GPUs" if gpus else "CPU cores"
        raise UsageError(f"--devices is {request.devices}, but there are {available} {kind} here: pass fewer.")
    if modes.get("tensorflow") == "xla":
        raise UsageError("TensorFlow does not compile with XLA across devices: pass --mode graph or --devices 1.")


def _offered(option: str, value: str, known: Sequence[str], offered: Sequence[str], workload: str) -> None:
    if value not in known:
        raise UsageError(f"There is no {option} {value!r}: choose {_join(offered)}.")
    if value not in offered:
        raise UsageError(f"{workload} does not offer {option} {value!r}: choose {_join(offered)}.")


def _check_numbers(request: Request) -> None:
    _at_least("--threads", request.threads, 1)
    _at_least("--repeat", request.repeat, 1)
    _at_least("--seed", request.seed, 0)
    if request.resume and request.checkpoints is None:
        raise UsageError("--resume needs the folder that the trainings left their state in: pass --checkpoints FOLDER.")


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{option} is {value}, which cannot be: pass {least} or more.")


def _batch_size(workload: Workload, request: Request) -> tuple[int, int]:
    """The batch size, and how many samples there are."""
    batch_size = workload.batch_size if request.batch_size is None else request.batch_size
    _at_least("--batch-size", batch_size, 1)
    if request.samples is not None:
        _at_least("--samples", request.samples, 1)
    samples = workload.train_samples
    if request.samples is not None:
        if request.samples > samples:
            raise UsageError(f"--samples is {request.samples}, but {workload.name} has {samples}: pass fewer.")
        samples = request.samples
    if batch_size > samples:
        raise UsageError(
            f"A batch of {batch_size} is larger than the {samples} training samples of "
            f"{workload.name}: pass a smaller --batch-size."
        )
    if batch_size % request.devices:
        raise UsageError(
            f"A batch of {batch_size} cannot be shared equally among {request.devices} devices: "
            f"pass a --batch-size that {request.devices} divides."
        )
    return batch_size, samples


def _steps(workload: Workload, request: Request, steps_per_epoch: int) -> int:
    if request.steps is not None and request.epochs is not None:
        raise UsageError("--steps and --epochs both say how long to train: pass one of them.")
    if request.epochs is not None:
        _at_least("--epochs", request.epochs, 1)
        return request.epochs * steps_per_epoch
    if request.steps is None:
        return workload.steps
    _at_least("--steps", request.steps, 1)
    return request.steps


def require_framework(framework: str) -> None:
    """Refuse where a framework is not installed.

    Raises:
        UsageError: it is not.
    """
    modules, extra = REQUIREMENTS[framework]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(
            f"{DISPLAY[framework]} needs {_join(missing, 'and')}, which is not installed: "
            f"run pip install 'trackside[{extra},workloads]', or choose the other --framework."
        )


def _require_installed(workload: Workload, framework: str, mode: str) -> None:
    require_framework(framework)
    for module, package in workload.requires:
        if importlib.util.find_spec(module) is None:
            raise UsageError(
                f"{workload.name} takes its data from {package}, which is not installed: run pip install {package}."
            )
    if mode == "compile" and not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        raise UsageError("torch.compile needs a C++ compiler, and there is none: install g++, or pass --mode eager.")


def _run_name(workload: Workload, framework: str, mode: str, request: Request, size: int, seed: int) -> str:
    """The workload, the framework, and what is not as it usually is."""
    parts = [
        (True, workload.name),
        (True, framework),
        (mode != workload.modes[framework][0], mode),
        (request.precision != workload.precisions[0], request.precision),
        (request.optimizer != workload.optimizers[0], request.optimizer),
        (size != workload.size, f"size{size}"),
        (request.devices > 1, f"{request.devices}devices"),
        (request.threads > 1, f"{request.threads}threads"),
        (bool(request.perturb), f"perturbed{request.perturb}"),
        (bool(seed), f"seed{seed}"),
    ]
    return "-".join(word for unusual, word in parts if unusual)


def _join(words: Sequence[str], last: str = "or") -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
