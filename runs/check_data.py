"""Same data: batches in order, evaluation samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .checks import Check, Subject, agree, check, count, each_has, names_of, text

# Characters of a digest that are shown; all are compared.
_SHOWN_DIGITS = 8


def data_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "data"."""
    return [
        _digests("Batch order", subjects, "data/batches", "training batch"),
        agree("Batch size", "data", subjects, [_batch_size(s) for s in subjects]),
        _samples_per_epoch(subjects),
        *_evaluation(subjects),
    ]


def _batch_size(subject: Subject) -> int | None:
    """Samples of an update: a process records those of its own batch, and each process has as many."""
    own = count(subject.fact("data/batches", "batch_size"))
    return None if own is None else own * subject.run.world_size


def _samples_per_epoch(subjects: Sequence[Subject]) -> Check:
    """Exact where it is known; where a run never came to the end of an epoch, as far as its batches tell."""
    name = "Samples per epoch"
    samples = [count(s.fact("data/batches", "samples_per_epoch")) for s in subjects]
    bounds = [_bounds(s, known) for s, known in zip(subjects, samples, strict=True)]
    known_bounds = [bound for bound in bounds if bound is not None]
    if None not in samples or len(known_bounds) < len(bounds):
        return agree(name, "data", subjects, samples)
    lowest, highest = max(low for low, _ in known_bounds), min(high for _, high in known_bounds)
    shown = [_batches_words(s) if known is None else known for s, known in zip(subjects, samples, strict=True)]
    if lowest > highest:
        return check(name, "data", subjects, "red", f"{name} differs: {each_has(subjects, shown)}.", shown)
    if all(_within_first_epoch(subject, highest) for subject in subjects):
        reason = f"No run came to the end of its first epoch: {each_has(subjects, shown)}."
        return check(name, "data", subjects, "green", reason, shown)
    unsure = names_of([s for s, known in zip(subjects, samples, strict=True) if known is None])
    reason = f"{name} could not be established for {unsure}, which did not come to the end of the first epoch."
    return check(name, "data", subjects, "amber", reason, shown)


def _bounds(subject: Subject, samples: int | None) -> tuple[int, int] | None:
    """The fewest and the most samples that an epoch may have: its last batch may be smaller than the others."""
    if samples is not None:
        return samples, samples
    batches, size = count(subject.fact("data/batches", "batches_per_epoch")), _batch_size(subject)
    return None if not batches or not size else ((batches - 1) * size + 1, batches * size)


def _batches_words(subject: Subject) -> str:
    batches, size = count(subject.fact("data/batches", "batches_per_epoch")) or 0, _batch_size(subject) or 0
    return f"up to {text(batches * size)} ({text(batches)} batches of {text(size)})"


def _within_first_epoch(subject: Subject, samples: int) -> bool:
    """Whether a run has not yet taken so many samples, or took no more before it ended."""
    step, size = subject.run.last_step, _batch_size(subject)
    accumulated = count(subject.fact("arithmetic", "accumulation")) or 1
    return step is not None and size is not None and (step + 1) * accumulated * size < samples


def _evaluation(subjects: Sequence[Subject]) -> list[Check]:
    if all(s.fact("evaluation") is None for s in subjects):
        # Runs that validate on nothing have nothing to compare; their parity is not in doubt for it.
        return []
    samples = [count(s.fact("evaluation", "samples")) for s in subjects]
    return [
        agree("Evaluation samples", "data", subjects, samples),
        _digests("Evaluation data", subjects, "evaluation", "evaluation batch"),
    ]


def _digests(name: str, subjects: Sequence[Subject], fingerprint: str, what: str) -> Check:
    lists = [_list(s.fact(fingerprint, "digests")) for s in subjects]
    bare = [_list(s.fact(fingerprint, "digests_without_weights")) for s in subjects]
    shown = [None if some is None else " ".join(d[:_SHOWN_DIGITS] for d in some) for some in lists]
    sharing = [s for s in subjects if s.run.world_size > 1]
    if sharing and len({s.run.world_size for s in subjects}) > 1 and fingerprint == "data/batches":
        reason = f"What is known of {names_of(sharing)} is one process's share of each batch, and cannot be compared."
        return check(name, "data", subjects, "amber", reason, shown)
    apart, note = _first_apart(subjects, lists, what), ""
    if apart and any(bare):
        # One framework has the weights of samples in its batches, another in its loss.
        unweighted = [plain or some for some, plain in zip(lists, bare, strict=True)]
        if not _first_apart(subjects, unweighted, what):
            apart = "The samples are the same, but not their weights." if all(bare) else ""
            having = [s for s, plain in zip(subjects, bare, strict=True) if plain]
            note = f"; those of {names_of(having)} have weights beside them"
    if apart:
        return check(name, "data", subjects, "red", apart, shown)
    unknown = [s for s, some in zip(subjects, lists, strict=True) if some is None]
    if unknown:
        reason = f"{name} could not be established for {names_of(unknown)}."
        return check(name, "data", subjects, "amber", reason, shown)
    compared = min(len(some) for some in lists if some is not None)
    batches = f"first {compared} {what}es hold" if compared > 1 else f"first {what} holds"
    reason = f"The {batches} the same samples in the same order{note}."
    return check(name, "data", subjects, "green", reason, shown)


def _list(digests: Any) -> list[str] | None:
    return [str(digest) for digest in digests] if isinstance(digests, list | tuple) and digests else None


def _first_apart(subjects: Sequence[Subject], lists: Sequence[list[str] | None], what: str) -> str:
    """Where two runs saw other batches, as a sentence; empty where all that is known agrees."""
    known = [(s, some) for s, some in zip(subjects, lists, strict=True) if some is not None]
    compared = min((len(some) for _, some in known), default=0)
    for subject, some in known[1:]:
        reference, first = known[0]
        differing = [i for i in range(compared) if some[i] != first[i]]
        if differing and sorted(some[:compared]) == sorted(first[:compared]):
            return f"{subject.label} saw the batches of {reference.label} in another order."
        if differing:
            others = f"{subject.label} has other samples than {reference.label}"
            return f"{others} in {what} {differing[0]}, counted from 0."
    return ""
