"""GPU readings through the real nvidia-ml-py, against a small C library that stands in for the driver's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("nvml_stub.c")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a libnvidia-ml.so.1."""
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library.name}", "-o", str(library), str(SOURCE)], check=True
    )
    return folder


def ask(driver: Path | None, program: str, **environment: str) -> Any:
    """Run a program in a process of its own and return the JSON it prints; nothing may reach stderr."""
    variables = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")}
    if driver is not None:
        variables["LD_LIBRARY_PATH"] = str(driver)
    script = f"import json\nfrom trackside.trackers.gpu import Gpus\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**variables, **environment}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return json.loads(done.stdout)


VISIBLE = "gpus = Gpus.open(); print(json.dumps(gpus and [gpu.uuid for gpu in gpus.gpus]))"


def test_readings_of_two_different_gpus(driver: Path) -> None:
    first, second = ask(driver, "gpus = Gpus.open(); print(json.dumps([gpus.read(), gpus.read()]))")
    assert first == {
        "gpu0/utilization_percent": 40.0,
        "gpu0/memory_bytes": 3 * 2**30,
        "gpu0/power_watts": 250.5,
        "gpu0/temperature_celsius": 61.0,
        "gpu0/energy_joules": 0.0,
        "gpu1/memory_bytes": 4 * 2**30,
        "gpu1/power_watts": 250.5,
        "gpu1/energy_joules": 0.0,
    }
    assert second["gpu0/energy_joules"] == 1.5
    assert second["gpu1/utilization_percent"] == 41.0  # a failure of the moment is not held against it
    assert "gpu1/temperature_celsius" not in second


def test_energy_is_power_over_time_where_the_gpu_does_not_count(driver: Path) -> None:
    readings = ask(
        driver,
        "gpus = Gpus.open(); hands = iter([10.0, 12.0, 15.0]); gpus._clock = lambda: next(hands)\n"
        "print(json.dumps([gpus.read()['gpu1/energy_joules'] for _ in range(3)]))",
    )
    assert readings == [0.0, 501.0, 1252.5]


def test_every_key_has_a_unit(driver: Path) -> None:
    units, read = ask(driver, "gpus = Gpus.open(); print(json.dumps([gpus.units, gpus.read()]))")
    assert read.keys() <= units.keys()
    assert units["gpu1/power_watts"] == "watts"


def test_description(driver: Path) -> None:
    assert ask(driver, "print(json.dumps(Gpus.open().describe()))")[1] == {
        "name": "NVIDIA Stub",
        "uuid": "GPU-bbbb0000-2222",
        "memory_bytes": 16 * 2**30,
        "driver": "575.51",
    }


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("0,1", ["GPU-aaaa0000-1111", "GPU-bbbb0000-2222"]),
        ("1", ["GPU-bbbb0000-2222"]),
        ("1,0", ["GPU-bbbb0000-2222", "GPU-aaaa0000-1111"]),
        ("GPU-bbbb0000-2222", ["GPU-bbbb0000-2222"]),
        ("GPU-bbbb", ["GPU-bbbb0000-2222"]),
        ("GPU-", None),  # could be either
        ("MIG-cccc0000-3333", ["MIG-cccc0000-3333"]),
        ("MIG-unknown", None),
        ("0,7,1", ["GPU-aaaa0000-1111"]),  # as CUDA does, the list ends at the first that is not there
        ("-1", None),
        ("", None),
        ("NoDevFiles", None),
    ],
)
def test_only_visible_gpus_in_the_process_order(driver: Path, visible: str, uuids: list[str] | None) -> None:
    assert ask(driver, VISIBLE, CUDA_VISIBLE_DEVICES=visible) == uuids


def test_mig_instance_reports_what_it_can(driver: Path) -> None:
    read = ask(driver, "print(json.dumps(Gpus.open().read()))", CUDA_VISIBLE_DEVICES="MIG-cccc0000-3333")
    assert read == {"gpu0/memory_bytes": 5 * 2**30}


def test_uuids_from_the_framework_settle_the_order(driver: Path) -> None:
    program = "gpus = Gpus.open(['bbbb0000-2222']); print(json.dumps([gpu.uuid for gpu in gpus.gpus]))"
    assert ask(driver, program, CUDA_VISIBLE_DEVICES="0") == ["GPU-bbbb0000-2222"]
    assert ask(driver, "print(json.dumps(Gpus.open([]) is None))") is True


def test_close_lets_go_of_nvml(driver: Path) -> None:
    counts = ask(
        driver,
        "import ctypes; gpus = Gpus.open(); count = ctypes.CDLL('libnvidia-ml.so.1').stub_open_count\n"
        "before = count(); gpus.close(); print(json.dumps([before, count()]))",
    )
    assert counts == [1, 0]


def test_without_a_driver_or_without_the_package_there_are_no_gpus(driver: Path) -> None:
    assert ask(driver, "print(json.dumps(Gpus.open() is None))", STUB_NO_DRIVER="1") is True
    missing = "import sys; sys.modules['pynvml'] = None; print(json.dumps(Gpus.open() is None))"
    assert ask(driver, missing) is True
