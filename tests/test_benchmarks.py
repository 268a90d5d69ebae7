"""Every benchmark runs from end to end. What they measure is not looked at: a test must not depend on the machine."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def report_module() -> ModuleType:
    """`benchmarks/report.py`, which is a script's neighbour and in no package."""
    found = importlib.util.spec_from_file_location("benchmark_report", FOLDER / "report.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # where dataclasses look their annotations up
    found.loader.exec_module(module)
    return module


def run(*arguments: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """The benchmarks as `make bench` starts them."""
    command = [sys.executable, str(FOLDER / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def smoke(name: str) -> dict[str, Any]:
    """The one report of a benchmark in its smallest size, checked for what every report has."""
    done = run(name, "--smoke", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["machine"]["cores"] == os.cpu_count()
    assert len(found["machine"]["load_average"]) == 3
    assert "trackside" in found["machine"]["packages"]
    [report] = found["reports"]
    assert report["name"] == name
    assert report["targets"]
    for table in report["tables"]:
        assert table["rows"]
        assert {len(row) for row in table["rows"]} == {len(table["headings"])}
    for target in report["targets"]:
        assert target["ratio"]["low"] <= target["ratio"]["median"] <= target["ratio"]["high"]
        assert target["ratio"]["median"] > 0
    return dict(report)


@pytest.mark.framework
def test_profile_window() -> None:
    report = smoke("profile_window")
    assert [len(table["rows"]) for table in report["tables"]] == [4, 2]


def test_trace_reading() -> None:
    report = smoke("trace_reading")
    assert [table["title"].split(":")[0] for table in report["tables"]] == ["PyTorch", "TensorFlow"]
    for table in report["tables"]:
        [row] = table["rows"]
        assert 1_500 < int(row[0].replace(",", "")) < 4_000


@pytest.mark.framework
def test_log_latency() -> None:
    report = smoke("log_latency")
    tight, busy, survival = report["tables"]
    for loop in (tight, busy):
        assert [row[0] for row in loop["rows"]] == [
            "trackside run.log",
            "SummaryWriter.add_scalar × 10",
            "CSVLogger.log_metrics",
        ]
    logged, lost = (int(cell.replace(",", "")) for cell in survival["rows"][-1][1:])
    assert logged > 0
    assert lost == 0


def test_store_throughput() -> None:
    report = smoke("store_throughput")
    titles = " ".join(table["title"] for table in report["tables"])
    assert "SQLite" in titles
    assert "PostgreSQL" in titles or any("PostgreSQL was left out" in note for note in report["notes"])
    # Bytes depend on no clock: even a few points are smaller as segments than as rows.
    sizes = [target for target in report["targets"] if "SQLite" in target["what"] and "bytes" in target["what"]]
    assert len(sizes) == 4
    assert all(target["ratio"]["median"] < 1 for target in sizes)


def test_import_time() -> None:
    [table] = smoke("import_time")["tables"]
    assert [row[0] for row in table["rows"]][:2] == ["import json, sqlite3, sqlalchemy", "import trackside"]


@pytest.mark.framework
def test_training_overhead() -> None:
    report = smoke("training_overhead")
    assert [table["title"].split(":")[0] for table in report["tables"]] == ["Lightning", "Keras"]


@pytest.mark.framework
def test_dashboard_paint() -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, names)):
        pytest.skip("no Chromium: install it, or set CHROMIUM to its path")
    [table] = smoke("dashboard_paint")["tables"]
    assert {row[0] for row in table["rows"]} == {"trackside Compare", "TensorBoard Time Series"}


@pytest.mark.framework
def test_dashboard_load() -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, names)):
        pytest.skip("no Chromium: install it, or set CHROMIUM to its path")
    report = smoke("dashboard_load")
    paints, answers = report["tables"]
    assert [row[0].split(",")[0] for row in paints["rows"]] == ["Runs", "Runs", "Compare", "Compare"]
    assert [row[0].split()[0] for row in answers["rows"]] == ["rows", "rows", "zoom", "2"]
    assert all(target["ratio"]["median"] > 0 for target in report["targets"])


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    done = run("latency")
    assert done.returncode == 2
    assert "log_latency" in done.stderr


def test_every_benchmark_is_listed_and_described() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"run", "report"}
    listed = run("--help").stdout
    described = (FOLDER / "README.md").read_text()
    for name in scripts:
        assert name in listed
        assert f"`{name}`" in described


def test_contenders_take_turns_at_going_first(report_module: ModuleType) -> None:
    order = [contender for _, contender in report_module.alternating("AB", 4)]
    assert order == list("ABBAABBA")


def test_ratios_are_taken_round_by_round(report_module: ModuleType) -> None:
    # The second round was slow for both: the ratio of the medians would be 1.5.
    ratio = report_module.Ratio.of([2.0, 20.0, 3.0], [1.0, 10.0, 2.0])
    assert ratio.median == 2.0
    assert (ratio.low, ratio.high) == (1.5, 2.0)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (99, 10), (100, 10)])
def test_percentile_is_a_value_that_occurred(report_module: ModuleType, percent: float, expected: float) -> None:
    assert report_module.percentile([3, 1, 2, 10, 5, 4, 8, 7, 6, 9], percent) == expected


def test_a_target_is_reached_on_the_right_side_of_its_bound(report_module: ModuleType) -> None:
    ratio = report_module.Ratio(2.0, 1.0, 3.0)
    assert report_module.Target("faster", ratio, "at least", 2).reached
    assert not report_module.Target("faster", ratio, "at least", 2.1).reached
    assert report_module.Target("smaller", ratio, "at most", 2).reached
    assert not report_module.Target("smaller", ratio, "at most", 1.9).reached


def test_a_report_survives_json(report_module: ModuleType) -> None:
    ratio = report_module.Ratio(0.5, 0.4, 0.6)
    report = report_module.Report(
        name="example",
        tables=[report_module.Table("title", ["what", "ms"], [["ours", "1.0"]])],
        targets=[report_module.Target("ours / theirs", ratio, "at most", 1)],
        notes=["a note"],
    )
    copy = report_module.Report.from_json(json.loads(json.dumps(report.to_json())))
    assert str(copy) == str(report)
    assert "0.500 (0.400 to 0.600)" in str(copy)


def test_the_mean_of_fits_has_the_interval_of_their_scatter(report_module: ModuleType) -> None:
    ratio = report_module.Ratio.mean([1.0, 1.01, 1.02, 1.03])
    assert ratio.median == pytest.approx(1.015)
    # t(0.975, 3) = 3.182, standard deviation 0.01291
    assert (ratio.low, ratio.high) == pytest.approx((1.015 - 0.02054, 1.015 + 0.02054), abs=1e-5)
    assert report_module.Ratio.mean([1.1]) == report_module.Ratio(1.1, 1.1, 1.1)
