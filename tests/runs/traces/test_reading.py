"""Traces in a store: found, analysed once, and the result kept beside them."""

import gzip
from dataclasses import replace

import pytest

import trackside
from trackside.db.errors import TraceError, UsageError
from trackside.runs.traces import reading
from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.xplane_pb2 import XSpace

from .chrome_events import annotation, backward, document, forward

TRACE = document(
    annotation("ProfilerStep#2", 0, 100),
    annotation("ProfilerStep#3", 100, 50),
    forward("aten::mm", 5, 10, 1, **{"Input Dims": [[2, 3], [3, 4]]}),
    backward("MmBackward0", 20, 10, 1),
    forward("aten::mul", 105, 10, 2),
)
CONTEXT = TraceContext(framework="torch", first_step=2, last_step=3, layers={"net": "Net"})


@pytest.fixture
def run_and_store(store_url):
    with trackside.start_run(store=store_url) as run:
        pass
    with trackside.open_store(store_url) as store:
        yield run.id, store


def test_a_trace_is_analysed_once_and_read_back_as_it_was(run_and_store, monkeypatch) -> None:
    run, store = run_and_store
    assert reading.profiles(store, run) == []
    store.attach(run, "steps.json", "trace/chrome", TRACE, step=2, detail=CONTEXT.to_json())
    store.attach(run, "notes.txt", "text", b"no trace")
    (first,) = reading.profiles(store, run)
    assert first.step_seconds == pytest.approx((100e-6, 50e-6))
    assert first.context == CONTEXT
    assert first.format == "chrome"
    assert first.operators[0].shapes == "[2, 3] × [3, 4]"
    monkeypatch.setattr(reading, "interpret", None)
    assert reading.profiles(store, run) == [first]


def test_an_older_analysis_is_made_anew(run_and_store, monkeypatch) -> None:
    run, store = run_and_store
    store.attach(run, "steps.json", "trace/chrome", TRACE)
    (first,) = reading.profiles(store, run)
    (kept,) = store.kept_profiles(run)
    store.keep_profile(replace(kept, operators=(), version=reading.VERSION - 1))
    assert reading.profiles(store, run) == [first]
    assert [one.version for one in store.kept_profiles(run)] == [reading.VERSION]


def test_a_trace_that_cannot_be_read_does_not_hide_the_others(run_and_store) -> None:
    run, store = run_and_store
    store.attach(run, "cut.json", "trace/chrome", TRACE[:-30])
    with pytest.raises(TraceError, match=r"cut\.json: The trace ends in the middle"):
        reading.profiles(store, run)
    store.attach(run, "steps.json", "trace/chrome", TRACE)
    assert len(reading.profiles(store, run)) == 1
    assert [one.problem is None for one in reading.analysed(store, run)] == [False, True]


def test_a_share_without_operators_survives_the_store(run_and_store) -> None:
    run, store = run_and_store
    store.attach(run, "empty.json", "trace/chrome", document(annotation("ProfilerStep#2", 0, 100)))
    first, again = reading.profiles(store, run)[0], reading.profiles(store, run)[0]
    assert first.classified_fraction != first.classified_fraction
    assert again.classified_fraction != again.classified_fraction


def test_one_step_can_be_drawn() -> None:
    bars = reading.timeline(TRACE, "chrome", CONTEXT, 1)
    assert [(one.name, round(one.start * 1e6), one.family) for one in bars] == [
        ("ProfilerStep#3", 0, None), ("aten::mul", 5, "other")
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no step 2"):
        reading.timeline(TRACE, "chrome", CONTEXT, 2)
    trace, labels = reading.read(TRACE, "chrome", CONTEXT)
    assert [len(one.family) for one in labels] == [len(lane) for lane in trace.lanes]


def test_formats_are_told_apart_by_content() -> None:
    space = XSpace()
    space.planes.add(name="/host:CPU")
    assert reading.sniff(TRACE) == "chrome"
    assert reading.sniff(gzip.compress(TRACE)) == "chrome"
    assert reading.sniff(b" [1]") == "chrome"
    assert reading.sniff(space.SerializeToString()) == "xplane"
    assert [reading.sniff(one) for one in (b"", b"PK\x03\x04", b"hello")] == [None, None, None]
