"""Some steps under torch.profiler, driven by hand: its own schedule would decide when to write, and how much."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, supported_activities

from ..options import ProfileSchedule
from . import torch_guard
from .torch_ranges import LayerRanges, mark
from .window import Refused

LEAD = 1
"""Steps under the profiler before those that are recorded: the first after its start took up to fifty times as long."""

BUSY = "another PyTorch profiler was at work, and there can be only one at a time."


def prepare() -> None:
    """Ready the process for a window: look out for other profilers, and keep the profiler's own messages to itself."""
    # torch 2.13 prints lines such as "USDT: profiler_start" to standard error; read at its first use.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    torch_guard.watch()


class TorchRecording:
    """A window of torch.profiler.

    Args:
        module: whose layers get ranges; None for none.
        optimizers: whose steps are followed by a forward pass, where a model makes several in one batch.
        device_type: of the training: `cpu`, `cuda`, ….
        foreign: says why nothing can be recorded in this training; None where nothing is known.
    """

    kind = "trace/chrome"
    suffix = ".pt.trace.json"
    closes_at_end = False

    def __init__(
        self,
        module: nn.Module | None,
        *,
        optimizers: Iterable[Any] = (),
        device_type: str = "cpu",
        foreign: str | None = None,
    ) -> None:
        self._module = module
        self._optimizers = tuple(optimizers)
        self._device_type = device_type
        self._foreign = foreign
        self._profile: Any = None
        self._target = Path()
        self._running = False
        self._ranges: LayerRanges | None = None
        self._handles: list[Any] = []

    @property
    def must_end(self) -> bool:
        return torch_guard.watch().asked_to_stop

    def start(self, schedule: ProfileSchedule, target: Path, on_foreign: Callable[[], None]) -> None:
        watch = torch_guard.watch()
        if self._foreign is not None or watch.busy():
            raise Refused(self._foreign or BUSY)
        self._target = target
        with watch.own():
            self._profile = profile(
                activities=self._activities(),
                record_shapes=schedule.shapes,
                profile_memory=schedule.memory,
                with_stack=schedule.stacks,
            )
            self._profile.start()
        self._running = True
        watch.started(on_foreign)
        if self._module is not None:
            self._ranges = LayerRanges(self._module)
        for optimizer in self._optimizers:
            self._handles.append(optimizer.register_step_post_hook(_mark_forward))

    def _activities(self) -> list[Any]:
        known = supported_activities()
        wanted = [ProfilerActivity.CPU]
        for name in ("CUDA", "XPU"):
            activity = getattr(ProfilerActivity, name, None)
            if self._device_type == name.lower() and activity in known:
                wanted.append(activity)
        return wanted

    def begin_step(self, step: int) -> None:
        mark(f"step#{step}")

    def end_step(self) -> None:
        """Nothing to do: what follows until the next step begins is its own."""

    def mark(self, name: str) -> None:
        mark(name)

    def stop(self) -> None:
        if self._ranges is not None:
            self._ranges.remove()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        watch = torch_guard.watch()
        try:
            if self._running:
                self._running = False
                mark("end")
                with watch.own():
                    self._profile.stop()
        finally:
            watch.stopped()

    def save(self) -> Path:
        # Plain: what torch calls export to .json.gz takes twenty times as long, on the training thread.
        self._profile.profiler.kineto_results.save(str(self._target))
        self._profile = None
        return self._target


def _mark_forward(*_: Any) -> None:
    mark("forward")


def versions() -> dict[str, str]:
    """Versions of the framework and its front ends, as far as they are loaded."""
    found = {"torch": str(torch.__version__)}
    for name in ("lightning", "pytorch_lightning"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found
