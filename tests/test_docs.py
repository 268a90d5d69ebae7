"""The documentation is kept true: it names what exists, all of it and nothing else, and its examples run."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import text

import trackside
from trackside.dashboard.profile_query import ProfileQuery
from trackside.dashboard.query import CompareQuery
from trackside.db.models import Base
from trackside.db.records import STATES
from trackside.runs.run import Run, start_run

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
PARTS = ("db", "runs", "trackers", "workloads", "dashboard")
SOURCES = [
    path
    for folder in (*PARTS, "src/trackside/commands")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
]

TORCH = """
from functools import partial

from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False)
Trainer = partial(Trainer, accelerator="cpu", limit_train_batches=2, limit_val_batches=2, **quiet)
model = BoringModel()
"""
KERAS = """
import keras
import numpy as np

x, y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
"""


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def table(section: str) -> list[list[str]]:
    """Cells of the rows below every table head in some Markdown."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    rules = [at for at, row in enumerate(cells) if set("".join(row)) == {"-"}]
    return [row for at, row in enumerate(cells) if at not in rules and at + 1 not in rules]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def run_script(script: str, folder: Path) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- Commands --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_commands", DOCS / "generate_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands_page_is_what_the_commands_say_now(generator):
    assert page("commands") == generator.page(), "run: python docs/generate_commands.py"


