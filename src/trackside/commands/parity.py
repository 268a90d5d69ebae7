"""`trackside parity`: the proof that a workload is the same in both frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .shared import JSONOption, StoreOption, err, out, print_json

if TYPE_CHECKING:
    from ..workloads.gate import GateReport
    from ..workloads.noise import NoiseReport


def parity(
    workload: Annotated[str, typer.Argument(help="One of trackside workloads, or the folder of one of your own.")],
    steps: Annotated[int | None, typer.Option(help="Updates compared; the workload's own by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples an update.")] = None,
    size: Annotated[int | None, typer.Option(help="Of the model or data, in the workload's unit.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and batch order.")] = 0,
    optimizer: Annotated[
        str, typer.Option(help="exact: the same arithmetic in both; stock: each framework's own, which does not pass.")
    ] = "exact",
    noise: Annotated[
        bool,
        typer.Option(
            "--noise",
            help="Then train in float32, each framework also against itself, and judge the difference by that noise.",
        ),
    ] = False,
    json: JSONOption = False,
    store: StoreOption = None,
) -> None:
    """Show that a workload is the same in both frameworks: outputs, gradients and losses in double precision.

    Example: trackside parity digits-cnn --noise
    """
    from ..workloads.gate import run_gate
    from ..workloads.noise import measure_noise
    from ..workloads.plan import Request

    request = Request(
        workload=workload, steps=steps, batch_size=batch_size, size=size, seed=seed, optimizer=optimizer, store=store
    )
    err.print(f"Training {workload} in float64 in both frameworks …", highlight=False, markup=False)
    report = run_gate(request)
    found = None
    if noise:
        err.print("Training it in float32, each framework against itself as well …", highlight=False)
        found = measure_noise(request, err)
    passed = report.passed and (found is None or found.within)
    if json:
        print_json({**report.to_json(), "noise": None if found is None else found.to_json()})
    else:
        _print_gate(report)
        if found is not None:
            _print_noise(found)
    raise typer.Exit(0 if passed else 1)


def _print_gate(report: GateReport) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("compared", overflow="fold")
    table.add_column("relative difference", justify="right")
    table.add_column("allowed", justify="right")
    for part in report.parts:
        mark = "[green]✓[/green]" if part.agrees else "[red]✗[/red]"
        table.add_row(mark, part.name, f"{part.difference:.1e}", f"{part.tolerance:.0e}")
    out.print(table)
    failed = [part.name for part in report.parts if not part.agrees]
    if failed:
        out.print(f"[red]Not the same[/red]: {failed[0]} differs first.", highlight=False)
        if report.settings["optimizer"] == "stock":
            out.print(
                "Keras' own optimizers follow other formulas than PyTorch's: docs/optimizers.md.", highlight=False
            )
    else:
        out.print("[green]The same[/green]: what differs in single precision is rounding.", highlight=False)


def _print_noise(report: NoiseReport) -> None:
    from ..runs.noise import POINTWISE, TEN_STEPS

    verdict = "[green]Within[/green]" if report.within else "[red]Beyond[/red]"
    out.print(
        f"{verdict} its own noise in float32: at most {report.pointwise:.1f} times the noise at one step "
        f"(allowed {POINTWISE:.0f}), {report.ten_steps:.1f} times over means of ten (allowed {TEN_STEPS:.0f}). "
        f"Largest difference {report.cross.max():.1e}, largest noise {report.envelope.max():.1e}.",
        highlight=False,
        soft_wrap=True,
    )
    out.print(f"See it: trackside compare {' '.join(report.run_ids.values())}", highlight=False, soft_wrap=True)
