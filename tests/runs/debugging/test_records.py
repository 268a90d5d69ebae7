"""A record of what went wrong survives the store, NaN included, and reads what older versions wrote."""

from __future__ import annotations

import math

import pytest

import trackside
from trackside.runs.debugging.records import DebugRecord, Source, records

RECORD = DebugRecord(
    quantity="activation",
    layer="net.conv1",
    layer_class="Conv2d",
    operator="aten.div.Tensor",
    source=Source(file="train.py", line=12, function="Net.forward", code=((11, "a"), (12, "  x / 0"))),
    message="first bad value",
    inputs=({"shape": [2, 3], "dtype": "float32"},),
    last_losses=((4, 0.5), (5, math.inf)),
    learning_rate=0.0,
    batch_index=3,
    batch_fingerprint="abc",
    how="search",
    exact=True,
    cannot=("The operator is unknown.",),
    counts={"nan": 1, "positive_infinity": 0, "negative_infinity": 0, "size": 6},
)


def test_record_comes_back_as_it_was(store_url):
    with trackside.start_run(store=store_url) as run:
        run.event("notice", "nothing to do with it")
        run.event("non_finite", "first bad value", step=5, detail=RECORD.to_json())
    with trackside.open_store(store_url) as store:
        (found,) = records(store, run.id)
    assert (found.kind, found.step) == ("non_finite", 5)
    assert found.record == RECORD


def test_nan_stays_nan_and_what_is_empty_is_left_out():
    record = DebugRecord(last_losses=((0, math.nan),), layer="")
    assert record.to_json() == {"last_losses": [[0, "NaN"]], "layer": "", "how": "watch", "exact": False}
    assert math.isnan(DebugRecord.from_json(record.to_json()).last_losses[0][1])


@pytest.mark.parametrize(
    "detail", [{}, {"source": 3, "batch": [], "last_losses": [[1]], "counts": {"nan": "x"}, "cannot": None}]
)
def test_malformed_detail_is_an_empty_record(detail):
    assert DebugRecord.from_json(detail) == DebugRecord()


def test_event_of_an_older_version_is_a_record_of_an_exception():
    old = {"type": "ValueError", "message": "no", "traceback": "Traceback …"}
    record = DebugRecord.from_json(old)
    assert (record.type, record.message, record.traceback, record.how) == (
        "ValueError",
        "no",
        "Traceback …",
        "traceback",
    )