def test_commands_page_has_every_command_and_option(generator):
    import typer.main

    from trackside.cli import app

    found = list(generator.commands(typer.main.get_command(app)))
    assert len(found) > 15
    for words, command in found:
        section = page("commands").split(f"\n## {' '.join(words)}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            for name in (*parameter.opts, *parameter.secondary_opts):
                assert name in section or name.upper() in section


def command_lines() -> list[str]:
    """Every `trackside …` in the pages: a line of an indented block, or in backticks."""
    lines = []
    for document in PAGES:
        plain = document.read_text().replace("\\\n", " ")
        lines += re.findall(r"^ {4}(?:\$ )?(?:\S+=\S+ )*(trackside .*)$", plain, re.MULTILINE)
        lines += re.findall(r"`(trackside [a-z][^`]*)`", plain)
    return sorted(set(lines))


@pytest.mark.parametrize("line", command_lines())
def test_command_line_in_the_pages_exists(line, generator):
    import typer.main

    from trackside.cli import app

    known = {" ".join(words): command for words, command in generator.commands(typer.main.get_command(app))}
    words = line.split()
    name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), None)
    if name is None:
        assert any(command.startswith(f"{words[0]} {words[1]} ") for command in known), f"there is no {line!r}"
        return
    options = {o for parameter in known[name].params for o in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    used = re.findall(r"(?<=\s)--?[a-z][a-z-]*", line.split("#")[0])
    assert set(used) <= options


# ---- Environment -----------------------------------------------------------------------------------------------------


def variables(paths: list[Path]) -> set[str]:
    return {name for path in paths for name in re.findall(r"\bTRACKSIDE_[A-Z_]*[A-Z]\b", path.read_text())}


def test_every_environment_variable_is_documented_and_no_other():
    used = variables([*SOURCES, ROOT / "docker-compose.yml", ROOT / ".env.example"])
    assert {"TRACKSIDE_STORE", "TRACKSIDE_TOKEN"} <= used
    assert variables(PAGES) == used


# ---- Schema ----------------------------------------------------------------------------------------------------------


def documented_tables() -> dict[str, list[str]]:
    sections = re.findall(r"^## `(\w+)`\n(.*?)(?=^## )", page("schema"), re.MULTILINE | re.DOTALL)
    return {name: [codes(row[0])[0] for row in table(body)] for name, body in sections}


def test_schema_page_has_every_table_and_column_and_no_other():
    models = {table.name: [column.name for column in table.columns] for table in Base.metadata.sorted_tables}
    assert documented_tables() == models


@pytest.mark.parametrize("query", blocks(DOCS / "schema.md", "sql"))
def test_query_of_the_schema_page_gives_rows(query, store_url):
    with start_run(name="queried", config={"lr": 0.1}, store=store_url, properties={"framework": "torch"}) as run:
        for step in range(4):
            value = float("nan") if step == 2 else 1.0 / (step + 1)
            run.log({"train/loss": value, "val/loss": value, "step/seconds": 0.01}, step=step)
    with trackside.open_store(store_url) as store, store.read() as connection:
        rows = connection.execute(text(query)).all()
    assert rows
    assert None not in rows[0]


# ---- Trackers --------------------------------------------------------------------------------------------------------


def tracker_class(module: str) -> ast.ClassDef:
    tree = ast.parse((ROOT / "trackers" / f"{module}.py").read_text())
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Tracker"))


def arguments(tracker: ast.ClassDef) -> dict[str, str]:
    """Argument to default of a tracker's constructor, as source."""
    made = next(node for node in tracker.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    names = [argument.arg for argument in (*made.args.args, *made.args.kwonlyargs)][1:]
    defaults = [*made.args.defaults, *made.args.kw_defaults]
    return {name: ast.unparse(value) for name, value in zip(names, defaults, strict=True) if value is not None}


def emitted(tracker: ast.ClassDef) -> set[str]:
    """Keys that a tracker's docstring says it logs."""
    docstring = ast.get_docstring(tracker) or ""
    logged = docstring.partition("Logged for each update")[2].partition("\nArgs:")[0]
    heads = re.findall(r"^ {4}(\w[^:]*(?:,\n {4}[^:]*)*):", logged, re.MULTILINE)
    keys = {key for head in heads for key in re.findall(r"[\w<>]+(?:/[\w<>]+)+", head)}
    return keys | set(re.findall(r"`(\w+/<metric>)`", logged))


TRACKERS = {module: tracker_class(module) for module in ("lightning", "keras")}


def test_callbacks_page_has_every_argument_with_its_default():
    section = page("callbacks").split("## Arguments")[1].split("\n## ")[0]
    documented = {codes(name)[0]: default for name, default, _ in table(section)}
    of_both = {name: value for tracker in TRACKERS.values() for name, value in arguments(tracker).items()}
    assert documented.keys() == of_both.keys()
    for name, default in documented.items():
        if codes(default)[:1] and not default.startswith("`$"):
            assert codes(default)[0].replace('"', "'") == of_both[name], name
        else:
            assert of_both[name] in ("None", "()"), name


def key_rows() -> dict[str, list[str]]:
    section = page("callbacks").split("| key | unit |")[1].split("\n\n")[0]
    return {codes(row[0])[0]: row for row in table("| key | unit |" + section)}


@pytest.mark.parametrize("framework", TRACKERS)
def test_callbacks_page_has_every_emitted_key(framework):
    keys = emitted(TRACKERS[framework])
    assert {"train/loss", "step/seconds", "gpu<i>/energy_joules"} <= keys
    assert keys <= key_rows().keys()


def test_callbacks_page_has_no_key_that_nobody_emits():
    keys = {key for tracker in TRACKERS.values() for key in emitted(tracker)}
    assert {key for key in key_rows() if "…" not in key} == keys


def test_callbacks_page_has_the_unit_of_every_measured_key():
    from trackside.trackers import gpu, session, system

    units = {**session.UNITS, **system.UNITS, **{f"gpu<i>/{name}": unit for name, unit in gpu.FIELDS.items()}}
    assert {key: row[1] for key, row in key_rows().items() if row[1]} == units


def test_callbacks_page_has_every_state():
    section = page("callbacks").split("## How a run ends")[1].split("\n## ")[0]
    assert [codes(row[0])[0] for row in table(section)] == list(STATES)


# ---- Dashboard and export --------------------------------------------------------------------------------------------


def test_dashboard_page_has_every_parameter_of_the_address():
    section = page("dashboard").split("| parameter of `/compare` |")[1].split("\n\n")[0]
    documented = [codes(row[0])[0] for row in table("| parameter |" + section)]
    everything = CompareQuery(
        runs=("a", "b"),
        axis="epoch",
        smoothing=0.5,
        log_y=True,
        metrics=("train/loss",),
        find="loss",
        x_range=(0.0, 1.0),
        pair=("a", "b"),
        difference="train/loss",
        base="a",
        target=0.5,
        starts=(("b", 10),),
        splits=True,
        group="seed",
    )
    left_out = [one.name for one in fields(CompareQuery) if getattr(everything, one.name) == one.default]
    assert left_out == [], "what stands at its default is not in the address, and would not be asked for here"
    assert CompareQuery.parse(everything.search()) == everything
    assert documented == re.findall(r"(\w+)=", everything.search())


def test_dashboard_page_has_every_parameter_of_the_profile():
    section = page("dashboard").split("| parameter of `/profile` |")[1].split("\n\n")[0]
    documented = {codes(row[0])[0] for row in table("| parameter |" + section)}
    kept_by_the_browser = {"q", "sort", "x"}
    everything = ProfileQuery(runs=("a",), family="loss", by="layer", step=1, rank=1).search()
    assert documented - kept_by_the_browser == set(re.findall(r"(\w+)=", everything))
    assert kept_by_the_browser < documented


def test_export_page_has_every_figure_format_width_and_column():
    from trackside.dashboard.export import FIGURES, FORMATS, WIDTHS
    from trackside.dashboard.figure_data import COLUMNS, DIFFERENCE_COLUMNS, START_COLUMN, STEP_TIME_COLUMNS

    documented = {
        part.split("|")[1].strip(" `"): [name for row in table("|" + part) for name in codes(row[0])]
        for part in re.split(r"\n\n\|", page("export"))[1:]
        for part in [f"|{part}".split("\n\n")[0]]
    }
    assert documented["--figure"] == list(FIGURES)
    assert documented["--format"] == list(FORMATS)
    assert documented["--width"] == list(WIDTHS)
    curves, _, steps = page("export").split("## The CSV")[1].partition("Step times, a row")
    assert {name for row in table(curves) for name in codes(row[0])} == {*COLUMNS, *DIFFERENCE_COLUMNS, START_COLUMN}
    assert {name for row in table(steps) for name in codes(row[0])} == set(STEP_TIME_COLUMNS)


# ---- Python ----------------------------------------------------------------------------------------------------------


def test_python_page_has_every_argument_and_method_of_a_run():
    import inspect

    section = page("python").split("| argument of `start_run` |")[1].split("\n\n")[0]
    documented = [codes(row[0])[0] for row in table("| argument |" + section)]
    assert documented == list(inspect.signature(start_run).parameters)
    section = page("python").split("| method of a run |")[1].split("\n\n")[0]
    methods = [codes(row[0])[0].partition("(")[0] for row in table("| method |" + section)]
    public = {name for name, value in vars(Run).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert set(methods) == public


def test_python_page_runs_from_top_to_bottom(tmp_path):
    printed = run_script("\n".join(blocks(DOCS / "python.md", "python")), tmp_path)
    assert "finished 99 0.1" in printed
    assert "There is no run 'never-trained'" in printed


def test_points_unpack_as_the_schema_page_says(tmp_path):
    logged = run_script("\n".join(blocks(DOCS / "python.md", "python")[:1]), tmp_path)
    (example,) = blocks(DOCS / "schema.md", "python")
    assert (logged, run_script(example, tmp_path).split()[:2]) == ("", ["0", "99"])


def test_readme_loop_runs(tmp_path):
    (loop,) = [block for block in blocks(ROOT / "README.md", "python") if "start_run" in block]
    run_script(loop, tmp_path)
    with trackside.open_store(f"sqlite:///{tmp_path}/.trackside/trackside.db") as store:
        assert (store.run("baseline").state, store.run("baseline").last_step) == ("finished", 999)


@pytest.mark.framework
def test_optimizers_page_prints_what_it_says(tmp_path):
    printed = run_script("\n".join(blocks(DOCS / "optimizers.md", "python")), tmp_path)
    assert printed == "".join(blocks(DOCS / "optimizers.md", "text"))


@pytest.mark.framework
@pytest.mark.parametrize("document", ["README.md", "docs/callbacks.md"])
@pytest.mark.parametrize(("tracker", "prelude"), [("LightningTracker", TORCH), ("KerasTracker", KERAS)])
def test_callback_snippet_leaves_a_finished_run(document, tracker, prelude, tmp_path):
    (snippet,) = [block for block in blocks(ROOT / document, "python") if tracker in block]
    run_script(prelude + snippet, tmp_path)
    with trackside.open_store(f"sqlite:///{tmp_path}/.trackside/trackside.db") as store:
        (run,) = store.runs(project="mnist")
        assert run.state == "finished"
        assert len(store.series(run, "train/loss")) >= 5


# ---- The pages themselves --------------------------------------------------------------------------------------------


def test_index_and_readme_lead_to_every_page():
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\((\w+\.md)\)", page("README"))) == pages
    assert set(re.findall(r"\]\(docs/(\w+\.md)\)", (ROOT / "README.md").read_text())) == pages - {"architecture.md"}


def test_readme_names_every_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    install = (ROOT / "README.md").read_text().split("## Use it")[1].split("```")[0]
    assert extras - {"dev"} == {word for code in codes(install) for word in re.findall(r"\w+", code)} & extras | {
        word for listed in re.findall(r"trackside\[([\w,]+)\]", install) for word in listed.split(",")
    }


def test_pictures_of_the_readme_exist():
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', (ROOT / "README.md").read_text())
    assert len(pictures) == 2
    assert all((ROOT / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_link_to_a_heading_leads_to_one(document):
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", document.read_text()):
        target = (document.parent / path if path else document).read_text()
        headings = re.findall(r"^#+ (.+)$", target, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
