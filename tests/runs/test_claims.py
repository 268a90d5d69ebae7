"""Claims: what made-up evidence comes to in every direction, what a store gives back, and reports that stay text."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import trackside
from trackside.db.records import RunInfo
from trackside.db.store import open_store
from trackside.runs.claim_evidence import Comparison, Evidence, Trained, compare_forms, processor_percent
from trackside.runs.claim_judging import Part, lean, overall
from trackside.runs.claim_records import FINGERPRINT, PROJECT, RUN_NAME, WORKLOAD, ClaimRecord, read_records
from trackside.runs.claim_text import report_html, report_markdown, value_text
from trackside.runs.claims import CLAIMS, ClaimVerdict, claim_verdicts, judge_claim
from trackside.runs.repeats import Contrast, Form, Spread

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STARTED = 1_700_000_000.0


def info(framework: str, mode: str, precision: str = "float32", devices: int = 1, device: str = "cpu") -> RunInfo:
    return RunInfo(
        id=f"{framework}-{mode}-{precision}-{devices}",
        name="made-up",
        project=PROJECT,
        state="finished",
        created=NOW,
        started=NOW,
        framework=framework,
        mode=mode,
        precision=precision,
        device=device,
        device_count=devices,
        total_steps=100,
        config={"batch_size": 32, "threads": 1, "seed": 0},
        environment={"cpu": "Made-up CPU", "cpu_count": 2, "python": "3.11", "load_average": [0.5, 0.5, 0.5]},
    )


def form(
    framework: str, mode: str, precision: str = "float32", devices: int = 1, device: str = "cpu", **values: list[float]
) -> Form:
    run = info(framework, mode, precision, devices, device)
    spreads = {name.replace("__", "/"): Spread(values=np.array(some, np.float64)) for name, some in values.items()}
    return Form(label="", runs=(run,), quantities=spreads)


def evidence(*trained: Trained, number: int = 4, **record: Any) -> Evidence:
    session = info("torch", "eager")
    return Evidence(
        record=ClaimRecord(number=number, session=session, complete=True, **record),
        trained=trained,
        runs=tuple(form.runs[0] for one in trained for form in one.forms),
    )


def verdicts(number: int, given: Evidence) -> list[str]:
    return [part.verdict for part in judge_claim(number, given).parts]


def comparison(outcome: Any) -> Comparison:
    found = Contrast(quantity="samples_per_second", ratio=1.0, tie=None)
    return Comparison(workload="w", one="a", other="b", found=found, outcome=outcome)


# How several comparisons count


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["higher", "higher"], "supported"),
        (["higher", "tie"], "supported"),
        (["lower", "lower"], "contradicted"),
        (["higher", "lower"], "undecided here"),
        (["higher", "tie", "tie"], "undecided here"),
        (["tie", "tie"], "undecided here"),
        (["higher"], "undecided here"),
        (["once", "once"], "undecided here"),
        (["busy", "busy"], "undecided here"),
        (["red", "red"], "undecided here"),
        ([], "undecided here"),
    ],
)
def test_a_general_statement_needs_half_of_the_comparisons_and_no_counterexample(outcomes, verdict):
    assert lean([comparison(outcome) for outcome in outcomes], "higher")[0] == verdict


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "contradicted"], "contradicted"),
        (["supported", "undecided here"], "undecided here"),
        (["supported", "not measurable"], "undecided here"),
        (["not measurable"], "not measurable"),
        (["not measured yet", "not measurable"], "not measured yet"),
    ],
)
def test_a_claim_of_several_parts_is_as_good_as_its_parts(parts, verdict):
    assert overall([Part(statement="", verdict=one, reason="") for one in parts]) == verdict


def test_no_winner_where_the_runs_are_not_the_same_experiment():
    fast, slow = (
        form("torch", "eager", samples_per_second=[200, 201]),
        form("tensorflow", "graph", samples_per_second=[100, 101]),
    )
    red = Trained(workload="w", forms=(fast, slow), differences=lambda one, other: ("Learning rate",))
    found = compare_forms(red, fast, slow, "samples_per_second")
    assert found is not None
    assert (found.outcome, found.red) == ("red", ("Learning rate",))
    by_design = compare_forms(red, fast, slow, "samples_per_second", frozenset({"Learning rate"}))
    assert by_design is not None
    assert by_design.outcome == "higher"


# Claim by claim


def sources(torch: int, keras: int) -> dict[str, Any]:
    return {
        "sources": [
            {"workload": "w", "framework": framework, "lines": lines, "imports": 5, "names": 9}
            for framework, lines in (("torch", torch), ("tensorflow", keras))
        ]
    }


@pytest.mark.parametrize(("keras", "verdict"), [(100, "supported"), (110, "supported"), (111, "contradicted")])
def test_1_lengths(keras, verdict):
    assert verdicts(1, evidence(measured=sources(100, keras))) == ["not measurable", verdict]


@pytest.mark.parametrize(
    ("keras", "verdict"),
    [((2, 1), "supported"), ((1, 1), "supported"), ((2, 3), "contradicted"), ((4, 4), "contradicted")],
)
def test_1_features(keras, verdict):
    rows = [
        {"feature": feature, "framework": framework, "lines": lines, "arguments": 1}
        for feature, tensorflow in zip(("schedule", "clipping"), keras, strict=True)
        for framework, lines in (("torch", 2), ("tensorflow", tensorflow))
    ]
    found = judge_claim(1, evidence(measured={**sources(100, 100), "features": rows}))
    assert found.parts[2].verdict == verdict
    assert [row.value for row in found.rows if row.label == "clipping, TensorFlow"] == [keras[1], 1]


def test_1_one_feature_of_several_that_takes_more_decides_nothing():
    rows = [
        {"feature": feature, "framework": framework, "lines": 9 if (feature, framework) == worst else 1, "arguments": 0}
        for worst in [("resume", "tensorflow")]
        for feature in ("schedule", "clipping", "resume")
        for framework in ("torch", "tensorflow")
    ]
    part = judge_claim(1, evidence(measured={"features": [*rows, {"feature": "odd"}]})).parts[2]
    assert part.verdict == "undecided here"
    assert "1 take more lines and arguments in Keras (resume)" in part.reason


def test_1_without_counts_is_not_measured():
    assert judge_claim(1, evidence(measured={})).verdict == "not measured yet"


def flow(framework: str, mode: str, loop: str = "as written", **found: Any) -> dict[str, Any]:
    return {"framework": framework, "mode": mode, "form": loop, "ran": True, "correct": True, **found}


def control_flow(*static: dict[str, Any], eager_sees: bool = True) -> dict[str, Any]:
    eager = [flow(framework, "eager", change_seen=eager_sees) for framework in ("torch", "tensorflow")]
    return {"control_flow_torch": {"results": eager[:1]}, "control_flow_keras": {"results": [*eager[1:], *static]}}


def test_2_a_static_graph_that_follows_the_loop_contradicts():
    measured = control_flow(flow("tensorflow", "graph", "tf.while_loop", change_seen=False, graph_breaks=0))
    assert verdicts(2, evidence(measured=measured)) == ["supported", "contradicted", "supported"]


def test_2_one_that_fails_or_leaves_the_graph_supports():
    failing = {"framework": "tensorflow", "mode": "graph", "form": "as written", "ran": False, "error": "no bool"}
    leaving = flow("torch", "compile", change_seen=True, graph_breaks=3)
    measured = control_flow(failing, leaving)
    assert verdicts(2, evidence(measured=measured)) == ["supported", "supported", "contradicted"]


def test_2_frameworks_that_differ_leave_it_undecided():
    measured = control_flow(
        flow("tensorflow", "graph", change_seen=False), flow("torch", "compile", change_seen=True), eager_sees=False
    )
    assert verdicts(2, evidence(measured=measured)) == ["contradicted", "contradicted", "undecided here"]


def test_2_a_probe_that_failed_is_a_row():
    found = judge_claim(2, evidence(measured={"control_flow_torch": {"error": "no compiler"}}))
    assert [part.verdict for part in found.parts] == ["not measured yet"] * 3
    assert found.rows[0].note == "no compiler"


def broken(framework: str, mode: str, silent: set[str], cured: set[str]) -> list[dict[str, Any]]:
    rows = []
    for switch in (None, "the switch"):
        for case in ("shape", "logarithm"):
            quiet = case in silent and not (switch and case in cured)
            rows.append(
                {
                    "framework": framework,
                    "mode": mode,
                    "switch": switch,
                    "case": case,
                    "raised_at": None if quiet else 3,
                    "fault_at": 3,
                    "bad_from": 3 if quiet else None,
                    "harmless": False,
                    "error": None if quiet else "ValueError: bad",
                }
            )
    return rows


@pytest.mark.parametrize(
    ("torch", "keras", "expected"),
    [
        ((set(), set()), ({"logarithm"}, {"logarithm"}), ["supported", "supported"]),
        (({"logarithm"}, {"logarithm"}), ({"logarithm"}, {"logarithm"}), ["contradicted", "contradicted"]),
        (({"logarithm"}, set()), (set(), set()), ["contradicted", "contradicted"]),
        ((set(), set()), ({"logarithm"}, set()), ["supported", "undecided here"]),
    ],
)
def test_3_who_is_silent(torch, keras, expected):
    measured = {
        "broken_torch": {"results": broken("torch", "eager", *torch)},
        "broken_keras": {
            "results": broken("tensorflow", "graph", *keras),
            "costs": [{"framework": "tensorflow", "mode": "graph", "plain": 0.01, "switched": 0.03}],
        },
    }
    found = judge_claim(3, evidence(measured=measured))
    assert [part.verdict for part in found.parts] == expected
    assert found.rows[-1].value == pytest.approx(3.0)


def test_3_an_error_that_comes_late_is_not_at_once():
    late = {**broken("torch", "eager", set(), set())[0], "raised_at": 7}
    measured = {
        "broken_torch": {"results": [late]},
        "broken_keras": {"results": broken("tensorflow", "graph", set(), set())},
    }
    assert verdicts(3, evidence(measured=measured))[0] == "contradicted"


def trained(torch: list[float], keras: list[float], *more: Form, seconds: float = 0.05, name: str = "gpt") -> Trained:
    steps = [seconds, seconds]
    return Trained(
        workload=name,
        forms=(
            form("torch", "eager", samples_per_second=torch, step_seconds=steps),
            form("tensorflow", "graph", samples_per_second=keras, step_seconds=steps),
            *more,
        ),
    )


@pytest.mark.parametrize(
    ("torch", "keras", "verdict"),
    [
        ([100, 101], [120, 121], "supported"),
        ([120, 121], [100, 101], "contradicted"),
        ([100, 121], [105, 126], "undecided here"),
        ([100], [120], "undecided here"),
    ],
)
def test_4_default_modes_on_complex_models(torch, keras, verdict):
    found = judge_claim(4, evidence(trained(torch, keras), trained(torch, keras, name="lstm")))
    assert found.parts[0].verdict == verdict
    assert "Made-up CPU, 2 cores" in found.protocol
    assert "batch size 32; steps 100; threads 1" in found.protocol
    assert "n 1; load at the start 0.5" in found.protocol


def test_4_small_models_do_not_count():
    assert verdicts(4, evidence(trained([100, 101], [120, 121], seconds=0.002)))[0] == "undecided here"


@pytest.mark.parametrize(("eager", "verdict"), [([30, 31], "supported"), ([300, 301], "contradicted")])
def test_4_graph_against_eager(eager, verdict):
    given = trained([100, 101], [120, 121], form("tensorflow", "eager", samples_per_second=eager))
    assert verdicts(4, evidence(given, given))[1] == verdict


def test_4_a_busy_machine_decides_nothing():
    given = trained([100, 101], [120, 121])
    for one in given.forms:
        one.runs[0].environment["load_average"] = [2.5, 2.0, 1.0]
    found = judge_claim(4, evidence(given, given))
    assert found.parts[0].verdict == "undecided here"
    assert "on a busy machine" in found.parts[0].reason
    assert any("busy" in row.note for row in found.rows)


def resnet(device: str, torch: list[float], keras: list[float]) -> Trained:
    return Trained(
        workload="resnet50",
        forms=(
            form("torch", "eager", device=device, gpu_percent=torch),
            form("tensorflow", "graph", device=device, gpu_percent=keras),
        ),
    )


@pytest.mark.parametrize(
    ("device", "torch", "keras", "verdict"),
    [
        ("cpu", [50, 51], [90, 91], "undecided here"),
        ("cuda", [50, 51], [90, 91], "supported"),
        ("cuda", [90, 91], [50, 51], "contradicted"),
        ("cuda", [50, 60], [55, 65], "undecided here"),
    ],
)
def test_5_only_a_gpu_decides(device, torch, keras, verdict):
    found = judge_claim(5, evidence(resnet(device, torch, keras)))
    assert found.verdict == verdict
    assert ("There is no GPU here" in found.reason) == (device == "cpu")


def halves(memory: list[float], rate: list[float]) -> Trained:
    base: dict[str, Any] = {"peak_memory_bytes": [100.0, 101.0], "samples_per_second": [50.0, 51.0]}
    mixed: dict[str, Any] = {"peak_memory_bytes": memory, "samples_per_second": rate}
    return Trained(
        workload="gpt",
        forms=tuple(
            form(
                framework,
                mode,
                precision,
                peak_memory_bytes=values["peak_memory_bytes"],
                samples_per_second=values["samples_per_second"],
            )
            for framework, mode in (("torch", "eager"), ("tensorflow", "graph"))
            for precision, values in (("float32", base), ("bf16-mixed", mixed))
        ),
        differences=lambda one, other: ("Precision",),
        gap=lambda one, other: 0.2,
    )


def test_6_saves_both():
    found = judge_claim(6, evidence(*[halves([70, 71], [90, 91])] * 2, machine={"half_precision": ["amx_bf16"]}))
    assert [part.verdict for part in found.parts] == ["supported"] * 4
    assert any(row.note.startswith("more than the 5%") for row in found.rows)


def test_6_saves_neither():
    given = halves([170, 171], [20, 21])
    assert verdicts(6, evidence(given, given, machine={"half_precision": ["amx_bf16"]})) == ["contradicted"] * 4


def test_6_a_percent_of_the_memory_is_a_tie_however_close_the_repeats():
    given = halves([99.0, 99.0], [90, 91])
    assert verdicts(6, evidence(given, given))[:2] == ["undecided here", "undecided here"]


def test_6_a_processor_without_the_instructions_says_nothing_about_time():
    given = halves([170, 171], [20, 21])
    found = verdicts(6, evidence(given, given, machine={"half_precision": []}))
    assert found == ["contradicted", "contradicted", "undecided here", "undecided here"]


def doubles(gap: float = 0.0, *, torch: bool = True, keras: bool = True) -> Trained:
    chosen = [("torch", "eager", 1), ("tensorflow", "graph", 1)]
    chosen += [("torch", "eager", 2)] * torch + [("tensorflow", "graph", 2)] * keras
    forms = [form(f, m, devices=n, samples_per_second=[100.0 * n * 0.8 ** (n - 1)] * 2) for f, m, n in chosen]
    return Trained(workload="w", forms=tuple(forms), gap=lambda one, other: gap)


def failure(framework: str) -> dict[str, Any]:
    return {"label": "w", "workload": "w", "framework": framework, "devices": 2, "reason": "gloo"}


@pytest.mark.parametrize(
    ("given", "failed", "verdict"),
    [
        (doubles(), [], "undecided here"),
        (doubles(torch=False), [failure("torch")], "supported"),
        (doubles(keras=False), [failure("tensorflow")], "contradicted"),
        (Trained(workload="w", forms=()), [], "not measured yet"),
    ],
)
def test_7_what_broke_on_two_devices(given, failed, verdict):
    found = judge_claim(7, evidence(given, failed=tuple(failed)))
    assert found.parts[0].verdict == verdict
    assert len(found.notes) == len(failed)


def test_7_efficiency_is_of_the_devices():
    rows = judge_claim(7, evidence(doubles())).rows
    assert rows[0].quantity == "scaling efficiency"
    assert rows[0].value == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("torch", "keras", "verdict"), [(5, 2, "supported"), (2, 5, "contradicted"), (3, 3, "undecided here")]
)
def test_7_settings_are_counted_without_those_for_processors(torch, keras, verdict):
    settings = [{"framework": "torch", "purpose": "to run", "code": "a", "why": "b"}] * torch
    settings += [{"framework": "tensorflow", "purpose": "to run", "code": "a", "why": "b"}] * keras
    settings += [{"framework": "tensorflow", "purpose": "processors only", "code": "a", "why": "b"}] * 9
    assert verdicts(7, evidence(doubles(), measured={"settings": settings}))[1] == verdict


@pytest.mark.parametrize(
    ("torch", "keras", "verdict"),
    [([5, 5.2], [9, 9.1], "supported"), ([9, 9.1], [5, 5.2], "contradicted"), ([5, 9], [6, 10], "undecided here")],
)
def test_8_from_the_start_of_the_process(torch, keras, verdict):
    given = Trained(
        workload="w",
        forms=(
            form("torch", "eager", step_seconds=[0.002, 0.002], seconds_to_first_step=torch),
            form("tensorflow", "graph", step_seconds=[0.002, 0.002], seconds_to_first_step=keras),
        ),
    )
    assert verdicts(8, evidence(given, given))[0] == verdict


@pytest.mark.parametrize(
    ("torch", "keras", "failed", "verdict"),
    [
        ([0.5, 0.51], [0.7, 0.71], [], "supported"),
        ([0.7, 0.71], [0.5, 0.51], [], "contradicted"),
        ([0.5, 0.6], [0.55, 0.65], [], "undecided here"),
        ([0.5, 0.6], [0.55, 0.65], [{"workload": "gpt", "framework": "tensorflow"}], "supported"),
        ([0.5, 0.6], [0.55, 0.65], [{"workload": "gpt", "framework": "torch"}], "contradicted"),
    ],
)
def test_10_final_quality_on_home_fields(torch, keras, failed, verdict):
    given = Trained(
        workload="gpt", forms=(form("torch", "eager", val__loss=torch), form("tensorflow", "graph", val__loss=keras))
    )
    assert verdicts(10, evidence(given, given, failed=tuple(failed)))[0] == verdict


def test_claims_without_an_experiment_say_so():
    assert judge_claim(9, None).verdict == "not measured yet"
    assert judge_claim(11, None).verdict == "not measurable"
    assert "--only 4" in judge_claim(4, None).reason


def test_processor_use_is_of_all_cores():
    run = info("torch", "eager")
    environment = {**run.environment, "processor_seconds": 5.0, "process_started": NOW.timestamp() - 10.0}
    known = RunInfo(id="a", name="a", project="p", state="finished", created=NOW, ended=NOW, environment=environment)
    assert processor_percent(known) == pytest.approx(25.0)
    assert processor_percent(run) is None


# In a store


def train(url: str, framework: str, mode: str, seconds: float, *, seed: int = 0, rate: float = 0.1) -> str:
    properties = {"framework": framework, "mode": mode, "precision": "float32", "device": "cpu", "workload": "gpt"}
    with trackside.start_run(
        name=f"{framework}-{seed}",
        project=PROJECT,
        store=url,
        config={"seed": seed, "batch_size": 32, "threads": 1},
        properties={**properties, "total_steps": 30},
    ) as run:
        run.update(environment={"process_started": STARTED, "cpu": "Made-up CPU", "cpu_count": 2})
        run.fingerprint("optimizer", {"name": "SGD", "learning_rate": rate})
        for step in range(30):
            row = {"train/loss": 1.0, "step/seconds": seconds, "step/samples_per_second": 32 / seconds}
            run.log(row, step=step, samples=32 * (step + 1))
        run.log({"val/loss": 0.5}, step=29)
    return str(run.id)


def keep(url: str, number: int, run_ids: list[str], **record: Any) -> str:
    with trackside.start_run(name=RUN_NAME, project=PROJECT, workload=WORKLOAD, store=url) as session:
        session.fingerprint(f"{FINGERPRINT}{number}", {"form": "quick", "run_ids": run_ids, "complete": True, **record})
    return str(session.id)


def test_what_a_session_kept_is_judged_from_the_store(store_url):
    ids = [
        train(store_url, framework, mode, seconds + 0.0001 * seed, seed=seed)
        for seed in (0, 1)
        for framework, mode, seconds in (("torch", "eager", 0.05), ("tensorflow", "graph", 0.03))
    ]
    keep(store_url, 4, ids, skipped=[{"label": "gpt, compile", "reason": "no compiler"}])
    with open_store(store_url) as store:
        found = claim_verdicts(store)
    assert [one.number for one in found] == list(CLAIMS)
    speed = found[3]
    assert speed.parts[0].reason.startswith("Of 1 comparison: 1 so. One workload settles nothing in general.")
    assert set(speed.run_ids) == set(ids)
    assert speed.notes == ("Left out: gpt, compile: no compiler",)
    assert len(speed.comparable["gpt"]) == 2
    row = next(row for row in speed.rows if row.quantity == "samples_per_second")
    assert (row.n, row.unit) == (2, "samples/s")
    assert found[0].verdict == "not measured yet"


def test_the_newest_record_of_each_claim_counts(store_url):
    keep(store_url, 1, [], measured=sources(100, 200))
    keep(store_url, 2, [])
    newest = keep(store_url, 1, [], measured=sources(100, 90))
    with open_store(store_url) as store:
        found = claim_verdicts(store)
        assert read_records(store)[1].session.id == newest
        assert found[0].parts[1].verdict == "supported"
        assert found[1].measured is not None


@pytest.mark.parametrize(
    "record",
    [
        {"run_ids": "abc", "failed": 3, "measured": [1], "machine": None},
        {"run_ids": [None, 4, "gone"], "failed": ["x"], "measured": {"sources": [{"lines": "many"}, 7]}},
        {"measured": {"broken_torch": {"results": [{}], "costs": [{}]}, "control_flow_torch": {"results": [{}]}}},
    ],
)
def test_a_record_of_anything_is_no_crash(record, sqlite_url):
    with trackside.start_run(name=RUN_NAME, project=PROJECT, workload=WORKLOAD, store=sqlite_url) as session:
        for number in (*CLAIMS, 99):
            session.fingerprint(f"{FINGERPRINT}{number}", record)
    with open_store(sqlite_url) as store:
        assert len(claim_verdicts(store)) == len(CLAIMS)


# Reports

HOSTILE = "<script>alert(1)</script> | [x](y) `code`"


def hostile() -> ClaimVerdict:
    found = judge_claim(4, evidence(trained([100, 101], [120, 121], name=HOSTILE), failed=({"label": HOSTILE},)))
    assert any(HOSTILE in row.label for row in found.rows)
    return found


def test_html_report_is_one_file_in_which_text_stays_text():
    page = report_html([hostile(), judge_claim(11, None)])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "src=" not in page
    assert 'href="http' not in page
    assert "Protocol: Made-up CPU" in page


def test_markdown_report_keeps_its_tables():
    page = report_markdown([hostile(), judge_claim(9, None)])
    assert "<script" not in page.replace("\\<script", "")
    lines = [line for line in page.splitlines() if line.startswith("| ") and "samples per second" in line]
    assert lines
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "not measured yet" in page


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "seconds", "12.3 ms"),
        (12.34, "seconds", "12.34 s"),
        (5e8, "bytes", "477 MiB"),
        (1240.4, "samples/s", "1,240 samples/s"),
        (1.2345, None, "1.234"),
        (math.nan, None, "NaN"),
        (None, "seconds", "–"),
        ("yes", None, "yes"),
    ],
)
def test_values_have_their_unit(value, unit, text):
    assert value_text(value, unit) == text
