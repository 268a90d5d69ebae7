"""What `trackside compare --diff` prints: the code of two runs as a unified difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from .shared import out

if TYPE_CHECKING:
    from ..runs.code_difference import CodeView, TextDifference

_SIGNS = {"same": " ", "removed": "-", "added": "+"}
_STYLES = {"same": "", "removed": "red", "added": "green"}


def print_code(view: CodeView, labels: Mapping[str, str]) -> None:
    """Print the scripts and the uncommitted changes of two runs, as far as they differ."""
    out.print()
    out.print(f"Code of {labels[view.a]} (-) and {labels[view.b]} (+)", style="bold", markup=False)
    out.print(view.sentence, markup=False)
    if view.script is not None:
        _print_difference(view.script)
    out.print(view.git.sentence, markup=False)
    if view.git.changes is not None:
        _print_difference(view.git.changes)


def _print_difference(compared: TextDifference) -> None:
    if compared.same:
        return
    for sign, name, style in zip(("---", "+++"), compared.names, ("red", "green"), strict=True):
        out.print(Text(f"{sign} {name}", style=style), soft_wrap=True)
    for line in compared.lines:
        if line.kind == "gap":
            out.print(Text(f"@@ {line.text} @@", style="dim"), soft_wrap=True)
        else:
            # As text: brackets in code are no markup, and a line is not broken at the width of the terminal.
            out.print(Text(f"{_SIGNS[line.kind]}{line.text}", style=_STYLES[line.kind]), soft_wrap=True)
