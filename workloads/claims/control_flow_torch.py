"""Data-dependent control flow in PyTorch: eager and compiled, as written and with a bound.

python -m trackside.workloads.claims.control_flow_torch OUTPUT.json
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from . import control_flow as task
from .probe import last_line, write


class AsWritten(nn.Module):  # type: ignore[misc]
    """The loop as anybody would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(task.weight()).float())
        self.factor = 1.0  # a plain Python number, changed between two steps

    def forward(self, x: Tensor) -> Tensor:  # (B, W)
        while x.norm() > task.LIMIT:
            x = x @ self.weight
        return self.factor * x


class Bounded(AsWritten):
    """The same with a fixed number of rounds, of which the superfluous change nothing."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(task.MOST_ROUNDS):
            x = torch.where(x.norm() > task.LIMIT, x @ self.weight, x)
        return self.factor * x


def measure(mode: str, form: str, make: Callable[[], AsWritten], **options: Any) -> dict[str, Any]:
    """One form in one mode: whether it trains, and what it costs."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    found: dict[str, Any] = {"framework": "torch", "mode": mode, "form": form}
    model = make()
    called = torch.compile(model, **options) if mode == "compile" else model

    def step(x: Tensor) -> float:
        model.zero_grad()
        loss = called(x).square().mean()
        loss.backward()
        return float(loss.detach())

    inputs = [torch.from_numpy(task.batch(scale)) for scale in task.SCALES]
    try:
        began = time.perf_counter()
        losses = [step(inputs[0])]
        found["first_seconds"] = time.perf_counter() - began
        losses += [step(x) for x in inputs[1:]]
        found |= {"ran": True, "correct": task.agrees(losses)}
        step(torch.from_numpy(task.batch(task.SCALES[1], size=task.BATCH_SIZE // 2)))
        if mode == "compile":
            found["traces"] = int(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        before = step(inputs[1])
        model.factor = 2.0
        found["change_seen"] = abs(step(inputs[1]) / before - 4) < 1e-3
        model.factor = 1.0
        step(inputs[1])
        times = []
        for _ in range(task.TIMED_STEPS):
            began = time.perf_counter()
            step(inputs[1])
            times.append(time.perf_counter() - began)
        found["step_seconds"] = statistics.median(times)
        if mode == "compile":
            found["graph_breaks"] = int(torch._dynamo.explain(model)(inputs[1]).graph_break_count)
    except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
        found |= {"ran": False, "error": last_line(error)}
    return found


def main() -> None:
    """Every form in every mode."""
    torch.set_num_threads(1)
    results = [
        measure("eager", "as written", AsWritten),
        measure("compile", "as written", AsWritten),
        measure("compile", "as written, one graph demanded", AsWritten, fullgraph=True),
        measure("eager", "with a bound", Bounded),
        measure("compile", "with a bound", Bounded, fullgraph=True),
    ]
    write(sys.argv[1], {"results": results})


if __name__ == "__main__":
    main()
