"""`trackside parity`: the proof that a workload is the same in both frameworks."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from .shared import JSONOption, err, out, print_json


def parity(
    workload: Annotated[str, typer.Argument(help="One of trackside workloads, or the folder of one of your own.")],
    steps: Annotated[int | None, typer.Option(help="Updates compared; the workload's own by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples an update.")] = None,
    size: Annotated[int | None, typer.Option(help="Of the model or data, in the workload's unit.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and batch order.")] = 0,
    optimizer: Annotated[
        str, typer.Option(help="exact: the same arithmetic in both; stock: each framework's own, which does not pass.")
    ] = "exact",
    json: JSONOption = False,
) -> None:
    """Show that a workload is the same in both frameworks: outputs, gradients and losses in double precision.

    Example: trackside parity digits-cnn
    """
    from ..workloads.gate import run_gate
    from ..workloads.plan import Request

    err.print(f"Training {workload} in float64 in both frameworks …", highlight=False)
    report = run_gate(
        Request(workload=workload, steps=steps, batch_size=batch_size, size=size, seed=seed, optimizer=optimizer)
    )
    if json:
        print_json(report.to_json())
        raise typer.Exit(0 if report.passed else 1)
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
        raise typer.Exit(1)
    out.print("[green]The same[/green]: what differs in single precision is rounding.", highlight=False)
