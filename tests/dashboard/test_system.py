"""What the machine's readings come to by device, and what the System page says where there are none."""

from __future__ import annotations

import math

import pytest

import trackside
from trackside.dashboard.comparison import load
from trackside.dashboard.pages.system import notices, system_address, system_query
from trackside.dashboard.pages.system_devices import device_of, device_rows, panel_order, written
from trackside.dashboard.pages.system_panels import panels, shown_metrics

UUID = "GPU-00000000-1111-2222-3333-444444444444"


@pytest.fixture
def on_gpu(sqlite_url: str) -> str:
    """Id of a run with two GPUs, the first of which was resumed after its third sample."""
    run = trackside.start_run(name="on gpu", project="system", store=sqlite_url)
    run.update(environment={"gpus": [{"name": "H100", "uuid": UUID}]})
    run.describe("cpu/percent", unit="percent", reduction="sample")
    for step, (busy, joules) in enumerate([(10.0, 0.0), (20.0, 50.0), (90.0, 100.0), (80.0, 30.0)]):
        run.log({"train/loss": 1.0 / (step + 1)}, step=step)
        run.log({"cpu/percent": busy, "gpu0/energy_joules": joules, "gpu1/power_watts": 100.0 + busy}, step=step)
    run.finish()
    return run.id


def test_rows_have_mean_peak_and_energy_of_each_device(sqlite_url: str, on_gpu: str) -> None:
    with trackside.open_store(sqlite_url) as store:
        cpu, first, second = device_rows(store, [store.run(on_gpu)])
    assert (cpu.device, cpu.uuid, cpu.means, cpu.peaks) == ("CPU", None, {"utilisation": 50.0}, {"utilisation": 90.0})
    assert math.isnan(cpu.joules)
    assert (first.device, first.uuid, first.joules) == ("GPU 0", UUID, 130.0)  # 100, then anew to 30
    assert (second.device, second.uuid, second.means["power"]) == ("GPU 1", None, 150.0)
    assert second.peaks["power"] == 190.0


def test_panels_share_the_range_of_all(sqlite_url: str, on_gpu: str) -> None:
    with trackside.open_store(sqlite_url) as store:
        comparison = load(store, [on_gpu])
        metrics = shown_metrics(store, comparison)
        cards, drawn = panels(store, comparison, system_query(f"?runs={on_gpu}&axis=step"), metrics)
    assert metrics == ["train/loss", "cpu/percent", "gpu1/power_watts", "gpu0/energy_joules"]
    ranges = [card.children[1].figure["layout"]["xaxis"]["range"] for card in cards]
    assert ranges == [[0.0, 3.0]] * 4
    assert set(drawn["digests"]) == set(metrics)


def test_what_is_missing_is_said_with_its_cure(sqlite_url: str, on_gpu: str) -> None:
    blind = trackside.start_run(name="blind", project="system", store=sqlite_url)
    blind.log({"train/loss": 1.0}, step=0)
    blind.finish()
    plain = trackside.start_run(name="plain", project="system", store=sqlite_url)
    plain.log({"train/loss": 1.0, "cpu/percent": 5.0}, step=0)
    plain.finish()
    with trackside.open_store(sqlite_url) as store:
        unread, without = notices(store, load(store, [on_gpu, blind.id, plain.id]))
        assert shown_metrics(store, load(store, [blind.id])) == []
        assert notices(store, load(store, [on_gpu])) == []
    assert "blind" in unread
    assert "system=True" in unread
    assert "plain" not in unread
    assert "plain" in without
    assert "trackside[gpu]" in without
    assert "blind" not in without


def test_the_address_has_time_as_its_default_axis() -> None:
    assert system_query("?runs=a,b").axis == "relative"
    assert system_query("?runs=a&axis=nonsense").axis == "relative"
    asked = system_query("?runs=a&axis=step&x=1,2&smoothing=0.9")
    assert (asked.axis, asked.x_range, asked.smoothing) == ("step", (1.0, 2.0), 0.0)
    assert system_address(["a", "b"]) == "/system?runs=a,b"


def test_devices_and_units() -> None:
    assert device_of("gpu12/temperature_celsius") == ("GPU 12", "temperature")
    assert device_of("process/memory_bytes") == ("CPU", "memory")
    assert device_of("gpus/percent") is None
    assert device_of("train/loss") is None
    assert sorted(["gpu10/power_watts", "gpu2/power_watts", "cpu/percent"], key=panel_order)[1] == "gpu2/power_watts"
    assert [written("power", 71.25), written("temperature", 40.0)] == ["71.2 W", "40 °C"]
    assert [written("memory", 2.0**30), written("utilisation", 12.5), written("power", None)] == [
        "1 GiB",
        "12.5 %",
        "–",
    ]
    assert written("memory", 1010 * 2.0**20) == "1,010 MiB"  # not 1.01e+03
