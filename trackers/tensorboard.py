"""Writes a run's scalars to TensorBoard event files as well."""

from __future__ import annotations

import itertools
import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ..db.errors import UsageError
from .guard import Guard

FLUSH_SECONDS = 2.0
_serial = itertools.count()


class EventFiles:
    """TensorBoard event files of one run, written on a thread of their own.

    TensorBoard's record writer and protocol buffers are used without its higher-level writers: those import
    TensorFlow wherever it is installed, seconds of start-up that a PyTorch program never asked for. One step costs
    the thread about 40 µs; the training thread only hands the values over.

    Args:
        directory: where the files go; made if missing.
        guard: takes what goes wrong on the thread.

    Raises:
        UsageError: without the tensorboard package.
    """

    def __init__(self, directory: Path, *, guard: Guard) -> None:
        require_tensorboard()
        self._directory = directory
        self._guard = guard
        self._queue: queue.SimpleQueue[tuple[dict[str, float], int, float] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="trackside-tensorboard", daemon=True)
        self._thread.start()

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """Write these scalars at this step; returns at once."""
        self._queue.put((dict(metrics), step, time.time()))

    def close(self, timeout: float = 10.0) -> None:
        """Write what is left and close the files, waiting up to `timeout` seconds."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        with self._guard("write TensorBoard event files"):
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.record_writer import RecordWriter

            self._directory.mkdir(parents=True, exist_ok=True)
            # The name TensorBoard looks for; the serial number keeps two runs of one second apart.
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_serial)}"
            with (self._directory / name).open("wb") as file:
                records = RecordWriter(file)
                records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
                flush_due = time.monotonic() + FLUSH_SECONDS
                open_ = True
                while open_:
                    try:
                        item = self._queue.get(timeout=FLUSH_SECONDS)
                    except queue.Empty:
                        item = ({}, 0, 0.0)
                    if item is None:
                        open_ = False
                    elif item[0]:
                        metrics, step, wall_time = item
                        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
                        event = Event(wall_time=wall_time, step=step, summary=Summary(value=values))
                        records.write(event.SerializeToString())
                    if time.monotonic() >= flush_due or not open_:
                        records.flush()
                        flush_due = time.monotonic() + FLUSH_SECONDS


def require_tensorboard() -> None:
    """Raise one sentence with the cure if the tensorboard package is missing."""
    if find_spec("tensorboard") is None:
        raise UsageError(
            "tensorboard=… needs the tensorboard package; install it with: pip install 'trackside[tensorboard]'."
        )
