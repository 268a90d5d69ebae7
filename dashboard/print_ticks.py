"""What stands at the ticks of a printed axis: plain characters, for mathematical typesetting is off."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from matplotlib.ticker import Formatter

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """`10⁻³` in plain characters: mathematical typesetting is off, for the sake of names with dollar signs."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


class LinearTicks(Formatter):
    """Plain numbers with as many decimals as tell the ticks apart, and a common power of ten if large or tiny."""

    def __init__(self) -> None:
        self._largest = 0.0
        self._distance = 1.0
        self._exponent = 0
        self._decimals = 0

    def set_locs(self, locs: Any) -> None:
        """Choose decimals and exponent for all ticks of the axis."""
        low, high = sorted(self.axis.get_view_interval() if self.axis is not None else (-math.inf, math.inf))
        margin = 1e-9 * (high - low)  # locators also give the ticks next to either end
        locs = [value for value in locs if low - margin <= value <= high + margin]
        self._largest = largest = max((abs(float(value)) for value in locs), default=0.0)
        magnitude = math.floor(math.log10(largest)) if largest > 0 else 0
        self._exponent = magnitude if magnitude >= 5 or magnitude <= -4 else 0
        distances = [abs(float(b) - float(a)) for a, b in pairwise(locs)]
        distance = min((step for step in distances if step > 0), default=largest or 1.0)
        self._distance = distance
        # Ticks stand at 1, 2, 2.5 or 5 times a power of ten; only 2.5 needs a second digit.
        scaled = math.log10(distance) - self._exponent
        self._decimals = min(max(0, -math.floor(scaled + 1e-9)), 12)
        ratio = distance / 10.0 ** (self._exponent - self._decimals)
        if abs(ratio - round(ratio)) > 1e-6:
            self._decimals += 1

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = f"{x / 10.0**self._exponent:,.{self._decimals}f}"
        return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.removeprefix("-")

    @property
    def power(self) -> str:
        """The power of ten that all ticks leave out; empty where there is none."""
        return power_of_ten(self._exponent) if self._exponent else ""


class CountTicks(LinearTicks):
    """Counts of steps or samples: `500`, `20k`, `1.5M`."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        for scale, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
            if self._largest >= scale:
                unit = 1e3 if letter == "k" else scale
                if self._distance < unit / 1000:
                    break  # a narrow range far out, such as 20,000,001 to 20,000,005, is written in full
                return f"{x / unit:.10g}{letter if x else ''}".replace("-", "\N{MINUS SIGN}")
        text = f"{x:,.0f}" if self._largest >= 1e4 else f"{x:g}"
        return text.replace("-", "\N{MINUS SIGN}")

    @property
    def power(self) -> str:
        """Nothing: the letter stands at each number."""
        return ""


class LogTicks(Formatter):
    """`0.01` to `5000` as they are, and powers of ten beyond."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        exponent = math.log10(x) if x > 0 else 0.0
        if -3 <= exponent < 4:
            return f"{x:.6g}"
        whole = math.floor(exponent + 1e-9)
        factor = x / 10.0**whole
        return power_of_ten(whole) if abs(factor - 1) < 1e-6 else f"{factor:.3g}×{power_of_ten(whole)}"
