"""A dashboard served on a free port, and runs to look at."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
from waitress.server import create_server

import trackside
from trackside.dashboard.app import create_app


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Address of the app, served by waitress in a thread until the block ends."""
    server = create_server(app.server, host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run, name="dashboard-under-test")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        # Closed from its own thread: select() must not have a socket taken away under it.
        server.trigger.pull_trigger(lambda: server.asyncore.close_all(server._map))
        thread.join(10)
        server.task_dispatcher.shutdown()
        app.server.extensions["trackside_source"].close()


@pytest.fixture
def serve_store() -> Callable[[str], AbstractContextManager[str]]:
    """Serves the dashboard of a store while a block runs; the block gets its address."""
    return lambda store: served(create_app(store))


@pytest.fixture
def dashboard(sqlite_url: str) -> Iterator[str]:
    """Address of a dashboard on `sqlite_url`."""
    with served(create_app(sqlite_url)) as address:
        yield address


@pytest.fixture
def train_on() -> Callable[..., str]:
    """Trains nothing, but logs as if: returns the id of a finished run of `steps` steps in the store given first."""

    def run(
        store: str,
        name: str,
        framework: str | None = "torch",
        *,
        steps: int = 60,
        rate: float = 0.1,
        error: Exception | None = None,
    ) -> str:
        tracked = trackside.start_run(name=name, project="digits", config={"lr": rate, "batch": 32}, store=store)
        tracked.update(framework=framework, total_steps=60)
        tracked.describe("step/seconds", unit="seconds")
        tracked.describe("val/loss", reduction="epoch_mean")
        tracked.describe("process/memory_bytes", unit="bytes", reduction="sample")
        for step in range(steps):
            loss = math.nan if name == "diverged" and step >= 40 else 2 * math.exp(-rate * step / 4) + 0.1
            tracked.log(
                {"train/loss": loss, "step/seconds": 0.5 if step == 0 else 0.01, "process/memory_bytes": 1e9},
                step=step,
                epoch=(step + 1) / 20,
                samples=32 * (step + 1),
            )
            if step % 20 == 19:
                tracked.log({"val/loss": loss * 1.1}, step=step)
        if error is None:
            tracked.finish()
        else:
            try:
                raise error
            except Exception as raised:  # gives the error its traceback
                tracked.finish("failed", raised)
        return tracked.id

    return run


@pytest.fixture
def train(sqlite_url: str, train_on: Callable[..., str]) -> Callable[..., str]:
    """As `train_on`, in the store at `sqlite_url`."""
    return partial(train_on, sqlite_url)
