"""The profiler of a loop that somebody wrote without a framework's trainer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from ...db.errors import UsageError
from ...runs.run import Run
from ...runs.traces.records import TraceContext
from ..guard import Guard
from ..options import ProfileSchedule
from .window import ProfileWindow, Recording

FRAMEWORKS = ("torch", "tensorflow")


def schedule_of(schedule: Any, arguments: Mapping[str, Any]) -> ProfileSchedule:
    """The schedule that was given, whole or by its arguments.

    Raises:
        UsageError: if it is none.
    """
    if schedule is not None and arguments:
        raise UsageError("run.profile takes a ProfileSchedule or the arguments of one, not both.")
    if schedule is None:
        try:
            return ProfileSchedule(**arguments)
        except TypeError as error:
            known = ", ".join(ProfileSchedule.__dataclass_fields__)
            raise UsageError(f"run.profile takes {known}, not {', '.join(arguments)}.") from error
    if not isinstance(schedule, ProfileSchedule):
        raise UsageError(f"schedule is {schedule!r}; give a ProfileSchedule(…).")
    return schedule


class LoopProfiler:
    """Records some steps of a loop. Apart from its construction nothing in here raises.

    Args:
        run: gets the trace.
        schedule: which steps.
        model: whose layers the trace is to name.
        framework: `torch` or `tensorflow`; the one that is loaded if None, PyTorch if both are.

    Raises:
        UsageError: if there is no such framework.
    """

    def __init__(self, run: Run, schedule: ProfileSchedule, *, model: Any = None, framework: str | None = None) -> None:
        if framework is not None and framework not in FRAMEWORKS:
            raise UsageError(f"framework is {framework!r}; give {' or '.join(FRAMEWORKS)}.")
        self.guard = Guard()
        self.guard.attach(run.warn)
        self._run = run
        self._schedule = schedule
        self._model = model
        self._framework = framework or next((name for name in FRAMEWORKS if name in sys.modules), None)
        self._window: ProfileWindow | None = None
        self._step = 0

    def __enter__(self) -> Self:
        with self.guard("prepare the profiler"):
            self._window = self._make()
        if self._window is not None:
            self._step = self._run.last_step + 1
            self._window.begin_step(self._step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._window is not None:
            self._window.close()

    def step(self) -> None:
        """A training step has ended, and the next begins."""
        window = self._window
        if window is None or window.done:
            return
        self._step += 1
        window.end_step(self._step)
        window.begin_step(self._step)

    def _make(self) -> ProfileWindow | None:
        if self._framework is None:
            self._run.warn("nothing was profiled: neither PyTorch nor TensorFlow is loaded; import it before")
            return None
        if self._run.rank > 0 and not self._schedule.every_rank:
            return None
        lead = 0
        if self._framework == "torch":
            from . import torch_recording

            torch_recording.prepare()
            lead = torch_recording.LEAD
        record, describe = (_torch if self._framework == "torch" else _tensorflow)(self._model)
        return ProfileWindow(
            self._schedule,
            record,
            describe,
            self._run,
            notice=lambda sentence: self._run.event("notice", sentence),
            guard=self.guard,
            lead=lead,
        )


Halves = tuple[Callable[[], Recording], Callable[[], TraceContext]]
"""What makes a recording, and what says of what."""


def _torch(model: Any) -> Halves:
    from . import torch_recording
    from .torch_ranges import layers

    def record() -> Recording:
        device = _torch_device() if model is None else next((p.device.type for p in model.parameters()), "cpu")
        return torch_recording.TorchRecording(model, device_type=device)

    def describe() -> TraceContext:
        named = {} if model is None else {path: type(layer).__name__ for path, layer in layers(model)}
        return TraceContext(framework="torch", layers=named, versions=torch_recording.versions())

    return record, describe


def _torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _tensorflow(model: Any) -> Halves:
    from . import keras_ranges, tensorflow_recording

    def describe() -> TraceContext:
        flat = [] if model is None else list(model._flatten_layers(include_self=False))
        return TraceContext(
            framework="tensorflow",
            layers={keras_ranges.layer_path(model, layer): type(layer).__name__ for layer in flat},
            versions=tensorflow_recording.versions(),
        )

    return lambda: tensorflow_recording.TensorFlowRecording(model), describe
