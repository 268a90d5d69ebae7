"""What is commonly claimed about PyTorch and TensorFlow, and what a store has to say to it.

    for verdict in claim_verdicts(store):
        print(verdict.number, verdict.verdict, verdict.reason)

Every verdict carries its protocol: the machine, the versions, how it was trained, how often, and how busy the machine
was. The words are `supported`, `contradicted`, `undecided here`, `not measurable` and `not measured yet`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .claim_evidence import Evidence, gather
from .claim_judging import NOT_MEASURABLE, NOT_MEASURED, Judged, Part, Row, Verdict, overall
from .claim_probes import debugging, dynamic, language
from .claim_protocol import protocol_line
from .claim_records import ClaimRecord, read_records
from .claim_trainings import devices, fields, gpu_use, mixed, prototypes, speed

if TYPE_CHECKING:
    from ..db.records import RunInfo
    from ..db.store import Store

__all__ = ["CLAIMS", "ClaimVerdict", "Part", "Row", "Verdict", "claim_verdicts", "judge_claim"]

CLAIMS: Mapping[int, str] = {
    1: "PyTorch's syntax is more intuitive; Keras narrows the gap.",
    2: "A dynamic graph allows changes at run time; a static one does not.",
    3: "PyTorch's errors surface at once; TensorFlow needs tf.debugging, and set-up.",
    4: "PyTorch trains slightly slower on complex models; static graphs reach a higher throughput.",
    5: "TensorFlow uses the GPU better on ResNet-50.",
    6: "Mixed precision saves memory and time in both.",
    7: "MirroredStrategy is the more robust way to several devices; DistributedDataParallel asks for more "
    "configuration.",
    8: "PyTorch prototypes faster on small models.",
    9: "TensorFlow deploys better.",
    10: "Each has its home fields: vision, GANs, recurrent networks and transformers for PyTorch; recommendation, "
    "fraud and tables for TensorFlow.",
    11: "Both have strong communities, PyTorch among researchers.",
}

RULES: Mapping[int, Callable[[Evidence], Judged]] = {
    1: language,
    2: dynamic,
    3: debugging,
    4: speed,
    5: gpu_use,
    6: mixed,
    7: devices,
    8: prototypes,
    10: fields,
}

WITHOUT: Mapping[int, tuple[Verdict, str]] = {
    9: (NOT_MEASURED, "Export, loading, latency and agreement of the outputs are not measured by this version."),
    11: (NOT_MEASURABLE, "Nothing that can be trained on a machine says anything about a community."),
}
"""Claims without an experiment, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimVerdict:
    """One claim, and what was measured to it.

    Attributes:
        number: of the claim, 1 to 11.
        claim: in a sentence.
        verdict: of all its parts together.
        reason: why, in a sentence or two.
        protocol: machine, versions, mode, precision, batch size, steps, threads, n and load; empty where nothing was
            measured.
        parts: its statements, each with a verdict of its own.
        rows: what was measured.
        notes: what did not run or was left out, a sentence each.
        run_ids: of the runs, those that the rows name and others.
        comparable: run ids by workload, for a link that compares them.
        measured: when; None where nothing was.
    """

    number: int
    claim: str
    verdict: Verdict
    reason: str
    protocol: str = ""
    parts: tuple[Part, ...] = ()
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    comparable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measured: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """As `trackside claims --json` prints it."""
        return {
            "number": self.number,
            "claim": self.claim,
            "verdict": self.verdict,
            "reason": self.reason,
            "protocol": self.protocol,
            "measured": self.measured,
            "parts": [_fields(part) for part in self.parts],
            "rows": [_fields(row) for row in self.rows],
            "notes": list(self.notes),
            "run_ids": list(self.run_ids),
        }


def _fields(record: Part | Row) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def claim_verdicts(store: Store, session: RunInfo | None = None) -> tuple[ClaimVerdict, ...]:
    """The verdict on every claim, by number.

    Args:
        store: where the sessions of `trackside claims` are.
        session: only what this one recorded; by default of each claim the newest record there is.
    """
    records = read_records(store, session)
    return tuple(
        judge_claim(number, gather(store, records[number]) if number in records else None) for number in CLAIMS
    )


def judge_claim(number: int, evidence: Evidence | None) -> ClaimVerdict:
    """The verdict on one claim; None: nothing was measured."""
    if number in WITHOUT or evidence is None:
        verdict, reason = WITHOUT.get(number, (NOT_MEASURED, f"Run it: trackside claims --quick --only {number}"))
        return ClaimVerdict(number=number, claim=CLAIMS[number], verdict=verdict, reason=reason)
    parts, rows = RULES[number](evidence)
    return ClaimVerdict(
        number=number,
        claim=CLAIMS[number],
        verdict=overall(parts),
        reason=_reason(parts),
        protocol=protocol_line(evidence),
        parts=tuple(parts),
        rows=tuple(rows),
        notes=tuple(_notes(evidence.record)),
        run_ids=tuple(run.id for run in evidence.runs),
        comparable={
            one.workload: tuple(run.id for form in one.forms for run in form.runs[:1]) for one in evidence.trained
        },
        measured=evidence.record.session.started,
    )


def _reason(parts: list[Part]) -> str:
    """Of a single part its own; of several how many went which way."""
    if len(parts) == 1:
        return parts[0].reason
    counts: dict[Verdict, int] = {}
    for part in parts:
        counts[part.verdict] = counts.get(part.verdict, 0) + 1
    said = [f"{count} {verdict}" for verdict, count in counts.items()]
    return f"Of its {len(parts)} statements {', '.join(said)}."


def _notes(record: ClaimRecord) -> list[str]:
    """What did not run, was left out, or is still to come."""
    notes = [f"Failed: {one.get('label')}: {one.get('reason')}" for one in record.failed]
    notes += [f"Left out: {one.get('label')}: {one.get('reason')}" for one in record.skipped]
    if not record.complete:
        state = "is still running" if record.session.state == "running" else "ended before everything had been tried"
        notes.append(f"The session {state}: more may follow with trackside claims --resume {record.session.id}.")
    return notes
