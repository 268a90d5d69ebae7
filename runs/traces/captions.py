"""What to know before reading profiles side by side: sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .families import counted
from .records import Profile

MODES = {"eager": "eagerly", "graph": "as a graph", "xla": "compiled by XLA", "compile": "compiled by torch.compile"}
UNLIKE = 1.1
"""How many times the wall clock operators must have taken to say that they ran side by side."""
WORTH_SAYING = 0.05
"""Share of the operators' time from which a part without a family or a counterpart is worth a sentence."""


def captions(profiles: Sequence[Profile], labels: Sequence[str], unmatched: Sequence[float]) -> Iterator[str]:
    """Which steps, what recording cost, what is guessed, what has no counterpart, and each profile's own notes.

    Args:
        profiles: side by side.
        labels: what tells them apart.
        unmatched: share of each one's operator time that has no counterpart in all others.
    """
    for label, profile in zip(labels, profiles, strict=True):
        yield f"{label}: {_recorded(profile)}{_cost(profile)}."
    if len({profile.steps for profile in profiles}) > 1:
        yield "The profiles hold different numbers of steps: all times are means of a step."
    for label, profile, share in zip(labels, profiles, unmatched, strict=True):
        yield from (f"{label}: {one}" for one in _reading(profile))
        if len(profiles) > 1 and share > WORTH_SAYING:
            yield f"{label}: {share:.0%} of the operators' time is in work that another one does not have."
    for label, profile in zip(labels, profiles, strict=True):
        yield from (f"{label}: {note}" for note in profile.notes)


def _recorded(profile: Profile) -> str:
    first, last = profile.context.first_step, profile.context.last_step
    many = f"{profile.steps} step{'s' if profile.steps != 1 else ''}"
    which = f"{many} (updates {first} to {last})" if first is not None and last is not None else many
    mode = MODES.get(profile.context.mode or "")
    return f"{which}, run {mode}" if mode else which


def _cost(profile: Profile) -> str:
    spent = sum(profile.context.recording.values())
    return f"; recording held up training for {spent * 1e3:.0f} ms in all" if spent else ""


def _reading(profile: Profile) -> Iterator[str]:
    operators = counted(profile)
    whole = sum(one.self_seconds for one in operators)
    wall = sum(profile.step_seconds)
    if not whole:
        yield "no operator took time in these steps."
        return
    if not math.isnan(profile.classified_fraction) and profile.classified_fraction < 1 - WORTH_SAYING:
        yield f"{profile.classified_fraction:.0%} of the operators' time has a family; the rest is other."
    guessed = sum(one.self_seconds for one in operators if one.inferred) / whole
    if guessed > WORTH_SAYING:
        yield f"family or layer of {guessed:.0%} of the operators' time is inferred, not read off the trace."
    if wall and whole > UNLIKE * wall:
        yield f"operators took {whole / wall:.1f} times the wall clock: they ran side by side on several threads."
