"""CONTRIBUTING.md and deploy.md are kept true: what they name exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def files_in_the_tree() -> list[str]:
    """Paths that the annotated tree names, each below the folder whose line it stands under."""
    block = CONTRIBUTING.split("## Where things are")[1].split("##")[0]
    paths, folder = [], ""
    for line in block.splitlines():
        top = re.match(r" {4}([\w/]+/) ", line)
        if top:
            folder = top[1]
            paths.append(folder)
        elif re.match(r" {8}\w", line):
            paths += [folder + name for name in re.findall(r"(?<![\w/])\w+(?:\.py|/)(?=[\s,;:]|$)", line)]
    return paths


@pytest.mark.parametrize("path", files_in_the_tree())
def test_file_in_the_annotated_tree_exists(path):
    assert (ROOT / path).exists()


def test_the_annotated_tree_was_read():
    assert len(files_in_the_tree()) > 30


def test_every_root_folder_is_in_the_annotated_tree():
    parts = {path.name for path in (ROOT / "src" / "trackside").iterdir() if path.is_symlink()}
    assert {f"{part}/" for part in parts} <= set(files_in_the_tree())


def test_make_targets_are_those_of_the_makefile():
    targets = set(re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    described = set(re.findall(r"^\| `make (\w+)`", CONTRIBUTING, re.MULTILINE))
    assert described == targets - {"help", "install"}


def test_fixtures_and_markers_named_exist():
    conftest = (ROOT / "tests" / "conftest.py").read_text()
    fixtures = re.search(r"\| fixture \| gives \|\n\|.*\n((?:\|.*\n)+)", CONTRIBUTING)
    assert fixtures is not None
    for row in fixtures[1].splitlines():
        for name in re.findall(r"`(\w+)`", row.split("|")[1]):
            assert f"def {name}(" in conftest
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    for marker in settings["markers"]:
        assert f"`{marker.split(':')[0]}`" in CONTRIBUTING or f"mark.{marker.split(':')[0]}`" in CONTRIBUTING


@pytest.mark.parametrize(
    ("document", "link"),
    [
        (path, link)
        for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
        for link in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text())
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_relative_link_leads_somewhere(document, link):
    assert (document.parent / link).exists()
