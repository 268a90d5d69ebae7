"""What a training did in its last steps, kept at hand for the record of what goes wrong next."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

LENGTH = 10


class History:
    """Loss, learning rate and gradient norm of the last steps.

    Attributes:
        steps: (step, loss or None, what else was logged with it by key), the newest last. Whoever logs a step appends
            to it and leaves the reading to us: it is done at every step, and read when something went wrong.
    """

    def __init__(self) -> None:
        self.steps: deque[tuple[int, Any, Mapping[str, Any]]] = deque(maxlen=LENGTH)

    def losses(self) -> tuple[tuple[int, float], ...]:
        """(step, loss) of the last steps."""
        return tuple((step, float(loss)) for step, loss, _ in self.steps if loss is not None)

    def gradient_norms(self) -> tuple[tuple[int, float], ...]:
        """(step, norm) of the last steps, where it was logged; of the first optimizer, where there are several."""
        found = ((step, _value(known, "gradient_norm")) for step, _, known in self.steps)
        return tuple((step, float(norm)) for step, norm in found if norm is not None)

    def learning_rate(self) -> float | None:
        """The last known learning rate; of the first optimizer and group."""
        for _, _, known in reversed(self.steps):
            if (rate := _value(known, "learning_rate")) is not None:
                return float(rate)
        return None

    def known(self) -> dict[str, Any]:
        """The fields of a `DebugRecord` that come from here."""
        return {
            "last_losses": self.losses(),
            "last_gradient_norms": self.gradient_norms(),
            "learning_rate": self.learning_rate(),
        }


def _value(known: Mapping[str, Any], name: str) -> Any:
    return next((v for key, v in known.items() if key.startswith("optimizer") and key.endswith(f"/{name}")), None)
