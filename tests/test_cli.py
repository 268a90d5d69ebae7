"""The command: what it prints, what it refuses, its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import trackside
from trackside.cli import app
from trackside.db.engine import resolve_url
from trackside.runs.journal import journal_folder

COMMANDS = [
    "demo",
    "workloads",
    "run",
    "claims",
    "dashboard",
    "runs",
    "compare",
    "debug",
    "export",
    "report",
    "profile",
    "import",
    "sync",
    "db",
    "doctor",
]
SUBCOMMANDS = [
    *(["runs", name] for name in ("list", "show", "tag", "untag", "note", "rename", "baseline", "rm", "restore")),
    ["db", "upgrade"],
    ["db", "check"],
    ["import", "trace"],
]


def command(*arguments, store=None, env=None):
    """Run the real command in a process of its own."""
    chosen = ["--store", store] if store else []
    return subprocess.run(
        [sys.executable, "-m", "trackside.cli", *arguments, *chosen],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )


@pytest.fixture
def filled(sqlite_url):
    """A store with two runs; ids by name."""
    ids = {}
    for name, scale in (("first", 1.0), ("second", 1.1)):
        with trackside.start_run(name=name, project="p", store=sqlite_url, config={"lr": scale}) as run:
            for step in range(20):
                run.log({"train/loss": scale / (step + 1), "step/seconds": 0.01}, step=step)
            ids[name] = run.id
    return sqlite_url, ids


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), *SUBCOMMANDS], ids=" ".join)
def test_every_command_explains_itself_with_an_example(words):
    from typer.testing import CliRunner

    answer = CliRunner().invoke(app, [*words, "--help"])
    assert answer.exit_code == 0
    if words and words not in (["db"], ["import"]):
        assert "Example: trackside" in answer.output


def test_runs_are_listed_as_json_and_as_a_table(filled):
    url, ids = filled
    listed = json.loads(command("runs", "list", "--json", store=url).stdout)
    assert [run["name"] for run in listed] == ["second", "first"]
    assert listed[0]["state"] == "finished"
    assert listed[0]["last_step"] == 19
    table = command("runs", store=None, env={"TRACKSIDE_STORE": url}).stdout
    assert ids["first"] in table
    assert "0.05" in table


def test_one_run_is_shown(filled):
    url, ids = filled
    shown = command("runs", "show", ids["first"][:6], store=url)
    assert "train/loss" in shown.stdout
    found = json.loads(command("runs", "show", "first", "--json", store=url).stdout)
    assert found["config"] == {"lr": 1.0}
    assert {series["name"] for series in found["series"]} == {"train/loss", "step/seconds"}


def test_runs_are_tagged_deleted_restored_and_purged(filled):
    url, ids = filled
    assert command("runs", "tag", "first", "paper", store=url).returncode == 0
    assert command("runs", "note", "first", "a <b>note</b>", store=url).returncode == 0
    assert command("runs", "rename", "first", "renamed", store=url).returncode == 0
    assert command("runs", "rename", "renamed", "first", store=url).returncode == 0
    assert command("runs", "rm", "first", store=url).returncode == 0
    assert [run["id"] for run in json.loads(command("runs", "list", "--json", store=url).stdout)] == [ids["second"]]
    assert command("runs", "restore", ids["first"], store=url).returncode == 0
    with trackside.open_store(url) as store:
        assert (store.run("first").tags, store.run("first").notes) == (("paper",), "a <b>note</b>")
    refused = command("runs", "rm", "--purge", "first", store=url)
    assert refused.returncode == 2
    assert "delete it first" in refused.stderr


def test_two_runs_are_compared(filled):
    url, ids = filled
    answer = json.loads(command("compare", "first", ids["second"], "--json", store=url).stdout)
    assert answer["parity"]["verdict"] in ("amber", "red")
    assert {run["id"] for run in answer["runs"]} == set(ids.values())
    assert answer["parted_at"] == 0
    table = command("compare", "first", "second", store=url)
    assert table.returncode == 0
    assert "part at step 0" in table.stdout


def test_a_csv_of_another_logger_is_brought_in_once(filled, tmp_path):
    url, _ = filled
    (tmp_path / "metrics.csv").write_text("epoch,step,train_loss\n0,0,1.5\n0,1,1.25\n")
    arguments = ["import", "csv", str(tmp_path / "metrics.csv"), "--project", "old", "--json"]
    (first,) = json.loads(command(*arguments, store=url).stdout)
    (again,) = json.loads(command(*arguments, store=url).stdout)
    assert (first["new_points"], again["new_points"], again["known_points"]) == (2, 0, 2)
    assert first["renamed"] == {"train/loss": "train_loss"}


def test_figures_are_exported(filled, tmp_path):
    url, _ = filled
    arguments = ["--figure", "loss", "--format", "pdf", "--format", "csv", "-o", str(tmp_path / "figures")]
    answer = command("export", "first", "second", *arguments, store=url)
    assert answer.returncode == 0, answer.stderr
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["loss.csv", "loss.pdf"]
    assert (tmp_path / "figures" / "loss.pdf").read_bytes().startswith(b"%PDF")


def test_a_view_is_exported_by_what_it_finds_and_by_its_address(filled, tmp_path):
    url, ids = filled

    def written(*arguments):
        folder = tmp_path / f"figures-{len(list(tmp_path.iterdir()))}"
        answer = command("export", *arguments, "--format", "csv", "-o", str(folder), store=url)
        assert answer.returncode == 0, answer.stderr
        return {path.name: path.read_text() for path in folder.iterdir()}

    assert set(written("first", "second", "--find", "SECONDS$")) == {"step-seconds.csv"}
    address = f"http://127.0.0.1:8050/compare?runs={','.join(ids.values())}&axis=relative&x=0,100"
    assert set(written(f"{address}&find=loss%7Csec")) == {"train-loss.csv", "step-seconds.csv"}
    (by_page,) = written(address).values()
    assert ",relative," in by_page
    (by_option,) = written(f"{address}&smoothing=0.5", "--axis", "step").values()
    assert ",step," in by_option
    assert by_option.splitlines()[2].split(",")[8] != ""  # smoothed, as the address says
    page = command("report", f"{address}&find=loss", "-o", str(tmp_path / "report.html"), store=url)
    assert page.returncode == 0, page.stderr
    assert (tmp_path / "report.html").read_text().count("<figure>") == 1


def test_the_code_of_two_runs_is_compared(tmp_path, sqlite_url):
    for name, rate in (("one", "0.1"), ("two", "[red]0.2[/]")):
        script = tmp_path / f"{name}.py"
        script.write_text(f"import torch\nlr = {rate}\n")
        with trackside.start_run(name=name, store=sqlite_url, source=script) as run:
            run.log({"train/loss": 1.0}, step=0)
    printed = command("compare", "one", "two", "--diff", store=sqlite_url)
    assert printed.returncode == 0, printed.stderr
    assert "--- one.py\n+++ two.py\n import torch\n-lr = 0.1\n+lr = [red]0.2[/]\n" in printed.stdout
    (code,) = json.loads(command("compare", "one", "two", "--diff", "--json", store=sqlite_url).stdout)["code"]
    assert (code["script"]["added"], code["script"]["removed"]) == (1, 1)
    assert "code" not in json.loads(command("compare", "one", "two", "--json", store=sqlite_url).stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs", "show", "nothing"], 2, "There is no run 'nothing'"),
        (["compare", "first"], 2, "two"),
        (["runs", "list", "--state", "asleep"], 2, "running, finished"),
        (["export", "first", "second", "--figure", "nothing"], 2, "nothing"),
        (["export", "first", "second", "--format", "docx"], 2, "docx"),
        (["export", "first", "second", "--axis", "time"], 2, "relative"),
        (["import", "mlflow", "nowhere"], 2, "There is no nowhere"),
        (["export", "first", "second", "--find", "("], 2, "close every bracket"),
        (["export", "first", "second", "--find", "accuracy"], 2, "they logged train/loss"),
        (["export", "?runs=first", "second"], 2, "give it alone"),
        (["report", "/compare?runs="], 2, "names no run"),
        (["report", "first", "second", "-o", "report.doc"], 2, "end its name in .html or .pdf"),
        (["report", "first", "second", "--text", "@/nowhere.txt"], 2, "cannot be read"),
        (["run", "nothing"], 2, "run one of digits-cnn"),
        (["run", "digits-cnn", "--steps", "0"], 2, "step"),
        (["run", "digits-cnn", "--framework", "jax"], 2, "torch"),
        (["no-such-command"], 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(filled, arguments, code, says):
    url, _ = filled
    answer = command(*arguments, store=None, env={"TRACKSIDE_STORE": url})
    assert answer.returncode == code, answer.stderr
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("nonsense", 2, "sqlite:///path/to/file.db"),
        ("mysql://host/db", 2, "SQLite or PostgreSQL"),
        ("postgresql://nobody@127.0.0.1:1/db", 1, "does not answer"),
        ("sqlite:////proc/version", 1, "cannot be opened"),
    ],
)
def test_a_store_that_cannot_be_used(url, code, says):
    answer = command("runs", "list", store=url)
    assert answer.returncode == code, answer.stderr
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


def test_any_command_brings_in_what_a_killed_process_left(sqlite_url):
    code = """
