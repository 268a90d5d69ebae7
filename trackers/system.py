"""Samples the machine while someone trains: processor, memory, GPUs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psutil

from .gpu import Gpus
from .guard import Guard

UNITS = {"cpu/percent": "percent", "process/memory_bytes": "bytes"}


SHORTEST_SECONDS = 0.1
"""Over which the share of busy processor time can be told; psutil documents it."""


class SystemSampler:
    """A thread that reads the machine's gauges at an interval.

    Emits `cpu/percent` (of all cores of the machine, by everybody, since the sample before), `process/memory_bytes`
    (resident memory of this process without its children) and, for each GPU, what `Gpus.read` returns. One sample of
    processor and memory costs about 0.15 ms of this thread.

    Args:
        log: receives each sample.
        gpus: the GPUs to read; closed by `stop`.
        interval: seconds between samples.
        guard: takes what goes wrong on the thread.
    """

    def __init__(
        self,
        log: Callable[[dict[str, float]], None],
        gpus: Gpus | None = None,
        *,
        interval: float = 1.0,
        guard: Guard | None = None,
    ) -> None:
        self._log = log
        self._gpus = gpus
        self._interval = interval
        self._guard = guard or Guard()
        self._process = psutil.Process()
        self._counted_from = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trackside-system", daemon=True)

    @property
    def units(self) -> dict[str, str]:
        """Every key this sampler may emit, with its unit."""
        return {**UNITS, **(self._gpus.units if self._gpus is not None else {})}

    def start(self) -> None:
        """Begin to sample: the first sample comes after one interval, or with `stop`."""
        psutil.cpu_percent()  # the next call counts from here
        self._counted_from = time.monotonic()
        if self._gpus is not None:
            with self._guard("read the GPUs"):
                self._gpus.read()  # energy counts from here
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Take a last sample and end the thread, waiting up to `timeout` seconds for it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def sample(self) -> dict[str, float]:
        """Return one reading of everything."""
        readings = {"process/memory_bytes": float(self._process.memory_info().rss)}
        now = time.monotonic()
        # Over a shorter time the kernel's counters have not moved, and the answer is 0 or 100: the last sample, taken
        # when the run ends, may come right after the one before.
        if now - self._counted_from >= SHORTEST_SECONDS:
            readings["cpu/percent"] = float(psutil.cpu_percent())
            self._counted_from = now
        if self._gpus is not None:
            readings.update(self._gpus.read())
        return readings

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(self._interval)
            with self._guard("sample the machine"):
                self._log(self.sample())
        if self._gpus is not None:
            with self._guard("close NVML"):
                self._gpus.close()
