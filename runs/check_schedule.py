"""Same learning rates, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..db.records import Float64Array, Int64Array, Series
from .align import last_of_each_step
from .checks import Check, Subject, agree, check, number, text
from .labels import same_value

RATE_TOLERANCE = 1e-6
"""Relative. Frameworks keep the learning rate in float32 (6e-8) and compute schedules in it (a few times that)."""


def schedule_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Check of the learning rates of each optimizer; a run may have several."""
    several = max(len(s.other_learning_rates) for s in subjects)
    checks = [_learning_rates(subjects, " of optimizer 1" if several else "")]
    for index in range(several):
        rates = [s.other_learning_rates[index] if index < len(s.other_learning_rates) else None for s in subjects]
        others = [replace(s, learning_rates=series) for s, series in zip(subjects, rates, strict=True)]
        checks.append(_learning_rates(others, f" of optimizer {index + 2}"))
    return checks


def _learning_rates(subjects: Sequence[Subject], suffix: str) -> Check:
    """Whether the rates used were the same at every step; by the schedule's name only where they were not logged."""
    name = "Learning-rate schedule" + suffix
    shown = [_schedule(subject) for subject in subjects]
    series = [s.learning_rates for s in subjects if s.learning_rates is not None and len(s.learning_rates)]
    if len(series) < len(subjects):
        named = agree(name, "arithmetic", subjects, shown)
        if named.verdict == "red" and len({s.run.framework for s in subjects}) > 1 and "constant" not in shown:
            reason = "The schedules have different names in different frameworks, and not every run logged its rates."
            return check(name, "arithmetic", subjects, "amber", reason, shown)
        return named
    compared = 0
    for subject, rates in zip(subjects[1:], series[1:], strict=True):
        steps, one, other = _common(series[0], rates)
        compared = max(compared, len(steps))
        # Against the largest rate: what a cosine leaves at its end is mostly rounding.
        bound = RATE_TOLERANCE * float(np.abs(one).max(initial=0.0))
        apart = np.flatnonzero(~np.isclose(one, other, rtol=0.0, atol=bound, equal_nan=True))
        if len(apart):
            if _in_proportion(subjects[0], subject, one, other):
                continue
            at = apart[0]
            reason = (
                f"The learning rates differ from step {steps[at]} on: {one[at]:.6g} in {subjects[0].label}, "
                f"{other[at]:.6g} in {subject.label}."
            )
            return check(name, "arithmetic", subjects, "red", reason, shown)
    if not compared:
        reason = "The runs logged their learning rates at different steps."
        return check(name, "arithmetic", subjects, "amber", reason, shown)
    reason = f"The learning rates agree at all {compared:,} steps compared."
    if len({number(s.fact("arithmetic", "optimizer", "learning_rate")) for s in subjects}) > 1:
        reason = f"The learning rates follow one schedule, from different ones, at all {compared:,} steps compared."
    return check(name, "arithmetic", subjects, "green", reason, shown)


def _in_proportion(reference: Subject, subject: Subject, one: Float64Array, other: Float64Array) -> bool:
    """Whether two runs follow one schedule from different initial rates, which the check of those says by itself."""
    begin, other_begin = (number(s.fact("arithmetic", "optimizer", "learning_rate")) for s in (reference, subject))
    if not begin or not other_begin or same_value(begin, other_begin):
        return False
    scaled = other * (begin / other_begin)
    bound = RATE_TOLERANCE * float(np.abs(one).max(initial=0.0))
    return bool(np.isclose(one, scaled, rtol=0.0, atol=bound, equal_nan=True).all())


def _common(one: Series, other: Series) -> tuple[Int64Array, Float64Array, Float64Array]:
    """The steps that two series share, and their values there."""
    first, second = last_of_each_step(one.steps), last_of_each_step(other.steps)
    steps, i, j = np.intersect1d(one.steps[first], other.steps[second], assume_unique=True, return_indices=True)
    return steps, one.values[first][i], other.values[second][j]


def _schedule(subject: Subject) -> str | None:
    arithmetic = subject.fingerprints.get("arithmetic")
    if not isinstance(arithmetic, Mapping) or "schedule" not in arithmetic:
        return None
    schedule = arithmetic["schedule"]
    if not isinstance(schedule, Mapping):
        return "constant"
    settings = ", ".join(f"{key} {text(value)}" for key, value in schedule.items() if key != "name")
    name = str(schedule.get("name", "unnamed"))
    return f"{name} ({settings})" if settings else name
