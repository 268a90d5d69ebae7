"""The team server's files: valid, closed by default, and its commands run here against a real PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"
SETTINGS = {"POSTGRES_PASSWORD": "p@ss:/w%rd ?#", "TRACKSIDE_TOKEN": "a-token-of-a-test"}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<text>[^}]*))?\}")


def interpolate(text: str, settings: dict[str, str]) -> str:
    """What the engine makes of `${NAME:-default}` and `${NAME:?message}`; a missing `:?` is a KeyError."""

    def value(match: re.Match[str]) -> str:
        if match["kind"] == ":-":
            return settings.get(match["name"]) or match["text"]
        return settings[match["name"]]

    return VARIABLE.sub(value, text)


def services(settings: dict[str, str]) -> dict[str, Any]:
    """The services with their merges done and `settings` in place; parsed first, as the engine does."""

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(child) for key, child in node.items()}
        if isinstance(node, list):
            return [fill(child) for child in node]
        return interpolate(node, settings) if isinstance(node, str) else node

    return dict(fill(yaml.safe_load(COMPOSE.read_text())["services"]))


def example_settings() -> dict[str, tuple[str, bool]]:
    """Name -> (value, whether it is commented out) for every setting in .env.example."""
    lines = re.findall(r"^(#?)([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return {name: (value, bool(hidden)) for hidden, name, value in lines}


# ---- The files -------------------------------------------------------------------------------------------------------


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_compose_file_follows_the_specification():
    answer = validate(COMPOSE)
    assert answer.returncode == 0, answer.stdout


def test_the_specification_refuses_a_misspelt_key(tmp_path):
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("healthcheck:", "heathcheck:"))
    answer = validate(broken)
    assert answer.returncode == 1
    assert "heathcheck" in answer.stdout


def test_example_settings_are_those_of_the_compose_file():
    used = {match["name"]: match for match in VARIABLE.finditer(COMPOSE.read_text())}
    example = example_settings()
    assert set(example) == set(used)
    for name, match in used.items():
        value, hidden = example[name]
        if match["kind"] == ":?":
            assert (value, hidden) == ("", False), f"{name} must be asked for, and must have no default"
        else:
            assert hidden, f"{name} has a default and should be commented out"


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "TRACKSIDE_TOKEN"])
def test_secrets_have_no_default(name):
    with pytest.raises(KeyError, match=name):
        services({key: value for key, value in SETTINGS.items() if key != name})


def test_every_port_is_published_on_this_machine_alone():
    ports = [port for service in services(SETTINGS).values() for port in service["ports"]]
    assert len(ports) == 3
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_tensorboard_which_has_no_token_cannot_be_published_by_a_setting():
    opened = services({**SETTINGS, **dict.fromkeys(example_settings(), "0.0.0.0")})
    assert opened["dashboard"]["ports"] == ["0.0.0.0:8050:8050"]
    assert opened["tensorboard"]["ports"] == ["127.0.0.1:6006:6006"]


def test_services_share_one_network_and_the_dashboard_waits_for_the_store():
    parts = services(SETTINGS)
    assert {tuple(service["networks"]) for service in parts.values()} == {("trackside",)}
    assert parts["dashboard"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "healthcheck" in parts["postgres"]


def test_image_holds_the_dashboard_and_no_framework():
    extras = re.search(r"trackside-\*\.whl\)\[([\w,]+)\]", (ROOT / "Dockerfile").read_text())
    assert extras is not None
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [requirement for extra in extras[1].split(",") for requirement in declared[extra]]
    names = {re.split(r"[\[<>=!~ ;]", requirement)[0] for requirement in wanted}
    assert {"dash", "psycopg", "tensorboard"} <= names
    assert not names & {"torch", "lightning", "tensorflow", "tensorflow-cpu", "keras", "trackside"}


def test_image_is_built_from_the_package_alone():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    sent = {line[1:] for line in ignored if line.startswith("!")}
    parts = {path.name for path in (ROOT / "src" / "trackside").iterdir() if path.is_symlink()}
    assert sent == parts | {"src", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}


# ---- The commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def team_store(postgresql_server) -> str:
    """URL, without a password, of a database that the compose file's user may enter with its password alone."""
    password = SETTINGS["POSTGRES_PASSWORD"].replace("'", "''")
    postgresql_server.execute(f"CREATE ROLE trackside LOGIN PASSWORD '{password}'")
    postgresql_server.execute("CREATE DATABASE trackside OWNER trackside")
    rules = postgresql_server.data / "pg_hba.conf"
    rules.write_text(re.sub(r"\btrust$", "scram-sha-256", rules.read_text(), flags=re.MULTILINE))
    postgresql_server.stop()
    postgresql_server.start()
    return str(postgresql_server.url("trackside", user="trackside"))


def here(command: list[str]) -> list[str]:
    """The command with its program taken from this environment."""
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], health: list[str]) -> Iterator[None]:
    """Runs a service's command, waits until its health check passes, and stops it as the engine would."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 90
            while subprocess.run(health, env=environment, capture_output=True).returncode != 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    output = process.communicate()[0].decode()
                    pytest.fail(f"{shlex.join(command)} did not become healthy:\n{output}", pytrace=False)
                time.sleep(0.2)
            yield
        finally:
            process.terminate()


def test_password_opens_the_store_and_nothing_else_does(team_store):
    environment = {**os.environ, "TRACKSIDE_STORE": team_store}
    command = here(["trackside", "runs", "list", "--json"])
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    environment["PGPASSWORD"] = services(SETTINGS)["dashboard"]["environment"]["PGPASSWORD"]
    opened = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(opened.stdout) == []


def test_dashboard_command_serves_the_team_store_to_those_with_the_token(team_store, port):
    service = services(SETTINGS)["dashboard"]
    assert service["environment"]["TRACKSIDE_STORE"] == "postgresql+psycopg://trackside@postgres:5432/trackside"
    environment = {**os.environ, **service["environment"], "TRACKSIDE_STORE": team_store}
    check = re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    assert check is not None
    health = json.loads(check[1].replace(":8050/", f":{port}/"))
    command = [str(port) if word == "8050" else word for word in service["command"]]
    with running(here(command), environment, here(health)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
        assert refused.value.code == 401
        refused.value.close()
        wrong = {**environment, "TRACKSIDE_TOKEN": "another"}
        assert subprocess.run(here(health), env=wrong, capture_output=True).returncode != 0


@pytest.mark.framework
def test_tensorboard_command_serves_the_log_folder(tmp_path, port):
    service = services(SETTINGS)["tensorboard"]
    folder = service["volumes"][0].split(":")[1]
    words = {"6006": str(port), folder: str(tmp_path), "0.0.0.0": "127.0.0.1"}
    health = [word.replace(":6006/", f":{port}/") for word in service["healthcheck"]["test"][1:]]
    command = here([words.get(word, word) for word in service["command"]])
    with (
        running(command, dict(os.environ), here(health)),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/data/environment", timeout=10) as answer,
    ):
        assert json.load(answer)["data_location"] == str(tmp_path)
