"""What a reader of one format hands over to what is the same for all formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .summary import Phase
from .trace import Labels, Trace


@dataclass(frozen=True, slots=True, eq=False)
class Interpreted:
    """A trace and what its reader made of it.

    Attributes:
        trace: lanes and steps.
        labels: what each event is for, one for each lane.
        phases: what the training thread did when; as `summarise` takes them.
        notes: sentences that a reader of the numbers must know.
    """

    trace: Trace
    labels: Sequence[Labels]
    phases: Sequence[Phase]
    notes: Sequence[str] = ()
