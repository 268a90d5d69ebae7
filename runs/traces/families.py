"""The operators of a profile by what they are for, and a profile as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .records import DIRECTIONS, FAMILIES, Direction, Family, Operator, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyTime:
    """Time of one family in one direction.

    Attributes:
        family, direction: as of `Operator`.
        seconds: self time of its operators, mean of a step.
        inferred_seconds: how much of that is of operators whose family is a guess.
    """

    family: Family
    direction: Direction
    seconds: float
    inferred_seconds: float = 0.0

    @property
    def inferred(self) -> bool:
        """Some of it is a guess."""
        return self.inferred_seconds > 0


def counted(profile: Profile) -> list[Operator]:
    """The operators that do a step's work: an accelerator's kernels where there are some, else the processor's.

    What the processor does to launch a kernel is no work of the kernel's family; what background threads do costs the
    step nothing.
    """
    device = "gpu" if any(one.device == "gpu" for one in profile.operators) else "cpu"
    return [one for one in profile.operators if one.device == device and not one.background]


def families(profile: Profile) -> list[FamilyTime]:
    """Families that took time, each direction apart, the longest first."""
    sums: dict[tuple[Family, Direction], list[float]] = {}
    for one in counted(profile):
        both = sums.setdefault((one.family, one.direction), [0.0, 0.0])
        both[0] += one.self_seconds
        both[1] += one.self_seconds if one.inferred else 0.0
    steps = max(profile.steps, 1)
    made = [
        FamilyTime(family=family, direction=direction, seconds=time / steps, inferred_seconds=guessed / steps)
        for (family, direction), (time, guessed) in sums.items()
    ]
    return sorted(made, key=lambda one: (-one.seconds, FAMILIES.index(one.family), DIRECTIONS.index(one.direction)))


def profile_json(profile: Profile) -> dict[str, Any]:
    """A JSON object: `split` and `families` are seconds a step, operators' times those of all steps together."""
    fraction = profile.classified_fraction
    return {
        "format": profile.format,
        "context": profile.context.to_json(),
        "steps": profile.steps,
        "step_seconds": list(profile.step_seconds),
        "mean_step_seconds": sum(profile.step_seconds) / max(profile.steps, 1),
        "split": dict(profile.split),
        "families": [{**asdict(one), "inferred": one.inferred} for one in families(profile)],
        "classified_fraction": None if math.isnan(fraction) else fraction,
        "operators": [asdict(one) for one in profile.operators],
        "notes": list(profile.notes),
    }
