"""When a profiler records: opens after some steps, closes after some more, and hands over what was recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ...runs import attachments
from ...runs.run import Run
from ...runs.traces.records import TraceContext
from ..guard import Guard
from ..options import ProfileSchedule

PREFIX = "trackside::"
"""Begins the name of every marker and range that we write into a trace."""


class Refused(Exception):  # noqa: N818 - no error: somebody else profiles
    """Recording is out of the question now; the message is a sentence that says why."""


class Recording(Protocol):
    """A framework's profiler, used once.

    Attributes:
        kind: of the artifact: `trace/chrome` or `trace/xplane`.
        suffix: of the file's name.
        closes_at_end: the last step ends with its last batch. Otherwise it ends where the next one begins, because
            what lies in between, waiting for the next batch, counts as its own.
    """

    kind: str
    suffix: str
    closes_at_end: bool

    @property
    def must_end(self) -> bool:
        """Whether another profiler waits for this one to end."""

    def start(self, schedule: ProfileSchedule, target: Path, on_foreign: Callable[[], None]) -> None:
        """Begin to record.

        Args:
            schedule: says what.
            target: where to write: a path that is free.
            on_foreign: called before somebody else's profiler begins while this one records.

        Raises:
            Refused: if somebody else profiles already.
        """

    def begin_step(self, step: int) -> None:
        """A step begins: its first batch has arrived."""

    def end_step(self) -> None:
        """A step has ended."""

    def mark(self, name: str) -> None:
        """Something begins: `forward`, `backward`, …."""

    def stop(self) -> None:
        """End recording, and take everything out of the model that was put into it."""

    def save(self) -> Path:
        """Write what was recorded; return the file."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many steps follow without a break, such as a validation, which would be taken for a part of a step.

    Attributes:
        left: steps until the next break, the one that begins included; None where there is none in sight.
        between: steps between two breaks at most; None where there are no breaks.
        last: nothing follows the next break.
    """

    left: float | None = None
    between: float | None = None
    last: bool = False

    def fits(self, steps: int) -> bool:
        """Whether it is best to record so many steps now: there will be no better moment."""
        if self.left is None or self.left >= steps or self.last:
            return True
        return self.between is not None and self.left >= self.between


class Clock(Protocol):
    """What times the steps, and must not count what opening and closing takes."""

    def pause(self) -> None:
        """Stop counting."""

    def resume(self) -> None:
        """Count again."""


class ProfileWindow:
    """Records some steps of one training.

    Hooks call `begin_step` where a step begins, `end_step` where it has ended, `interrupt` where training pauses, and
    `close` at its end. None of them raises.

    Args:
        schedule: which steps.
        make: makes a recording.
        describe: what is known of the training: a context without steps, options and recording costs.
        run: gets the trace.
        notice: records a sentence about what could not be had, once.
        guard: takes what goes wrong.
        clock: of the steps.
        lead: how many of the steps waited for run under the profiler all the same, unmarked, because a profiler that
            has just begun makes the next step slower.

    Attributes:
        recording: what records now; None outside of a window.
        done: nothing will be recorded any more.
    """

    def __init__(
        self,
        schedule: ProfileSchedule,
        make: Callable[[], Recording],
        describe: Callable[[], TraceContext],
        run: Run,
        *,
        notice: Callable[[str], None],
        guard: Guard,
        clock: Clock | None = None,
        lead: int = 0,
    ) -> None:
        self.recording: Recording | None = None
        self.done = False
        self._schedule = schedule
        self._make = make
        self._describe = describe
        self._run = run
        self._notice = notice
        self._guard = guard
        self._clock = clock
        self._lead = min(lead, schedule.wait)
        self._waiting_since: int | None = None
        self._left = schedule.repeat
        self._first = self._next = 0
        self._marks = False
        self._target = Path()
        self._costs: dict[str, float] = {}
        self._recorded = 0

    def begin_step(self, step: int, room: Room | None = None) -> None:
        """A step begins.

        Args:
            step: optimizer updates so far.
            room: how much can follow without a break; None for any amount.
        """
        with self._guard("profile a step"):
            if self.recording is not None:
                if self.recording.must_end:
                    self._give_way()
                elif step - self._first >= self._schedule.active:
                    self._close()
            if self._waiting_since is None:
                self._waiting_since = step
            waited = step - self._waiting_since >= self._schedule.wait - self._lead
            fits = (room or Room()).fits(self._lead + self._schedule.active)
            if self.recording is None and not self.done and waited and fits:
                self._open(step)
            if self.recording is not None and step >= self._first:
                self._marks = True
                self.recording.begin_step(step)

    def mark(self, name: str) -> None:
        """Something begins within a step; see `Recording.mark`."""
        if self.recording is not None and self._marks:
            with self._guard("profile a step"):
                self.recording.mark(name)

    def end_step(self, following: int) -> None:
        """A step has ended, or several at once.

        Args:
            following: the number of the next.
        """
        if self.recording is None:
            return
        with self._guard("profile a step"):
            self._next = following
            if self._marks:
                self.recording.end_step()
            if self.recording.must_end:
                self._give_way()
            elif self.recording.closes_at_end and following - self._first >= self._schedule.active:
                self._close()

    def interrupt(self) -> None:
        """Something other than training begins: what was recorded so far is all of this window."""
        if self.recording is not None:
            self._close()

    def close(self) -> None:
        """Training is over, however it ended. May be called more than once."""
        if self.recording is not None:
            self._left = 1
            self._close()
        elif not self.done and self._waiting_since is not None and not self._recorded:
            self._notice(
                f"Nothing was profiled: training ended before step {self._waiting_since + self._schedule.wait} began; "
                "give ProfileSchedule a smaller wait."
            )
        self.done = True

    def _open(self, step: int) -> None:
        self._pause()
        recording, self._target = self._make(), self._run.scratch(".profile")
        try:
            began = time.perf_counter()
            recording.start(self._schedule, self._target, self._give_way)
            self._costs = {"start_seconds": time.perf_counter() - began}
            self.recording = recording
            self._first = self._next = step + self._lead
            self._marks = False
        except Refused as refused:
            self.done = True
            self._notice(f"No steps were profiled: {refused}")
        except BaseException:
            self.done = True  # once is enough
            with self._guard("end the profiler"):
                recording.stop()
            raise
        finally:
            self._resume()

    def _give_way(self) -> None:
        """Somebody else's profiler is about to begin. Two at once end the process in PyTorch, and theirs in TensorFlow.

        Called from within their call, into which nothing may be raised.
        """
        self._left = 1
        if self.recording is not None:
            with self._guard("end the profiler"):
                self._notice("Profiling ended early: another profiler began, and there can be only one at a time.")
                self._close()

    def _close(self) -> None:
        recording, self.recording = self.recording, None
        self._left -= 1
        self.done = self._left <= 0
        self._waiting_since = None
        if recording is None:
            return
        self._pause()
        with self._guard("keep the trace"):
            try:
                self._finish(recording)
            finally:
                attachments.remove([self._target])
        self._resume()

    def _finish(self, recording: Recording) -> None:
        began = time.perf_counter()
        recording.stop()
        stopped = time.perf_counter()
        if self._next <= self._first:
            self._notice("Nothing was profiled: recording ended within its first step.")
            return
        file = recording.save()
        saved = time.perf_counter()
        costs = {**self._costs, "stop_seconds": stopped - began, "export_seconds": saved - stopped}
        first, last = self._first, self._next - 1
        context = replace(
            self._describe(),
            first_step=first,
            last_step=last,
            options={name: getattr(self._schedule, name) for name in ("shapes", "memory", "stacks")},
            recording=costs,
        )
        name = f"steps-{first}-{last}{recording.suffix}"
        kept = self._run.attach(
            file, kind=recording.kind, name=name, step=first, detail=context.to_json(), move=True
        )  # fmt: skip
        self._recorded += kept

    def _pause(self) -> None:
        if self._clock is not None:
            self._clock.pause()

    def _resume(self) -> None:
        if self._clock is not None:
            self._clock.resume()


def open_window(
    schedule: ProfileSchedule | None,
    make: Callable[[], Recording],
    describe: Callable[[], TraceContext],
    session: Any,
    *,
    lead: int = 0,
) -> ProfileWindow | None:
    """A window for a tracker's session, closed with it; None where this process is not to record."""
    if schedule is None or not (session.logs_loss or schedule.every_rank):
        return None
    window = ProfileWindow(
        schedule,
        make,
        describe,
        session.run,
        notice=session.notice,
        guard=session.guard,
        clock=session.clock,
        lead=lead,
    )
    session.closing.append(window.close)
    return window
