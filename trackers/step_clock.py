"""Where the time of a training step goes: waiting for data, or computing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

TIMES = ("step/seconds", "step/data_seconds", "step/compute_seconds", "step/samples_per_second")
"""What `StepTime.metrics` has of an update that is not the first, where samples are known: the usual case."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """The time one optimizer update took, from the end of the update before it to its own end.

    Attributes:
        seconds: the whole period; always `data_seconds + compute_seconds`. The number to compare between
            frameworks: where waiting for data falls differs, the period does not.
        data_seconds: the part spent waiting for a batch.
        compute_seconds: the part between receiving a batch and being done with it.
        samples: training samples of this update; 0 where unknown.
        first: the first update after a start, with its compilation and warm-up.
    """

    seconds: float
    data_seconds: float
    compute_seconds: float
    samples: float
    first: bool

    def metrics(self) -> dict[str, float]:
        """Return what to log.

        The first update after a start goes under `step/first_seconds` alone, so that compilation and warm-up
        stay out of every statistic over `step/seconds`.
        """
        if self.first:
            return {"step/first_seconds": self.seconds}
        metrics = {
            "step/seconds": self.seconds,
            "step/data_seconds": self.data_seconds,
            "step/compute_seconds": self.compute_seconds,
        }
        if self.samples and self.seconds > 0:
            metrics["step/samples_per_second"] = self.samples / self.seconds
        return metrics


class StepClock:
    """Splits the period of each update into waiting for data and computing.

    Call `start` once training is about to begin, `begin_batch` when a batch has arrived, `end_batch` when it has
    been worked through, and `end_step` when that batch completed an optimizer update. Several batches may make one
    update (gradient accumulation). What happens between batches counts as waiting for data, except between `pause`
    and `resume` (validation) and where `discard_gap` was called (a checkpoint was written).

    Args:
        clock: returns seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._gap_began: float | None = None  # None: what passes between batches is not counted at present
        self._batch_began: float | None = None
        self._data = 0.0
        self._compute = 0.0
        self._samples = 0
        self._first = True

    def start(self) -> None:
        """Begin anew: the next update is a first one."""
        self._data = self._compute = 0.0
        self._samples = 0
        self._first = True
        self._batch_began = None
        self._gap_began = self._clock()

    def begin_batch(self) -> None:
        """A batch has arrived; computing begins."""
        now = self._clock()
        if self._gap_began is not None:
            self._data += now - self._gap_began
            self._gap_began = None
        self._batch_began = now

    def end_batch(self, samples: int = 0, *, data_seconds: float = 0.0) -> None:
        """The batch has been worked through.

        Args:
            samples: how many samples it held.
            data_seconds: how much of the time since `begin_batch` went into waiting for the batch, where a
                framework fetches it inside the step.
        """
        now = self._clock()
        if self._batch_began is not None:
            elapsed = now - self._batch_began
            waited = min(max(data_seconds, 0.0), elapsed)
            self._data += waited
            self._compute += elapsed - waited
        self._samples += samples
        self._batch_began = None
        self._gap_began = now

    def end_step(self, updates: int = 1) -> StepTime:
        """Return the time of the update that the last batch completed, and begin the next.

        Args:
            updates: how many updates were made since the last call, where a framework reports several at once;
                times and samples are then the mean of one of them.
        """
        time_ = StepTime(
            seconds=(self._data + self._compute) / updates,
            data_seconds=self._data / updates,
            compute_seconds=self._compute / updates,
            samples=self._samples / updates,
            first=self._first,
        )
        self._data = self._compute = 0.0
        self._samples = 0
        self._first = False
        return time_

    def end_batch_and_step(self, samples: int, data_seconds: float = 0.0) -> tuple[float, float, float, float] | None:
        """Do what `end_batch` and `end_step` do where one batch makes an update, at a third of the cost.

        Args:
            samples: how many samples the batch held, at least one.
            data_seconds: as for `end_batch`.

        Returns:
            The values of `TIMES`. None, with nothing
            done, where `StepTime.metrics` would hold something else: at the first update, and where other batches
            belong to this one.
        """
        now, began = self._clock(), self._batch_began
        if began is None or now <= began or self._first or self._samples or self._compute:
            return None
        elapsed = now - began
        waited = min(max(data_seconds, 0.0), elapsed)
        data, compute = self._data + waited, elapsed - waited
        self._data = 0.0
        self._batch_began, self._gap_began = None, now
        seconds = data + compute
        return seconds, data, compute, samples / seconds

    def pause(self) -> None:
        """Stop counting between batches: something other than training begins."""
        if self._gap_began is not None:
            self._data += self._clock() - self._gap_began
            self._gap_began = None

    def resume(self) -> None:
        """Count again: training goes on."""
        if self._batch_began is None:
            self._gap_began = self._clock()

    def discard_gap(self) -> None:
        """Leave the present gap between two batches out altogether; the next batch counts again."""
        self._gap_began = None
