"""A dashboard served on a free port, and runs to look at."""

from __future__ import annotations

import json
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
from trackside.runs.traces.records import TraceContext


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


def chrome_trace(steps: int = 3, *, scale: float = 1.0, operators: int = 1) -> bytes:
    """A trace as torch.profiler would export it with our markers: a step waits, convolves, goes back, and updates.

    Args:
        steps: how many; each takes 10 ms at scale 1: 1 waiting, 5 forward, 3 backward, 1 in the optimizer.
        scale: of all times.
        operators: how many equal convolutions share the forward pass.
    """
    events: list[dict[str, Any]] = []

    def add(name: str, start: float, duration: float, args: dict[str, Any], category: str = "cpu_op") -> None:
        start, duration = start * scale * 1e3, duration * scale * 1e3
        events.append(
            {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": duration, "args": args}
        )

    def mark(name: str, start: float) -> None:
        add(f"trackside::{name}", start, 0.0, {}, "user_annotation")

    for step in range(steps):
        begin = 10.0 * step
        mark(f"step#{step}", begin)
        mark("forward", begin)
        each = 4.9 / operators
        for place in range(operators):
            add("aten::convolution", begin + 0.05 + place * each, each * 0.9, {"Sequence number": 7})
        mark("backward", begin + 5)
        add("aten::convolution_backward", begin + 5.1, 2.8, {"Sequence number": 7, "Fwd thread id": 1})
        mark("after_backward", begin + 8)
        mark("optimizer", begin + 8)
        add("aten::_foreach_add_", begin + 8.1, 0.8, {})
        mark("step_end", begin + 9)
        add("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", begin + 9, 1.0, {}, "user_annotation")
    mark("end", 10.0 * steps)
    return json.dumps({"traceEvents": events, "baseTimeNanoseconds": 0}).encode()


@pytest.fixture
def profiled(sqlite_url: str, train: Callable[..., str]) -> Callable[..., str]:
    """As `train`, of a run that also recorded a trace: `chrome_trace` of the arguments, or the bytes given."""

    def run(name: str, framework: str = "torch", *, raw: bytes | None = None, **trace: Any) -> str:
        run_id = train(name, framework, steps=20)
        context = TraceContext(framework=framework, mode="eager", first_step=10, last_step=12)
        with trackside.open_store(sqlite_url) as store:
            content = chrome_trace(**trace) if raw is None else raw
            store.attach(run_id, f"{name}.pt.trace.json", "trace/chrome", content, step=10, detail=context.to_json())
        return run_id

    return run
