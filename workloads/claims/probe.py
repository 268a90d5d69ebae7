"""Measurements that are no training: a script in a process of its own that leaves a JSON file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # Keras prints some sentences in bold

SECONDS = 600.0
"""Longest a probe may take; on two slow cores the longest took 70."""


def run_probe(module: str) -> dict[str, Any]:
    """What `python -m trackside.workloads.claims.<module> OUTPUT.json` wrote; `{"error": …}` where it did not.

    Ctrl-C ends the process and is raised here.
    """
    with tempfile.TemporaryDirectory(prefix="trackside-claims-") as folder:
        output = Path(folder) / "found.json"
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", str(output)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            process_group=0,
        )
        try:
            _, printed = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return {"error": f"it took more than {SECONDS:.0f} seconds"}
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if process.returncode == 0 and output.is_file():
            found: dict[str, Any] = json.loads(output.read_text())
            return found
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        return {"error": lines[-1][:300] if lines else f"exit code {process.returncode}"}


def _environment() -> dict[str, str]:
    """One thread for both frameworks, as their trainings have by default."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, "1"),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",  # what is asked is how the frameworks behave, the same on any device
    }


def write(path: str, found: dict[str, Any]) -> None:
    """Leave what was found; NaN is written as null."""
    Path(path).write_text(json.dumps(found, default=str))


def last_line(error: BaseException, length: int = 300) -> str:
    """Kind and message of an error on one line."""
    words = " ".join(_ESCAPES.sub("", f"{type(error).__name__}: {error}").split())
    return words if len(words) <= length else words[: length - 1] + "…"
