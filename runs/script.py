"""The text of the script that a run was started from, kept beside the run so that two runs' code can be compared."""

from __future__ import annotations

import os
import sys
import sysconfig
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..db.errors import UsageError
from .scrub import scrub_code, scrub_text

if TYPE_CHECKING:
    from ..db.store import Store
    from .run import Run

KIND = "source"
"""Of the artifact that holds it."""

LARGEST_BYTES = 256 * 1024
"""A larger file is no script that somebody wrote."""

LONGEST_LINE = 2000
"""What stands behind that is data, not code; and no search for secrets takes long on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script as it was when its run began.

    Attributes:
        name: of the file, without its folder.
        path: of the file, on the machine that trained.
        text: with what looked like a secret blotted out.
    """

    name: str
    path: str
    text: str


def check_source(source: bool | str | os.PathLike[str]) -> Path | None:
    """Which file to keep: the main script for True, none for False, else the one named.

    Raises:
        UsageError: it is none of these, or there is no such file.
    """
    if isinstance(source, bool):
        return main_script() if source else None
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"source is {source!r}; give True, False or the path of the training script.")
    path = Path(source).expanduser()
    if not path.is_file():
        raise UsageError(f"source is {str(source)!r}, and there is no such file; give the path of the training script.")
    return path.absolute()


def main_script() -> Path | None:
    """The file that Python was started with; None in a notebook, at a prompt, or where a program launched ours."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file:
        return None
    path = Path(file)
    # What a package installed as a command, `pytest` or `jupyter`, is nobody's training script.
    if path.parent == Path(sysconfig.get_path("scripts")):
        return None
    if path.name == "__main__.py" and "site-packages" in path.parts:
        return None
    return path


def read_script(path: Path) -> str | None:
    """The text of a script, fit to be stored; None where it is no text file of at most 256 KiB."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return None
        with tokenize.open(path) as file:  # in the encoding that the script declares
            text = file.read(LARGEST_BYTES + 1)
    except (OSError, SyntaxError, UnicodeDecodeError, LookupError):
        return None
    if "\0" in text:
        return None
    return scrub_code("".join(map(_bounded, text.splitlines(keepends=True))))


def _bounded(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…\n"


def keep_script(run: Run, path: Path | None) -> None:
    """Attach a script to its run, before the run logs anything; what cannot be read is left out without a word."""
    text = read_script(path) if path is not None else None
    if path is None or text is None:
        return
    written = run.scratch(".source")
    try:
        written.write_text(text, encoding="utf-8", errors="replace", newline="")
    except OSError:
        return
    run.attach(
        written,
        kind=KIND,
        name=path.name,
        detail={"path": scrub_text(str(path))},
        media_type="text/plain",
        move=True,
    )


def script_of(store: Store, run_id: str) -> Script | None:
    """The script that a run was started from; None where none was kept."""
    kept = [one for one in store.artifacts(run_id, KIND) if one.path is None]
    if not kept:
        return None
    text = store.artifact_bytes(kept[0].id).decode("utf-8", "replace")
    return Script(name=kept[0].name, path=str((kept[0].detail or {}).get("path", kept[0].name)), text=text)
