"""`trackside import tensorboard | csv | mlflow | wandb`: runs that other trackers recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from .shared import JSONOption, StoreOption, err, out, print_json, the_store

if TYPE_CHECKING:
    from ..runs.imports.records import FoundRun
    from ..runs.imports.write import Imported

Folder = Annotated[Path, typer.Argument(metavar="PATH", help="The folder or file.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", help="What the runs are listed under; by default what the source says.")
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="A word to find them by; repeat for several.")]


def tensorboard(
    path: Folder,
    project: ProjectOption = None,
    tag: TagOption = None,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Bring in scalars of TensorBoard's event files, those of Keras' and Lightning's own loggers among them.

    Example: trackside import tensorboard lightning_logs --project digits
    """
    from ..runs.imports.tensorboard import read_tensorboard

    _bring_in(read_tensorboard, path, project, tag, json, store)


def csv(
    path: Folder,
    project: ProjectOption = None,
    tag: TagOption = None,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Bring in files of Lightning's or Keras' CSVLogger.

    Example: trackside import csv lightning_logs/version_0/metrics.csv
    """
    from ..runs.imports.csv_logs import read_csv

    _bring_in(read_csv, path, project, tag, json, store)


def mlflow(
    path: Folder,
    project: ProjectOption = None,
    tag: TagOption = None,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Bring in the runs of MLflow's folder mlruns, or of its SQLite file.

    Example: trackside import mlflow mlruns
    """
    from ..runs.imports.mlflow import read_mlflow

    _bring_in(read_mlflow, path, project, tag, json, store)


def wandb(
    path: Folder,
    project: ProjectOption = None,
    tag: TagOption = None,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Bring in W&B's offline runs.

    Example: trackside import wandb wandb
    """
    from ..runs.imports.wandb import read_wandb

    _bring_in(read_wandb, path, project, tag, json, store)


def _bring_in(
    read: Callable[[Path], Iterator[FoundRun]],
    path: Path,
    project: str | None,
    tags: list[str] | None,
    json: bool,
    url: str | None,
) -> None:
    """Read runs one at a time and store each; what is in the store already is not stored again."""
    from ..db.errors import UsageError
    from ..runs.imports.write import write_run

    if not path.exists():
        raise UsageError(f"There is no {path}: check the path.")
    done: list[Imported] = []
    with the_store(url) as store:
        for found in read(path):
            done.append(write_run(store, found, project=project, tags=tags or ()))
            if not json:
                _tell(done[-1])
    if json:
        print_json([_json(one) for one in done])
        return
    new = sum(one.new_points for one in done)
    err.print(f"{len(done)} run{'s' if len(done) != 1 else ''}, {new:,} new points.")


def _tell(one: Imported) -> None:
    known = f", {one.known_points:,} were there already" if one.known_points else ""
    out.print(f"[bold]{escape(one.name)}[/]  {one.run_id}  {one.new_points:,} new points{known}", soft_wrap=True)
    if one.renamed:
        pairs = ", ".join(f"{source} as {name}" for name, source in list(one.renamed.items())[:8])
        more = f" and {len(one.renamed) - 8} more" if len(one.renamed) > 8 else ""
        out.print(f"  brought over {escape(pairs)}{more}", style="dim", soft_wrap=True)
    for sentence in one.left_out:
        out.print(f"  not brought over: {escape(sentence)}", style="yellow", soft_wrap=True)


def _json(one: Imported) -> dict[str, Any]:
    return {
        "id": one.run_id,
        "name": one.name,
        "source": one.source,
        "new_points": one.new_points,
        "known_points": one.known_points,
        "renamed": dict(one.renamed),
        "left_out": list(one.left_out),
    }
