"""What a live page is sent: of a figure it already shows, only the arrays that changed."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import orjson
from dash import Patch, no_update

from .figures import Figure


def digests(figure: Figure) -> list[str]:
    """One digest for the layout and one for each trace: what the browser keeps to say what it shows."""
    parts = [figure["layout"], *figure["data"]]
    return [f"{crc32(orjson.dumps(part)):08x}" for part in parts]


def delta(figure: Figure, shown: list[str] | None) -> Any:
    """The least that turns the figure shown into this one: nothing, single traces, or all of it.

    Args:
        figure: what should be shown.
        shown: `digests` of what is shown, None where that is unknown.

    Returns:
        `dash.no_update`, a `dash.Patch`, or the figure.
    """
    wanted = digests(figure)
    if shown is None or len(shown) != len(wanted):
        return figure
    if shown == wanted:
        return no_update
    patch = Patch()
    if shown[0] != wanted[0]:
        patch["layout"] = figure["layout"]
    for place, (before, after) in enumerate(zip(shown[1:], wanted[1:], strict=True)):
        if before != after:
            patch["data"][place] = figure["data"][place]
    return patch
