"""Runs the experiments of the table, one after the other, and keeps per claim which runs and measurements bear on it.

The trainings are ordinary runs, tagged `claims`, one group a session. What belongs to which claim stands in one more
run, named `claims`: a fingerprint `claim/<number>` each. It is written anew after every experiment, so that a session
that ends early has kept what it had measured.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.console import Console

from ...db.errors import UsageError
from ...db.records import RunInfo
from ...db.store import open_store
from ...runs.claim_records import FINGERPRINT, PROJECT, RUN_NAME, TAG, WORKLOAD
from ...runs.run import Run, start_run
from ...trackers.environment import describe_machine
from ..plan import Job, Request, plan_jobs
from ..registry import list_workloads
from ..runner import Outcome, run_jobs
from ..workload import Workload
from .machine import measured_on
from .record import Record
from .table import DEVICES, LANGUAGE, MEASURED, PROBES, Form, Training, estimate_seconds, probe_claim, trainings


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """What became of a session.

    Attributes:
        run_id: the run that keeps the records.
        group: of its trainings.
        interrupted: whether Ctrl-C or a signal ended it.
        failed: trainings that did not finish.
        seconds: it took.
    """

    run_id: str
    group: str
    interrupted: bool
    failed: int
    seconds: float


def run_claims(
    form: Form,
    console: Console,
    *,
    claims: Sequence[int] = MEASURED,
    workloads: Sequence[Workload] | None = None,
    store: str | None = None,
    resume: str | None = None,
) -> SessionOutcome:
    """Run what the claims ask for. Ctrl-C ends it in order; what was measured by then stays.

    Args:
        form: quick or full.
        console: where progress is shown.
        claims: numbers of the claims; others are left alone.
        workloads: those to train; all of the registry by default.
        store: URL of the store.
        resume: an earlier session's group or run: what it has recorded is not run again.

    Raises:
        UsageError: there is no such claim, or no such session.
        StoreError: the store cannot be used; nothing was started.
    """
    unknown = [number for number in claims if number not in MEASURED]
    if unknown:
        raise UsageError(
            f"Claim {unknown[0]} has no experiment: choose among {', '.join(map(str, MEASURED))}; "
            "docs/claims.md says why the others have none."
        )
    known = list_workloads() if workloads is None else list(workloads)
    groups = trainings(known, form, claims)
    earlier = _earlier(store, resume)
    group = earlier.group if earlier is not None and earlier.group else f"claims-{uuid.uuid4().hex[:8]}"
    began = time.monotonic()
    session = _Session(form, console, known, store, group, earlier)
    probes = sum(len(PROBES.get(number, ())) for number in claims)
    minutes = estimate_seconds(groups, known, probes) / 60
    console.print(
        f"{sum(one.repeats for some in groups for one in some)} trainings and {probes} probes for claims "
        f"{', '.join(map(str, claims))}: about {minutes:.0f} minutes on two cores with nothing else running.",
        soft_wrap=True,
    )
    with _terminations(), session.recorded():
        session.run(groups, claims)
    return SessionOutcome(
        run_id=session.run_id,
        group=group,
        interrupted=session.interrupted,
        failed=session.failed,
        seconds=time.monotonic() - began,
    )


class _Session:
    """One session while it runs."""

    def __init__(
        self,
        form: Form,
        console: Console,
        workloads: Sequence[Workload],
        store: str | None,
        group: str,
        earlier: RunInfo | None,
    ) -> None:
        self.form = form
        self.console = console
        self.workloads = workloads
        self.store = store
        self.group = group
        self.earlier = earlier
        self.records: dict[int, Record] = {}
        self.interrupted = False
        self.failed = 0
        self.run_id = "" if earlier is None else earlier.id
        self._run: Run | None = None
        self._done: set[tuple[str, int]] = set()
        if earlier is not None:
            self._recall(earlier)

    def _recall(self, earlier: RunInfo) -> None:
        """Take over what an earlier session recorded, but for what it did not finish."""
        with open_store(self.store) as store:
            for name, value in store.fingerprints(earlier).items():
                if name.startswith(FINGERPRINT):
                    kept = {key: value[key] for key in Record.__slots__ if key in value}
                    self.records[int(name.removeprefix(FINGERPRINT))] = Record(**kept | {"failed": []})
            ids = {run_id for record in self.records.values() for run_id in record.run_ids}
            runs = [] if not ids else store.runs(ids=ids)
        self._done = {(run.name, run.config.get("batch_size", 0)) for run in runs if run.state == "finished"}
        self._by_name = {(run.name, run.config.get("batch_size", 0)): run.id for run in runs}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep the session's own run open for the block."""
        if self.earlier is not None:
            run = start_run(id=self.earlier.id, resume=True, store=self.store)
        else:
            run = start_run(
                name=RUN_NAME,
                project=PROJECT,
                workload=WORKLOAD,
                group=self.group,
                tags=(TAG,),
                config={"form": self.form.name},
                store=self.store,
            )
            run.update(environment=describe_machine())
        self._run, self.run_id = run, run.id
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True
        except BaseException as error:
            run.finish("failed", error)
            raise
        run.finish("killed" if self.interrupted else "finished")

    def run(self, groups: Sequence[Sequence[Training]], claims: Sequence[int]) -> None:
        """Probes first, which are short; then the trainings, workload by workload."""
        for number in claims:
            self._record(number).machine = measured_on()
            if not self._record(number).measured and (number in PROBES or number in (LANGUAGE, DEVICES)):
                self._say(f"Claim {number}: measuring without a training …")
                self._record(number).measured = probe_claim(number, self.workloads)
            self._keep(number)
        for group in groups:
            self._train(group)
            if self.interrupted:
                return
        for number in claims:
            self._record(number).complete = True
            self._keep(number)

    def _train(self, group: Sequence[Training]) -> None:
        """All forms of a workload, repeat by repeat, each time in the opposite order."""
        numbers = ", ".join(map(str, sorted(frozenset().union(*(one.claims for one in group)))))
        self._say(f"{group[0].workload}, for claims {numbers}")
        planned: list[tuple[Training, Job]] = []
        for repeat in range(max(one.repeats for one in group)):
            for one in group if repeat % 2 == 0 else reversed(group):
                if repeat < one.repeats:
                    planned += self._plan(one, repeat)
        outcomes = run_jobs(
            [job for _, job in planned],
            self.store,
            self.console,
            ended=lambda index, outcome: self._note(planned[index][0], outcome),
        )
        self.interrupted = any(outcome.state == "killed" for outcome in outcomes)

    def _plan(self, one: Training, repeat: int) -> list[tuple[Training, Job]]:
        """The job of a repeat; none where it was done before, or cannot be run here."""
        request = Request(
            workload=one.workload,
            framework=one.framework,
            mode=one.mode,
            precision=one.precision,
            devices=one.devices,
            batch_size=one.batch_size,
            steps=one.steps,
            seed=repeat,
            store=self.store,
            project=PROJECT,
            group=self.group,
            tags=(TAG,),
        )
        try:
            (job,) = plan_jobs(request)
        except UsageError as error:
            for number in one.claims:
                self._record(number).skip(one, str(error))
            return []
        # The number of updates tells a long training from one that is only timed.
        name = f"{job.settings.name}-{one.steps}steps" + ("" if one.batch_size is None else f"-batch{one.batch_size}")
        job = replace(job, settings=replace(job.settings, name=name))
        key = (name, job.settings.batch_size)
        if key in self._done:
            for number in one.claims:
                record = self._record(number)
                record.run_ids = list(dict.fromkeys([*record.run_ids, self._by_name[key]]))
            return []
        return [(one, job)]

    def _note(self, one: Training, outcome: Outcome) -> None:
        """Put an outcome down with every claim that it bears on; one that was interrupted is none."""
        if outcome.state == "killed":
            return
        finished = outcome.state == "finished" and outcome.run_id is not None
        self.failed += not finished
        for number in one.claims:
            record = self._record(number)
            if finished and outcome.run_id is not None:
                record.run_ids.append(outcome.run_id)
            else:
                record.fail(one, outcome, self._reason(outcome))
            self._keep(number)

    def _reason(self, outcome: Outcome) -> str:
        """The exception as the run recorded it; where there is none, the last thing the process printed."""
        if outcome.run_id is not None:
            with open_store(self.store) as store:
                error = store.run(outcome.run_id).error or {}
            if error.get("type"):
                return " ".join(f"{error['type']}: {error.get('message', '')}".split())[:300]
        return outcome.last_lines[-1][:300] if outcome.last_lines else "it printed nothing"

    def _record(self, number: int) -> Record:
        return self.records.setdefault(number, Record(form=self.form.name))

    def _keep(self, number: int) -> None:
        assert self._run is not None
        self._run.fingerprint(f"{FINGERPRINT}{number}", self._record(number).to_json())

    def _say(self, sentence: str) -> None:
        self.console.print(sentence, style="bold", highlight=False, markup=False)


def _earlier(store: str | None, reference: str | None) -> RunInfo | None:
    """The session to go on with, by its run or its group."""
    if reference is None:
        return None
    with open_store(store) as opened:
        sessions = [run for run in opened.runs(PROJECT) if run.workload == WORKLOAD]
    for run in sessions:
        if reference in (run.group, run.id) or run.id.startswith(reference):
            return run
    raise UsageError(f"There is no session of claims {reference!r}: trackside runs list --project {PROJECT} has them.")


@contextmanager
def _terminations() -> Iterator[None]:
    """Let a request to terminate end a probe as Ctrl-C does; trainings have a way of their own."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: signals are somebody else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
