"""Traces of either framework, read, summed up, and the result kept beside them in the store."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, get_args

from ...db.errors import StoreError, TraceError, UsageError
from ...db.records import ArtifactInfo, KeptProfile, RunInfo
from ...db.store import Store
from .chrome import decompress
from .collector import paused
from .interpreted import Interpreted
from .records import Format, Operator, Profile, Slice, TraceContext
from .summary import summarise
from .timeline import slices
from .trace import Labels, Trace

VERSION = 4
"""Of the analysis. Raise it when a reader or the classification changes: kept results of an older one are made anew."""

KIND = "trace/"
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysed:
    """A trace in the store, and what was found in it: a profile, or a sentence why there is none."""

    artifact: ArtifactInfo
    profile: Profile | None = None
    problem: str | None = None


def interpret(raw: bytes, format: Format, context: TraceContext) -> Interpreted:
    """Read a raw trace and say what each of its events is for.

    Raises:
        TraceError: it is not of this format, cut short, or a package is missing that reads it.
    """
    with paused():
        return _reader(format)(raw, context)


def read(raw: bytes, format: Format, context: TraceContext) -> tuple[Trace, list[Labels]]:
    """The lanes and steps of a raw trace, and the labels of each lane; raises as `interpret`."""
    found = interpret(raw, format, context)
    return found.trace, list(found.labels)


def analyse(raw: bytes, format: Format, context: TraceContext) -> Profile:
    """Where the time of a raw trace's steps went; raises as `interpret`."""
    with paused():
        return _summed_up(interpret(raw, format, context), context, format)


def timeline(raw: bytes, format: Format, context: TraceContext, step_index: int) -> list[Slice]:
    """The bars of one step, counted from the first recorded one.

    Raises:
        TraceError: as `interpret`.
        UsageError: the trace has no such step.
    """
    with paused():
        found = interpret(raw, format, context)
        return slices(found.trace, found.labels, step_index)


def interpreted(store: Store, artifact: ArtifactInfo) -> Interpreted:
    """A trace in the store, interpreted.

    Raises:
        TraceError: as `interpret`.
        StoreError: the store is away.
    """
    format = trace_format(artifact)
    assert format is not None
    return interpret(store.artifact_bytes(artifact.id), format, TraceContext.from_json(artifact.detail))


def sniff(raw: bytes) -> Format | None:
    """The format that a file looks like by its first bytes, or None.

    An XPlane begins with the tag of its first field: 0x0A, a length, and the plane in it. JSON begins with a bracket,
    and gzip, which PyTorch writes on request, with 1F 8B.
    """
    if raw[:2] == b"\x1f\x8b" or raw[:64].lstrip()[:1] in (b"{", b"["):
        return "chrome"
    return "xplane" if raw[:1] == b"\x0a" else None


def trace_format(artifact: ArtifactInfo) -> Format | None:
    """The format of a trace in the store; None for what is no trace."""
    return next((format for format in FORMATS if artifact.kind == KIND + format), None)


def traces(store: Store, run: RunInfo | str) -> list[ArtifactInfo]:
    """The raw traces of a run, those of each rank in the order they came, rank 0 after all others.

    So the last is the one to show where one stands for the run.
    """
    found = [one for one in store.artifacts(run) if trace_format(one) is not None]
    return sorted(found, key=lambda one: -one.rank)


def analysed(
    store: Store, run: RunInfo | str, read: Callable[[Store, ArtifactInfo], Interpreted] = interpreted
) -> list[Analysed]:
    """Each trace of a run with what was found in it.

    What is found is kept where the store can be written, so that it is found once.

    Args:
        store: with the run.
        run: whose traces.
        read: interprets a trace that was not analysed yet.
    """
    info = run if isinstance(run, RunInfo) else store.run(run)
    kept = {one.artifact_id: one for one in store.kept_profiles(info) if one.version == VERSION}
    return [
        Analysed(artifact=one, profile=_from_kept(kept[one.id], one)) if one.id in kept else _analyse(store, one, read)
        for one in traces(store, info)
    ]


