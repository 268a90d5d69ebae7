"""What one training step pays to log ten numbers: `run.log` against TensorBoard's writer and Lightning's CSV logger.

Two loops. The tight one does nothing else, so its rate is far above any training's and the background threads of all
contenders are always at work. The busy one multiplies matrices for about 5 ms between two calls, as training does:
the caches belong to somebody else when `log` is called. (After a sleep instead, everything would be cold, and the
processor's clock down.) The CSV logger keeps its rows in memory here and would lose them with the process; that ours
survive it is shown at the end, by killing processes with SIGKILL and counting.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import Ratio, Report, Size, Table, Target, alternating, main, microseconds, percentile, scratch

TIGHT = "tight loop"
NAMES = tuple(f"train/metric_{number}" for number in range(10))
Log = Callable[[dict[str, float], int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often each contender has its turn.
        tight_seconds: length of a turn in the tight loop; above 1, so that our thread's commits fall into it.
        busy_steps: calls of a turn in the busy loop.
        work_seconds: how long to compute between two of those.
        kills: how many processes to kill.
    """

    rounds: int
    tight_seconds: float
    busy_steps: int
    work_seconds: float
    kills: int


PLANS = {
    "full": Plan(rounds=8, tight_seconds=2.5, busy_steps=600, work_seconds=0.005, kills=6),
    "quick": Plan(rounds=4, tight_seconds=1.5, busy_steps=300, work_seconds=0.005, kills=3),
    "smoke": Plan(rounds=2, tight_seconds=0.05, busy_steps=5, work_seconds=0.001, kills=1),
}
WARM_UP = 50

NOTE = """With work between the calls the ratio to SummaryWriter says little: what each contender then takes is mostly
the loading of its own code and data from memory, and even the CSV logger, a list in memory, is nowhere near 50 times
cheaper."""


@contextmanager
def ours(folder: Path) -> Iterator[Log]:
    """A run whose background writer works as it always does."""
    from trackside import start_run

    with start_run(name="latency", store=f"sqlite:///{folder / 'trackside.db'}") as run:
        yield lambda metrics, step: run.log(metrics, step=step)


@contextmanager
def summary_writer(folder: Path) -> Iterator[Log]:
    """TensorBoard's writer for PyTorch: a call a number, and a thread that writes them out."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "events"))

    def log(metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def csv_logger(folder: Path) -> Iterator[Log]:
    """Lightning's CSV logger, never flushed: a list in memory that grows."""
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(str(folder), flush_logs_every_n_steps=sys.maxsize)
    yield lambda metrics, step: logger.log_metrics(metrics, step=step)


OURS, EVENTS, CSV = "trackside run.log", "SummaryWriter.add_scalar × 10", "CSVLogger.log_metrics"
CONTENDERS = {OURS: ours, EVENTS: summary_writer, CSV: csv_logger}


def numbers(step: int) -> dict[str, float]:
    """What a training step would log: a new dict of new numbers."""
    return {name: 1.0 / (step + offset + 1) for offset, name in enumerate(NAMES)}


def tight(log: Log, seconds: float) -> list[float]:
    """Seconds that each call took, called without a pause for so long."""
    found: list[float] = []
    clock = time.perf_counter
    step, until = WARM_UP, clock() + seconds
    while clock() < until:
        metrics = numbers(step)
        began = clock()
        log(metrics, step)
        found.append(clock() - began)
        step += 1
    return found


def busy(log: Log, work: Callable[[], None], steps: int) -> list[float]:
    """Seconds that each call took, with work between them."""
    found: list[float] = []
    clock = time.perf_counter
    for step in range(WARM_UP, WARM_UP + steps):
        work()
        metrics = numbers(step)
        began = clock()
        log(metrics, step)
        found.append(clock() - began)
    return found


def matrix_work(seconds: float) -> Callable[[], None]:
    """A matrix product that takes about so long, made once and repeated."""
    rng = np.random.default_rng(0)
    size = 64
    while True:
        left, right = rng.standard_normal((2, size, size))
        into = np.empty((size, size))
        np.matmul(left, right, out=into)
        began = time.perf_counter()
        np.matmul(left, right, out=into)
        took = time.perf_counter() - began
        if took > 0.7 * seconds:
            break
        size = int(size * min(2.0, max(1.1, (seconds / took) ** (1 / 3))))

    def work() -> None:
        np.matmul(left, right, out=into)

    return work


