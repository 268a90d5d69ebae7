"""What is installed: `trackside`, whole and alone, though its parts are folders at the root of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("db", "runs", "trackers", "workloads", "dashboard")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads, links kept as links; building in place would leave folders in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("src", *PARTS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=NOT_SHIPPED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as an installer without a wheel would."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site-packages folder that holds the wheel alone."""
    target = tmp_path_factory.mktemp("site-packages")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, capture_output=True)
    return target


@pytest.mark.parametrize("part", PARTS)
def test_part_is_a_relative_link_to_the_folder_at_the_root(part):
    link = ROOT / "src" / "trackside" / part
    assert link.is_symlink(), f"{link} is no link: clone again with `git clone -c core.symlinks=true`"
    assert link.readlink() == Path("..") / ".." / part
    assert link.resolve() == ROOT / part


def test_every_link_in_the_package_is_one_of_the_five_parts():
    links = {path.name for path in (ROOT / "src" / "trackside").iterdir() if path.is_symlink()}
    assert links == set(PARTS)


def test_wheel_holds_trackside_and_its_metadata_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    version = wheel.name.split("-")[1]
    assert top == {"trackside", f"trackside-{version}.dist-info"}


def test_wheel_holds_every_file_of_the_package(wheel, source):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("trackside/")}
    package = source / "src" / "trackside"
    expected = {
        f"trackside/{Path(folder, name).relative_to(package)}"
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
    }
    assert packed == expected


@pytest.mark.parametrize(
    "needed",
    [
        "trackside/py.typed",
        "trackside/db/migrations/env.py",
        "trackside/db/migrations/script.py.mako",
        "trackside/runs/traces/xplane.proto",
        "trackside/runs/traces/hlo.proto",
    ],
)
def test_wheel_holds_what_is_read_at_run_time(wheel, needed):
    with zipfile.ZipFile(wheel) as archive:
        assert needed in archive.namelist()


def test_installing_adds_trackside_alone_as_real_files(installed):
    # bin/ is where --target puts the command; in an environment it goes beside the interpreter.
    names = {path.name.split("-")[0] for path in installed.iterdir()} - {"bin"}
    assert names == {"trackside"}
    assert (installed / "bin" / "trackside").is_file()
    assert not [path for path in installed.rglob("*") if path.is_symlink()]


def test_installed_package_makes_a_store(installed, tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import trackside\n"
        "with trackside.open_store(sys.argv[2]) as store:\n"
        "    print(trackside.__file__, store.runs())"
    )
    # -I leaves out the environment and the working directory; the editable install comes after argv[1] on the path.
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program, str(installed), f"sqlite:///{tmp_path / 'trackside.db'}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.split() == [str(installed / "trackside" / "__init__.py"), "[]"]
