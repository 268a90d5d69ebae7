"""Text and lines can be told from what they lie on: WCAG's ratios, computed from the style sheets and the palette."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import trackside.dashboard
from trackside.dashboard import print_style
from trackside.dashboard.print_style import SIZES, line_styles
from trackside.dashboard.theme import RUN_COLORS, run_strokes

FOLDER = Path(trackside.dashboard.__file__).parent
TEXT, GRAPHIC = 4.5, 3.0  # level AA: of text, and of what must be seen to understand a picture

PAGE = (FOLDER / "assets" / "trackside.css").read_text()
SHEETS = "".join(sheet.read_text() for sheet in sorted((FOLDER / "assets").glob("*.css")))
SCHEMES = ("light", "dark")


def variables(css: str, selector: str) -> dict[str, str]:
    block = re.search(re.escape(selector) + r"\s*\{(.*?)\}", css, re.DOTALL)
    assert block is not None, selector
    found = re.findall(r"--(?:ts-)?([\w-]+):\s*#([0-9a-f]{3}(?:[0-9a-f]{3})?)\b", block[1])
    return {name: "#" + (code if len(code) == 6 else "".join(2 * letter for letter in code)) for name, code in found}


def scheme(name: str) -> dict[str, str]:
    light = variables(PAGE, ":root")
    return light if name == "light" else {**light, **variables(PAGE, ':root[data-mantine-color-scheme="dark"]')}


def luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def blended(color: str, on: str, opacity: float) -> str:
    parts = (round(int(color[i : i + 2], 16) * opacity + int(on[i : i + 2], 16) * (1 - opacity)) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)


def test_the_formula_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", SCHEMES)
def test_text_can_be_read_on_every_ground(name):
    colors = scheme(name)
    assert len(colors) > 15
    grounds = ("page", "surface", "raised", "grey-soft", "accent-soft")
    for text in ("text", "soft", "accent", "green", "amber", "red", "torch", "tensorflow"):
        for ground in (*grounds, f"{text}-soft"):
            if ground in colors:
                assert contrast(colors[text], colors[ground]) >= TEXT, f"{text} on {ground} in the {name} scheme"
    assert contrast(colors["surface"], colors["accent"]) >= TEXT, "the text of a main button"


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
def test_curves_can_be_seen_on_a_card(name, count):
    ground = scheme(name)["surface"]
    for stroke in run_strokes([str(place) for place in range(count)]).values():
        assert contrast(blended(stroke.color, ground, stroke.opacity), ground) >= GRAPHIC, stroke


@pytest.mark.parametrize("name", SCHEMES)
def test_marks_can_be_seen(name):
    colors = scheme(name)
    marks = re.findall(r"--mark: (#[0-9a-f]{6})", SHEETS)
    assert marks
    for color in marks:
        for ground in ("surface", "raised"):
            assert contrast(color, colors[ground]) >= GRAPHIC, f"{color} on {ground} in the {name} scheme"


SIMULATIONS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
    "deuteranopia": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
    "tritanopia": ((1.01277, 0.13548, -0.14826), (-0.01243, 0.86812, 0.14431), (0.07589, 0.805, 0.11911)),
}


def distance(one: str, other: str, kind: str) -> float:
    """A hundred times the distance in Oklab, as seen without a kind of receptors."""
    return 100 * math.dist(_seen(one, kind), _seen(other, kind))


def _seen(color: str, kind: str) -> tuple[float, ...]:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    red, green, blue = (max(0.0, sum(a * b for a, b in zip(row, linear, strict=True))) for row in SIMULATIONS[kind])
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.793617785 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.428592205 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.808675766 * short,
    )


@pytest.mark.parametrize("kind", SIMULATIONS)
def test_the_colours_of_runs_differ_also_without_a_kind_of_receptors(kind):
    for one, other in itertools.combinations(RUN_COLORS[:7], 2):
        assert distance(one, other, kind) >= 7, (one, other)  # Okabe and Ito's own hues, lightened, came to 2.2


def test_printed_curves_and_text_can_be_seen_on_paper():
    for color in RUN_COLORS:
        assert contrast(color, "#ffffff") >= GRAPHIC, color
    for color in (print_style.INK, print_style.MUTED):
        assert contrast(color, "#ffffff") >= TEXT


def test_printed_curves_differ_without_colour():
    styles = line_styles([str(place) for place in range(28)])
    looks = {(str(style.dash), style.marker, style.hollow) for style in styles}
    assert len(looks) == len(styles)
    assert all(style.marks(SIZES["single"])["marker"] for style in styles)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_report_can_be_read(name):
    blocks = re.findall(r":root \{(.*?)\}", (FOLDER / "report.css").read_text())
    colors = variables(f":root {{{blocks[SCHEMES.index(name)]}}}", ":root")
    for text in ("text", "soft", "green", "amber", "red"):
        for ground in ("page", "raised"):
            assert contrast(colors[text], colors[ground]) >= TEXT, f"{text} on {ground} in the {name} scheme"


def test_nothing_moves_for_those_who_asked_for_that(dashboard: str, page: Page, train: Callable[..., str]) -> None:
    train("run")

    def seconds() -> Any:
        return page.evaluate(
            """() => [...document.querySelectorAll("*")].flatMap((element) => {
                const style = getComputedStyle(element);
                return [style.transitionDuration, style.animationDuration].flatMap((text) => text.split(", "));
            }).filter((text) => parseFloat(text) > 0.001)"""
        )

    page.goto(dashboard)
    expect(page.get_by_role("link", name="run", exact=True)).to_be_visible(timeout=20_000)
    assert seconds(), "something moves where nobody minds"
    page.emulate_media(reduced_motion="reduce")
    assert seconds() == []
