"""How numbers, times and names are written on the pages."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

NOTHING = "–"


def plotly_text(text: str) -> str:
    """User text for a Plotly title, legend or hover box, which would read `<b>` and `&lt;` as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: float | None, digits: int = 4) -> str:
    """A value to so many significant digits; a dash for None, `NaN` and `∞` as such."""
    if value is None:
        return NOTHING
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def seconds(value: float | None) -> str:
    """A short time in the unit that suits it: `850 µs`, `12.4 ms`, `1.32 s`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) < 1e-3:
        return f"{value * 1e6:.3g} µs"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s"


def duration(value: float | None) -> str:
    """A long time in its two largest units: `42 s`, `3 min 5 s`, `2 h 14 min`, `3 d 4 h`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    whole = max(0, round(value))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def per_second(value: float | None) -> str:
    """A rate of samples: `1,240 /s`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.0f} /s" if value >= 100 else f"{value:.3g} /s"


def memory(value: float | None) -> str:
    """An amount of memory: `3.2 GiB`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value) >= size:
            amount = value / size
            return f"{amount:.3g} {unit}" if abs(amount) < 999.5 else f"{amount:,.0f} {unit}"
    return f"{value:.0f} B"


def percent(value: float | None) -> str:
    """A share of a hundred: `42.1 %`."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.3g} %"


def joules(value: float | None) -> str:
    """An energy: `850 J`, `12.4 kJ`, `1.3 MJ`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    for unit, size in (("MJ", 1e6), ("kJ", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} J"


def setting(value: Any, most: int | None = None) -> str:
    """A value of a configuration: text as it is, all else as JSON, cut after so many characters."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if most is None or len(text) <= most else text[: most - 1] + "…"


def moment(value: datetime | None) -> str:
    """A time as a person in UTC reads it: `2026-11-22 15:04:05 UTC`."""
    return NOTHING if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def quantity(value: float | None, unit: str | None) -> str:
    """A value in its unit; a dash where it is unknown."""
    write = _WRITTEN.get(unit or "")
    return write(value) if write else number(value)


_WRITTEN = {"seconds": seconds, "bytes": memory, "percent": percent, "joules": joules, "samples/s": per_second}
