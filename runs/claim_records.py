"""How a session of `trackside claims` is kept: the run with the records, and reading them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..db.records import RunInfo

if TYPE_CHECKING:
    from ..db.store import Store

RUN_NAME = "claims"
WORKLOAD = "claims"
PROJECT = "claims"
TAG = "claims"
FINGERPRINT = "claim/"
"""Before the claim's number: the fingerprint of the session's run that keeps its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """What a session kept of one claim.

    Attributes:
        number: of the claim.
        session: the run that keeps it.
        form: `quick` or `full`.
        run_ids: of the trainings.
        failed: trainings that did not finish, as the session wrote them down.
        skipped: what was left out: label and reason.
        measured: what was measured without a training.
        machine: what that was measured on.
        complete: whether everything the form asks for was tried.
    """

    number: int
    session: RunInfo
    form: str = ""
    run_ids: tuple[str, ...] = ()
    failed: tuple[Mapping[str, Any], ...] = ()
    skipped: tuple[Mapping[str, Any], ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False


def sessions(store: Store) -> list[RunInfo]:
    """The sessions of a store, the newest first."""
    return [run for run in store.runs(PROJECT) if run.workload == WORKLOAD]


def read_records(store: Store, session: RunInfo | None = None) -> dict[int, ClaimRecord]:
    """The newest record of each claim, by its number.

    Args:
        store: where the sessions are.
        session: only what this one recorded.
    """
    found: dict[int, ClaimRecord] = {}
    for run in sessions(store) if session is None else [session]:
        for name, value in store.fingerprints(run).items():
            number = name.removeprefix(FINGERPRINT)
            if name.startswith(FINGERPRINT) and number.isdecimal() and int(number) not in found:
                found[int(number)] = _record(int(number), run, value)
    return found


def _record(number: int, session: RunInfo, value: Mapping[str, Any]) -> ClaimRecord:
    """A record from what somebody's store holds, which may be anything."""
    ids = _list(value.get("run_ids"))
    return ClaimRecord(
        number=number,
        session=session,
        form=str(value.get("form") or ""),
        run_ids=tuple(dict.fromkeys(one for one in ids if isinstance(one, str))),
        failed=tuple(one for one in _list(value.get("failed")) if isinstance(one, Mapping)),
        skipped=tuple(one for one in _list(value.get("skipped")) if isinstance(one, Mapping)),
        measured=_mapping(value.get("measured")),
        machine=_mapping(value.get("machine")),
        complete=value.get("complete") is True,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
