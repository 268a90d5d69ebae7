"""Reading points, and keeping those that were read: the kept ones must be the stored ones, whatever happened since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from trackside.db import points
from trackside.db.ingest import Commit, SeriesChange, Stretch
from trackside.db.segments import unpack
from trackside.db.store import Store, open_store
from trackside.runs.tail import SeriesTail

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store that keeps what it read."""
    with open_store(store_url, keep_bytes=1_000_000) as opened:
        yield opened


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by an entry for each segment that is unpacked."""
    counted: list[int] = []

    def counting(payload: bytes, wanted: Any = None) -> Any:
        counted.append(len(payload))
        return unpack(payload, wanted)

    monkeypatch.setattr(points, "unpack", counting)
    return counted


def stretches(steps: Any, values: Any, size: int, *, position: int = 0) -> list[Stretch]:
    """Segments of `size` points; their times are no progression."""
    steps, values = np.asarray(steps, np.int64), np.asarray(values, np.float64)
    times = 1_000_000 * steps + steps % 3
    return [
        Stretch(position + start, tuple(column[start : start + size] for column in (steps, times, values)))
        for start in range(0, len(steps), size)
    ]


def write(
    store: Store,
    parts: list[Stretch],
    *,
    run: str = "r",
    created: datetime = CREATED,
    before: int = 0,
    summary: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Commit segments of the series `x`; its summary, for what follows."""
    steps, times, values = (np.concatenate([part.columns[place] for part in parts]) for place in range(3))
    change, _ = SeriesTail.new("x", None, "batch").extend(steps, times, values)
    if summary is not None:
        change.summary["id"] = summary["id"]
    change = SeriesChange(change.summary, parts)
    run_created = {"name": run, "project": "p", "state": "finished", "created_at": created}
    store.commit(
        Commit(
            run_id=run, run_created=run_created, journal_id=f"{run}-j", rank=0, host="h", process_id=1,
            position_before=before, position_after=before + 1, series=[change],
        )
    )  # fmt: skip
    return change.summary


def test_what_is_kept_is_not_read_again_and_is_the_same(store: Store, unpacked: list[int]) -> None:
    values = np.random.default_rng(0).standard_normal(1000)
    write(store, stretches(range(1000), values, 100))
    first = store.series("r", "x")
    assert len(unpacked) == 10
    again = store.series("r", "x")
    assert len(unpacked) == 10
    for found in (first, again):
        assert found.steps.tolist() == list(range(1000))
        assert found.values.tobytes() == values.tobytes()
        assert found.times.tolist() == [step + (step % 3) / 1e6 for step in range(1000)]


def test_a_zoom_reads_what_is_missing_alone(store: Store, unpacked: list[int]) -> None:
    values = np.random.default_rng(0).standard_normal(1000)
    write(store, stretches(range(1000), values, 100))
    part = store.series("r", "x", steps=(250, 449.5), times=False)
    assert len(unpacked) == 3
    assert part.steps.tolist() == list(range(250, 450))
    assert part.values.tobytes() == values[250:450].tobytes()
    assert np.isnan(part.times).all()
    shifted = store.series("r", "x", steps=(301, 520), times=False)
    assert len(unpacked) == 4
    assert shifted.values.tobytes() == values[301:521].tobytes()
    assert store.series("r", "x", steps=(301, 520)).times[0] == 301 + (301 % 3) / 1e6  # not kept until now


def test_what_is_handed_out_may_be_written_to_and_what_is_kept_stays(store: Store) -> None:
    write(store, stretches(range(4), [1.0, 2.5, 3.0, 7.0], 4))
    store.series("r", "x").values[:] = 0
    assert store.series("r", "x").values.tolist() == [1.0, 2.5, 3.0, 7.0]


def test_steps_out_of_order_are_cut_point_by_point(store: Store) -> None:
    write(store, stretches([5, 6, 7, 5, 6, 7, 8, 9], np.arange(8.0), 8))
    for _ in range(2):
        part = store.series("r", "x", steps=(6, 7))
        assert part.steps.tolist() == [6, 7, 6, 7]
        assert part.values.tolist() == [1.0, 2.0, 4.0, 5.0]
    assert store.series("r", "x", steps=(5.5, 5.9)).steps.tolist() == []


def test_a_new_point_appears(store: Store, unpacked: list[int]) -> None:
    first = stretches([0, 1, 2], [0.5, 1.5, 9.0], 3)
    summary = write(store, first)
    assert store.series("r", "x").values.tolist() == [0.5, 1.5, 9.0]
    summary = write(store, stretches([3], [4.0], 1, position=3), before=1, summary=summary)
    assert store.series("r", "x").values.tolist() == [0.5, 1.5, 9.0, 4.0]
    assert len(unpacked) == 2
    # Small segments are replaced by a larger one, which may get the id of one of them.
    merged = stretches([0, 1, 2, 3, 4], [0.5, 1.5, 9.0, 4.0, 6.0], 5)
    merged[0].replaces = [first[0].id, first[0].id + 1]
    write(store, merged, before=2, summary=summary)
    assert store.series("r", "x").values.tolist() == [0.5, 1.5, 9.0, 4.0, 6.0]


def test_another_run_in_the_place_of_a_purged_one_shows_its_own_points(store: Store) -> None:
    write(store, stretches(range(3), [1.0, 5.0, 2.0], 3))
    before = store.series("r", "x")
    store.delete("r")
    store.purge("r")
    write(store, stretches(range(3), [1.0, 7.0, 2.0], 3), created=datetime(2026, 1, 2, tzinfo=UTC))
    after = store.series("r", "x")
    assert before.values.tolist() == [1.0, 5.0, 2.0]
    assert after.values.tolist() == [1.0, 7.0, 2.0]


def test_the_room_is_not_exceeded_and_the_oldest_go_first(store_url: str, unpacked: list[int]) -> None:
    values = np.random.default_rng(0).standard_normal(1000)
    with open_store(store_url, keep_bytes=5 * 800 + 1000) as store:
        write(store, stretches(range(1000), values, 100))
        store.series("r", "x", steps=(0, 499), times=False)
        assert len(unpacked) == 5
        store.series("r", "x", steps=(0, 99), times=False)
        store.series("r", "x", steps=(500, 599), times=False)  # takes the place of 100 to 199
        assert len(unpacked) == 6
        store.series("r", "x", steps=(0, 99), times=False)
        assert len(unpacked) == 6
        store.series("r", "x", steps=(100, 199), times=False)
        assert len(unpacked) == 7
        assert store._points._taken <= 5 * 800 + 1000


def test_a_store_keeps_nothing_unless_it_is_told_to(store_url: str, unpacked: list[int]) -> None:
    with open_store(store_url) as store:
        write(store, stretches(range(3), [1.0, 5.0, 2.0], 3))
        store.series("r", "x")
        store.series("r", "x")
    assert len(unpacked) == 2


def test_no_point_has_an_array_of_its_type(store: Store) -> None:
    write(store, stretches(range(3), [1.0, 5.0, 2.0], 3))
    axes = store.axes("r")
    assert [len(axes), axes.steps.dtype, axes.epochs.dtype] == [0, np.int64, np.float64]
    empty = store.series("r", "x", steps=(10, 20), times=False)
    assert (len(empty), empty.steps.dtype, empty.values.dtype) == (0, np.int64, np.float64)
