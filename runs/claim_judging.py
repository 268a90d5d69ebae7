"""What a claim comes to: parts with a verdict each, rows that show it, and how several comparisons count.

Nothing here reads a store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .claim_evidence import Comparison, Evidence, Outcome, Trained, form_label
from .repeats import UNITS, Form

Verdict = Literal["supported", "contradicted", "undecided here", "not measurable", "not measured yet"]
SUPPORTED: Verdict = "supported"
CONTRADICTED: Verdict = "contradicted"
UNDECIDED: Verdict = "undecided here"
NOT_MEASURABLE: Verdict = "not measurable"
NOT_MEASURED: Verdict = "not measured yet"

FRAMEWORKS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}

FEWEST = 2
"""Workloads that a general statement must have been compared on: one is an example."""

SHARE = 0.5
"""Of all comparisons that could be made, this many must go one way, and none the other, for a general statement to hold
or to fail. With ties counted, a statement that is true of one workload in five stays undecided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One statement of a claim, with what became of it."""

    statement: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured.

    Attributes:
        label: of what.
        quantity: which.
        value: the median where there are repeats; words where it is no number; None where there is none.
        unit: of the value; None for a plain number or words.
        low, high: the smallest and the largest of the repeats.
        n: repeats.
        note: a word or two, for example how it compares.
        run_ids: of the runs it comes from.
    """

    label: str
    quantity: str
    value: float | str | None
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    n: int = 1
    note: str = ""
    run_ids: tuple[str, ...] = ()


Judged = tuple[list[Part], list[Row]]


def overall(parts: Sequence[Part]) -> Verdict:
    """Of a claim with several parts: contradicted where one is, supported where all are; else it is undecided."""
    verdicts = [part.verdict for part in parts]
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    for alone in (NOT_MEASURABLE, NOT_MEASURED):
        if all(verdict in (alone, NOT_MEASURABLE) for verdict in verdicts):
            return alone
    return SUPPORTED if all(verdict == SUPPORTED for verdict in verdicts) else UNDECIDED


def lean(
    comparisons: Iterable[Comparison | None], supporting: Literal["higher", "lower"], fewest: int = FEWEST
) -> tuple[Verdict, str]:
    """The verdict over several comparisons, and how they went, in words.

    Supported: there are `fewest` of them, at least `SHARE` go this way and none the other; contradicted: the reverse.
    """
    made = [one for one in comparisons if one is not None]
    if not made:
        return UNDECIDED, "Nothing could be compared."
    opposing: Outcome = "lower" if supporting == "higher" else "higher"
    count: Counter[Outcome] = Counter(one.outcome for one in made)
    words = _tally(count, len(made), supporting, opposing)
    if len(made) < fewest:
        return UNDECIDED, f"{words} One workload settles nothing in general."
    enough = SHARE * len(made)
    if count[supporting] >= enough and not count[opposing]:
        return SUPPORTED, words
    if count[opposing] >= enough and not count[supporting]:
        return CONTRADICTED, words
    return UNDECIDED, words


def _tally(count: Counter[Outcome], total: int, supporting: Outcome, opposing: Outcome) -> str:
    named: tuple[tuple[Outcome, str], ...] = (
        (supporting, "so"),
        (opposing, "the other way round"),
        ("tie", "a tie"),
        ("once", "run only once"),
        ("busy", "on a busy machine"),
        ("red", "not the same experiment"),
    )
    parts = [f"{count[key]} {word}" for key, word in named if count[key]]
    return f"Of {total} comparison{'s' if total != 1 else ''}: {', '.join(parts)}."


# Rows


def form_row(trained: Trained, form: Form, quantity: str, unit: str | None, note: str = "") -> Row | None:
    """A quantity of a form; None where it lacks it."""
    spread = form.quantities.get(quantity)
    if spread is None:
        return None
    several = len(spread.values) > 1
    return Row(
        label=f"{trained.workload}, {_full_label(trained, form)}",
        quantity=quantity,
        value=spread.median,
        unit=unit,
        low=spread.low if several else None,
        high=spread.high if several else None,
        n=len(spread.values),
        note=note,
        run_ids=tuple(run.id for run in form.runs),
    )


def _full_label(trained: Trained, form: Form) -> str:
    run = form.runs[0]
    size = run.config.get("batch_size")
    return form_label(run) + (f" batch {size}" if size != trained.usual_batch_size else "")


def form_rows(evidence: Evidence, quantities: Sequence[str]) -> list[Row]:
    """These quantities of every form, workload by workload."""
    return [
        row
        for trained in evidence.trained
        for quantity in quantities
        for form in trained.forms
        if (row := form_row(trained, form, quantity, _unit(quantity))) is not None
    ]


def _unit(quantity: str) -> str | None:
    own = {
        "seconds_to_target": "seconds",
        "processor_percent": "percent",
        "gpu_percent": "percent",
        "joules_per_sample": "joules",
    }
    return own.get(quantity, UNITS.get(quantity))


def comparison_rows(comparisons: Iterable[Comparison | None]) -> list[Row]:
    """A ratio each, with what follows from it."""
    return [
        Row(
            label=f"{one.workload}, {one.one} : {one.other}",
            quantity=f"{one.found.quantity} ratio",
            value=one.found.ratio if math.isfinite(one.found.ratio) else None,
            note=_note(one),
        )
        for one in comparisons
        if one is not None
    ]


def _note(one: Comparison) -> str:
    words = {
        "tie": "a tie",
        "once": "run only once: decides nothing",
        "busy": "the machine was busy: decides nothing",
        "red": f"no winner: the parity card is red ({', '.join(one.red).lower()})",
    }
    return words.get(one.outcome, "")


# Reading a record, which may hold anything


def listed(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, and nothing where it is none."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def probe_results(evidence: Evidence, probes: Sequence[str]) -> list[Mapping[str, Any]]:
    """What several probes found, one after the other."""
    return probe_lists(evidence, probes, "results")


def probe_lists(evidence: Evidence, probes: Sequence[str], key: str) -> list[Mapping[str, Any]]:
    """One list of what several probes found."""
    found = [evidence.record.measured.get(probe) for probe in probes]
    return [one for probe in found if isinstance(probe, Mapping) for one in listed(probe.get(key))]


def probe_errors(evidence: Evidence) -> list[Row]:
    """A row for each probe that ended without a result."""
    return [
        Row(label=name, quantity="probe", value="failed", note=str(found["error"]))
        for name, found in evidence.record.measured.items()
        if isinstance(found, Mapping) and found.get("error")
    ]
