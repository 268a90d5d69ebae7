"""What the machine's readings come to, device by device: the table of the System page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from dash import html
from dash.development.base_component import Component

from ...db.records import RunInfo, SeriesInfo
from ...db.store import Store
from ...runs.target import counted
from ..comparison import Comparison
from ..formats import NOTHING, joules, memory, number, percent
from .compare_header import run_cell

QUANTITIES = ("utilisation", "memory", "power", "temperature", "energy")
_KEYS = {
    "percent": "utilisation",
    "utilization_percent": "utilisation",
    "memory_bytes": "memory",
    "power_watts": "power",
    "temperature_celsius": "temperature",
    "energy_joules": "energy",
}
_HEADS = {"utilisation": "Utilisation", "memory": "Memory", "power": "Power", "temperature": "Temperature"}


@dataclass(slots=True, kw_only=True)
class DeviceRow:
    """One device as one process of a run saw it.

    Attributes:
        run_id: the run.
        rank: which of its processes.
        device: "CPU" or "GPU 0".
        uuid: of the GPU, None where the run did not say.
        means: mean of the samples by quantity, in the unit in which it was logged.
        peaks: largest sample by quantity.
        joules: energy that the device took; NaN where it was not read.
    """

    run_id: str
    rank: int
    device: str
    uuid: str | None = None
    means: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    joules: float = math.nan


def device_of(metric: str) -> tuple[str, str] | None:
    """Device and quantity of a metric, ("GPU 0", "power"); None where it is no reading of a device."""
    group, _, key = metric.partition("/")
    found = re.fullmatch(r"gpu(\d+)", group)
    if key not in _KEYS or not (found or group in ("cpu", "process")):
        return None
    return (f"GPU {int(found[1])}" if found else "CPU"), _KEYS[key]


def panel_order(metric: str) -> tuple[int, int, str]:
    """Sort key of the panels: a quantity's devices stand together, the processor before the GPUs."""
    place = device_of(metric)
    if place is None:
        return len(QUANTITIES), 0, metric
    device, quantity = place
    return QUANTITIES.index(quantity), int(device[4:]) + 1 if device.startswith("GPU") else 0, metric


def device_rows(store: Store, runs: Sequence[RunInfo]) -> list[DeviceRow]:
    """Mean, peak and energy of each device of each run; the summaries are read, and of energies the points."""
    rows: dict[tuple[str, int, str], DeviceRow] = {}
    by_id = {run.id: run for run in runs}
    for info in store.series_infos(by_id):
        place = device_of(info.name)
        if place is None:
            continue
        device, quantity = place
        key = (info.run_id, info.rank, device)
        if key not in rows:
            uuid = gpu_uuid(by_id[info.run_id], device) if info.rank == 0 else None
            rows[key] = DeviceRow(run_id=info.run_id, rank=info.rank, device=device, uuid=uuid)
        if quantity == "energy":
            rows[key].joules = counted(store.series(info.run_id, info.name, info.rank).values)
            continue
        rows[key].means[quantity] = mean(info)
        rows[key].peaks[quantity] = info.maximum
    order = list(by_id)
    return sorted(
        rows.values(),
        key=lambda row: (
            row.device != "CPU",
            int(re.sub(r"\D", "", row.device) or 0),
            order.index(row.run_id),
            row.rank,
        ),
    )


def mean(info: SeriesInfo) -> float:
    """Mean of the finite samples; NaN where there is none."""
    finite = info.count - info.nan_count - info.positive_infinity_count - info.negative_infinity_count
    return info.total / finite if finite > 0 else math.nan


def gpu_uuid(run: RunInfo, device: str) -> str | None:
    """UUID of "GPU 0" as the run's environment has it."""
    gpus = (run.environment or {}).get("gpus") or []
    index = int(device[4:]) if device.startswith("GPU ") else -1
    described = gpus[index] if isinstance(gpus, list) and 0 <= index < len(gpus) else None
    uuid = described.get("uuid") if isinstance(described, dict) else None
    return str(uuid) if uuid else None


def written(quantity: str, value: float | None) -> str:
    """A reading with its unit; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if quantity == "power":
        return f"{number(value, 3)} W"
    if quantity == "temperature":
        return f"{number(value, 3)} °C"
    return memory(value) if quantity == "memory" else percent(value)


def devices_table(rows: Sequence[DeviceRow], comparison: Comparison) -> list[Component]:
    """The rows as a table, with what its numbers stand for."""
    top = [html.Th("Device", scope="col", rowSpan=2), html.Th("Run", scope="col", rowSpan=2)]
    top += [html.Th(text, scope="colgroup", colSpan=2, className="number") for text in _HEADS.values()]
    top.append(html.Th("Energy", scope="col", rowSpan=2, className="number"))
    below = [html.Th(text, scope="col", className="number") for _ in _HEADS for text in ("mean", "peak")]
    table = html.Table(
        [html.Thead([html.Tr(top), html.Tr(below)]), html.Tbody([_row(row, comparison) for row in rows])],
        className="plain devices",
    )
    return [
        html.Div(table, className="scroll"),
        html.P(
            "Means are over the samples, taken at equal intervals. CPU: use of all cores by everybody on the machine, "
            "and the resident memory of the training process; its power, temperature and energy are not read. "
            "GPU energy: the device's own counter where it has one, else its power summed over time.",
            className="soft card-body caption",
        ),
    ]


def _row(row: DeviceRow, comparison: Comparison) -> Component:
    name: list[Component | str] = [row.device]
    if row.rank:
        name.append(f", rank {row.rank}")
    if row.uuid:
        name.append(html.Div(row.uuid, className="soft mono uuid"))
    cells = [
        html.Td(written(quantity, values.get(quantity)), className="number")
        for quantity in _HEADS
        for values in (row.means, row.peaks)
    ]
    energy = html.Td(joules(row.joules), className="number")
    return html.Tr([html.Th(name, scope="row"), html.Td(run_cell(row.run_id, comparison)), *cells, energy])