import os, sys, trackside
run = trackside.start_run(name="victim", store=sys.argv[1])
run.log({"x": 1.0}, step=0)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code, sqlite_url]).returncode == -signal.SIGKILL
    (listed,) = json.loads(command("runs", "list", "--json", store=sqlite_url).stdout)
    assert listed["state"] == "lost"
    assert list(journal_folder(resolve_url(sqlite_url)).glob("*")) == []
    with trackside.open_store(sqlite_url) as store:
        assert store.series("victim", "x").values.tolist() == [1.0]


def test_a_reader_that_has_seen_enough_is_no_error(filled):
    url, _ = filled
    reading, writing = os.pipe()
    os.close(reading)
    answer = subprocess.run(
        [sys.executable, "-m", "trackside.cli", "runs", "list", "--json", "--store", url],
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert b"Traceback" not in answer.stderr


def test_sync_doctor_check_and_upgrade(filled):
    url, _ = filled
    assert "Nothing is waiting" in command("sync", store=url).stdout
    assert json.loads(command("sync", "--json", store=url).stdout) == []
    assert "2 runs" in command("doctor", store=url).stdout
    assert "80 points are sound" in command("db", "check", store=url).stdout
    assert "schema" in command("db", "upgrade", store=url).stdout


def test_check_finds_damage(filled):
    url, _ = filled
    with trackside.open_store(url) as store, store.write() as connection:
        connection.exec_driver_sql("UPDATE segments SET payload = x'00' WHERE id = 1")
    answer = command("db", "check", store=url)
    assert answer.returncode == 1
    assert "damaged" in answer.stderr


def test_commands_start_quickly_enough_to_be_used(filled):
    # Not a timing: a command that loads a framework or Dash would show in the modules it imported.
    url, _ = filled
    code = "import sys; sys.argv=['trackside','runs','list','--store',sys.argv[1]]\n"
    code += "from trackside.cli import app\ntry: app()\nexcept SystemExit: pass\n"
    code += "assert not {'torch','tensorflow','dash','pandas','plotly'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, url], check=True, capture_output=True)


def test_a_journal_that_cannot_be_read_does_not_hide_the_runs(filled):
    url, _ = filled
    folder = journal_folder(resolve_url(url))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "00000000000000000000-damaged-0-00000000.journal").write_bytes(b"nothing")
    answer = command("runs", "list", "--json", store=url)
    assert answer.returncode == 0
    assert {run["name"] for run in json.loads(answer.stdout)} == {"first", "second"}
    assert "damaged" in answer.stderr
    assert command("sync", store=url).returncode == 1


