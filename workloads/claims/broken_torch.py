"""The gallery of broken trainings in PyTorch, as it is and with anomaly detection.

python -m trackside.workloads.claims.broken_torch OUTPUT.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from . import broken
from .probe import write

SWITCH = "torch.autograd.set_detect_anomaly(True)"


class Classifier(nn.Module):  # type: ignore[misc]
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(broken.FEATURES, broken.HIDDEN)
        self.head = nn.Linear(broken.HIDDEN, broken.CLASSES)

    def forward(self, x: Tensor) -> Tensor:  # (B, FEATURES)
        return self.head(F.leaky_relu(self.hidden(x)))  # (B, CLASSES)


def objective(model: Classifier, case: str | None, x: Tensor, y: Tensor) -> Tensor:
    """Cross entropy, and in one case a logarithm of the inputs beside it."""
    loss = F.cross_entropy(model(x), y)
    if case == broken.LOGARITHM:
        loss = loss + 0.01 * torch.log(x * model.hidden.weight.square().mean()).square().mean()
    return loss


def training(case: str | None) -> Callable[[Any, Any], float]:
    """A function that makes one update."""
    torch.manual_seed(0)
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), broken.learning_rate(case))

    def step(x: Any, y: Any) -> float:
        optimizer.zero_grad()
        loss = objective(model, case, torch.from_numpy(x), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def main() -> None:
    """Every case, without and with the switch."""
    torch.set_num_threads(1)
    results, costs = [], {}
    for switch in (None, SWITCH):
        torch.autograd.set_detect_anomaly(switch is not None)
        for case in broken.CASES:
            found = broken.observe(case, training(case), __file__, ("hidden", "head"))
            results.append({"framework": "torch", "mode": "eager", "switch": switch, **found})
        costs["switched" if switch else "plain"] = broken.median_step(training(None))
    write(sys.argv[1], {"results": results, "costs": [{"framework": "torch", "mode": "eager", **costs}]})


if __name__ == "__main__":
    main()