def profiles(store: Store, run: RunInfo | str, rank: int | None = None) -> list[Profile]:
    """What was found in the traces of a run, in the order of `traces`; an empty list for a run without.

    Args:
        store: with the run.
        run: whose traces.
        rank: of the process that recorded them; None for all.

    Raises:
        TraceError: the run has traces, and none of them can be read.
    """
    found = [one for one in analysed(store, run) if rank is None or one.artifact.rank == rank]
    made = [one.profile for one in found if one.profile is not None]
    problem = next((one.problem for one in found if one.problem is not None), None)
    if problem is not None and not made:
        raise TraceError(problem)
    return made


def import_trace(store: Store, run: RunInfo, name: str, raw: bytes) -> Profile:
    """Add a trace that was recorded without us to a run, and say what is in it.

    What the run knows of its model, optimizer and mode helps to read it. Nothing is added that cannot be read.

    Raises:
        UsageError: the file is of none of the formats.
        TraceError: it is of one, but damaged, cut short, or without steps.
    """
    format = sniff(raw)
    if format is None:
        raise UsageError(
            f"{name} is {'empty' if not raw.strip() else 'no profiler trace'}: give the JSON that torch.profiler "
            "exports, or the .xplane.pb of tf.profiler."
        )
    context = TraceContext(
        framework="torch" if format == "chrome" else "tensorflow",
        mode=run.mode,
        layers={one["name"]: one["class"] for one in run.model.get("layers") or () if "name" in one and "class" in one},
    )
    try:
        data = decompress(raw)
        profile = analyse(data, format, context)
    except TraceError as error:
        raise TraceError(f"{name}: {error}") from error
    artifact = store.attach(run, name.removesuffix(".gz"), KIND + format, data, detail=context.to_json())
    info = next(one for one in store.artifacts(run) if one.id == artifact)
    store.keep_profile(_to_kept(profile, info))
    return profile


def _summed_up(found: Interpreted, context: TraceContext, format: Format) -> Profile:
    return summarise(found.trace, found.labels, context, format, phases=found.phases, notes=found.notes)


def _reader(format: Format) -> Callable[[bytes, TraceContext], Interpreted]:
    if format == "chrome":
        from .torch_trace import interpret
    else:
        from .xplane_trace import interpret
    return interpret


def _analyse(store: Store, artifact: ArtifactInfo, read: Callable[[Store, ArtifactInfo], Interpreted]) -> Analysed:
    format = trace_format(artifact)
    assert format is not None
    try:
        with paused():
            profile = _summed_up(read(store, artifact), TraceContext.from_json(artifact.detail), format)
    except (TraceError, StoreError) as error:
        return Analysed(artifact=artifact, problem=f"{artifact.name}: {error}")
    with suppress(StoreError):  # a store that may only be read has it analysed again each time
        store.keep_profile(_to_kept(profile, artifact))
    return Analysed(artifact=artifact, profile=profile)


def _to_kept(profile: Profile, artifact: ArtifactInfo) -> KeptProfile:
    return KeptProfile(
        artifact_id=artifact.id,
        run_id=artifact.run_id,
        rank=artifact.rank,
        format=profile.format,
        first_step=profile.context.first_step,
        last_step=profile.context.last_step,
        step_seconds=profile.step_seconds,
        split={str(part): seconds for part, seconds in profile.split.items()},
        classified_fraction=profile.classified_fraction,
        notes=profile.notes,
        version=VERSION,
        operators=tuple(asdict(one) for one in profile.operators),
    )


def _from_kept(kept: KeptProfile, artifact: ArtifactInfo) -> Profile:
    known: Any = Operator.__slots__
    fraction = kept.classified_fraction
    split: Any = kept.split
    return Profile(
        format=trace_format(artifact) or "chrome",
        context=TraceContext.from_json(artifact.detail),
        step_seconds=kept.step_seconds,
        split=split,
        operators=tuple(Operator(**{key: one[key] for key in known if key in one}) for one in kept.operators),
        classified_fraction=math.nan if fraction is None else fraction,
        notes=kept.notes,
    )
