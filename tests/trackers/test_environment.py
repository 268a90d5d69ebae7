"""What a run says of machine and code, and what it never says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from trackside.runs.scrub import scrub, scrub_command, scrub_text
from trackside.trackers import environment
from trackside.trackers.environment import describe_git, describe_machine


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with one commit and no change."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "train.py").write_text("learning_rate = 0.1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MY_SERVICE_PASSWORD", "hunter2-in-the-environment")
    monkeypatch.setattr(sys, "argv", ["train.py", "--api-key", "abc123", "--lr=0.1"])
    found = describe_machine(threads={"tensorflow_intraop": 2})
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["memory_bytes"] == psutil.virtual_memory().total
    assert found["cpu_count"] >= 1
    assert found["cpu"]
    assert found["gpus"] == []
    assert found["packages"]["numpy"] == np.__version__
    assert "pytest" not in found["packages"]
    assert found["threads"]["OMP_NUM_THREADS"] == "3"
    assert found["threads"]["tensorflow_intraop"] == 2
    assert found["command"] == ["train.py", "--api-key", "***", "--lr=0.1"]
    assert len(found["load_average"]) == 3
    assert "hunter2" not in repr(found)


def test_clean_checkout(checkout: Path) -> None:
    assert describe_git(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_dirty_checkout_keeps_the_difference_without_secrets(checkout: Path) -> None:
    (checkout / "train.py").write_text('learning_rate = 0.2\napi_key = "sk-abcdefghijklmnopqrstuvwx"\n')
    state = describe_git(checkout)
    assert state is not None
    assert state["dirty"] is True
    assert "+learning_rate = 0.2" in state["diff"]
    assert "sk-abc" not in state["diff"]
    assert state["diff_truncated"] is False


def test_long_difference_is_cut(checkout: Path) -> None:
    (checkout / "train.py").write_text("x = 1\n" * 100_000)
    state = describe_git(checkout)
    assert state is not None
    assert state["diff_truncated"] is True
    assert len(state["diff"]) <= environment.LARGEST_DIFF


def test_staged_changes_count_and_configured_programs_do_not_run(checkout: Path) -> None:
    marker = checkout / "was-run"
    git(checkout, "config", "diff.external", f"touch {marker}; true")
    (checkout / "train.py").write_text("learning_rate = 0.3\n")
    git(checkout, "add", ".")
    state = describe_git(checkout)
    assert state is not None
    assert "+learning_rate = 0.3" in state["diff"]
    assert not marker.exists()


def test_outside_a_checkout_or_without_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe_git(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_git(tmp_path) is None


def test_git_that_hangs_is_given_up(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    slow = programs / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(environment, "GIT_SECONDS", 0.2)
    assert describe_git(checkout) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--password", "hunter2"],
        ["--db-password=hunter2"],
        ["--token", "hunter2hunter2hunter2"],
        ["WANDB_API_KEY=hunter2"],
        ["postgresql://me:hunter2@db/runs"],
        ["--url", "https://hunter2@example.org/x"],
        ["--header", "Authorization: Bearer hunter2hunter2"],
        ["--hf", "hf_hunter2hunter2hunter2hunter2"],
        ["ghp_hunter2hunter2hunter2hunter2"],
        ['{"secret": "hunter2"}'],
    ],
)
def test_secrets_leave_the_command_line(arguments: list[str]) -> None:
    assert "hunter2" not in " ".join(scrub_command(["train.py", *arguments]))


@pytest.mark.parametrize(
    "argument",
    [
        "--lr=0.001",
        "--max-tokens=4096",
        "--tokenizer=bert-base-uncased",
        "--pad-token=<pad>",
        "--author=someone",
        "model.hidden_size=512",
        "https://example.org/data?split=train",
        "/data/monkeys/keys.csv",
    ],
)
def test_harmless_arguments_stay(argument: str) -> None:
    assert scrub_command([argument]) == [argument]


def test_settings_become_plain_and_lose_their_secrets() -> None:
    settings = {
        "lr": 1e-3,
        "layers": (64, 32),
        "path": Path("/data"),
        "scale": np.float32(0.5),
        "activation": np.tanh,
        "kind": dict,
        "nothing": None,
        "limit": float("inf"),
        "deep": {
            "api_key": "abc",
            "password": "x",
            "token": "0123456789abcdef",
            "max_tokens": 4096,
            "pad_token": "<p>",
        },
        "store": "postgresql://me:pw@host/db",
    }
    assert scrub(settings) == {
        "lr": 1e-3,
        "layers": [64, 32],
        "path": "/data",
        "scale": 0.5,
        "activation": scrub(np.tanh),
        "kind": "builtins.dict",
        "nothing": None,
        "limit": "inf",
        "deep": {"api_key": "***", "password": "***", "token": "***", "max_tokens": 4096, "pad_token": "<p>"},
        "store": "postgresql://***@host/db",
    }
    assert isinstance(scrub(np.tanh), str)


def test_settings_that_contain_themselves_end() -> None:
    endless: dict[str, object] = {}
    endless["self"] = endless
    assert "self" in scrub(endless)


def test_long_text_is_scrubbed_before_it_is_shown() -> None:
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE" + "A" * 5000
    assert "MIIE" not in scrub_text(key)
    assert len(scrub("x" * 10_000)) == 2000


def test_git_is_not_waited_for_once_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker forked while git ran holds the other end of its pipe, as a data loader's do."""
    script, later = tmp_path / "git", tmp_path / "later"
    script.write_text(f"#!/bin/sh\n(sleep 20; touch {later}) 2>/dev/null &\necho said\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert environment._git(tmp_path, "status") == "said\n"
    assert not later.exists()
