"""The command: parses, calls one function, turns our errors into one sentence and an exit code."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from . import __version__
from .commands import claims, compare, debug, importing, parity, profile, runs, store, train
from .commands.shared import err
from .db.errors import TracksideError

app = typer.Typer(
    name="trackside",
    help="Track training runs side by side: are they the same experiment, and where do they differ?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.demo)
app.command()(train.workloads)
app.command()(train.run)
app.command()(parity.parity)
app.command()(claims.claims)
app.command()(train.dashboard)
app.add_typer(runs.app, name="runs")
app.command()(compare.compare)
app.command()(debug.debug)
app.command()(compare.export)
app.command()(compare.report)
app.command()(profile.profile)
app.add_typer(importing.app, name="import")
app.command()(store.sync)
app.add_typer(store.app, name="db")
app.command()(store.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Track training runs side by side: are they the same experiment, and where do they differ?"""


def main() -> None:
    """Entry point of the `trackside` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" for a dash, and no traceback
    try:
        app()
    except TracksideError as error:
        err.print(f"[red]Error:[/] {_escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader, `head` for one, has seen enough; Python would complain again while closing the pipe.
        sys.stderr.close()
        sys.exit(0)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
