"""Shapes of an operator's inputs as torch.profiler records them: as text, and what they say of the work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
    short = name.removeprefix("aten::")
    try:
        match short:
            case "mm":
                return float(2 * math.prod(dims[0]) * dims[1][1])
            case "addmm":
                return float(2 * math.prod(dims[1]) * dims[2][1])
            case "bmm":
                return float(2 * math.prod(dims[0]) * dims[1][2])
            case "baddbmm":
                return float(2 * math.prod(dims[1]) * dims[2][2])
            case "mkldnn_convolution" | "miopen_convolution":
                return _convolution(dims, concrete, padding=3, stride=4, dilation=5)
            case "cudnn_convolution" | "cudnn_convolution_relu":
                return _convolution(dims, concrete, padding=2, stride=3, dilation=4)
            case "_conv_depthwise2d":
                return _convolution(dims, concrete, padding=5, stride=4, dilation=6)
            case "_slow_conv2d_forward":
                return _convolution(dims, concrete, padding=5, stride=4, dilation=None)
            case "convolution_backward":
                # Of gradient (N, C_out, *out) and weight (C_out, C_in / groups, *kernel): once for the input, once for
                # the weight.
                return float(4 * math.prod(dims[0]) * math.prod(dims[2][1:]))
    except (IndexError, TypeError, ValueError):
        return None
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
