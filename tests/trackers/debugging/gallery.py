"""What the tests of both frameworks do with a broken training of `trackside.workloads.broken`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import trackside
from trackside.runs.debugging.records import RecordedEvent, records


def recorded(
    tracker: Any, store: str, train: Callable[..., None], *arguments: Any, raises: Any = None
) -> list[RecordedEvent]:
    """Train a case of the gallery and return what was recorded of it."""
    if raises is None:
        train(tracker, *arguments)
    else:
        with pytest.raises(raises):
            train(tracker, *arguments)
    assert not tracker.guard.failures
    assert tracker.run_id is not None
    with trackside.open_store(store) as opened:
        assert opened.run(tracker.run_id).state == ("finished" if raises is None else "failed")
        return records(opened, tracker.run_id)


def without_warnings(train: Callable[..., None]) -> Callable[..., None]:
    """The same training; what the framework warns of is no error."""

    def quiet(*arguments: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(*arguments)

    return quiet


def only(found: list[RecordedEvent], kind: str) -> RecordedEvent:
    (event,) = found
    assert event.kind == kind
    return event


def assert_culprit(event: RecordedEvent, case: str, gallery: ModuleType) -> None:
    """The record names the line of that gallery which says that it is this case's culprit, exactly."""
    source = event.record.source
    assert source is not None
    assert gallery.__file__ is not None
    assert Path(source.file).name == Path(gallery.__file__).name
    assert dict(source.code)[source.line].endswith(f"# culprit: {case}")
    assert event.record.exact
