"""Which scripts a page must have before it is drawn, and which can wait until it stands.

The run table's grid and Plotly are the largest scripts of all, and no page needs both: evaluating the one that is
not needed took 40 to 150 ms of the first paint. `assets/view.js` loads it once the page is drawn, so that going
from page to page needs no reload. Half of the grid is a script of its own, which it would only ask for once it is told
to draw a table: where there is one to draw, as far as is known, the page asks for it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable

SCRIPT = re.compile(r'<script src="([^"]*)"></script>')
ONLY_RUNS = "/dash_ag_grid/"
ONLY_CURVES = "/plotly-basic-"
RUNS = ("", "/runs")
CURVES = ("/compare", "/system")  # assets/view.js has the same list
GRID = re.compile(r"/dash_ag_grid\.(v[\w-]+m\w+\.)?min\.js$")  # with the version that Dash puts into addresses


def put_off(tags: str, path: str, table: Callable[[], bool]) -> str:
    """The script tags of a page, those it can do without for now turned into data that the browser does not load.

    Args:
        tags: what Dash made of all scripts.
        path: the page's path.
        table: whether the Runs page probably has a table to draw.
    """
    waits = ONLY_RUNS if path.rstrip("/") in CURVES else ONLY_CURVES

    def tag(found: re.Match[str]) -> str:
        if waits in found[1]:
            return f'<script type="text/plain" data-later="{found[1]}"></script>'
        if GRID.search(found[1]) and path.rstrip("/") in RUNS and table():
            other_half = GRID.sub(r"/async-community.\1js", found[1])
            return f'<script src="{other_half}"></script>\n{found[0]}'
        return found[0]

    return SCRIPT.sub(tag, tags)


def page_scripts(
    interpolate: Callable[..., str], path: Callable[[], str], table: Callable[[], bool]
) -> Callable[..., str]:
    """Dash's `interpolate_index`, with the scripts of the page that is asked for.

    Args:
        interpolate: the method as Dash has it.
        path: path of the request that is being answered.
        table: whether the Runs page probably has a table to draw.
    """
    return lambda **parts: interpolate(**parts | {"scripts": put_off(parts["scripts"], path(), table)})