def test_a_terminal_without_unicode_gets_a_table(filled):
    url, _ = filled
    answer = command("runs", "list", store=url, env={"PYTHONIOENCODING": "ascii"})
    assert answer.returncode == 0
    assert "first" in answer.stdout


def test_debug_prints_what_broke_with_the_line_marked_and_what_to_look_at(tmp_path, sqlite_url):
    script = tmp_path / "train.py"
    script.write_text(
        "import trackside\n"
        f"with trackside.start_run(name='broken', store={sqlite_url!r}) as run:\n"
        "    run.log({'train/loss': 1.0}, step=0)\n"
        "    labels = [0, 1]\n"
        "    labels[7]\n"
    )
    assert subprocess.run([sys.executable, str(script)], capture_output=True).returncode == 1
    with trackside.start_run(name="fine", store=sqlite_url) as run:
        run.log({"train/loss": 1.0}, step=0)
    shown = command("debug", "broken", store=sqlite_url)
    assert shown.returncode == 0, shown.stderr
    assert "Exception at step 0" in shown.stdout
    assert "IndexError: list index out of range" in shown.stdout
    assert ">     5 │     labels[7]" in shown.stdout
    assert "→" in shown.stdout
    assert "Traceback" not in shown.stdout
    assert "Traceback" in command("debug", "broken", "--traceback", store=sqlite_url).stdout
    found = json.loads(command("debug", "broken", "--json", store=sqlite_url).stdout)
    (event,) = found["events"]
    assert (event["kind"], event["step"], event["quantity"], event["layer"]) == ("exception", 0, None, None)
    assert (event["source"]["file"], event["source"]["line"]) == (str(script), 5)
    assert [5, "    labels[7]"] in event["source"]["code"]
    healthy = command("debug", "fine", store=sqlite_url)
    assert (healthy.returncode, "Nothing went wrong" in healthy.stdout) == (0, True)
    assert json.loads(command("debug", "fine", "--json", store=sqlite_url).stdout)["events"] == []
    assert command("debug", "nobody", store=sqlite_url).returncode == 2


