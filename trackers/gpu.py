"""Reads NVIDIA GPUs through NVML, and only those that this process may see."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

FIELDS = {
    "utilization_percent": "percent",
    "memory_bytes": "bytes",
    "power_watts": "watts",
    "temperature_celsius": "degrees Celsius",
    "energy_joules": "joules",
}


@dataclass(slots=True)
class Gpu:
    """One GPU, or one MIG instance of it.

    Attributes:
        index: its place in the process's own order: what the framework calls device `index`.
        handle: NVML's handle.
        uuid: `GPU-…` or `MIG-…`.
        unsupported: fields that this GPU does not report; they are not asked for again.
    """

    index: int
    handle: Any
    uuid: str
    unsupported: set[str] = field(default_factory=set)
    energy_start: float | None = None
    energy_integrated: float = 0.0
    last_power: tuple[float, float] | None = None


class Gpus:
    """The GPUs that this process may see, read through nvidia-ml-py.

    Open with `Gpus.open`. Each field is read on its own: what a GPU or driver does not report is left out.
    """

    def __init__(self, nvml: Any, gpus: list[Gpu], clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._clock = clock
        self.gpus = gpus

    @classmethod
    def open(cls, uuids: Sequence[str] | None = None, visible: str | None = None) -> Gpus | None:
        """Return the visible GPUs; None without nvidia-ml-py, without a driver, or with no visible GPU.

        Args:
            uuids: the GPUs by UUID in the framework's order, where the framework knows them; this leaves nothing
                to guess.
            visible: what `CUDA_VISIBLE_DEVICES` would say; the environment's value if None.
        """
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        handles = _select(pynvml, uuids, visible)
        if not handles:
            pynvml.nvmlShutdown()
            return None
        gpus = [Gpu(index, handle, uuid) for index, (handle, uuid) in enumerate(handles)]
        return cls(pynvml, gpus)

    @property
    def units(self) -> dict[str, str]:
        """Every key that `read` may return, with its unit."""
        return {f"gpu{gpu.index}/{name}": unit for gpu in self.gpus for name, unit in FIELDS.items()}

    def read(self) -> dict[str, float]:
        """Return one reading of each field that each GPU reports, keyed `gpu<i>/<field>`.

        `energy_joules` counts from the first reading: the GPU's own counter, or power summed over time where it has
        none.
        """
        readings: dict[str, float] = {}
        for gpu in self.gpus:
            for name, read in _READERS.items():
                value = self._ask(gpu, name, read)
                if value is not None:
                    readings[f"gpu{gpu.index}/{name}"] = value
            energy = self._energy(gpu, readings.get(f"gpu{gpu.index}/power_watts"))
            if energy is not None:
                readings[f"gpu{gpu.index}/energy_joules"] = energy
        return readings

    def describe(self) -> list[dict[str, Any]]:
        """Return name, UUID, memory in bytes and driver version of each GPU."""
        rows = []
        for gpu in self.gpus:
            row: dict[str, Any] = {"name": self._ask(gpu, "name", lambda nvml, handle: nvml.nvmlDeviceGetName(handle))}
            row["uuid"] = gpu.uuid
            row["memory_bytes"] = self._ask(
                gpu, "memory_total", lambda nvml, handle: int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
            )
            row["driver"] = self._ask(gpu, "driver", lambda nvml, _: nvml.nvmlSystemGetDriverVersion())
            rows.append({key: value for key, value in row.items() if value is not None})
        return rows

    def close(self) -> None:
        """Let go of NVML."""
        self._ask(self.gpus[0], "shutdown", lambda nvml, _: nvml.nvmlShutdown())

    def _ask(self, gpu: Gpu, name: str, read: Callable[[Any, Any], Any]) -> Any:
        if name in gpu.unsupported:
            return None
        try:
            return read(self._nvml, gpu.handle)
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_FunctionNotFound):
            gpu.unsupported.add(name)
        except self._nvml.NVMLError:
            pass  # this once: the GPU may be busy resetting, or be lost
        return None

    def _energy(self, gpu: Gpu, watts: float | None) -> float | None:
        joules = self._ask(
            gpu, "energy_joules", lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
        )
        if joules is not None:
            if gpu.energy_start is None:
                gpu.energy_start = joules
            return float(joules - gpu.energy_start)
        if watts is None or "energy_joules" not in gpu.unsupported:
            return None
        now = self._clock()
        if gpu.last_power is not None:
            then, before = gpu.last_power
            gpu.energy_integrated += (now - then) * (watts + before) / 2
        gpu.last_power = (now, watts)
        return gpu.energy_integrated


_READERS: dict[str, Callable[[Any, Any], float]] = {
    "utilization_percent": lambda nvml, handle: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
    "memory_bytes": lambda nvml, handle: float(nvml.nvmlDeviceGetMemoryInfo(handle).used),
    "power_watts": lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    "temperature_celsius": lambda nvml, handle: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
}


def _select(nvml: Any, uuids: Sequence[str] | None, visible: str | None) -> list[tuple[Any, str]]:
    """Return handle and UUID of each GPU the process may see, in the process's order.

    NVML counts all GPUs of the machine in PCI order whatever `CUDA_VISIBLE_DEVICES` says. Its entries are indices,
    UUIDs or beginnings of UUIDs; as in CUDA, the first entry that names nothing ends the list.
    """
    devices = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            devices.append((handle, _text(nvml.nvmlDeviceGetUUID(handle))))
        except nvml.NVMLError:
            continue  # a GPU that fell off the bus, or one that this user may not open
    if uuids is not None:
        entries = [uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}" for uuid in uuids]
    elif visible is not None:
        entries = [entry.strip() for entry in visible.split(",")]
    else:
        return devices
    chosen: list[tuple[Any, str]] = []
    for entry in entries:
        device = _find(nvml, devices, entry)
        if device is None:
            break
        if device[1] not in [uuid for _, uuid in chosen]:
            chosen.append(device)
    return chosen


def _find(nvml: Any, devices: list[tuple[Any, str]], entry: str) -> tuple[Any, str] | None:
    if entry.isdigit():
        return devices[int(entry)] if int(entry) < len(devices) else None
    if entry.startswith("MIG-"):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(entry), entry
        except nvml.NVMLError:
            return None
    if entry.startswith("GPU-"):
        matches = [device for device in devices if device[1].startswith(entry)]
        return matches[0] if len(matches) == 1 else None
    return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
