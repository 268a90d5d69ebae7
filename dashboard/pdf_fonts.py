"""The fonts of a PDF that ReportLab writes: those that printed figures use, so that one file needs each once.

A text is cut into runs of characters that one font has; what no font has is shown as a replacement character.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import groupby
from typing import Final, Literal

from matplotlib.font_manager import FontProperties, fontManager
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont

from .print_style import fallback_families, printable

Face = Literal["regular", "bold", "mono"]
_FACES: Final[dict[Face, FontProperties]] = {
    "regular": FontProperties(family=["DejaVu Sans"]),
    "bold": FontProperties(family=["DejaVu Sans"], weight="bold"),
    "mono": FontProperties(family=["DejaVu Sans Mono"]),
}


@cache
def _font(properties: FontProperties) -> tuple[str, frozenset[int]]:
    """Name under which ReportLab knows a font, and the characters that it has."""
    file = str(fontManager.findfont(properties))
    font = TTFont(f"trackside {properties.get_name()} {properties.get_weight()}", file)
    registerFont(font)
    return font.fontName, frozenset(font.face.charToGlyph)


def _choice(face: Face) -> Iterator[FontProperties]:
    """Fonts in the order in which a character is looked for; a large one is read only where it is needed."""
    yield _FACES[face]
    if face != "regular":
        yield _FACES["regular"]
    for family in fallback_families():
        yield FontProperties(family=[family])


@cache
def _font_of(letter: str, face: Face) -> str:
    found = (name for name, known in map(_font, _choice(face)) if ord(letter) in known)
    return next(found, font_name(face))


def font_name(face: Face) -> str:
    """ReportLab's name of a face."""
    return _font(_FACES[face])[0]


def font_runs(text: str, face: Face = "regular") -> list[tuple[str, str]]:
    """`text` on one line as (font, part), every part in a font that has its characters."""
    return [(font, "".join(part)) for font, part in groupby(printable(text), lambda letter: _font_of(letter, face))]


def marked_up(text: str, face: Face = "regular") -> str:
    """`text` as ReportLab's paragraphs read it: nothing in it is markup, and a line break is one."""
    lines = ("".join(_tagged(font, part) for font, part in font_runs(line, face)) for line in text.split("\n"))
    return "<br/>".join(lines)


def _tagged(font: str, part: str) -> str:
    return f'<font name="{font}">{escape(part, quote=False)}</font>'
