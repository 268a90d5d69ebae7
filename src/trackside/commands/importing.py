"""`trackside import`: what was recorded without trackside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..db.errors import UsageError
from . import peers
from .shared import StoreOption, out, the_store

app = typer.Typer(no_args_is_help=True, help="Bring in what was recorded without trackside.")


app.command()(peers.tensorboard)
app.command()(peers.csv)
app.command()(peers.mlflow)
app.command()(peers.wandb)


@app.command()
def trace(
    file: Annotated[Path, typer.Argument(help="The .json(.gz) of torch.profiler or the .xplane.pb of tf.profiler.")],
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="The run that was recorded.")],
    store: StoreOption = None,
) -> None:
    """Add a profiler trace to a run: of torch.profiler (Chrome's format) or of tf.profiler (XPlane).

    Example: trackside import trace trace.json.gz --run torch-3f2a
    """
    from ..runs.traces.reading import import_trace

    raw = _read(file)
    with the_store(store) as opened:
        info = opened.run(run)
        profile = import_trace(opened, info, file.name, raw)
    mean = sum(profile.step_seconds) / profile.steps
    out.print(
        f"{file.name}: {profile.steps} steps of {1000 * mean:.4g} ms, now with run {info.name} ({info.id}).",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    out.print(f"See it with: trackside profile {info.id}", style="dim", markup=False, soft_wrap=True)


def _read(file: Path) -> bytes:
    if file.is_dir():
        raise UsageError(f"{file} is a folder: name the file in it, such as {_example(file)}.")
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {file}: check the path.") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}. Check who may read it.") from error


def _example(folder: Path) -> str:
    for pattern in ("**/*.xplane.pb", "**/*.json", "**/*.json.gz"):
        for found in sorted(folder.glob(pattern)):
            return str(found)
    return str(folder / "trace.json")
