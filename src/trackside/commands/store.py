"""`trackside sync`, `trackside db` and `trackside doctor`: the store and what feeds it."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

import typer

from ..db.engine import display_url, resolve_url
from ..db.errors import StoreError, TracksideError
from ..db.records import Axes, Series
from ..db.store import Store, open_store
from .shared import JSONOption, StoreOption, err, out, print_json

app = typer.Typer(help="Upgrade or check the store.", no_args_is_help=True)

PARTS = {
    "lightning": ("torch", "lightning"),
    "keras": ("tensorflow", "keras"),
    "dashboard": ("dash", "dash-mantine-components", "dash-ag-grid", "plotly", "waitress"),
    "export": ("matplotlib",),
    "postgres": ("psycopg",),
    "gpu": ("nvidia-ml-py",),
    "tensorboard": ("tensorboard",),
    "frame": ("pandas",),
}


def sync(json: JSONOption = False, store: StoreOption = None) -> None:
    """Bring in what processes left that died or could not reach the store.

    Example: trackside sync --store postgresql://me@db.lab/trackside
    """
    from ..runs.recovery import recover

    with open_store(store) as opened:
        found = recover(opened)
    if json:
        print_json([{"run": one.run_id, "journal": str(one.path), "finished": one.finished} for one in found])
    elif not found:
        out.print("Nothing is waiting: the store has everything.")
    for one in [] if json else found:
        out.print(f"{one.run_id}: delivered; {'it had ended itself' if one.finished else 'marked lost'}.")


@app.command()
def upgrade(store: StoreOption = None) -> None:
    """Bring the store's tables to what this version needs. Opening a store does so too.

    Example: trackside db upgrade --store sqlite:///runs.db
    """
    from ..db.schema import HEAD

    with open_store(store) as opened:
        out.print(f"{display_url(opened.url)} has schema {HEAD}.", markup=False, soft_wrap=True)


@app.command()
def check(store: StoreOption = None) -> None:
    """Read every point of every run and compare with the summaries.

    Example: trackside db check
    """
    with open_store(store) as opened:
        runs = [*opened.runs(), *opened.runs(deleted=True)]
        points = broken = 0
        for run in runs:
            for problem, count in _problems(opened, run.id):
                points += count
                if problem:
                    broken += 1
                    err.print(f"{run.id}: {problem}", markup=False, soft_wrap=True)
    if broken:
        raise StoreError(f"{broken} series are damaged: restore the store from a backup, or delete their runs.")
    out.print(f"{len(runs)} runs with {points} points are sound.")


def _problems(store: Store, run_id: str) -> list[tuple[str, int]]:
    found = []
    for info in store.series_infos([run_id]):
        try:
            series: Series = store.series(store.run(run_id), info.name, info.rank)
        except TracksideError as error:
            found.append((f"{info.name}: {error}", 0))
            continue
        complete = len(series) == info.count
        found.append(("" if complete else f"{info.name}: {len(series)} points of {info.count}", len(series)))
    axes: Axes = store.axes(store.run(run_id))
    return [*found, ("", 0 * len(axes))]


def doctor(store: StoreOption = None) -> None:
    """Is everything here that trackside needs, and does the store answer?

    Example: trackside doctor
    """
    out.print(f"Python {sys.version.split()[0]}, trackside {metadata.version('trackside')}")
    for part, packages in PARTS.items():
        versions = {package: _version(package) for package in packages}
        missing = [package for package, version in versions.items() if version is None]
        if missing:
            out.print(
                f"[yellow]○[/] {part}: {', '.join(missing)} missing: pip install 'trackside\\[{part}]'", soft_wrap=True
            )
        else:
            out.print(f"[green]●[/] {part}: {', '.join(f'{name} {version}' for name, version in versions.items())}")
    url = resolve_url(store)
    with open_store(store) as opened:
        out.print(f"[green]●[/] store: {display_url(url)} answers, {len(opened.runs())} runs", soft_wrap=True)
        _waiting(opened)
    if url.get_backend_name() == "sqlite":
        _disk(Path(str(url.database)).parent)


def _waiting(store: Store) -> None:
    from ..runs.journal import SUFFIX, journal_folder

    waiting = list(journal_folder(store.url).glob(f"*{SUFFIX}"))
    if waiting:
        size = sum(path.stat().st_size for path in waiting)
        out.print(
            f"[cyan]●[/] {len(waiting)} journals are being written or wait for trackside sync ({size / 1e6:.1f} MB)"
        )


def _disk(folder: Path) -> None:
    from ..db.filesystem import network_type

    free = shutil.disk_usage(folder).free
    sign = "[red]○[/]" if free < 1e9 else "[green]●[/]"
    out.print(f"{sign} disk: {free / 1e9:.1f} GB free in {folder}", soft_wrap=True)
    kind = network_type(folder)
    if kind:
        out.print(
            f"[yellow]○[/] {folder} is on a network file system ({kind}): SQLite is slow and fragile there; "
            "use a local folder, or PostgreSQL for several machines.",
            soft_wrap=True,
        )


def _version(package: str) -> str | None:
    for name in (package, f"{package}-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
