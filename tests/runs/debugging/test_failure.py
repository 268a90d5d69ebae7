"""What an exception says: its first line without noise, and the user's own line."""

from __future__ import annotations

import json

import pytest

import trackside
from trackside.runs.debugging import source
from trackside.runs.debugging.failure import failure_record, first_line
from trackside.runs.debugging.records import records
from trackside.runs.debugging.source import innermost_listed, is_own


def caught(function, *arguments):
    with pytest.raises(BaseException) as found:
        function(*arguments)
    return found.value


def own_function(text):
    return json.loads(text)  # the culprit


def test_innermost_line_of_the_users_code_is_found_below_library_frames():
    record = failure_record(caught(own_function, "{"))
    assert (record.type, record.exact) == ("json.decoder.JSONDecodeError", True)
    assert record.source.function == "own_function"
    assert dict(record.source.code)[record.source.line].endswith("# the culprit")
    assert "Traceback" in record.traceback


def test_the_cause_is_looked_into_where_the_last_exception_has_no_own_frame():
    error = ValueError("wrapped")
    error.__cause__ = caught(own_function, "{")
    assert failure_record(error).source.function == "own_function"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("\x1b[1mbold\x1b[0m\n\nmore", "bold"),
        ("\n\n  second  \n", "second"),
        ("", "ValueError"),
        ("password=hunter2 refused", "password=*** refused"),
        ("got [" + "0.123, " * 100 + "]", "got […]"),
        (
            "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            '  File "x.py", line 1, in f\nKeyError: 7',
            "7 (in DataLoader worker process 0)",
        ),
    ],
)
def test_first_line(message, line):
    assert first_line(ValueError(message)) == line


def test_long_messages_are_cut():
    assert len(first_line(ValueError("x" * 10_000))) == 500


def test_places_listed_in_a_message_go_before_the_traceback():
    here = own_function.__code__
    message = (
        f'Detected at node:\n  File "{here.co_filename}", line {here.co_firstlineno + 1}, in call\n\n'
        f'  File "{json.__file__}", line 3, in dumps'
    )
    source = failure_record(ValueError(message)).source
    assert (source.line, source.function) == (here.co_firstlineno + 1, "call")
    assert innermost_listed("nothing listed") is None


def test_whose_code_it_is():
    assert is_own(__file__)
    assert not is_own(json.__file__)
    assert not is_own(pytest.__file__)
    assert not is_own(trackside.runs.run.__file__)
    assert not is_own("<frozen importlib._bootstrap>")


def test_the_workloads_of_an_installed_trackside_are_own_code_too(monkeypatch):
    monkeypatch.setattr(source, "_OURS", "/venv/site-packages/trackside")
    installed = is_own.__wrapped__  # past its cache
    assert installed("/venv/site-packages/trackside/workloads/broken/torch_broken.py")
    assert not installed("/venv/site-packages/trackside/trackers/keras.py")
    assert not installed("/venv/site-packages/torch/nn/modules/linear.py")


def test_exception_whose_str_fails():
    class Broken(Exception):  # noqa: N818
        def __str__(self):
            raise RuntimeError("no")

    assert failure_record(Broken()).message == "Broken"


def test_plain_loop_leaves_one_exception_with_its_record(store_url):
    with pytest.raises(json.JSONDecodeError), trackside.start_run(store=store_url) as run:
        run.log({"train/loss": 1.0}, step=3)
        own_function("{")
    with trackside.open_store(store_url) as store:
        (found,) = records(store, run.id)
        assert [event.kind for event in store.events(run.id)] == ["exception"]
        assert store.run(run.id).error["type"] == "JSONDecodeError"
    assert (found.kind, found.step) == ("exception", 3)
    assert found.event.message.startswith("JSONDecodeError: Expecting property name")
    assert found.record.source.function == "own_function"
    assert found.record.how == "traceback"


def test_interrupt_is_no_failure(sqlite_url):
    with pytest.raises(KeyboardInterrupt), trackside.start_run(store=sqlite_url) as run:
        raise KeyboardInterrupt
    with trackside.open_store(sqlite_url) as store:
        assert records(store, run.id) == []
        assert store.run(run.id).state == "killed"
