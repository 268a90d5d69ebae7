"""The training script that a run keeps: which file, without secrets, and never at the cost of the training."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import trackside
from trackside.db.errors import UsageError
from trackside.runs import script
from trackside.runs.script import read_script, script_of
from trackside.runs.scrub import scrub_code

TRAINING = """
import sys
import trackside

API_KEY = "sk-abcdefghijklmnopqrstuvwx"
with trackside.start_run(name="kept", store=sys.argv[1]{more}) as run:
    run.log({{"train/loss": 1.0}}, step=0)
    print(run.id)
"""


@pytest.fixture
def started(tmp_path, sqlite_url):
    """Runs a script as a user would; the id of its run."""

    def start(text: str, name: str = "train.py") -> str:
        file = tmp_path / name
        file.write_text(text)
        done = subprocess.run([sys.executable, name, sqlite_url], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout.strip()

    return start


def test_a_run_keeps_its_script_without_secrets(started, sqlite_url, tmp_path):
    run = started(TRAINING.format(more=""))
    with trackside.open_store(sqlite_url) as store:
        kept = script_of(store, run)
        (artifact,) = store.artifacts(run, "source")
    assert kept.name == artifact.name == "train.py"
    assert kept.path == str(tmp_path / "train.py")
    assert kept.text == TRAINING.format(more="").replace("sk-abcdefghijklmnopqrstuvwx", "***")


def test_it_is_off_by_an_option_and_takes_another_file(started, sqlite_url, tmp_path):
    (tmp_path / "model.py").write_text("layers = 3\n")
    without, other = (started(TRAINING.format(more=f", source={value}")) for value in ("False", "'model.py'"))
    with trackside.open_store(sqlite_url) as store:
        assert script_of(store, without) is None
        assert script_of(store, other).text == "layers = 3\n"


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01binary",
        b"\xff\xfe\xfa not utf-8",
        b"# -*- coding: no-such-code -*-\n",
        b"x = 1\n" * 60_000,
    ],
)
def test_what_is_no_script_is_left_out(tmp_path, content):
    file = tmp_path / "train.py"
    file.write_bytes(content)
    assert read_script(file) is None
    assert read_script(tmp_path) is None
    assert read_script(tmp_path / "missing.py") is None


def test_a_script_is_read_in_its_own_encoding_and_long_lines_are_cut(tmp_path):
    file = tmp_path / "train.py"
    file.write_bytes("# -*- coding: latin-1 -*-\nname = 'é'\n".encode("latin-1") + b"data = '" + b"a" * 9000 + b"'\n")
    text = read_script(file)
    assert "name = 'é'" in text
    assert max(map(len, text.splitlines())) == script.LONGEST_LINE + 1


def test_a_script_that_cannot_be_kept_stops_nothing(tmp_path, sqlite_url, monkeypatch):
    file = tmp_path / "train.py"
    file.write_text("x = 1\n")
    monkeypatch.setattr(trackside.Run, "scratch", lambda run, suffix: tmp_path / "nowhere" / "script")
    with trackside.start_run(store=sqlite_url, source=file) as run:
        run.log({"train/loss": 1.0}, step=0)
    with trackside.open_store(sqlite_url) as store:
        assert script_of(store, run.id) is None
        assert store.run(run.id).state == "finished"
        assert not store.run(run.id).warnings


def test_a_source_that_cannot_be_is_refused_before_training(sqlite_url):
    with pytest.raises(UsageError, match="no such file"):
        trackside.start_run(store=sqlite_url, source="missing.py")
    with pytest.raises(UsageError, match="source is 3"):
        trackside.start_run(store=sqlite_url, source=3)


def test_only_the_first_process_of_a_new_run_keeps_it(tmp_path, sqlite_url):
    file = tmp_path / "train.py"
    file.write_text("x = 1\n")
    with trackside.start_run(store=sqlite_url, source=file) as run:
        run.log({"train/loss": 1.0}, step=0)
    with trackside.start_run(store=sqlite_url, id=run.id, rank=1, source=file):
        pass
    with trackside.start_run(store=sqlite_url, id=run.id, resume=True, source=file):
        pass
    with trackside.open_store(sqlite_url) as store:
        assert len(store.artifacts(run.id, "source")) == 1


def test_the_command_of_a_package_is_nobodys_script(monkeypatch):
    class Main:
        __file__ = "/opt/venv/lib/python3.11/site-packages/pytest/__main__.py"

    monkeypatch.setitem(sys.modules, "__main__", Main)
    assert script.main_script() is None
    Main.__file__ = "/home/me/train.py"
    assert str(script.main_script()) == "/home/me/train.py"
    del Main.__file__  # a notebook, or a prompt
    assert script.main_script() is None


@pytest.mark.parametrize(
    ("code", "secret"),
    [
        ('password: str = "hunter2"', "hunter2"),
        ("os.environ['WANDB_API_KEY'] = '0123456789abcdef'", "0123456789abcdef"),
        ('os.environ.setdefault("HF_TOKEN", "abcdefghijklmnop")', "abcdefghijklmnop"),
        ('wandb.login(key="0123456789abcdef0123456789abcdef01234567")', "0123456789abcdef"),
        ('secret = """over\nlines"""', "lines"),
        ('+    "postgres_password": "hunter2",', "hunter2"),
        ('url = "postgresql://me:hunter2@host/runs"', "hunter2"),
    ],
)
def test_secrets_in_code_are_blotted_out(code, secret):
    assert secret not in scrub_code(code)
    assert "***" in scrub_code(code)


def test_code_that_holds_no_secret_stays_as_it_is():
    code = textwrap.dedent(
        """
        pad_token = "<pad>"
        batch = {"tokens": tokens, "key": 3}
        model = Model(keys=4, name="secret-free")
        """
    )
    assert scrub_code(code) == code


def test_a_plain_loop_blots_secrets_out_of_its_configuration(sqlite_url):
    with trackside.start_run(
        store=sqlite_url, config={"lr": 0.1, "api_key": "hunter2", "deep": [{"password": "x"}]}
    ) as run:
        run.update(config={"hf_token": "hf_abcdefghijklmnopqrstuvwx", "pad_token": "<pad>"})
    with trackside.open_store(sqlite_url) as store:
        config = store.run(run.id).config
    assert config == {
        "lr": 0.1, "api_key": "***", "deep": [{"password": "***"}], "hf_token": "***", "pad_token": "<pad>"
    }  # fmt: skip
