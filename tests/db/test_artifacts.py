"""Files of runs and what was found in traces: the contract, the same on both databases."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import func, select, update

import trackside
from trackside.db import artifacts
from trackside.db.errors import StoreError, UsageError
from trackside.db.models import ArtifactRow, ProfileOperator, ProfileRow
from trackside.db.records import KeptProfile
from trackside.db.store import open_store


@pytest.fixture
def store(store_url):
    with trackside.start_run(name="traced", store=store_url, id="r1"):
        pass
    with open_store(store_url) as opened:
        yield opened


def test_a_file_comes_back_as_it_was_and_says_what_it_is(store):
    data = bytes(range(256)) * 1000
    number = store.attach("traced", "steps.json", "trace/chrome", data, step=12, detail={"framework": "torch"}, rank=1)
    store.attach("traced", "dump", "tfdbg", b"")
    info, dump = store.artifacts("r1")
    assert (info.id, info.run_id, info.rank, info.name, info.step) == (number, "r1", 1, "steps.json", 12)
    assert (info.media_type, info.size_bytes, info.path) == ("application/json", len(data), None)
    assert info.detail == {"framework": "torch"}
    assert info.created.tzinfo is not None
    assert store.artifact_bytes(number) == data
    assert store.artifact_bytes(dump.id) == b""
    assert [one.name for one in store.artifacts("r1", "tfdbg")] == ["dump"]


def test_what_is_not_there_is_said(store, tmp_path):
    with pytest.raises(UsageError, match="no artifact 77"):
        store.artifact_bytes(77)
    number = store.attach("traced", "t", "trace/chrome", b"{}")
    with store.write() as connection:
        gone = {"payload": None, "path": str(tmp_path / "gone")}
        connection.execute(update(ArtifactRow).values(gone))
    with pytest.raises(StoreError, match="machine that trained"):
        store.artifact_bytes(number)
    with store.write() as connection:
        connection.execute(update(ArtifactRow).values(payload=b"no gzip"))
    with pytest.raises(StoreError, match="cannot be read"):
        store.artifact_bytes(number)


def test_a_file_too_large_is_refused(store, monkeypatch):
    monkeypatch.setattr(artifacts, "LARGEST_BYTES", 10)
    with pytest.raises(UsageError, match="too much for a store"):
        store.attach("traced", "t", "trace/chrome", bytes(11))
    assert store.artifacts("r1") == []


OPERATOR = {
    "name": "aten::mm", "family": "matmul", "direction": "forward", "calls": 3, "self_seconds": 0.5,
    "total_seconds": 0.5, "layer": "net.fc", "shapes": "[2, 3] × [3, 4]", "memory_bytes": -(2**40), "flops": 1e15,
    "inferred": False, "device": "cpu", "background": False,
}  # fmt: skip


def test_what_was_found_is_kept_and_replaced_by_a_later_analysis(store):
    number = store.attach("traced", "t", "trace/chrome", b"{}")
    unknown = {**OPERATOR, "name": "aten::relu", "self_seconds": 0.7, "layer": None, "memory_bytes": None}
    found = KeptProfile(
        artifact_id=number, run_id="r1", format="chrome", first_step=10, last_step=11, step_seconds=(0.1, 0.2),
        split={"forward": 0.1, "other": 0.05}, notes=("two steps only",), version=1,
        operators=(OPERATOR, {**unknown, "flops": None}),
    )  # fmt: skip
    assert store.keep_profile(found)
    (kept,) = store.kept_profiles("traced")
    assert math.isnan(kept.classified_fraction)
    assert (kept.step_seconds, kept.split, kept.notes) == (found.step_seconds, found.split, found.notes)
    assert (kept.first_step, kept.last_step, kept.version) == (10, 11, 1)
    assert kept.operators == found.operators[::-1]  # the longest first
    again = KeptProfile(artifact_id=number, run_id="r1", format="chrome", classified_fraction=0.97, version=2)
    assert store.keep_profile(again)
    assert store.kept_profiles("r1") == [again]


def count(store, table):
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_trace_takes_what_was_found_in_it_along_and_a_purged_run_both(store):
    first, second = (store.attach("traced", name, "trace/chrome", b"{}") for name in ("a", "b"))
    profiles = [
        KeptProfile(artifact_id=number, run_id="r1", format="chrome", operators=(OPERATOR,))
        for number in (first, second)
    ]
    assert all(store.keep_profile(profile) for profile in profiles)
    store.remove_artifact(first)
    assert [one.id for one in store.artifacts("r1")] == [second]
    assert not store.keep_profile(profiles[0])
    assert (count(store, ProfileRow), count(store, ProfileOperator)) == (1, 1)
    store.delete("r1")
    store.purge("r1")
    assert [count(store, table) for table in (ArtifactRow, ProfileRow, ProfileOperator)] == [0, 0, 0]
