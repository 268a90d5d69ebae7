"""What people hand over by mistake neither stops a training nor keeps the rest from the store."""

from __future__ import annotations

import dataclasses
import logging
import threading

import numpy as np
import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.runs import clean


class Secretive:
    """Neither shows itself nor is a number."""

    def __repr__(self):
        raise RuntimeError("no")

    def __float__(self):
        raise RuntimeError("no")


class BrokenMapping(dict[str, float]):
    def values(self):
        raise RuntimeError("no")

    def items(self):
        raise RuntimeError("no")


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    lock: object = dataclasses.field(default_factory=threading.Lock)
    parent: object = None


@pytest.mark.parametrize(
    "mistake",
    [
        lambda run: run.fingerprint("f" * 100, {"a": 1}),
        lambda run: run.fingerprint("f\0", {"a": 1}),
        lambda run: run.fingerprint(None, {"a": 1}),
        lambda run: run.fingerprint("f", {"a": Secretive()}),
        lambda run: run.event("k\0" * 40, "m\0", step="x"),
        lambda run: run.event(None, Secretive(), step=2**70, detail={"a": Secretive()}),
        lambda run: run.event("\ud800", "\ud800"),
        lambda run: run.update(total_steps=2**63),
        lambda run: run.update(total_steps=float("inf")),
        lambda run: run.update(device_count=2**40),
        lambda run: run.update(device_count="two"),
        lambda run: run.update(device_count=None, world_size=None, notes=None),
        lambda run: run.update(config=BrokenMapping(a=1)),
        lambda run: run.update(config={"a": Secretive()}, notes=Secretive()),
        lambda run: run.describe(Secretive(), unit=Secretive()),
        lambda run: run.warn(Secretive()),
        lambda run: run.log(BrokenMapping(a=1.0)),
        lambda run: run.log({"x": 1.0}, step=Secretive(), epoch=Secretive(), samples="many"),
    ],
)
def test_a_mistake_costs_only_itself(store_url, mistake):
    with trackside.start_run(store=store_url) as run:
        run.log({"train/loss": 1.0}, step=0)
        mistake(run)
        run.log({"train/loss": 2.0}, step=1)
    with trackside.open_store(store_url) as store:
        found = store.run(run.id)
        assert (found.state, found.device_count, found.world_size) == ("finished", 1, 1)
        np.testing.assert_array_equal(store.series(found, "train/loss").values, [1.0, 2.0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"id": "a/b"},
        {"id": "../outside"},
        {"id": "-x"},
        {"id": "y" * 41},
        {"rank": "first"},
        {"rank": None},
        {"rank": -1},
        {"rank": 2**40},
        {"tags": 5},
        {"properties": "torch"},
        {"properties": {"device_count": "two"}},
        {"properties": {"total_steps": 2**63}},
        {"config": [("lr", 1e-3)]},
    ],
)
def test_what_the_store_could_never_take_is_refused_at_the_start(sqlite_url, arguments):
    with pytest.raises(UsageError):
        trackside.start_run(store=sqlite_url, **arguments)


def test_what_is_missing_gets_its_default(sqlite_url):
    properties = {"device_count": None, "notes": None}
    with trackside.start_run("  ", None, notes=None, tags=["", "a"], store=sqlite_url, properties=properties) as run:
        pass
    with trackside.open_store(sqlite_url) as store:
        found = store.run(run.id)
    assert found.name.endswith(run.id[:4])
    assert (found.project, found.notes, found.tags, found.device_count) == ("default", "", ("a",), 1)


def test_values_that_look_like_numbers_but_are_none(sqlite_url):
    with trackside.start_run(store=sqlite_url) as run:
        run.log({"moment": np.datetime64("2024-01-01", "ns"), "a": 1.0})
        run.log({"duration": np.timedelta64(5, "ns"), "text": np.array("1.5"), "bytes": b"1", "a": 1.0})
        run.log({"masked": np.ma.masked, "secretive": Secretive(), " ": 3.0, "a": 1.0})
    with trackside.open_store(sqlite_url) as store:
        assert {info.name for info in store.series_infos([run.id])} == {"a", "masked", "unnamed"}
        assert len(store.series(run.id, "a")) == 3
        assert np.isnan(store.series(run.id, "masked").values).all()  # nothing was measured: not 0.0


def test_a_tensor_that_cannot_be_read_does_not_keep_a_run_from_ending(sqlite_url, caplog):
    class Unreadable:
        is_cpu, device, dtype = False, "meta", "float32"

        def numel(self):
            return 1

        def detach(self):
            return self

        clone = detach

        def reshape(self, shape):
            return self

    with trackside.start_run(store=sqlite_url) as run:
        run.log({"x": Unreadable()}, step=0)
        run.log({"y": 1.0}, step=1)
    with trackside.open_store(sqlite_url) as store:
        assert store.run(run.id).state == "finished"
        assert len(store.series(run.id, "y")) == 1
    assert "could not be read" in caplog.text


def test_a_mistake_repeated_with_other_values_is_one_warning(sqlite_url, caplog):
    with caplog.at_level(logging.WARNING, "trackside"), trackside.start_run(store=sqlite_url) as run:
        for step in range(300):
            run.log({"text": str(step), "x": 1.0}, step=step + 0.5)
            run.log({f"metric {step}": "none"})
    with trackside.open_store(sqlite_url) as store:
        warnings = store.run(run.id).warnings
    assert len(warnings) < 60
    assert sum(warnings.values()) == 900
    assert len(caplog.records) < 60


def test_a_configuration_that_holds_itself_or_a_lock():
    config = {"rate": 0.1}
    config.update({str(key): config for key in range(20)})
    assert clean.json_object(config)["rate"] == 0.1
    settings = Settings()
    settings.parent = settings
    assert clean.json_object(settings)["parent"]["rate"] == 0.1
    assert "lock" in clean.json_object({"all": [settings]})["all"][0]["lock"]


def test_a_configuration_that_holds_a_data_set_is_cut():
    table = clean.json_object({"data": [list(range(1000)) for _ in range(1000)]})["data"]
    assert 50 < len(table) < 1000


def test_text_cannot_act_on_a_terminal():
    assert clean.name("\x1b[31mred\x07") == "�[31mred�"
    assert clean.text("two\nlines\tand a tab") == "two\nlines\tand a tab"
