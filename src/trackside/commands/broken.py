"""The table of `trackside demo --broken`: what was found of each broken training in each framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ..workloads.broken.runner import Finding
from ..workloads.plan import DISPLAY
from .debug import HEADINGS, HOW
from .shared import out

HEAD = ("training", "framework", "found", "how", "cannot tell", "look at it")
LAYER_KINDS = ("exploding_layer", "dead_layer", "frozen_layer")


def print_findings(findings: Sequence[Finding]) -> None:
    """A row a training and framework, the two of a training together."""
    table = Table(pad_edge=False, show_lines=True, header_style="dim")
    for heading in HEAD:
        table.add_column(heading, overflow="fold", no_wrap=heading == "look at it")
    for finding in findings:
        table.add_row(*map(escape, cells(finding)))
    out.print(table)


def cells(finding: Finding) -> tuple[str, ...]:
    """What the row of a finding says, in the order of `HEAD`."""
    first = (finding.case.title, DISPLAY[finding.framework])
    command = f"trackside debug {finding.run_id}" if finding.run_id else "–"
    if finding.event is None:
        return (*first, "nothing", "–", "the process died" if finding.run_id is None else "anything", command)
    record = finding.event.record
    by = "by watching the layers" if finding.event.kind in LAYER_KINDS else HOW[record.how]
    how = f"{'exact' if record.exact else 'where it was noticed'}; {by}"
    return (*first, _found(finding), how, "\n".join(record.cannot) or "–", command)


def _found(finding: Finding) -> str:
    """Kind and step, layer, operator and the user's line, a line each; without those that are not known."""
    event = finding.event
    assert event is not None
    record, heading = event.record, HEADINGS[event.kind].lower()
    lines = [heading if event.step is None else f"{heading} at step {event.step}"]
    if record.layer or record.layer_class:
        lines.append(
            f"layer {record.layer or 'the model'}" + (f" ({record.layer_class})" if record.layer_class else "")
        )
    if record.operator:
        lines.append(f"operator {record.operator}")
    if record.source is not None:
        code = dict(record.source.code).get(record.source.line, "").partition("#")[0].strip()
        lines.append(f"line {Path(record.source.file).name}:{record.source.line} {code}".rstrip())
    return "\n".join(lines)