# ---- Traces ----------------------------------------------------------------------------------------------------------


def trace(scale=1):
    """Two steps as torch.profiler exports them."""
    events = [("ProfilerStep#0", 0, 100), ("ProfilerStep#1", 100, 50), ("aten::mm", 10, 60), ("aten::mul", 110, 20)]
    kinds = ("user_annotation", "user_annotation", "cpu_op", "cpu_op")
    return json.dumps([
        {"ph": "X", "cat": kind, "name": name, "pid": 1, "tid": 1, "ts": scale * at, "dur": scale * long}
        for kind, (name, at, long) in zip(kinds, events, strict=True)
    ])  # fmt: skip


def test_an_imported_trace_is_shown_beside_another_and_written_for_other_tools(filled, tmp_path):
    url, ids = filled
    for run, scale in (("first", 1), ("second", 1000)):
        file = tmp_path / f"{run}.json"
        file.write_text(trace(scale))
        done = command("import", "trace", str(file), "--run", run, store=url)
        assert done.returncode == 0, done.stderr
        assert f"2 steps of {0.075 * scale:.4g} ms" in done.stdout
    done = command("profile", "first", "second", "--json", "--export", str(tmp_path / "out"), store=url)
    assert done.returncode == 0, done.stderr
    assert "merged.trace.json.gz" in done.stderr
    assert (tmp_path / "out" / "merged.trace.json.gz").stat().st_size > 0
    first, second = json.loads(done.stdout)["runs"]
    assert (first["id"], second["id"]) == (ids["first"], ids["second"])
    assert first["steps"] == 2
    assert sum(second["split"].values()) == pytest.approx(second["mean_step_seconds"]) == pytest.approx(0.075)
    assert [(one["family"], one["seconds"]) for one in first["families"]] == [
        ("matmul", pytest.approx(30e-6)), ("other", pytest.approx(10e-6))
    ]  # fmt: skip
    assert first["classified_fraction"] == pytest.approx(0.75)
    shown = command("profile", "first", "second", "--top", "1", store=url).stdout
    assert "1000.00×" in shown
    assert "+74.9 ms" in shown
    assert "aten::mm" in shown
    assert "aten::mul" not in shown


def test_each_of_several_profiles_has_its_difference_and_ratio_to_the_first():
    from trackside.commands.profile import _against

    assert _against(["a", "b", "c"], [0.002, 0.003, 0.001]) == ["a", "b", "+1 ms", "1.50×", "c", "−1 ms", "0.50×"]
    assert _against(["a", "b", "c"], [0.002, None, 0.002]) == ["a", "b", "", "", "c", "0", "1.00×"]
    assert _against(["a", "b"], [None, 0.001]) == ["a", "b", "", ""]


def test_what_cannot_be_shown_or_imported_is_one_sentence(filled, tmp_path):
    url, _ = filled
    (tmp_path / "cut.json").write_text(trace()[:-40])
    (tmp_path / "junk.pb").write_bytes(b"junk")
    for arguments, code, sentence in (
        (("profile", "first"), 2, "has no profiler trace"),
        (("profile", "first", "--by", "layer"), 2, "by family or by operator"),
        (("profile", "nobody"), 2, "no run 'nobody'"),
        (("import", "trace", "nothing.json", "--run", "first"), 2, "no file nothing.json"),
        (("import", "trace", ".", "--run", "first"), 2, "is a folder"),
        (("import", "trace", "junk.pb", "--run", "first"), 2, "no profiler trace"),
        (("import", "trace", "cut.json", "--run", "first"), 1, "ends in the middle"),
        (("import", "trace", "cut.json", "--run", "nobody"), 2, "no run 'nobody'"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "trackside.cli", *arguments, "--store", url],
            capture_output=True, text=True, timeout=120, cwd=tmp_path,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
