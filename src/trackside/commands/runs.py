"""`trackside runs`: list runs, look at one, change what people may change."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..db.errors import UsageError
from ..db.records import STATES, RunInfo, SeriesInfo
from ..db.store import Store
from .shared import JSONOption, Reference, StoreOption, ago, err, number, out, print_json, the_store

app = typer.Typer()

STATE_STYLES = {"running": "cyan", "finished": "green", "failed": "red", "killed": "yellow", "lost": "magenta"}


@app.callback(invoke_without_command=True)
def default(context: typer.Context, json: JSONOption = False, store: StoreOption = None) -> None:
    """List runs, look at one, tag, annotate, delete and restore.

    Example: trackside runs list --project mnist
    """
    if context.invoked_subcommand is None:
        list_runs(json=json, store=store)
    elif json or store:
        command = context.invoked_subcommand
        raise UsageError(f"Options come after the command: trackside runs {command} … --store URL.")


@app.command("list")
def list_runs(
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    state: Annotated[str | None, typer.Option(help=f"Only runs in this state: {', '.join(STATES)}.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="What is in the trash instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """List runs, the newest first.

    Example: trackside runs list --state failed --json
    """
    if state is not None and state not in STATES:
        raise UsageError(f"There is no state {state!r}: use one of {', '.join(STATES)}.")
    with the_store(store) as opened:
        found = opened.runs(project, state, deleted=deleted)
        shown = found[:limit]
        losses = _losses(opened, shown)
    if json:
        print_json([to_json(run) for run in shown])
        return
    if not shown:
        out.print(
            "No runs yet. Add trackside.LightningTracker() or trackside.KerasTracker() to your callbacks, "
            "or try: trackside demo"
            if project is None and state is None and not deleted
            else "No runs fit."
        )
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("id", "name", "project", "framework", "state", "steps", "train/loss", "val/loss", "started"):
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    for run in shown:
        progress = "" if run.last_step is None else f"{run.last_step + 1}"
        table.add_row(
            run.id,
            escape(run.name),
            escape(run.project),
            run.framework or "",
            f"[{STATE_STYLES[run.state]}]{run.state}[/]",
            f"{progress}/{run.total_steps}" if run.total_steps else progress,
            losses.get((run.id, "train/loss"), "–"),
            losses.get((run.id, "val/loss"), "–"),
            ago(run.started or run.created),
        )
    out.print(table)
    if len(found) > limit:
        out.print(f"… and {len(found) - limit} older: --limit {len(found)}", style="dim")


@app.command()
def show(run: Reference, json: JSONOption = False, store: StoreOption = None) -> None:
    """Everything about one run.

    Example: trackside runs show 3f2a
    """
    with the_store(store) as opened:
        info = opened.run(run)
        series = opened.series_infos([info.id])
        events = opened.events(info)
    if json:
        extra = {
            "series": [_series_json(one) for one in series],
            "events": [{"kind": e.kind, "time": e.time, "step": e.step, "message": e.message} for e in events],
        }
        print_json({**to_json(info), "environment": info.environment, "model": info.model, **extra})
        return
    out.print(f"[bold]{escape(info.name)}[/]  {info.id}  [{STATE_STYLES[info.state]}]{info.state}[/]")
    facts = Table(box=None, show_header=False, pad_edge=False)
    for key, value in _facts(info):
        facts.add_row(f"[dim]{key}[/]", escape(value))
    out.print(facts)
    if series:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("metric", "points", "last", "min", "max", "unit", "NaN/Inf"):
            table.add_column(heading)
        for one in series:
            bad = one.nan_count + one.positive_infinity_count + one.negative_infinity_count
            table.add_row(
                escape(one.name), str(one.count), number(one.last), number(one.minimum), number(one.maximum),
                one.unit or "", f"[red]{bad}[/]" if bad else "",
            )  # fmt: skip
        out.print(table)
    for event in events:
        where = "" if event.step is None else f" at step {event.step}"
        out.print(f"[dim]{event.kind}{where}:[/] {escape(event.message)}")
    for sentence, count in info.warnings.items():
        out.print(f"[yellow]{count} ×[/] {escape(sentence)}")
    if info.error and info.error.get("traceback"):
        out.print("[red]It ended with:[/]")
        out.print(info.error["traceback"], markup=False)


@app.command()
def tag(run: Reference, tags: Annotated[list[str], typer.Argument(help="Words.")], store: StoreOption = None) -> None:
    """Add tags to a run.

    Example: trackside runs tag 3f2a paper final
    """
    with the_store(store) as opened:
        opened.tag(run, *tags)


@app.command()
def untag(run: Reference, tags: Annotated[list[str], typer.Argument(help="Words.")], store: StoreOption = None) -> None:
    """Take tags off a run.

    Example: trackside runs untag 3f2a final
    """
    with the_store(store) as opened:
        opened.untag(run, *tags)


@app.command()
def note(run: Reference, text: Annotated[str, typer.Argument(help="Free text.")], store: StoreOption = None) -> None:
    """Replace a run's notes.

    Example: trackside runs note 3f2a "warm-up too short"
    """
    with the_store(store) as opened:
        opened.annotate(run, text)


@app.command()
def rename(
    run: Reference, name: Annotated[str, typer.Argument(help="The new name.")], store: StoreOption = None
) -> None:
    """Give a run another name; its id stays.

    Example: trackside runs rename 3f2a baseline
    """
    with the_store(store) as opened:
        opened.rename(run, name)


@app.command()
def baseline(
    run: Reference,
    off: Annotated[bool, typer.Option("--off", help="Take the mark away.")] = False,
    store: StoreOption = None,
) -> None:
    """Mark a run as the one that others are measured against.

    Example: trackside runs baseline 3f2a
    """
    with the_store(store) as opened:
        opened.set_baseline(run, not off)


@app.command()
def rm(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids, beginnings of ids, or names.")],
    purge: Annotated[
        bool, typer.Option("--purge", help="For good: remove a run in the trash with its points.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Put runs into the trash, or with --purge remove what is there.

    Example: trackside runs rm 3f2a
    """
    with the_store(store) as opened:
        for info in [opened.run(run) for run in runs]:
            if purge:
                opened.purge(info)
                err.print(f"Removed {info.id} {escape(info.name)} for good.")
            else:
                opened.delete(info)
                err.print(f"Moved {info.id} {escape(info.name)} to the trash: trackside runs restore {info.id}")


