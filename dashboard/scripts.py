"""Which scripts a page must have before it is drawn, and which can wait until it stands.

The run table's grid and Plotly are the largest scripts of all, and no page needs both: evaluating the one that is
not needed took 40 to 150 ms of the first paint. `assets/view.js` loads it once the page is drawn, so that going
from page to page needs no reload.
"""

from __future__ import annotations

import re
from collections.abc import Callable

SCRIPT = re.compile(r'<script src="([^"]*)"></script>')
ONLY_RUNS = "/dash_ag_grid/"
ONLY_CURVES = "/plotly-basic-"
CURVES = ("/compare", "/system")  # assets/view.js has the same list


def put_off(tags: str, path: str) -> str:
    """The script tags of a page, those it can do without for now turned into data that the browser does not load.

    Args:
        tags: what Dash made of all scripts.
        path: the page's path.
    """
    waits = ONLY_RUNS if path.rstrip("/") in CURVES else ONLY_CURVES

    def tag(found: re.Match[str]) -> str:
        if waits not in found[1]:
            return found[0]
        return f'<script type="text/plain" data-later="{found[1]}"></script>'

    return SCRIPT.sub(tag, tags)


def page_scripts(interpolate: Callable[..., str], path: Callable[[], str]) -> Callable[..., str]:
    """Dash's `interpolate_index`, with the scripts of the page that is asked for.

    Args:
        interpolate: the method as Dash has it.
        path: path of the request that is being answered.
    """
    return lambda **parts: interpolate(**parts | {"scripts": put_off(parts["scripts"], path())})
