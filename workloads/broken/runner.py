"""Runs the broken trainings, a process a framework, and reads what was recorded of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from ...db.engine import STORE_VARIABLE
from ...db.store import open_store
from ...runs.debugging.records import RecordedEvent, records
from .. import lifeline
from ..plan import DISPLAY, require_framework
from ..process import frameworks_environment
from .cases import CASES, Case

END_SECONDS = 30.0  # how long an interrupted training may take to record its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one broken training.

    Attributes:
        case: the training.
        framework: `torch` or `tensorflow`.
        run_id: the run it recorded; None where the process died or never came to one.
        event: the first thing that was recorded of it; None where nothing was.
    """

    case: Case
    framework: str
    run_id: str | None
    event: RecordedEvent | None


def run_broken(store: str | None, console: Console, cases: Sequence[Case] = CASES) -> list[Finding]:
    """Train each case in both frameworks and say what was found, case by case.

    A case that takes its process with it has no finding; the others go on in a new process.

    Args:
        store: where the runs are recorded.
        console: where progress is shown.
        cases: those to train.

    Raises:
        UsageError: a framework is not installed; nothing was started.
        StoreError: the store cannot be used; nothing was started.
    """
    for framework in DISPLAY:
        require_framework(framework)
    with open_store(store) as opened:
        runs: dict[tuple[str, str], str | None] = {}
        for framework, title in DISPLAY.items():
            waiting = [case.name for case in cases]
            while waiting:
                for name, run_id in _train(framework, waiting, store, console):
                    console.print(f"{title}: {name.replace('_', ' ')}", style="dim")
                    runs[name, framework] = run_id
                waiting = [name for name in waiting if (name, framework) not in runs]
        return [
            _finding(opened, case, framework, runs[case.name, framework]) for case in cases for framework in DISPLAY
        ]


def _finding(opened: Any, case: Case, framework: str, run_id: str | None) -> Finding:
    found = records(opened, run_id) if run_id else []
    return Finding(case=case, framework=framework, run_id=run_id, event=found[0] if found else None)


def _train(framework: str, names: list[str], store: str | None, console: Console) -> Iterator[tuple[str, str | None]]:
    """Train cases in one process: name and run of each that ended, and of the one in which the process died."""
    environment = frameworks_environment(1) | {lifeline.VARIABLE: str(os.getpid())}
    if store is not None:
        environment[STORE_VARIABLE] = store
    command = [sys.executable, "-m", f"{__package__}.side", framework, *names]
    with (
        tempfile.TemporaryFile() as printed,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed, text=True, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        left = list(names)
        try:
            for line in process.stdout:
                said = json.loads(line)
                left.remove(said["ended"])
                yield said["ended"], said["run"]
            process.wait()
        except BaseException:
            # Ctrl-C has reached the training too, which records how it ended.
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if left:
            printed.seek(0)
            console.print(f"{DISPLAY[framework]} died in {left[0]}. Its last lines:", style="bold red")
            for text in printed.read().decode(errors="replace").splitlines()[-15:]:
                console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)
            yield left[0], None
