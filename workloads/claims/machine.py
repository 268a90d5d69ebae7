"""What a claim's own measurements were made on: processor, versions, load, and arithmetic in half precision."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...trackers.environment import describe_machine

HALF_PRECISION = ("avx512_bf16", "amx_bf16", "bf16")
"""Processor flags of arithmetic in bfloat16: two of x86, one of Arm."""


def measured_on() -> dict[str, Any]:
    """What the measurements were made on, and how busy it was."""
    described: Mapping[str, Any] = describe_machine()
    names = ("host", "platform", "python", "cpu", "cpu_count", "memory_bytes", "packages", "load_average")
    kept = {name: described[name] for name in names if name in described}
    flags = _cpu_flags()
    return {
        **kept,
        "half_precision": None if flags is None else sorted(flags & set(HALF_PRECISION)),
        "architecture": platform.machine(),
        "cores_online": os.cpu_count(),
    }


def _cpu_flags() -> set[str] | None:
    """Flags of the first processor; None where the system does not say."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return set(line.partition(":")[2].split())
    except OSError:
        pass
    return None
