"""What an import costs a training script, in fresh interpreters: `import trackside` against the libraries below it."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from report import Ratio, Report, Size, Table, Target, alternating, main, milliseconds

ROUNDS = {"full": 40, "quick": 8, "smoke": 2}

BASELINE = "import json, sqlite3, sqlalchemy"
FACE = "import trackside"
WRITER = "from trackside import start_run"
READER = "from trackside import open_store"
STATEMENTS = (BASELINE, FACE, WRITER, READER)

# Timed inside: starting an interpreter takes about as long as what is measured, and is nobody's fault.
_PROGRAM = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def seconds_to(statement: str) -> float:
    """Seconds that a statement takes in a fresh interpreter."""
    program = _PROGRAM.format(statement)
    # -P: not this folder, whose files shadow nothing of ours today and might tomorrow.
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(sys.prefix),
    )
    return float(done.stdout)


def measure(size: Size) -> Report:
    """Alternate the statements; the first round only warms the file cache."""
    found: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for number, statement in alternating(STATEMENTS, ROUNDS[size] + 1):
        seconds = seconds_to(statement)
        if number > 0:
            found[statement].append(seconds)
    ratios = {statement: Ratio.of(found[statement], found[BASELINE]) for statement in STATEMENTS}
    rows = [
        (
            statement,
            milliseconds(statistics.median(times)),
            milliseconds(min(times)),
            milliseconds(max(times)),
            str(ratios[statement]),
        )
        for statement, times in found.items()
    ]
    headings = ("statement", "median ms", "min ms", "max ms", "times the baseline")
    return Report(
        name="import_time",
        tables=[
            Table(f"Fresh interpreters, {ROUNDS[size]} of each, alternating; baseline: {BASELINE}", headings, rows)
        ],
        targets=[
            Target(f"{FACE} / {BASELINE}", ratios[FACE], "at most", 3),
            Target(f"{WRITER} / {BASELINE}", ratios[WRITER], "at most", 3),
        ],
    )


if __name__ == "__main__":
    main(measure, __doc__ or "")
