"""One line of the parity card: what is compared, what each run has, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..db.records import RunInfo, Series
from .labels import same_value

Verdict = Literal["green", "amber", "red"]
Group = Literal["data", "start", "arithmetic", "conditions"]

_SEVERITY: dict[Verdict, int] = {"green": 0, "amber": 1, "red": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the card.

    Attributes:
        name: what is compared, for example "Batch order".
        group: which part of the card it belongs to.
        verdict: "green": the same, or different by design; "amber": could not be established, or needs care;
            "red": not the same.
        reason: one sentence.
        values: by run id, what each run has, as JSON; None where it is unknown.
    """

    name: str
    group: Group
    verdict: Verdict
    reason: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of one of the runs compared.

    Attributes:
        run: the run.
        label: short name, for sentences.
        fingerprints: as recorded; may lack anything, and may come from somebody's own code.
        learning_rates: the series `optimizer/learning_rate`, of several optimizers that of the first, or None.
        other_learning_rates: those of the second optimizer and on.
        loss_reduction: what a value of `train/loss` stands for, or None without one.
        first_loss: `train/loss` at step 0, or None without one; may be NaN or infinite.
    """

    run: RunInfo
    label: str
    fingerprints: Mapping[str, Any] = field(default_factory=dict)
    learning_rates: Series | None = None
    loss_reduction: str | None = None
    other_learning_rates: tuple[Series, ...] = ()
    first_loss: float | None = None

    def fact(self, fingerprint: str, *path: str) -> Any:
        """The entry of a fingerprint at `path`; None where any part of the way is missing."""
        value: Any = self.fingerprints.get(fingerprint)
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The gravest of the verdicts; green without any."""
    return max(verdicts, key=_SEVERITY.__getitem__, default="green")


def agree(
    name: str,
    group: Group,
    subjects: Sequence[Subject],
    values: Sequence[Any],
    *,
    same: str | None = None,
    consequence: str = "",
    difference: Verdict = "red",
    equal: Callable[[Any, Any], bool] = same_value,
    show: Callable[[Any], Any] = lambda value: value,
) -> Check:
    """Green where all runs have the same, `difference` where two do not, amber where one is unknown.

    Args:
        name: of the check.
        group: of the check.
        subjects: the runs.
        values: what each has; None where it is unknown.
        same: the sentence for green. Default: that all have the value.
        consequence: added to the sentence where they differ.
        difference: the verdict where they differ.
        equal: whether two values are the same; asked for neighbours only, so it must be transitive enough.
        show: a value as it is shown.
    """
    shown = [None if value is None else show(value) for value in values]
    known = [value for value in values if value is not None]
    verdict: Verdict
    if not all(equal(known[0], other) for other in known[1:]):
        verdict, reason = difference, f"{name} differs: {each_has(subjects, shown)}{consequence}."
    elif len(known) < len(values):
        unknown = [subject for subject, value in zip(subjects, values, strict=True) if value is None]
        verdict, reason = "amber", f"{name} could not be established for {names_of(unknown)}."
    else:
        verdict, reason = "green", same or f"{name} is {text(shown[0])} in all runs."
    return check(name, group, subjects, verdict, reason, shown)


def check(
    name: str, group: Group, subjects: Sequence[Subject], verdict: Verdict, reason: str, shown: Sequence[Any]
) -> Check:
    """A check with the values by run id."""
    values = {subject.run.id: value for subject, value in zip(subjects, shown, strict=True)}
    return Check(name=name, group=group, verdict=verdict, reason=reason, values=values)


def each_has(subjects: Sequence[Subject], shown: Sequence[Any]) -> str:
    """`0.1 in PyTorch, 0.05 in TensorFlow`, with runs of one value together."""
    having: dict[str, list[Subject]] = {}
    for subject, value in zip(subjects, shown, strict=True):
        having.setdefault(text(value), []).append(subject)
    return ", ".join(f"{value} in {names_of(some)}" for value, some in having.items())


def names_of(subjects: Sequence[Subject]) -> str:
    """`A, B and C`; of many the first three and how many more."""
    labels = [subject.label for subject in subjects]
    if len(labels) > 4:
        labels = [*labels[:3], f"{len(labels) - 3} more"]
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def text(value: Any) -> str:
    """A value in a sentence."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "none"
    return str(value)


def number(value: Any) -> float | None:
    """A JSON value as a number; None for what is none. NaN and infinities may be spelt out."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def count(value: Any) -> int | None:
    """A JSON value as a whole number; None for what is none."""
    known = number(value)
    return int(known) if known is not None and math.isfinite(known) and known == int(known) else None


def objects(value: Any) -> list[Mapping[str, Any]] | None:
    """A JSON value as a list of objects; None for what is none."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        return None
    return list(value)
