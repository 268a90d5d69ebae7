"""One training in a process of its own: started with the right environment, watched, and asked to stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from . import lifeline
from .plan import Job

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAIL_BYTES = 64 * 1024

SHUTDOWN_SECONDS = 30.0  # how long an interrupted training may take to record its end
UNHEARD_SECONDS = 5.0  # steps reach the store within four: what is newer than this was done after the signal


def frameworks_environment(threads: int) -> dict[str, str]:
    """This process's environment, and that arithmetic runs on so many threads and TensorFlow says errors only."""
    environment = dict(os.environ)
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    ):
        environment[name] = str(threads)
    environment["KERAS_BACKEND"] = "tensorflow"
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    return environment


def child_environment(job: Job) -> dict[str, str]:
    """Environment of a training process: what both frameworks read only once, while they are imported."""
    environment = frameworks_environment(job.settings.threads)
    if job.workload.root is not None:
        given = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = job.workload.root if not given else os.pathsep.join([job.workload.root, given])
    if job.settings.store is not None:
        # Not on the command line: the URL of a server holds a password, and everybody may list processes.
        environment["TRACKSIDE_STORE"] = job.settings.store
    return environment


class TrainingProcess:
    """A running training. What it prints is kept aside and shown only if it fails.

    The process leads its own group, so that Ctrl-C in the terminal reaches it once, by way of `stop`, and not twice:
    a second interrupt would cut short the orderly end of the first.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.command = [
            sys.executable,
            "-m",
            job.workload.script(job.framework),
            *replace(job.settings, store=None).to_arguments(),
        ]
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,  # closed by the system when this process is gone: see `lifeline`
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=child_environment(job) | {lifeline.VARIABLE: str(os.getpid())},
            process_group=0,
        )
        self.pid = self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Exit code, negative for a signal; None if the process still runs after that many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, signum: int) -> None:
        """Send the process a signal, if it still runs."""
        self._process.send_signal(signum)

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of what it printed, without colours."""
        size = self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, size - _TAIL_BYTES))
        text = self.output.read().decode(errors="replace")
        lines = [_ESCAPES.sub("", line).rstrip() for line in text.splitlines()]
        return [line for line in lines if line][-count:]

    def close(self) -> None:
        """End the process if need be and drop what it printed."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.output.close()


class Interrupts:
    """Passes Ctrl-C and termination on to the training that runs now.

    The first one asks it to end in order, which records the run as killed. A second one ends it at once.

    Attributes:
        received: the last signal that came, None as long as none did.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._child: TrainingProcess | None = None

    def attach(self, child: TrainingProcess | None) -> None:
        """Name the training that signals go to from now on; one that came a moment before is not lost."""
        self._child = child
        if child is not None and self.received is not None:
            child.stop(_orderly(self.received))

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = signum
        if self._child is not None:
            self._child.stop(signal.SIGKILL if again else _orderly(signum))

    @contextmanager
    def watched(self) -> Iterator[Interrupts]:
        """Take the signals over for as long as the block lasts.

        Only the main thread can; elsewhere they stay with whoever has them. One that is ignored, as under nohup, stays
        ignored.
        """
        previous = {}
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                    previous[signum] = signal.signal(signum, self._forward)
        try:
            yield self
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)


class Shutdown:
    """Sees to it that an interrupted training ends.

    A KeyboardInterrupt may be lost: Keras drops whatever is raised while it turns a batch's logs into numbers, Ctrl-C
    included. A training that still makes steps long after the signal is asked again; an orderly end, which makes none,
    is left in peace. What does not end at all is killed.

    Args:
        stop: sends the training a signal.
    """

    def __init__(self, stop: Callable[[int], None]) -> None:
        self._stop = stop
        self._began: float | None = None
        self._asked = 0.0
        self._steps: int | None = None

    def watch(self, signum: int, steps: int, now: float) -> None:
        """Look after the training; called again and again from when the signal was passed on.

        Args:
            signum: the signal that the runner received.
            steps: optimizer updates that the store knows of.
            now: seconds of a monotonic clock.
        """
        if self._began is None:
            self._began = self._asked = now
        if now - self._began > SHUTDOWN_SECONDS:
            self._stop(signal.SIGKILL)
        elif now - self._asked > UNHEARD_SECONDS:
            if self._steps is None:
                self._steps = steps
            elif steps > self._steps:
                self._stop(_orderly(signum))
                self._asked, self._steps = now, None


def _orderly(signum: int) -> int:
    """The signal that ends a training in order; it has no terminal whose closing could concern it."""
    return signal.SIGTERM if signum == signal.SIGHUP else signum
