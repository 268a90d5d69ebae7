"""Shapes of an operator's inputs as torch.profiler records them: as text, and what they say of the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rule = Callable[[Sequence[Any], Sequence[Any]], float]
"""Operations from the shapes of the inputs, and from the inputs that are no tensors."""
LONGEST = 200
"""Characters of the shapes of one operator: a fused optimizer takes hundreds of tensors."""


def shapes_text(dims: Sequence[Any]) -> str:
    """Such as `[32, 16, 30, 30] × [32, 16, 3, 3]`; what is no tensor, or has no dimension, is left out."""
    flat: list[list[int]] = []
    for one in dims:
        flat += [inner for inner in one if inner] if one and isinstance(one[0], list) else [one] if one else []
    text = " × ".join(str(one) for one in flat)
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' × ', 1)[0]} × …"


def flops(name: str, dims: Sequence[Any], concrete: Sequence[Any]) -> float | None:
    """Floating-point operations of a matrix product or a convolution (a multiplication and an addition are two).

    The rules are those of torch.profiler's `with_flops`; a convolution's are given to the operator that computes it,
    not to those that only pass it on. None for every other operator, and where shapes are missing.

    Args:
        name: such as `aten::mm`.
        dims: a shape for each input.
        concrete: the inputs that are no tensors, as text: strides, padding, groups.
    """
    rule = COUNTED.get(name)
    try:
        return None if rule is None else float(rule(dims, concrete))
    except (IndexError, TypeError, ValueError):
        return None


def _convolution(
    dims: Sequence[Any], concrete: Sequence[Any], *, padding: int, stride: int, dilation: int | None
) -> float:
    """Of inputs (N, C_in, *size) and weight (C_out, C_in / groups, *kernel); where the other arguments stand."""
    inputs, weight = dims[0], dims[1]
    spread = [1] * (len(inputs) - 2) if dilation is None else _numbers(concrete[dilation])
    size = [
        (length + 2 * pad - apart * (kernel - 1) - 1) // step + 1
        for length, kernel, step, pad, apart in zip(
            inputs[2:], weight[2:], _numbers(concrete[stride]), _numbers(concrete[padding]), spread, strict=True
        )
    ]
    return float(2 * inputs[0] * weight[0] * math.prod(size) * math.prod(weight[1:]))


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.strip("[]").split(",")]


def _counted() -> dict[str, Rule]:
    def product(first: int, second: int, axis: int) -> Rule:
        return lambda dims, _: 2 * math.prod(dims[first]) * dims[second][axis]

    def convolution(padding: int, stride: int, dilation: int | None) -> Rule:
        return lambda dims, concrete: _convolution(dims, concrete, padding=padding, stride=stride, dilation=dilation)

    rules = {
        "mm": product(0, 1, 1),
        "addmm": product(1, 2, 1),
        "bmm": product(0, 1, 2),
        "baddbmm": product(1, 2, 2),
        "mkldnn_convolution": convolution(3, 4, 5),
        "miopen_convolution": convolution(3, 4, 5),
        "cudnn_convolution": convolution(2, 3, 4),
        "cudnn_convolution_relu": convolution(2, 3, 4),
        "_conv_depthwise2d": convolution(5, 4, 6),
        "_slow_conv2d_forward": convolution(5, 4, None),
        # Of gradient (N, C_out, *out) and weight (C_out, C_in / groups, *kernel): once for the input, once for the
        # weight.
        "convolution_backward": lambda dims, _: 4 * math.prod(dims[0]) * math.prod(dims[2][1:]),
    }
    return {**rules, **{f"aten::{name}": rule for name, rule in rules.items()}}


COUNTED: Mapping[str, Rule] = _counted()
"""Operators whose floating-point operations are counted, and how."""
