"""The record of an exception that ended a PyTorch training: nothing was kept for it, the traceback has it all."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from ...runs.debugging.failure import chain, failure_record
from ...runs.debugging.records import DebugRecord
from ...runs.debugging.source import is_own, traceback_frames
from .operators import operator_at
from .torch_frames import innermost_layer

_IN_WORKER = re.compile(r"Caught \w+ in DataLoader worker|DataLoader worker \(pid")


def torch_failure(error: BaseException, model: nn.Module | None, **known: Any) -> DebugRecord:
    """Return the record of an exception.

    Args:
        error: as it was caught.
        model: whose layers have paths.
        known: further fields of the record.
    """
    cannot = list(known.pop("cannot", ()))
    found: dict[str, Any] = {}
    caught_in_worker = _IN_WORKER.search(str(error)[:500]) is not None
    if caught_in_worker or _lost_worker(error):
        if not caught_in_worker or "Caught" not in str(error)[:50]:
            cannot.append(
                "A worker process that dies without an exception leaves no line of code: PyTorch learns only that it "
                "is gone. Train once with num_workers=0 to see what it died of."
            )
    else:
        for link in chain(error):
            frames = traceback_frames(link.__traceback__)
            place = innermost_layer(frames, model)
            if place is None:
                continue
            found = {"layer": place.layer, "layer_class": place.layer_class, "inputs": place.inputs}
            if (operator := _operator(link, place.depth)) is not None:
                found["operator"] = operator
            break
    return failure_record(error, **{**found, **known, "cannot": tuple(cannot)})


def _lost_worker(error: BaseException) -> bool:
    """Whether a connection broke off while the loader took something from a worker: the worker is gone."""
    files = (frame.f_code.co_filename for frame, _ in traceback_frames(error.__traceback__))
    return isinstance(error, ConnectionError | EOFError) and any("/torch/utils/data/" in file for file in files)


def _operator(error: BaseException, depth: int) -> str | None:
    """What the innermost frame was doing, which for an operation written in C++ is the call of it."""
    entries = []
    link = error.__traceback__
    while link is not None:
        entries.append((link.tb_frame.f_code, link.tb_lasti))
        link = link.tb_next
    code, instruction = entries[-1]
    operator = operator_at(code, instruction)
    if operator is None and not is_own(code.co_filename):
        return str(code.co_name) if len(entries) - 1 > depth else None
    return operator