@app.command()
def restore(run: Reference, store: StoreOption = None) -> None:
    """Take a run out of the trash.

    Example: trackside runs restore 3f2a
    """
    with the_store(store) as opened:
        opened.restore(run)


def to_json(run: RunInfo) -> dict[str, Any]:
    """A run as `--json` prints it."""
    names = (
        "id", "name", "project", "workload", "group", "framework", "framework_version", "backend", "mode", "precision",
        "device", "device_count", "world_size", "state", "created", "started", "ended", "last_step", "total_steps",
        "config", "tags", "notes", "baseline", "log_directory", "error", "warnings",
    )  # fmt: skip
    return {name: getattr(run, name) for name in names}


def _series_json(series: SeriesInfo) -> dict[str, Any]:
    from ..runs.clean import json_value

    names = (
        "name",
        "rank",
        "unit",
        "reduction",
        "count",
        "first_step",
        "last_step",
        "last",
        "minimum",
        "maximum",
        "nan_count",
    )
    return {name: json_value(getattr(series, name)) for name in names}


def _losses(store: Store, runs: list[RunInfo]) -> dict[tuple[str, str], str]:
    infos = store.series_infos([run.id for run in runs], ["train/loss", "val/loss"])
    return {(one.run_id, one.name): number(one.last) for one in infos if one.rank == 0}


def _facts(info: RunInfo) -> list[tuple[str, str]]:
    duration = f"{info.process_seconds:.1f} s" if info.process_seconds else ""
    facts = [
        ("project", info.project), ("workload", info.workload), ("group", info.group),
        ("framework", " ".join(filter(None, (info.framework, info.framework_version)))), ("backend", info.backend),
        ("form", " · ".join(filter(None, (info.mode, info.precision, info.device)))),
        ("started", info.started and info.started.isoformat(" ", "seconds")),
        ("ended", info.ended and info.ended.isoformat(" ", "seconds")),
        ("trained for", duration), ("tags", ", ".join(info.tags)), ("notes", info.notes),
        ("config", ", ".join(f"{key}={value}" for key, value in info.config.items())),
    ]  # fmt: skip
    return [(key, str(value)) for key, value in facts if value]
