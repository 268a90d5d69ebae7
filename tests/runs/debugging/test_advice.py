"""What to look at first follows from the record, and nothing is said without a reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trackside.db.records import Event
from trackside.runs.debugging.advice import advice, growth
from trackside.runs.debugging.records import DebugRecord, RecordedEvent


def event(kind, **fields):
    return RecordedEvent(
        event=Event(run_id="r", kind=kind, time=datetime.now(UTC), step=3), record=DebugRecord(**fields)
    )


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (event("non_finite", operator="aten.div.Tensor"), "divisor"),
        (event("non_finite", operator="RealDiv"), "divisor"),
        (event("non_finite", operator="aten.log.default"), "logarithm"),
        (event("non_finite", operator="SqrtBackward0"), "root"),
        (event("non_finite", last_losses=((0, 1.0), (1, 50.0), (2, float("nan"))), learning_rate=3.0), "rate of 3"),
        (event("non_finite", quantity="weight"), "An update"),
        (event("non_finite", batch_index=4), "batch 4"),
        (event("exception", type="RuntimeError", message="DefaultCPUAllocator: can't allocate memory"), "memory"),
        (event("exception", type="IndexError", message="Target 105 is out of bounds."), "labels"),
        (event("exception", type="RuntimeError", message="mat1 and mat2 shapes cannot be multiplied"), "given"),
        (event("exception", type="RuntimeError", message="mat1 and mat2 must have the same dtype"), "types meet"),
        (event("exception", type="E", message="X (in DataLoader worker process 0)"), "num_workers=0"),
        (event("dead_layer"), "loss"),
        (event("frozen_layer"), "detach"),
    ],
)
def test_advice(found, word):
    assert any(word in sentence for sentence in advice(found))


def test_no_advice_without_a_reason():
    assert advice(event("exception", type="KeyError", message="7")) == []
    assert advice(event("non_finite", quantity="loss", operator="aten.cumsum.default")) == []


def test_a_loss_that_wobbles_has_not_grown():
    assert growth(DebugRecord(last_losses=((0, 1.0), (1, 2.0), (2, 1.5)))) is None
    assert growth(DebugRecord(last_losses=((0, 2.0), (1, 1.0), (2, 900.0)))) == (1.0, 900.0)
