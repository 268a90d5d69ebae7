"""What is known of one claim while its experiments run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..runner import Outcome
from .table import Training


@dataclass(slots=True)
class Record:
    """What is known of one claim so far; becomes its fingerprint.

    Attributes:
        form: `quick` or `full`.
        run_ids: of the trainings that finished.
        failed: trainings that did not: label and reason, with the run where one was recorded.
        skipped: what the form leaves out, or could not be run here.
        measured: what was measured without a training.
        machine: what it was measured on, for those measurements.
        complete: whether everything the form asks for was tried.
    """

    form: str
    run_ids: list[str] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    complete: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the fingerprint keeps it."""
        return {name: getattr(self, name) for name in self.__slots__}

    def fail(self, one: Training, outcome: Outcome, reason: str) -> None:
        """Put down a training that did not finish."""
        self.failed.append(
            {
                "label": one.label,
                "workload": one.workload,
                "framework": one.framework,
                "mode": one.mode,
                "precision": one.precision,
                "devices": one.devices,
                "state": outcome.state,
                "run_id": outcome.run_id,
                "reason": reason,
            }
        )

    def skip(self, one: Training, reason: str) -> None:
        """Put down, once, a training that cannot be run here."""
        skipped = {"label": one.label, "reason": reason}
        if skipped not in self.skipped:
            self.skipped.append(skipped)
