"""Run all benchmarks, or those named: `python benchmarks/run.py log_latency import_time --quick`.

Each runs in a process of its own, one after the other. A target that is missed is printed and fails nothing; a
benchmark that cannot run does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import ONE_THREAD, Report, machine, machine_line, size_arguments

HERE = Path(__file__).resolve().parent
BENCHMARKS = (
    "log_latency",
    "store_throughput",
    "import_time",
    "training_overhead",
    "profile_window",
    "trace_reading",
    "dashboard_paint",
    "dashboard_load",
)


def main() -> int:
    """Run what was asked for; 1 if one of them broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Not `choices`: with nargs="*" argparse would refuse the empty list.
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default")
    size_arguments(parser)
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(BENCHMARKS)}")

    about = machine()
    if not chosen.json:
        print(machine_line(about), flush=True)
    reports, broken = [], []
    for name in chosen.names or BENCHMARKS:
        found = _run(name, chosen.size)
        if found is None:
            broken.append(name)
        else:
            reports += found
            if not chosen.json:
                print("", *map(Report.from_json, found), sep="\n", flush=True)
    if chosen.json:
        print(json.dumps({"machine": about, "size": chosen.size, "reports": reports, "broken": broken}))
    if broken:
        print(f"{', '.join(broken)} could not run; the reason stands above.", file=sys.stderr)
    return 1 if broken else 0


def _run(name: str, size: str) -> list[dict[str, Any]] | None:
    print(f"{name} …", file=sys.stderr, flush=True)
    command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
    if size != "full":
        command.append(f"--{size}")
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return None
    # Frameworks may print before; the report is the last line.
    reports: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["reports"]
    return reports


if __name__ == "__main__":
    sys.exit(main())
