"""`trackside demo --broken`: every broken training leaves its record, in both frameworks, and a table says what."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from trackside.db.store import open_store
from trackside.runs.debugging.records import records
from trackside.workloads.broken import runner, side
from trackside.workloads.broken.cases import CASES, Case

KINDS = {"dead_relu": "dead_layer", "frozen_layer": "frozen_layer"}
KINDS |= dict.fromkeys(("division_by_zero", "exploding_rate", "log_of_negative"), "non_finite")


@pytest.mark.framework
def test_demo_broken_says_of_each_training_what_was_found(sqlite_url):
    command = [sys.executable, "-m", "trackside.cli", "demo", "--broken", "--no-serve", "--store", sqlite_url]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    with open_store(sqlite_url) as store:
        runs = {(run.name, run.framework): run for run in store.runs()}
        assert len(runs) == 2 * len(CASES)
        for case in CASES:
            for framework in ("torch", "tensorflow"):
                run = runs[f"{case.name}-{framework}", framework]
                found = records(store, run)
                assert found[0].kind == KINDS.get(case.name, "exception")
                assert f"trackside debug {run.id}" in answer.stdout
    flat = re.sub(r"[│\s]+", " ", answer.stdout)
    for title in ("wrong shape", "dead ReLU", "out of memory"):
        assert flat.count(title) >= 2
    for culprit in ("aten.div.Tensor", "RealDiv", "SparseSoftmaxCrossEntropyWithLogits", "layer net.head (Linear)"):
        assert culprit.replace(" ", "") in flat.replace(" ", "")


def test_steps_are_refused():
    command = [sys.executable, "-m", "trackside.cli", "demo", "--broken", "--steps", "3"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, "leave it out" in answer.stderr.replace("\n", " ")) == (2, True)


DYING = """
import json, os, sys
for name in sys.argv[2:]:
    if name == "fatal":
        print("the end", file=sys.stderr)
        os._exit(9)
    print(json.dumps({"ended": name, "run": None}), flush=True)
"""


def test_a_case_that_takes_its_process_along_keeps_no_other_from_training(sqlite_url, monkeypatch, tmp_path):
    (tmp_path / "dying").mkdir()
    (tmp_path / "dying" / "side.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(runner, "__package__", "dying")
    monkeypatch.setattr(runner, "require_framework", lambda framework: None)
    console = Console(file=io.StringIO(), width=120)
    cases = [Case("before", "b"), Case("fatal", "f"), Case("after", "a")]
    findings = runner.run_broken(sqlite_url, console, cases)
    assert [(f.case.name, f.framework) for f in findings] == [
        (name, framework) for name in ("before", "fatal", "after") for framework in side.SIDES
    ]
    assert not any(finding.event for finding in findings)
    printed = console.file.getvalue()
    assert printed.count("died in fatal") == 2
    assert printed.count("the end") == 2
    assert printed.count(": after") == 2
