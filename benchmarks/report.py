"""What every benchmark here shares: sizes, alternating order, percentiles, the machine line and the printed tables."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

SIZES = ("full", "quick", "smoke")
Size = Literal["full", "quick", "smoke"]

# One thread for every numerical library, said before they are loaded: with more, they compete with the very
# background threads whose cost is to be seen, and a run depends on how many cores happen to be free.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
}

PACKAGES = ("sqlalchemy", "numpy", "torch", "lightning", "tensorflow-cpu", "tensorflow", "keras", "tensorboard", "dash")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio measured several times: the median of the paired rounds and a range, of their middle half or of trust."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
        """Divide round by round, so that what slowed a whole round down cancels out.

        Raises:
            ValueError: if there is not one denominator for every numerator.
        """
        rounds = sorted(a / b for a, b in zip(numerators, denominators, strict=True))
        return cls(statistics.median(rounds), percentile(rounds, 25), percentile(rounds, 75))

    @classmethod
    def sure(cls, numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
        """The same with the 95 % confidence interval of the median, which asks nothing of how the rounds scatter.

        It lies between two rounds so many ranks from either end that the true median is beyond them by chance alone in
        5 % of cases (normal approximation of the binomial distribution).
        """
        rounds = sorted(a / b for a, b in zip(numerators, denominators, strict=True))
        rank = max(0, math.floor(len(rounds) / 2 - 0.98 * math.sqrt(len(rounds))))
        return cls(statistics.median(rounds), rounds[rank], rounds[-1 - rank])

    @classmethod
    def mean(cls, ratios: Sequence[float]) -> Ratio:
        """The mean of independent ratios, its 95 % confidence interval by Student's t; none of one alone."""
        import numpy as np  # after `main` has set how many threads it may use

        from trackside.runs.groups import student

        middle = statistics.fmean(ratios)
        if len(ratios) == 1:
            return cls(middle, middle, middle)
        half = float(student(np.array([len(ratios) - 1]))[0]) * statistics.stdev(ratios) / math.sqrt(len(ratios))
        return cls(middle, middle - half, middle + half)

    def __str__(self) -> str:
        return format(self, ".3f" if self.high < 2 else (".2f" if self.high < 10 else ".0f"))

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})" if form else str(self)


@dataclass(frozen=True, slots=True)
class Target:
    """What a ratio should reach. Missing it is printed, and fails nothing: a loaded machine is no defect."""

    what: str
    ratio: Ratio
    sense: Literal["at least", "at most"]
    bound: float

    @property
    def reached(self) -> bool:
        """Whether the median is on the right side of the bound."""
        return self.ratio.median >= self.bound if self.sense == "at least" else self.ratio.median <= self.bound


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; the first column is aligned left, the others right."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Report:
    """What a benchmark found."""

    name: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object; `from_json` reads it back."""
        targets = [{**asdict(target), "reached": target.reached} for target in self.targets]
        return {**asdict(self), "targets": targets}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Report:
        """Read what `to_json` made."""
        return cls(
            name=found["name"],
            tables=[Table(**table) for table in found["tables"]],
            targets=[Target(t["what"], Ratio(**t["ratio"]), t["sense"], t["bound"]) for t in found["targets"]],
            notes=list(found["notes"]),
        )

    def __str__(self) -> str:
        blocks = [f"{table.title}\n{layout(table.headings, table.rows)}" for table in self.tables]
        if self.targets:
            rows = [
                (target.what, str(target.ratio), f"{target.sense} {target.bound:g}", "yes" if target.reached else "NO")
                for target in self.targets
            ]
            blocks.append(layout(("target", "ratio (range)", "wanted", "reached"), rows))
        return "\n\n".join([f"== {self.name}", *blocks, *self.notes])


def layout(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def alternating(contenders: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Each contender once a round, the order turned around every time: A B, then B A.

    What drifts during a measurement (clock rate, caches, other people's jobs) then falls on all alike.
    """
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            yield number, contender


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed. The input need not be sorted."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def microseconds(seconds: float) -> str:
    """A duration for a table."""
    return f"{seconds * 1e6:,.1f}"


def milliseconds(seconds: float) -> str:
    """A duration for a table."""
    return f"{seconds * 1e3:,.2f}"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards; every store of a benchmark lies in one."""
    folder = Path(tempfile.mkdtemp(prefix="trackside-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, load, versions."""
    import psutil

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(psutil.Process().cpu_affinity() or []) if hasattr(psutil.Process, "cpu_affinity") else None,
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": _versions(("trackside", *PACKAGES)),
    }


def machine_line(found: Mapping[str, Any]) -> str:
    """`machine()` as a person reads it."""
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return (
        f"{found['processor']}, {found['cores']} cores, {found['memory_bytes'] / 2**30:.0f} GiB, "
        f"load average {' '.join(map(str, found['load_average']))}\n"
        f"{found['platform']}, Python {found['python']}, {packages}"
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def size_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--quick`, `--smoke` and `--json`."""
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_const", const="quick", dest="size", help="small sizes, rough numbers")
    sizes.add_argument(
        "--smoke", action="store_const", const="smoke", dest="size", help="only find out whether it runs; no numbers"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output instead of tables")
    parser.set_defaults(size="full")


def main(measure: Callable[[Size], Report], description: str) -> None:
    """Run one benchmark as a program."""
    parser = argparse.ArgumentParser(description=description)
    size_arguments(parser)
    chosen = parser.parse_args()
    if any(name not in os.environ for name in ONE_THREAD):
        # Libraries read these when they are loaded, which for some has already happened.
        os.environ.update({name: value for name, value in ONE_THREAD.items() if name not in os.environ})
        os.execv(sys.executable, [sys.executable, *sys.argv])
    about = machine()
    report = measure(chosen.size)
    if chosen.json:
        print(json.dumps({"machine": about, "size": chosen.size, "reports": [report.to_json()]}))
    else:
        print(machine_line(about), report, sep="\n\n")
