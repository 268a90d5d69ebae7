"""Profiles and timelines of runs, analysed in the background and kept while the dashboard runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..db.errors import StoreUnreachableError, TracksideError, UsageError
from ..db.records import ArtifactInfo, RunInfo
from ..db.store import Store
from ..runs.traces import reading
from ..runs.traces.collector import paused
from ..runs.traces.interpreted import Interpreted
from ..runs.traces.reading import Analysed
from ..runs.traces.records import Profile
from ..runs.traces.timeline import slices
from .background import PATIENCE_SECONDS, Background
from .profile_slices import StepSlices
from .source import StoreSource

MOST_READ = 2  # traces kept as they were read, for the timeline: a million events have some 100 MB
NO_TRACE = "This run recorded no trace: train it with profile=True."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProfile:
    """What is known of one run's profile at this moment.

    Attributes:
        run: whose it is.
        state: `ready`, `busy` (being analysed), `none` (no trace was recorded) or `failed`.
        profile: where the state is `ready`.
        trace: the artifact it was read from.
        windows: how many traces the run recorded; the newest of the rank that can be read is the one shown.
        ranks: the processes of the run that recorded a trace.
        sentence: what is wrong with a trace of this run, or why it could not be recorded, if anything.
    """

    run: RunInfo
    state: Literal["ready", "busy", "none", "failed"]
    profile: Profile | None = None
    trace: ArtifactInfo | None = None
    windows: int = 0
    ranks: tuple[int, ...] = ()
    sentence: str = ""


class ProfileReader:
    """Hands out profiles without keeping a page waiting: what takes long is `busy` until it is there.

    Args:
        source: the store.
    """

    def __init__(self, source: StoreSource) -> None:
        self._source = source
        self._work = Background()
        self._read: OrderedDict[int, Interpreted] = OrderedDict()

    def profile(self, run: RunInfo, rank: int = 0, patience: float = PATIENCE_SECONDS) -> RunProfile:
        """The profile of the run's newest trace, or why there is none yet.

        Args:
            run: any.
            rank: of the process that recorded it; the lowest that recorded one where this did not.
            patience: seconds to wait for it before it is `busy`.

        Raises:
            StoreUnreachableError: if the store is away.
        """
        traces = reading.traces(self._source(), run.id)
        if not traces:
            return RunProfile(run=run, state="none", sentence=self._noticed(run))
        ranks = tuple(sorted({one.rank for one in traces}))
        shown = rank if rank in ranks else ranks[0]
        newest = [one for one in traces if one.rank == shown][-1]
        known = RunProfile(run=run, state="busy", trace=newest, windows=len(traces), ranks=ranks)
        try:
            found = self._analysed(run.id, traces, patience)
        except StoreUnreachableError:
            raise
        except TracksideError as error:
            return replace(known, state="failed", sentence=str(error))
        if found is None:
            return known
        own = [one for one in found if one.artifact.rank == shown]
        problem = next((one.problem for one in reversed(own) if one.problem is not None), None) or ""
        readable = [one for one in own if one.profile is not None and one.profile.steps]
        if not readable:
            sentence = problem or "The recorded trace holds no complete step: record a longer window."
            return replace(known, state="failed", sentence=sentence)
        last = readable[-1]
        sentence = problem or self._noticed(run)
        return replace(known, state="ready", profile=last.profile, trace=last.artifact, sentence=sentence)

    def profiles(self, runs: Sequence[RunInfo], rank: int = 0) -> list[RunProfile]:
        """As `profile`, of several runs in their order; the page waits for all of them no longer than for one."""
        return [self.profile(run, rank, PATIENCE_SECONDS / len(runs)) for run in runs]

    def trace(self, run: RunInfo, rank: int = 0) -> ArtifactInfo:
        """The trace that the page shows of a run, as of `profile`.

        Raises:
            UsageError: if it recorded none.
        """
        trace = self.profile(run, rank).trace
        if trace is None:
            raise UsageError(NO_TRACE)
        return trace

    def slices(self, run: RunInfo, step: int, rank: int = 0) -> StepSlices | None:
        """Every slice of one recorded step, or None while the trace is being read.

        Args:
            run: a run with a trace.
            step: place of the step among those recorded, from 0.
            rank: as of `profile`.

        Raises:
            TracksideError: if there is no such trace or step, or the trace cannot be read.
        """
        trace = self.trace(run, rank)

        def work() -> StepSlices:
            read = self._interpreted(self._source(), trace)
            with paused():
                return StepSlices.of(slices(read.trace, read.labels, step))

        found: StepSlices | None = self._work.ask(("slices", trace.id, step), work)
        return found

    def _noticed(self, run: RunInfo) -> str:
        """What the tracker said of a recording that came to nothing or ended early; empty if nothing."""
        said = [one.message for one in self._source().events(run) if one.kind == "notice"]
        return next((message for message in reversed(said) if "profil" in message.lower()), "")

    def _analysed(self, run_id: str, traces: Sequence[ArtifactInfo], patience: float) -> list[Analysed] | None:
        key = ("profile", run_id, tuple(one.id for one in traces))

        def work() -> list[Analysed]:
            return reading.analysed(self._source(), run_id, self._interpreted)

        found: list[Analysed] | None = self._work.ask(key, work, patience)
        return found

    def _interpreted(self, store: Store, trace: ArtifactInfo) -> Interpreted:
        """A trace as it was read; called by one thread at a time, as all work in the background is."""
        found = self._read.pop(trace.id, None) or reading.interpreted(store, trace)
        self._read[trace.id] = found
        while len(self._read) > MOST_READ:
            self._read.popitem(last=False)
        return found
