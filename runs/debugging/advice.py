"""What to look at first, for each kind of thing that goes wrong. Short, and only where the record gives a reason."""

from __future__ import annotations

import math
import re

from .records import DebugRecord, RecordedEvent

_GROWN = 20.0
"""A loss this many times what it was a few steps before has not merely wobbled."""

_BY_OPERATOR = (
    (r"div|reciprocal", "A divisor was zero or nearly so: add a small constant to it, or leave such samples out."),
    (r"log", "A logarithm was given zero or less: clamp its argument, or use a loss that takes logits."),
    (r"sqrt|norm|pow|std", "A root at zero has an infinite slope: add a small constant under it."),
    (r"exp|softmax|sinh|cosh", "An exponential overflowed: subtract the largest value first, or bound its argument."),
)  # fmt: skip
_BY_MESSAGE = (
    (
        r"out of memory|can't allocate|resourceexhausted|\boom\b|\balloc|tensor is too large",
        "There is not enough memory: a smaller batch, or look at what this line makes of it.",
    ),
    (
        r"out of bounds|outside the valid range|label value|class index|index out of range",
        "An index or label does not exist: labels are 0 to the number of classes - 1. Look at this batch.",
    ),
    (
        r"dtype|scalar type|expected .*(?:double|float|half|long)|should be the same|has type \w+ that does not match",
        "Two types meet: convert the data to the type of the weights once, where it is loaded.",
    ),
    (
        r"shape|size mismatch|dimension|size of tensor|matrix size|incompatible",
        "Compare what the layer was given with what it was made for.",
    ),
    (r"dataloader worker", "It happened in a process of the data loader: train once with num_workers=0 to debug it."),
)  # fmt: skip


def advice(event: RecordedEvent) -> list[str]:
    """Up to three sentences on what to look at first; none where nothing helpful can be said."""
    record = event.record
    if event.kind == "exception":
        return _by(_BY_MESSAGE, f"{record.type} {record.message}")[:2]
    if event.kind == "dead_layer":
        return ["Nothing of it reaches the loss: lower the learning rate, look at its bias, or try a leaky activation."]
    if event.kind == "exploding_layer":
        return ["Lower the learning rate, warm it up, or clip gradients by norm."]
    if event.kind == "frozen_layer":
        return [
            "Look for detach(), no_grad(), stop_gradient or requires_grad=False, and at what the optimizer was given."
        ]
    if event.kind != "non_finite":
        return []
    found = []
    if (grown := growth(record)) is not None:
        rate = "" if record.learning_rate is None else f" of {record.learning_rate:.3g}"
        found.append(
            f"The loss had grown from {grown[0]:.3g} to {grown[1]:.3g} before: the learning rate{rate} is probably too "
            "large. Try a tenth of it, or clip gradients."
        )
    elif record.operator is not None:
        found += _by(_BY_OPERATOR, record.operator)[:1]
    if record.quantity == "weight":
        found.append("An update made the weights so: look at the gradients and the learning rate of the step before.")
    if record.quantity is None and record.batch_index is not None:
        found.append(f"Look at batch {record.batch_index} of the data, and at what prepares it.")
    return found[:3]


def growth(record: DebugRecord) -> tuple[float, float] | None:
    """The smallest and the last of the last finite losses, if the loss ran away; None otherwise."""
    losses = [loss for _, loss in record.last_losses if math.isfinite(loss)]
    if len(losses) < 2:
        return None
    least = min(losses[:-1], key=abs)
    return (least, losses[-1]) if abs(losses[-1]) > _GROWN * max(abs(least), 1e-6) else None


def _by(table: tuple[tuple[str, str], ...], said: str) -> list[str]:
    return [sentence for pattern, sentence in table if re.search(pattern, said, re.IGNORECASE)]
