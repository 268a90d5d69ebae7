"""The garbage collector is paused while a trace is read, and afterwards as it was."""

import gc

import pytest

from trackside.db.errors import TraceError
from trackside.runs.traces import reading
from trackside.runs.traces.collector import paused
from trackside.runs.traces.records import TraceContext


def test_it_resumes_when_the_last_reader_is_done() -> None:
    assert gc.isenabled()
    first, second = paused(), paused()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_reading_pauses_it_and_a_damaged_trace_does_not_leave_it_off(monkeypatch) -> None:
    seen = []
    reader = reading._reader

    def watched(format):
        seen.append(gc.isenabled())
        return reader(format)

    monkeypatch.setattr(reading, "_reader", watched)
    with pytest.raises(TraceError):
        reading.interpret(b"{", "chrome", TraceContext(framework="torch"))
    assert seen == [False]
    assert gc.isenabled()
