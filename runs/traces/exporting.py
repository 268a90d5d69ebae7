"""The traces of some runs as files for other tools: Perfetto, TensorBoard, and each trace as it was recorded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...db.errors import UsageError
from ...db.records import ArtifactInfo, RunInfo
from ...db.store import Store
from .merged import Named, merged
from .reading import interpreted, trace_format, traces
from .records import TraceContext
from .torch_xplane import to_xplane

MERGED_NAME = "merged.trace.json.gz"
HOST = "trackside"
UNSAFE = re.compile(r"[^\w.-]+")


def export_traces(store: Store, runs: Sequence[tuple[RunInfo, str]], folder: Path) -> list[Path]:
    """Write what other tools open; the files written.

    `raw/` has each trace as it was recorded, `merged.trace.json.gz` the last one of each run in one file for Perfetto,
    and `tensorboard/` what `tensorboard --logdir` shows in its Profile tab.

    Args:
        store: with the runs.
        runs: each with what to call it.
        folder: made if missing.

    Raises:
        UsageError: the folder cannot be written.
        TraceError: a trace cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [path for run, name in _told_apart(runs) for path in _raw(store, run, folder / "raw" / name)]
        written.append(folder / MERGED_NAME)
        written[-1].write_bytes(merged_traces(store, runs))
        return written + tensorboard_folder(store, runs, folder / "tensorboard")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}. Choose another folder.") from error


def merged_traces(store: Store, runs: Sequence[tuple[RunInfo, str]]) -> bytes:
    """The last trace of each run in one gzipped Chrome trace, aligned at the first step."""
    found = []
    for run, name in runs:
        for artifact in traces(store, run)[-1:]:
            made = interpreted(store, artifact)
            found.append(Named(name, made.trace, made.labels))
    return merged(found)


def tensorboard_folder(store: Store, runs: Sequence[tuple[RunInfo, str]], folder: Path) -> list[Path]:
    """Write `<run>/plugins/profile/<time>/<host>.xplane.pb` for the last trace of each run; the files written.

    A trace of TensorFlow's is written as it was recorded, one of PyTorch's in TensorFlow's format.
    """
    written = []
    for run, name in _told_apart(runs):
        for artifact in traces(store, run)[-1:]:
            moment = artifact.created.strftime("%Y_%m_%d_%H_%M_%S")
            path = folder / name / "plugins" / "profile" / moment / f"{HOST}.xplane.pb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(xplane(store, artifact))
            written.append(path)
    return written


def xplane(store: Store, artifact: ArtifactInfo) -> bytes:
    """A trace in the store in TensorFlow's format, whichever it was recorded in."""
    if trace_format(artifact) == "xplane":
        return store.artifact_bytes(artifact.id)
    found = interpreted(store, artifact)
    return to_xplane(found.trace, found.labels, TraceContext.from_json(artifact.detail).first_step)


def _raw(store: Store, run: RunInfo, folder: Path) -> list[Path]:
    written = []
    for artifact in traces(store, run):
        path = folder / f"{artifact.id}-{_safe(artifact.name)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.artifact_bytes(artifact.id))
        written.append(path)
    return written


def _told_apart(runs: Sequence[tuple[RunInfo, str]]) -> list[tuple[RunInfo, str]]:
    """Each run with the name of a folder that no other has."""
    names = [_safe(name) for _, name in runs]
    return [
        (run, name if names.count(name) == 1 else f"{name}-{run.id}")
        for (run, _), name in zip(runs, names, strict=True)
    ]


def _safe(name: str) -> str:
    """A name as that of one file, whatever is in it."""
    return UNSAFE.sub("-", name).strip(".-") or "run"
