"""`trackside workloads`, `trackside run` and `trackside demo`: training the same thing in both frameworks."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from typing import Annotated

import typer
from rich.table import Table

from ..db.errors import StoreError, UsageError
from .shared import JSONOption, StoreOption, err, out, print_json

DEMO_WORKLOAD = "digits-cnn"


def workloads(json: JSONOption = False) -> None:
    """What can be run.

    Example: trackside workloads --json
    """
    from ..workloads.registry import list_workloads

    known = list_workloads()
    if json:
        print_json([workload.to_json() for workload in known])
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("name", "what", "data", "size", "steps", "reaches", "seconds"):
        table.add_column(heading)
    for one in known:
        size = f"{one.size} {one.size_unit}"
        table.add_row(one.name, one.summary, one.data, size, str(one.steps), one.result, f"~{one.seconds}")
    out.print(table)


def run(
    workload: Annotated[str, typer.Argument(help="One of trackside workloads, or the folder of one of your own.")],
    framework: Annotated[str, typer.Option(help="torch, tensorflow or both.")] = "both",
    mode: Annotated[
        str | None, typer.Option(help="eager, graph, xla or compile; the framework's usual by default.")
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, float64, bf16-mixed or fp16-mixed.")] = "float32",
    optimizer: Annotated[
        str, typer.Option(help="exact: the same arithmetic in both; stock: each framework's own.")
    ] = "exact",
    devices: Annotated[int, typer.Option(help="Devices that share each batch.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Optimizer updates.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, instead of steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples an update.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Of the model or data; trackside workloads says what it counts.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Train on so many samples only.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and batch order.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads for the arithmetic.")] = 1,
    repeat: Annotated[int, typer.Option(help="Train so many times, in alternating order.")] = 1,
    checkpoints: Annotated[
        str | None, typer.Option(help="Keep each training's state in this folder after every epoch.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in --checkpoints.")] = False,
    project: Annotated[str | None, typer.Option(help="Project of the runs.")] = None,
    tensorboard: Annotated[
        str | None, typer.Option(help="Also write TensorBoard event files under this folder.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record a few steps of each training with its framework's profiler.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Measure every layer of each training at every update.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Train a workload in one or both frameworks, each in its own process.

    Example: trackside run digits-cnn --framework both --steps 200
    """
    from ..workloads.plan import Request
    from ..workloads.runner import exit_code, print_summary, run_workload

    request = Request(
        workload=workload,
        framework=framework,
        mode=mode,
        precision=precision,
        optimizer=optimizer,
        devices=devices,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        size=size,
        samples=samples,
        seed=seed,
        threads=threads,
        repeat=repeat,
        checkpoints=checkpoints,
        resume=resume,
        store=store,
        project=project,
        tensorboard=tensorboard,
        profile=profile,
        debug=debug,
    )
    outcomes = run_workload(request, err)
    print_summary(out, outcomes)
    raise typer.Exit(exit_code(outcomes))


def demo(
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8050,
    steps: Annotated[int | None, typer.Option(help="Optimizer updates of each training.")] = None,
    broken: Annotated[
        bool, typer.Option("--broken", help="Instead, ten broken trainings in both, and what is found of each.")
    ] = False,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Open the dashboard afterwards.")] = True,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    store: StoreOption = None,
) -> None:
    """Train one network on the same real images in PyTorch and in TensorFlow, compare, and open the dashboard.

    Example: trackside demo --steps 100
    """
    from ..workloads.plan import Request
    from ..workloads.runner import run_workload
    from .compare import compare

    if broken:
        _demo_broken(steps, host, port, serve, browser, store)
        return
    outcomes = run_workload(Request(workload=DEMO_WORKLOAD, steps=steps, store=store, project="demo"), err)
    ids = [outcome.run_id for outcome in outcomes if outcome.run_id]
    if any(outcome.state == "killed" for outcome in outcomes):
        raise typer.Exit(130)
    if len(ids) > 1:
        out.print()
        compare(ids, store=store)
    if not serve:
        raise typer.Exit(0 if all(outcome.state == "finished" for outcome in outcomes) else 1)
    path = f"/compare?runs={','.join(ids)}" if len(ids) > 1 else "/"
    _open_dashboard("Both runs side by side", path, host, port, store, browser)


def _demo_broken(steps: int | None, host: str, port: int, serve: bool, browser: bool, store: str | None) -> None:
    from ..workloads.broken.runner import run_broken
    from .broken import print_findings

    if steps is not None:
        raise UsageError("--steps has no meaning with --broken, whose trainings end where they break; leave it out.")
    findings = run_broken(store, err)
    out.print()
    print_findings(findings)
    if not serve:
        raise typer.Exit(0 if all(finding.event for finding in findings) else 1)
    ids = [finding.run_id for finding in findings[:2] if finding.run_id]
    path = f"/debug?runs={','.join(ids)}" if ids else "/"
    _open_dashboard("The first of them side by side", path, host, port, store, browser)


def _open_dashboard(what: str, path: str, host: str, port: int, store: str | None, browser: bool) -> None:
    from ..db.engine import resolve_url

    try:
        from ..dashboard.serve import serve as serve_dashboard
    except ModuleNotFoundError as error:
        raise StoreError(f"The dashboard needs {error.name}: pip install 'trackside[dashboard]'.") from error
    url = f"http://{host}:{port}{path}"
    out.print(f"\n{what}: [link={url}]{url}[/link]", soft_wrap=True)
    if browser and _has_screen():
        # Once the server listens; where it is slower than that, the browser's own retry or a reload helps.
        timer = threading.Timer(2.0, webbrowser.open, (url,))
        timer.daemon = True
        timer.start()
    serve_dashboard(resolve_url(store).render_as_string(hide_password=False), host=host, port=port)


def _has_screen() -> bool:
    """Whether a browser window can be opened: over SSH or in a container, a text browser would take the terminal."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def dashboard(
    host: Annotated[
        str, typer.Option(help="Address to serve on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on.")] = 8050,
    token: Annotated[
        str | None, typer.Option(envvar="TRACKSIDE_TOKEN", help="What a browser must present.", show_envvar=True)
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Start TensorBoard beside it.")] = False,
    tensorboard_url: Annotated[
        str | None, typer.Option(envvar="TRACKSIDE_TENSORBOARD_URL", help="Link to a TensorBoard that runs elsewhere.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Look at runs in a browser while they train.

    Example: trackside dashboard --port 8060 --tensorboard
    """
    from ..db.engine import resolve_url

    try:
        from ..dashboard.serve import serve
    except ModuleNotFoundError as error:
        raise StoreError(f"The dashboard needs {error.name}: pip install 'trackside[dashboard]'.") from error
    serve(
        resolve_url(store).render_as_string(hide_password=False),
        host=host,
        port=port,
        token=token,
        tensorboard=tensorboard,
        tensorboard_url=tensorboard_url,
    )
