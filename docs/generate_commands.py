"""Writes `commands.md` from the command line itself, so that it names every command and option and no other.

Run it after a change to a command: `python docs/generate_commands.py`. A test compares the file with what this gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from trackside.cli import app

PAGE = Path(__file__).parent / "commands.md"

HEAD = """\
# Commands

<!-- Written by generate_commands.py from the commands themselves: change those, then run it. -->

Every command answers `--help`. Where runs are named, an id, a unique beginning of an id, or a name will do; of several
runs with one name it is the newest. Errors are one sentence on standard error, and `--json` puts one JSON document on
standard output and nothing else.

| exit code | means |
|---|---|
| 0 | done |
| 1 | the work failed: a training did, or the store cannot be used |
| 2 | the request was wrong: an unknown run, an option out of range |
| 130 | interrupted |

**`--store URL`** says where runs live: `sqlite:///file.db` (relative to here), `sqlite:////home/me/file.db` or
`postgresql://user:password@host/database`. By default it is `$TRACKSIDE_STORE`, else `.trackside/trackside.db` here.

| environment variable | is the default of |
|---|---|
| `TRACKSIDE_STORE` | `--store` everywhere, and `store=` of the trackers, `start_run` and `open_store` |
"""

# Said once, in the head.
COMMON = {"--store": "Where runs live: see above."}


def commands(command: Any, path: tuple[str, ...] = ("trackside",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below `command` with the words that call it, in the order of `--help`."""
    for name, below in getattr(command, "commands", {}).items():
        words = (*path, name)
        if getattr(below, "commands", None):
            yield from commands(below, words)
        else:
            yield words, below


def page() -> str:
    """The whole of `commands.md`."""
    found = list(commands(typer.main.get_command(app)))
    variables = [
        f"| `{parameter.envvar}` | `{parameter.opts[0]}` of `{' '.join(words)}` |\n"
        for words, command in found
        for parameter in command.params
        if parameter.envvar
    ]
    return HEAD + "".join(variables) + "".join(section(words, command) for words, command in found)


def section(words: tuple[str, ...], command: Any) -> str:
    """Heading, purpose, usage, example and options of one command."""
    purpose, _, example = str(command.help).partition("Example: ")
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-") and not p.hidden]
    usage = " ".join([*words, *(_metavar(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    lines = ["", f"## {' '.join(words)}", "", " ".join(purpose.split()), "", f"    {usage}", ""]
    if example:
        lines += [f"For example: `{' '.join(example.split())}`", ""]
    lines += ["| argument or option | meaning | default |", "|---|---|---|"]
    lines += [f"| `{_metavar(p)}` | {_cell(p.help)} | {'required' if p.required else ''} |" for p in arguments]
    lines += [f"| `{_spelling(p)}` | {_cell(COMMON.get(p.opts[0], p.help))} | {_default(p)} |" for p in options]
    return "\n".join(lines) + "\n"


def _metavar(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return f"{name}..." if parameter.nargs == -1 and not name.endswith("...") else name


def _spelling(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {_metavar(option)}"


def _default(option: Any) -> str:
    if option.envvar:
        return f"`${option.envvar}`"
    if option.is_flag:
        return f"`{option.opts[0]}`" if option.default else ""
    return "" if option.default is None else f"`{option.default}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
