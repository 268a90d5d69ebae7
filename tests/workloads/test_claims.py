"""The experiments behind the claims: what is counted, what is planned, and a small session from end to end."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trackside.db.errors import UsageError
from trackside.db.store import open_store
from trackside.runs.claim_records import read_records, sessions
from trackside.runs.claims import claim_verdicts
from trackside.workloads.claims import broken, control_flow, features, session, table
from trackside.workloads.claims.features import ADDITIONS, count_features
from trackside.workloads.claims.session import run_claims
from trackside.workloads.claims.source import count_source, count_workload
from trackside.workloads.claims.table import (
    DEVICE_SETTINGS,
    FULL,
    MEASURED,
    QUICK,
    estimate_seconds,
    size_of,
    trainings,
)
from trackside.workloads.registry import find_workload, list_workloads

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = '''
"""A docstring."""
from __future__ import annotations
import torch
from torch import nn
import numpy as np

class Net(nn.Module):
    """Another."""
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 1)
    def forward(self, x):
        return torch.relu(self.head(x))

def pairings(model):
    return [nn.Conv2d]

if __name__ == "__main__":
    Net()
'''


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


# Counting


def test_statements_imports_and_framework_names_are_counted():
    # 4 imports, the class, 2 functions, 3 lines in them; nothing of `pairings`, of `__main__`, or of a docstring.
    assert count_source(SCRIPT) == {"lines": 4 + 1 + 2 + 3, "imports": 3, "names": 3}


def test_every_workload_is_counted_in_both_frameworks():
    for workload in list_workloads():
        rows = count_workload(workload)
        assert [row["framework"] for row in rows] == list(workload.frameworks)
        assert all(row["lines"] > 5 and row["imports"] > 3 for row in rows)


def test_every_feature_is_counted_in_both_frameworks():
    rows = count_features()
    assert {row["feature"] for row in rows} == {addition.feature for addition in ADDITIONS}
    assert len(rows) == 2 * len({addition.feature for addition in ADDITIONS})
    by_key = {(row["feature"], row["framework"]): (row["lines"], row["arguments"]) for row in rows}
    assert by_key["gradient clipping", "torch"] == by_key["gradient clipping", "tensorflow"] == (0, 1)
    assert by_key["learning-rate schedule", "torch"] == (1, 1)
    assert by_key["learning-rate schedule", "tensorflow"] == (1, 0)
    # A function of its own counts with all that is in it.
    assert by_key["checkpoint and resume", "tensorflow"][0] > by_key["checkpoint and resume", "torch"][0] > 3


def test_a_feature_whose_source_has_gone_is_an_error(monkeypatch):
    gone = replace(ADDITIONS[0], statements=("schedule = torch.nowhere(",))
    monkeypatch.setattr(features, "ADDITIONS", (gone,))
    with pytest.raises(LookupError, match="begins with 'schedule = torch.nowhere"):
        count_features()


@pytest.mark.parametrize("setting", DEVICE_SETTINGS, ids=lambda setting: setting.code)
def test_every_device_setting_is_in_the_source(setting):
    assert setting.code in (ROOT / "workloads" / setting.file).read_text()


# Planning


def test_a_form_that_several_claims_ask_for_is_trained_once():
    (group,) = trainings([find_workload("digits-cnn")], QUICK, MEASURED)
    forms = [(one.framework, one.mode, one.precision, one.devices, one.batch_size, one.steps) for one in group]
    assert len(forms) == len(set(forms))
    base = next(one for one in group if (one.framework, one.precision, one.devices) == ("torch", "float32", 1))
    assert base.claims == {4, 6, 7, 8, 10}


def test_only_what_the_claims_ask_for_is_trained():
    (group,) = trainings([find_workload("digits-cnn")], QUICK, [7])
    assert {one.devices for one in group} == {1, 2}
    assert {one.precision for one in group} == {"float32"}
    assert trainings(list_workloads(), QUICK, [1, 2, 3]) == []


def test_the_quick_form_is_quick_and_the_full_form_has_every_mode():
    workloads = list_workloads()
    quick, full = (trainings(workloads, form, MEASURED) for form in (QUICK, FULL))
    assert estimate_seconds(quick, workloads, 4) < 16 * 60
    modes = {(one.framework, one.mode) for group in full for one in group}
    assert modes == {(f, m) for w in workloads for f in w.frameworks for m in w.modes[f]}
    assert {one.repeats for one in quick[0]} == {2}
    assert {one.repeats for one in full[0]} == {5}


def test_a_heavy_workload_gets_few_updates_and_one_repeat():
    heavy = replace(find_workload("digits-cnn"), seconds=600, steps=100)
    assert size_of(heavy, QUICK) == (QUICK.fewest_steps, QUICK.heavy_repeats)
    light = replace(heavy, seconds=40)
    assert size_of(light, QUICK)[1] == QUICK.repeats


def test_a_claim_without_an_experiment_is_refused(url, console, tmp_path):
    with pytest.raises(UsageError, match="Claim 11 has no experiment"):
        run_claims(QUICK, console, claims=[11], store=url)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_session_is_refused(url, console):
    with pytest.raises(UsageError, match="no session of claims 'gone'"):
        run_claims(QUICK, console, claims=[1], store=url, resume="gone")


# The probes' own arithmetic


def test_the_batches_take_different_numbers_of_rounds():
    rounds = [control_flow.expected(control_flow.batch(scale))[1] for scale in control_flow.SCALES]
    assert len(set(rounds)) == 3
    assert min(rounds) > 0
    assert max(rounds) <= control_flow.MOST_ROUNDS
    losses = [control_flow.expected(control_flow.batch(scale))[0] for scale in control_flow.SCALES]
    assert control_flow.agrees(losses)
    assert not control_flow.agrees([2 * loss for loss in losses])


def test_a_fault_is_in_its_batch_alone():
    for case in (broken.SHAPE, broken.LABEL, broken.DTYPE, broken.LOGARITHM):
        (x, y), (good, labels) = broken.batch(broken.FAULT, case), broken.batch(broken.FAULT, None)
        assert x.shape != good.shape or x.dtype != good.dtype or not np.array_equal(x, good) or (y != labels).any()
        assert np.array_equal(broken.batch(0, case)[0], broken.batch(0, None)[0])


def test_what_came_of_a_case_is_put_down():
    def raising(x, y):
        if x.shape[1] < broken.FEATURES:
            raise ValueError("hidden: matmul of (32, 15)")
        return 1.0

    found = broken.observe(broken.SHAPE, raising, "elsewhere.py", ("hidden",))
    assert (found["raised_at"], found["names_layer"], found["names_operator"], found["names_line"]) == (
        3,
        True,
        True,
        False,
    )
    silent = broken.observe(broken.LOGARITHM, lambda x, y: float("nan") if (x < 0).any() else 1.0, "x", ())
    assert (silent["raised_at"], silent["bad_from"], silent["harmless"]) == (None, 3, False)
    assert broken.observe(broken.DTYPE, lambda x, y: 1.0, "x", ())["harmless"]


# A session


def test_probes_are_kept_and_not_run_again_on_resuming(url, console, monkeypatch):
    asked = []
    monkeypatch.setattr(table, "_run", lambda module: asked.append(module) or {"results": []})
    outcome = run_claims(QUICK, console, claims=[1, 2, 3], workloads=[find_workload("digits-cnn")], store=url)
    assert len(asked) == 4
    again = run_claims(QUICK, console, claims=[1, 2, 3], store=url, resume=outcome.group)
    assert len(asked) == 4
    assert again.run_id == outcome.run_id
    with open_store(url) as store:
        (run,) = sessions(store)
        records = read_records(store)
    assert run.state == "finished"
    assert all(record.complete for record in records.values())
    assert records[1].measured["sources"][0]["workload"] == "digits-cnn"


def test_ctrl_c_keeps_what_was_measured(url, console, monkeypatch):
    def interrupted(module):
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "_run", interrupted)
    outcome = run_claims(QUICK, console, claims=[1, 2], workloads=[find_workload("digits-cnn")], store=url)
    assert outcome.interrupted
    with open_store(url) as store:
        (run,) = sessions(store)
        first, second, *_ = claim_verdicts(store)
    assert run.state == "killed"
    assert first.parts[1].verdict == "supported"
    assert "ended before everything had been tried" in first.notes[0]
    assert second.measured is None


def test_what_this_machine_cannot_run_is_left_out_and_said(url, console, monkeypatch):
    def refuse(request):
        raise UsageError("There is no compiler here.")

    monkeypatch.setattr(session, "plan_jobs", refuse)
    outcome = run_claims(QUICK, console, claims=[8], workloads=[find_workload("digits-cnn")], store=url)
    assert outcome.failed == 0
    with open_store(url) as store:
        found = claim_verdicts(store)[7]
    assert len(found.notes) == 2
    assert "There is no compiler here." in found.notes[0]


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trackside.cli", "claims", *arguments], capture_output=True, text=True, timeout=120
    )


def test_the_command_prints_json_and_writes_reports(url, tmp_path):
    report = tmp_path / "claims.html"
    answer = cli("--quick", "--only", "1", "--json", "--store", url, "--report", str(report))
    assert answer.returncode == 0, answer.stderr
    (one,) = json.loads(answer.stdout)
    assert one.keys() == {
        "number", "claim", "verdict", "reason", "protocol", "measured", "parts", "rows", "notes", "run_ids",
    }  # fmt: skip
    assert one["verdict"] == "undecided here"
    assert report.read_text().startswith("<!DOCTYPE html>")
    answer = cli("--no-run", "--store", url, "--report", str(tmp_path / "claims.md"))
    assert answer.returncode == 0, answer.stderr
    assert "11. Both have strong communities" in answer.stdout
    assert (tmp_path / "claims.md").read_text().count("\n## ") == 11


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "12"], "There is no claim '12'"),
        (["--only", "four"], "There is no claim 'four'"),
        (["--only", "9,11"], "None of these claims has an experiment"),
        (["--no-run", "--report", "claims.pdf"], "name it claims.md or claims.html"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, sentence):
    answer = cli(*arguments)
    assert answer.returncode == 2
    assert sentence in answer.stderr


@pytest.mark.framework
def test_a_small_session_from_training_to_verdict(url, console):
    tiny = replace(QUICK, repeats=1, most_steps=12, timing_steps=12)
    digits = find_workload("digits-cnn")
    outcome = run_claims(tiny, console, claims=[8], workloads=[digits], store=url)
    assert (outcome.failed, outcome.interrupted) == (0, False)
    again = run_claims(tiny, console, claims=[8], workloads=[digits], store=url, resume=outcome.run_id)
    assert again.seconds < outcome.seconds
    with open_store(url) as store:
        found = claim_verdicts(store)[7]
        runs = store.runs(ids=found.run_ids)
    assert sorted(run.framework or "" for run in runs) == ["tensorflow", "torch"]
    assert {run.group for run in runs} == {outcome.group}
    assert all("claims" in run.tags for run in runs)
    assert found.verdict == "undecided here"  # once each decides nothing
    assert {row.quantity for row in found.rows} >= {"seconds_to_first_step", "seconds_to_target"}
    assert "n 1" in found.protocol


def test_a_training_that_fails_is_a_fact_of_its_claim(url, console, tmp_path, monkeypatch):
    (tmp_path / "lightning.py").write_text("raise ImportError('this installation is broken')\n")
    (tmp_path / "tensorflow.py").write_text("raise ImportError('this installation is broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tiny = replace(QUICK, repeats=1)
    outcome = run_claims(tiny, console, claims=[8], workloads=[find_workload("digits-cnn")], store=url)
    assert outcome.failed == 2
    with open_store(url) as store:
        found = claim_verdicts(store)[7]
    assert found.notes == (
        "Failed: digits-cnn, torch eager float32: ImportError: this installation is broken",
        "Failed: digits-cnn, tensorflow graph float32: ImportError: this installation is broken",
    )
