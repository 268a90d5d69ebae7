"""Same data, same start: batches in order, evaluation samples, initial weights."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .checks import Check, Subject, agree, check, count, each_has, names_of, number, objects

WEIGHT_TOLERANCE = 1e-6
"""Relative. The norm and mean of float32 weights are summed in float64, in whatever order the layout has; a
copied tensor agrees to 1e-12, one that went through a file of float32 or another initialiser's seed does not."""

# Characters of a digest that are shown; all are compared.
_SHOWN_DIGITS = 8


def data_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "data"."""
    return [
        _digests("Batch order", subjects, [s.fact("data/batches", "digests") for s in subjects], "training batch"),
        agree("Batch size", "data", subjects, [count(s.fact("data/batches", "batch_size")) for s in subjects]),
        agree(
            "Samples per epoch",
            "data",
            subjects,
            [count(s.fact("data/batches", "samples_per_epoch")) for s in subjects],
        ),
        *_evaluation(subjects),
    ]


def start_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "start"."""
    tensors = [objects(s.fact("init/weights", "tensors")) for s in subjects]
    # What both frameworks count alike: statistics of normalisation layers are parameters in one of them only.
    trainable = [
        count(s.fact("arithmetic", "trainable_parameter_count"))
        if some is None
        else sum(count(tensor.get("count")) or 0 for tensor in some)
        for s, some in zip(subjects, tensors, strict=True)
    ]
    return [
        agree("Trainable parameters", "start", subjects, trainable, consequence="; these are not the same model"),
        _weights(subjects, tensors),
    ]


def _evaluation(subjects: Sequence[Subject]) -> list[Check]:
    if all(s.fact("evaluation") is None for s in subjects):
        # Runs that validate on nothing have nothing to compare; their parity is not in doubt for it.
        return []
    samples = [count(s.fact("evaluation", "samples")) for s in subjects]
    digests = [s.fact("evaluation", "digests") for s in subjects]
    return [
        agree("Evaluation samples", "data", subjects, samples),
        _digests("Evaluation data", subjects, digests, "evaluation batch"),
    ]


def _digests(name: str, subjects: Sequence[Subject], digests: Sequence[Any], what: str) -> Check:
    lists = [[str(d) for d in some] if isinstance(some, list | tuple) and some else None for some in digests]
    known = [(s, some) for s, some in zip(subjects, lists, strict=True) if some is not None]
    shown = [None if some is None else " ".join(d[:_SHOWN_DIGITS] for d in some) for some in lists]
    compared = min((len(some) for _, some in known), default=0)
    for subject, some in known[1:]:
        reference, first = known[0]
        differing = [i for i in range(compared) if some[i] != first[i]]
        if differing:
            if sorted(some[:compared]) == sorted(first[:compared]):
                reason = f"{subject.label} saw the batches of {reference.label} in another order."
            else:
                others = f"{subject.label} has other samples than {reference.label}"
                reason = f"{others} in {what} {differing[0]}, counted from 0."
            return check(name, "data", subjects, "red", reason, shown)
    if len(known) < len(subjects):
        unknown = [s for s, some in zip(subjects, lists, strict=True) if some is None]
        reason = f"{name} could not be established for {names_of(unknown)}."
        return check(name, "data", subjects, "amber", reason, shown)
    batches = f"first {compared} {what}es hold" if compared > 1 else f"first {what} holds"
    reason = f"The {batches} the same samples in the same order."
    return check(name, "data", subjects, "green", reason, shown)


def _weights(subjects: Sequence[Subject], tensors: Sequence[list[Mapping[str, Any]] | None]) -> Check:
    name = "Initial weights"
    statistics = [None if some is None else [_statistics(t) for t in some] for some in tensors]
    shown = [None if some is None else _show_weights(some) for some in statistics]
    known = [(s, some) for s, some in zip(subjects, statistics, strict=True) if some]
    for subject, some in known[1:]:
        reference, first = known[0]
        if Counter(size for size, _, _ in some) != Counter(size for size, _, _ in first):
            reason = f"The weights of {subject.label} have other sizes than those of {reference.label}."
            return check(name, "start", subjects, "red", reason, shown)
        lonely = _unmatched(first, some)
        if lonely:
            reason = (
                f"{lonely} of {len(first)} tensors of {reference.label} have no counterpart in {subject.label}: "
                f"the runs started from different weights."
            )
            return check(name, "start", subjects, "red", reason, shown)
    if len(known) < len(subjects):
        unknown = [s for s, some in zip(subjects, statistics, strict=True) if not some]
        reason = f"{name} could not be established for {names_of(unknown)}."
        return check(name, "start", subjects, "amber", reason, shown)
    if any(not math.isfinite(norm) for _, some in known for _, norm, _ in some):
        reason = f"Some weights are not finite before the first update: {each_has(subjects, shown)}."
        return check(name, "start", subjects, "amber", reason, shown)
    reason = f"All {len(known[0][1])} tensors agree in size, norm and mean."
    return check(name, "start", subjects, "green", reason, shown)


def _statistics(tensor: Mapping[str, Any]) -> tuple[int, float, float]:
    """Element count, norm and mean; NaN for what is not recorded, which then equals nothing but its like."""
    norm, mean = number(tensor.get("norm")), number(tensor.get("mean"))
    size = count(tensor.get("count")) or 0
    return size, math.nan if norm is None else norm, math.nan if mean is None else mean


def _show_weights(tensors: Sequence[tuple[int, float, float]]) -> str:
    total = math.sqrt(math.fsum(norm * norm for _, norm, _ in tensors))
    return f"{len(tensors)} tensors, norm {total:.6g}"


def _unmatched(ones: Sequence[tuple[int, float, float]], others: Sequence[tuple[int, float, float]]) -> int:
    """How many of `ones` have no partner of their own among `others`. Both have the same sizes.

    As multisets, not in order: another layout or another order of layers changes neither norm nor mean.
    """
    left: dict[int, list[tuple[float, float]]] = {}
    for size, norm, mean in sorted(others, key=lambda t: (math.isnan(t[1]), t[1])):
        left.setdefault(size, []).append((norm, mean))
    lonely = 0
    for size, norm, mean in ones:
        partner = _partner(left[size], size, norm, mean)
        if partner is None:
            lonely += 1
        else:
            del left[size][partner]
    return lonely


def _partner(candidates: Sequence[tuple[float, float]], size: int, norm: float, mean: float) -> int | None:
    """Index of the first of `candidates`, sorted by norm with NaN last, that has this norm and mean."""
    # Of a large model hundreds of tensors have one size: search by norm, then walk over the few that are close.
    start = 0 if math.isnan(norm) else bisect_left(candidates, norm - WEIGHT_TOLERANCE * norm, key=lambda c: c[0])
    # The mean may be zero by cancellation: it is measured against the size of the elements.
    element = norm / math.sqrt(max(size, 1))
    for at in range(start, len(candidates)):
        if candidates[at][0] > norm + WEIGHT_TOLERANCE * norm:
            return None
        if _close(candidates[at][0], norm, norm) and _close(candidates[at][1], mean, element):
            return at
    return None


def _close(one: float, other: float, size: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= WEIGHT_TOLERANCE * size