def measure_loops(plan: Plan) -> tuple[list[Table], list[Target]]:
    """Both loops, all contenders, alternating."""
    work = matrix_work(plan.work_seconds)
    loops: dict[str, Callable[[Log], list[float]]] = {
        TIGHT: lambda log: tight(log, plan.tight_seconds),
        f"{plan.work_seconds * 1000:g} ms of work between calls": lambda log: busy(log, work, plan.busy_steps),
    }
    tables, targets = [], []
    for loop, run in loops.items():
        medians: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        p99s: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        calls = dict.fromkeys(CONTENDERS, 0)
        for _, name in alternating(tuple(CONTENDERS), plan.rounds):
            with scratch() as folder, CONTENDERS[name](folder) as log:
                for step in range(WARM_UP):
                    log(numbers(step), step)
                found = run(log)
            medians[name].append(statistics.median(found))
            p99s[name].append(percentile(found, 99))
            calls[name] += len(found)
            del found, log
            gc.collect()  # nobody pays for another's garbage
        tables.append(_table(loop, calls, medians, p99s, plan.rounds))
        for statistic, times in (("median", medians), ("p99", p99s)):
            if run is loops[TIGHT]:
                cheaper = Ratio.of(times[EVENTS], times[OURS])
                targets.append(Target(f"{loop}, {statistic}: SummaryWriter / trackside", cheaper, "at least", 50))
            dearer = Ratio.of(times[OURS], times[CSV])
            targets.append(Target(f"{loop}, {statistic}: trackside / CSVLogger", dearer, "at most", 2))
    return tables, targets


def _table(
    loop: str, calls: dict[str, int], medians: dict[str, list[float]], p99s: dict[str, list[float]], rounds: int
) -> Table:
    rows = [
        (
            name,
            f"{calls[name]:,}",
            microseconds(statistics.median(medians[name])),
            microseconds(statistics.median(p99s[name])),
            str(Ratio.of(medians[name], medians[OURS])),
            str(Ratio.of(p99s[name], p99s[OURS])),
        )
        for name in CONTENDERS
    ]
    headings = ("ten numbers a step", "calls", "median µs", "p99 µs", "median / ours", "p99 / ours")
    return Table(f"{loop}: {rounds} rounds, alternating; medians of the rounds' medians and p99s", headings, rows)


# What the killed process does. It says a step's number only once `log` has returned for it.
_VICTIM = """
import os, sys
from trackside import start_run
run = start_run(name="victim", store=sys.argv[1])
step = 0
while True:
    run.log({f"train/metric_{n}": step + n / 10 for n in range(10)}, step=step)
    os.write(1, step.to_bytes(8, "little"))
    step += 1
"""


def kill_and_count(lifetime: float) -> tuple[int, int]:
    """Kill a process that logs, some time after its first record.

    Args:
        lifetime: seconds between its first `log` and SIGKILL.

    Returns:
        Points for which `log` had returned, and how many of those are not in the store afterwards, exactly.
    """
    from trackside import open_store
    from trackside.runs.recovery import recover

    with scratch() as folder:
        url = f"sqlite:///{folder / 'trackside.db'}"
        victim = subprocess.Popen([sys.executable, "-P", "-c", _VICTIM, url], stdout=subprocess.PIPE)
        assert victim.stdout is not None
        os.set_blocking(victim.stdout.fileno(), False)
        said = b""
        until = math.inf
        while time.monotonic() < until:
            chunk = victim.stdout.read(1 << 16)
            if chunk:
                said = (said + chunk)[-16:] if len(said) + len(chunk) > 16 else said + chunk
                until = min(until, time.monotonic() + lifetime)
            elif victim.poll() is not None:
                raise RuntimeError("The process that was to be killed ended by itself; its message stands above.")
            else:
                time.sleep(0.001)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        os.set_blocking(victim.stdout.fileno(), True)
        said = (said + victim.stdout.read())[-16:]
        victim.stdout.close()
        steps = _last_step(said) + 1
        lost = 0
        with open_store(url) as store:
            recover(store)
            for number, name in enumerate(NAMES):
                series = store.series("victim", name)
                wanted = np.arange(len(series), dtype=np.int64)
                exact = np.array_equal(series.steps, wanted) and np.array_equal(series.values, wanted + number / 10)
                lost += max(0, steps - len(series)) if exact else steps
    return steps * len(NAMES), lost


def _last_step(said: bytes) -> int:
    """The last number said in full. Eight bytes each, and a pipe of the victim's never tears one of them."""
    return int.from_bytes(said[-8:], "little")


def measure(size: Size) -> Report:
    """Both loops, then the kills."""
    plan = PLANS[size]
    tables, targets = measure_loops(plan)
    # From before the first commit to after several.
    lifetimes = [2.5 * (number + 0.1) / plan.kills for number in range(plan.kills)]
    counts = [kill_and_count(lifetime) for lifetime in lifetimes]
    logged, lost = map(sum, zip(*counts, strict=True))
    rows = [
        (f"{lifetime:.2f} s", f"{count:,}", f"{missing:,}")
        for lifetime, (count, missing) in zip(lifetimes, counts, strict=True)
    ]
    rows.append(("all", f"{logged:,}", f"{lost:,}"))
    headings = ("SIGKILL after", "points whose log had returned", "lost or wrong")
    tables.append(Table("Survival: recovered from the journal and compared, value for value", headings, rows))
    if lost:
        raise SystemExit(f"{lost} of {logged} points did not survive SIGKILL.")
    return Report(name="log_latency", tables=tables, targets=targets, notes=[NOTE])


if __name__ == "__main__":
    main(measure, __doc__ or "")
