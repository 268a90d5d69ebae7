"""What can be run: the workloads that come with trackside, and those of somebody's own. Imports no framework."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

from ..db.errors import UsageError
from .workload import Workload

BUILT_IN = ("digits_cnn", "fraud", "gan", "gpt", "gru", "lstm", "recommender", "resnet50", "tabular", "yolo")
"""Folders beside this file, each with a `problem` module that holds a `WORKLOAD`."""


def list_workloads() -> list[Workload]:
    """All workloads that come with trackside, by name."""
    found = [load_workload(f"{__package__}.{folder}") for folder in BUILT_IN]
    return sorted(found, key=lambda workload: workload.name)


def find_workload(name: str) -> Workload:
    """The workload of that name, or one of somebody's own.

    Args:
        name: a name that `list_workloads` knows, the path of a folder, or the dotted name of a package.

    Raises:
        UsageError: there is none.
    """
    folder = name.replace("-", "_")
    if folder in BUILT_IN:
        return load_workload(f"{__package__}.{folder}")
    if "/" in name or Path(name).is_dir():
        package, root = _importable(Path(name))
        return replace(load_workload(package), root=root)
    if "." in name:
        return load_workload(name)
    known = ", ".join(folder.replace("_", "-") for folder in sorted(BUILT_IN))
    raise UsageError(
        f"There is no workload named {name!r}: run one of {known}, or name the folder of one of your own (./{name})."
    )


def _importable(folder: Path) -> tuple[str, str]:
    """The dotted name of a folder given by its path, and the folder it is importable from; it is so from now on."""
    folder = folder.resolve()
    if not (folder / "problem.py").is_file():
        raise UsageError(f"{folder} is no workload: it has no problem.py; docs/workloads.md says what belongs in it.")
    top = folder
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    root = str(top.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    return ".".join(folder.relative_to(root).parts), root


def load_workload(package: str) -> Workload:
    """The entry of a package, by its dotted name.

    Raises:
        UsageError: there is none.
    """
    try:
        problem = importlib.import_module(f"{package}.problem")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.problem".startswith(error.name):
            raise UsageError(
                f"The workload {package} needs {error.name}, which is not installed: pip install {error.name}."
            ) from error
        raise UsageError(
            f"There is no workload {package!r}: name the folder that holds its problem.py, or one of "
            "trackside workloads."
        ) from error
    workload = getattr(problem, "WORKLOAD", None)
    if not isinstance(workload, Workload):
        raise UsageError(f"{package}.problem defines no WORKLOAD: docs/workloads.md says what belongs in it.")
    return workload
