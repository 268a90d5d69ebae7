"""Same data: batches in order, evaluation samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .checks import Check, Subject, agree, check, count, names_of

# Characters of a digest that are shown; all are compared.
_SHOWN_DIGITS = 8


def data_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "data"."""
    return [
        _digests("Batch order", subjects, "data/batches", "training batch"),
        agree("Batch size", "data", subjects, [_batch_size(s) for s in subjects]),
        agree(
            "Samples per epoch",
            "data",
            subjects,
            [count(s.fact("data/batches", "samples_per_epoch")) for s in subjects],
        ),
        *_evaluation(subjects),
    ]


def _batch_size(subject: Subject) -> int | None:
    """Samples of an update: a process records those of its own batch, and each process has as many."""
    own = count(subject.fact("data/batches", "batch_size"))
    return None if own is None else own * subject.run.world_size


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
