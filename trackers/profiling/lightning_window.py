"""Where a step begins and ends in Lightning's loop, for a window of the profiler."""

from __future__ import annotations

import math
from typing import Any

from ...runs.traces.records import TraceContext
from .. import torch_model
from ..session import TrackerSession
from . import torch_recording
from .torch_guard import lightning_profiles
from .torch_ranges import layers
from .window import ProfileWindow, Room, open_window

FOREIGN = "the trainer has a PyTorchProfiler of its own, and there can be only one at a time."


def make(session: TrackerSession, trainer: Any, module: Any) -> LightningWindow | None:
    """The window of a fit; None where nothing is to be recorded."""
    if session.options.schedule is None:
        return None
    torch_recording.prepare()

    def recording() -> torch_recording.TorchRecording:
        manual = not module.automatic_optimization
        return torch_recording.TorchRecording(
            module,
            # In automatic optimization a batch has one forward pass, and it comes first.
            optimizers=trainer.optimizers if manual else (),
            device_type=trainer.strategy.root_device.type,
            foreign=FOREIGN if lightning_profiles(trainer) else None,
        )

    def describe() -> TraceContext:
        return TraceContext(
            framework="torch",
            mode="compile" if torch_model.is_compiled(module) else "eager",
            layers={path: type(layer).__name__ for path, layer in layers(module)},
            optimizer=", ".join(dict.fromkeys(type(one).__name__ for one in trainer.optimizers)) or None,
            versions=torch_recording.versions(),
        )

    window = open_window(session.options.schedule, recording, describe, session, lead=torch_recording.LEAD)
    return None if window is None else LightningWindow(window, manual=not module.automatic_optimization)


class LightningWindow:
    """Tells a window of optimizer updates, from batches.

    Args:
        window: records.
        manual: each batch is a step.
    """

    def __init__(self, window: ProfileWindow, *, manual: bool) -> None:
        self._window = window
        self._manual = manual
        self._begun: int | None = None

    @property
    def done(self) -> bool:
        """Whether nothing will be recorded any more."""
        return self._window.done and self._window.recording is None

    def begin_batch(self, trainer: Any, batch_index: int) -> None:
        """A batch has arrived."""
        step = int(trainer.fit_loop.total_batch_idx if self._manual else trainer.global_step)
        if step != self._begun:  # not the second of the batches that make an update
            self._begun = step
            self._window.begin_step(step, None if self._window.recording else self._room(trainer, batch_index, step))
        self._window.mark("forward")

    def mark(self, name: str) -> None:
        """Something begins within a batch."""
        self._window.mark(name)

    def end_batch(self, trainer: Any) -> None:
        """A batch was worked through."""
        self._window.mark("step_end")
        following = int(trainer.fit_loop.total_batch_idx + 1 if self._manual else trainer.global_step)
        if self._begun is not None and following > self._begun:
            self._window.end_step(following)

    def interrupt(self) -> None:
        """A validation begins, or an epoch has ended."""
        self._window.interrupt()

    def _room(self, trainer: Any, batch_index: int, step: int) -> Room:
        each = 1 if self._manual else max(int(trainer.accumulate_grad_batches), 1)
        between = float(trainer.num_training_batches)
        left = between - batch_index
        epochs = trainer.max_epochs
        last = epochs not in (None, -1) and trainer.current_epoch + 1 >= epochs
        validation = getattr(trainer, "val_check_batch", None)
        if validation and trainer.enable_validation and validation < between:
            until = validation - batch_index % validation
            last = last and until >= left
            left, between = min(left, until), float(validation)
        left, between = math.ceil(left / each) if left < math.inf else left, between / each
        if not self._manual and trainer.max_steps not in (None, -1) and trainer.max_steps - step <= left:
            left, last = trainer.max_steps - step, True
        return Room(left, between, last)
