"""A workload of somebody's own: the one that docs/workloads.md writes, from its folder."""

import re
from pathlib import Path

import pytest

from trackside.db.errors import UsageError
from trackside.workloads.gate import run_gate
from trackside.workloads.plan import Request, plan_jobs
from trackside.workloads.registry import find_workload

PAGE = Path(__file__).parents[2] / "docs" / "workloads.md"


@pytest.fixture
def folder(tmp_path) -> Path:
    """The folder that the page describes."""
    text = PAGE.read_text(encoding="utf-8")
    made: Path = tmp_path / "line"
    made.mkdir()
    (made / "__init__.py").touch()
    for name in ("problem.py", "torch_lightning.py", "keras_tensorflow.py"):
        found = re.search(rf"^`{name}`.*?\n\n```python\n(.*?)```", text, flags=re.S | re.M)
        assert found is not None, name
        (made / name).write_text(found[1], encoding="utf-8")
    return made


@pytest.mark.framework
def test_the_workload_of_the_page_passes_the_gate(folder):
    report = run_gate(Request(workload=str(folder), steps=20))
    assert report.passed, report.to_json()
    assert {part.name for part in report.parts} >= {"outputs", "loss", "gradient/plane.weight", "gradient/plane.bias"}


def test_it_is_found_by_its_path_and_said_to_lie_there(folder):
    workload = find_workload(str(folder))
    assert (workload.name, workload.package, workload.root) == ("line", "line", str(folder.parent))
    assert (workload.reference, find_workload("gpt").reference) == (str(folder), "gpt")
    assert plan_jobs(Request(workload=str(folder), framework="torch"))[0].settings.steps == 100


def test_it_may_refuse_settings_by_a_rule_of_its_own(folder):
    folder = folder.rename(folder.with_name("even_line"))  # Python has imported the other
    problem = folder / "problem.py"
    rule = """
def check(settings):
    if settings.size % 2:
        raise UsageError(f"--size is {settings.size}, which is odd: pass an even one.")


WORKLOAD = Workload(
    check=check,"""
    text = problem.read_text(encoding="utf-8").replace("WORKLOAD = Workload(", rule)
    problem.write_text(f"from trackside.db.errors import UsageError\n{text}", encoding="utf-8")
    with pytest.raises(UsageError, match="pass an even one"):
        plan_jobs(Request(workload=str(folder), size=3))
    assert len(plan_jobs(Request(workload=str(folder), size=6))) == 2


def test_a_folder_that_is_none_says_what_it_lacks(tmp_path):
    with pytest.raises(UsageError, match=r"no workload: it has no problem\.py"):
        find_workload(str(tmp_path))
    (tmp_path / "empty_one").mkdir()
    (tmp_path / "empty_one" / "problem.py").touch()
    with pytest.raises(UsageError, match="defines no WORKLOAD"):
        find_workload(str(tmp_path / "empty_one"))


def test_an_unknown_name_or_package_is_one_sentence():
    with pytest.raises(UsageError, match=r"run one of .*digits-cnn.*, or name the folder of one of your own"):
        find_workload("mnist")
    with pytest.raises(UsageError, match="There is no workload 'no.such'"):
        find_workload("no.such")


def test_a_package_that_its_problem_needs_is_named(tmp_path):
    made = tmp_path / "needy_one"
    made.mkdir()
    (made / "problem.py").write_text("import no_such_package\n")
    with pytest.raises(UsageError, match="needs no_such_package, which is not installed"):
        find_workload(str(made))
