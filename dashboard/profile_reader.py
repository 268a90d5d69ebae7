"""Profiles and timelines of runs, analysed in the background and kept while the dashboard runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..db.errors import StoreUnreachableError, TracksideError, UsageError
from ..db.records import ArtifactInfo, RunInfo
from ..runs.traces import reading
from ..runs.traces.reading import Analysed
from ..runs.traces.records import Profile, TraceContext
from .background import Background
from .profile_slices import StepSlices
from .source import StoreSource

NO_TRACE = "This run recorded no trace: train it with profile=True."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProfile:
    """What is known of one run's profile at this moment.

    Attributes:
        run: whose it is.
        state: `ready`, `busy` (being analysed), `none` (no trace was recorded) or `failed`.
        profile: where the state is `ready`.
        trace: the artifact it was read from.
        windows: how many traces the run recorded; the newest that can be read is the one shown.
        sentence: what is wrong with a trace of this run, or why it could not be recorded, if anything.
    """

    run: RunInfo
    state: Literal["ready", "busy", "none", "failed"]
    profile: Profile | None = None
    trace: ArtifactInfo | None = None
    windows: int = 0
    sentence: str = ""


class ProfileReader:
    """Hands out profiles without keeping a page waiting: what takes long is `busy` until it is there.

    Args:
        source: the store.
    """

    def __init__(self, source: StoreSource) -> None:
        self._source = source
        self._work = Background()

    def profile(self, run: RunInfo) -> RunProfile:
        """The profile of the run's newest trace, or why there is none yet.

        Raises:
            StoreUnreachableError: if the store is away.
        """
        traces = reading.traces(self._source(), run.id)
        if not traces:
            return RunProfile(run=run, state="none", sentence=self._noticed(run))
        try:
            found = self._analysed(run.id, traces)
        except StoreUnreachableError:
            raise
        except TracksideError as error:
            return RunProfile(run=run, state="failed", trace=traces[-1], windows=len(traces), sentence=str(error))
        if found is None:
            return RunProfile(run=run, state="busy", trace=traces[-1], windows=len(traces))
        problem = next((one.problem for one in reversed(found) if one.problem is not None), None) or ""
        readable = [one for one in found if one.profile is not None and one.profile.steps]
        if not readable:
            sentence = problem or "The recorded trace holds no complete step: record a longer window."
            return RunProfile(run=run, state="failed", trace=traces[-1], windows=len(traces), sentence=sentence)
        newest = readable[-1]
        return RunProfile(
            run=run,
            state="ready",
            profile=newest.profile,
            trace=newest.artifact,
            windows=len(traces),
            sentence=problem or self._noticed(run),
        )

    def profiles(self, runs: Sequence[RunInfo]) -> list[RunProfile]:
        """As `profile`, of several runs in their order."""
        return [self.profile(run) for run in runs]

    def trace(self, run: RunInfo) -> ArtifactInfo:
        """The trace that the page shows of a run.

        Raises:
            UsageError: if it recorded none.
        """
        trace = self.profile(run).trace
        if trace is None:
            raise UsageError(NO_TRACE)
        return trace

    def slices(self, run: RunInfo, step: int) -> StepSlices | None:
        """Every slice of one recorded step, or None while the trace is being read.

        Args:
            run: a run with a trace.
            step: place of the step among those recorded, from 0.

        Raises:
            TracksideError: if there is no such trace or step, or the trace cannot be read.
        """
        trace = self.trace(run)

        def work() -> StepSlices:
            raw, format = self._source().artifact_bytes(trace.id), reading.trace_format(trace)
            assert format is not None
            return StepSlices.of(reading.timeline(raw, format, TraceContext.from_json(trace.detail), step))

        found: StepSlices | None = self._work.ask(("slices", trace.id, step), work)
        return found

    def _noticed(self, run: RunInfo) -> str:
        """What the tracker said of a recording that came to nothing or ended early; empty if nothing."""
        said = [one.message for one in self._source().events(run) if one.kind == "notice"]
        return next((message for message in reversed(said) if "profil" in message.lower()), "")

    def _analysed(self, run_id: str, traces: Sequence[ArtifactInfo]) -> list[Analysed] | None:
        key = ("profile", run_id, tuple(one.id for one in traces))
        found: list[Analysed] | None = self._work.ask(key, lambda: reading.analysed(self._source(), run_id))
        return found
