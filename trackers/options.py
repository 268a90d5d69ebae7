"""The arguments that both trackers share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..db.engine import resolve_url
from ..db.errors import UsageError
from ..runs.script import check_source
from .tensorboard import require_tensorboard


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugOptions:
    """What `debug=` may be given to say more than True.

    Attributes:
        every: measure the layers at every so many updates (from update 0).
        histograms: record the 5th, 25th, 50th, 75th and 95th percentile of each layer's gradient as well.
        anomaly: look at the values of every step before its update also where that means waiting for an accelerator.
        search_steps: where an alarm came too late, look for the culprit in this many further steps; 0 never looks.

    Raises:
        UsageError: when one of them cannot be.
    """

    every: int = 1
    histograms: bool = False
    anomaly: bool = False
    search_steps: int = 3

    def __post_init__(self) -> None:
        for field, least in (("every", 1), ("search_steps", 0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"DebugOptions.{field} is {value!r}; give a whole number, {least} or more.")
        for field in ("histograms", "anomaly"):
            if not isinstance(getattr(self, field), bool):
                raise UsageError(f"DebugOptions.{field} is {getattr(self, field)!r}; give True or False.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSchedule:
    """Which training steps a profiler records. Steps are optimizer updates, counted from the start of this fit.

    Attributes:
        wait: steps before the first that is recorded: compilation, caches and the input pipeline settle in them.
        active: steps that are recorded.
        repeat: how often to wait and record.
        shapes: the shapes of operators' inputs (PyTorch; TensorFlow's profiler has them where it has them).
        memory: what operators allocate and free (PyTorch).
        stacks: the Python calls around operators. Traces become ten times as large.
        every_rank: record on every process of a distributed training, not on the first alone.

    Raises:
        UsageError: when one of them cannot be.
    """

    wait: int = 10
    active: int = 5
    repeat: int = 1
    shapes: bool = False
    memory: bool = False
    stacks: bool = False
    every_rank: bool = False

    def __post_init__(self) -> None:
        for field, least in (("wait", 0), ("active", 1), ("repeat", 1)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"ProfileSchedule.{field} is {value!r}; give a whole number, {least} or more.")
        for field in ("shapes", "memory", "stacks", "every_rank"):
            if not isinstance(getattr(self, field), bool):
                raise UsageError(f"ProfileSchedule.{field} is {getattr(self, field)!r}; give True or False.")


Debug = bool | Literal["tfdbg"] | DebugOptions
"""What `debug=` takes. False: only the watch that is always on. `tfdbg`: TensorFlow's own dump."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerOptions:
    """The arguments that both trackers share, checked once at construction.

    Attributes:
        name: the run's name; made up if None. A second fit with the same tracker appends `-2`, and so on.
        project: what the run is listed under.
        config: your own settings, merged over what the tracker reads off the trainer.
        store: the store's URL; None for `TRACKSIDE_STORE` or the default.
        tags: words to find the run by.
        group: a name shared by runs that belong together, such as the repeats of one experiment.
        log_every: log every so many optimizer updates (from update 0).
        system: sample CPU, memory and GPUs once a second; a number is the interval in seconds, False is off.
        profile: record a few steps with the framework's profiler; `ProfileSchedule` says which, True those after the
            first ten. None and False are off.
        debug: measure every layer at every update, and be ready to search for what goes wrong; `DebugOptions` says
            how much of it, "tfdbg" asks for TensorFlow's own dump instead. False leaves the watch that is always on.
        tensorboard: a directory to write TensorBoard event files to as well.
        gradient_norm: log the global gradient norm before clipping at every update.
        workload: the name of the training problem that several runs share.
        source: keep the text of the training script with the run; a path names another file, False keeps none.

    Raises:
        UsageError: when one of them cannot be, a malformed store URL among them.
    """

    name: str | None = None
    project: str = "default"
    config: Mapping[str, Any] | None = None
    store: str | None = None
    tags: Sequence[str] = ()
    group: str | None = None
    log_every: int = 1
    system: bool | float = True
    profile: bool | ProfileSchedule | None = None
    debug: Debug = False
    tensorboard: str | os.PathLike[str] | None = None
    gradient_norm: bool = False
    workload: str | None = None
    source: bool | str | os.PathLike[str] = True

    def __post_init__(self) -> None:
        for field in ("name", "group", "store", "workload"):
            value = getattr(self, field)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise UsageError(f"{field} is {value!r}; give a non-empty string or leave it out.")
        if not isinstance(self.project, str) or not self.project.strip():
            raise UsageError(f"project is {self.project!r}; give a non-empty string or leave it out.")
        if self.config is not None and not isinstance(self.config, Mapping):
            raise UsageError(f"config is a {type(self.config).__name__}; give a dictionary of settings.")
        if isinstance(self.tags, str) or not all(isinstance(tag, str) for tag in self.tags):
            raise UsageError(f"tags is {self.tags!r}; give a list of strings.")
        if isinstance(self.log_every, bool) or not isinstance(self.log_every, int) or self.log_every < 1:
            raise UsageError(f"log_every is {self.log_every!r}; give a whole number of steps, 1 or more.")
        if not isinstance(self.system, bool) and not (
            isinstance(self.system, int | float) and 0.05 <= self.system <= 3600
        ):
            raise UsageError(f"system is {self.system!r}; give True, False or seconds between 0.05 and 3600.")
        if self.tensorboard is not None and not isinstance(self.tensorboard, str | os.PathLike):
            raise UsageError(f"tensorboard is {self.tensorboard!r}; give the directory for its event files.")
        if self.tensorboard is not None:
            require_tensorboard()
        resolve_url(self.store)
        if check_source(self.source) is not None and not isinstance(self.source, bool):
            object.__setattr__(self, "source", Path(self.source).expanduser().absolute())
        if not (self.profile is None or isinstance(self.profile, bool | ProfileSchedule)):
            raise UsageError(f"profile is {self.profile!r}; give True, False or ProfileSchedule(…).")
        if not (isinstance(self.debug, bool | DebugOptions) or self.debug == "tfdbg"):
            raise UsageError(f'debug is {self.debug!r}; give True, False, "tfdbg" or DebugOptions(…).')

    @property
    def schedule(self) -> ProfileSchedule | None:
        """Which steps to profile; None for none."""
        if self.profile is True:
            return ProfileSchedule()
        return self.profile if isinstance(self.profile, ProfileSchedule) else None

    @property
    def kept_source(self) -> bool | Path:
        """Which script to keep; none where the file that was named is gone by now: training starts all the same."""
        if isinstance(self.source, bool):
            return self.source
        return Path(self.source) if Path(self.source).is_file() else False

    @property
    def probes(self) -> DebugOptions | None:
        """What to measure of the layers; None where nothing beyond the watch was asked for."""
        if self.debug is True:
            return DebugOptions()
        return self.debug if isinstance(self.debug, DebugOptions) else None
