"""How long the two scripts of a workload are, read from their source. Nothing is imported or trained.

Left out on both sides: docstrings, and the functions that are there for the comparison's sake alone (see `APPARATUS`).
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..workload import Workload

FRAMEWORK_PACKAGES = ("torch", "lightning", "keras", "tensorflow")
APPARATUS = ("pairings", "probe", "train")
"""Functions that hand both frameworks the same weights, or take the runner's settings."""


def count_workload(workload: Workload) -> list[dict[str, Any]]:
    """Counts of each framework's script of a workload."""
    rows = []
    for framework in workload.frameworks:
        spec = importlib.util.find_spec(workload.script(framework))
        if spec is not None and spec.origin is not None:
            counts = count_source(Path(spec.origin).read_text(encoding="utf-8"))
            rows.append({"workload": workload.name, "framework": framework, **counts})
    return rows


def count_source(source: str) -> dict[str, int]:
    """`lines`: logical lines (statements); `imports`: names imported; `names`: distinct framework names used."""
    tree = ast.parse(source)
    aliases = _framework_aliases(tree)
    lines, imports, names = 0, 0, set()
    for node in _own(tree):
        if isinstance(node, ast.stmt) and not _is_docstring(node):
            lines += 1
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", None) != "__future__":
            imports += len(node.names)
        if isinstance(node, ast.Attribute | ast.Name):
            chain = _chain(node)
            if chain and chain[0] in aliases:
                names.add(".".join([aliases[chain[0]], *chain[1:]]))
    # Of a.b.c the walk also meets a.b and a: only the longest was meant.
    used = {name for name in names if not any(other.startswith(f"{name}.") for other in names)}
    return {"lines": lines, "imports": imports, "names": len(used)}


def logical_lines(node: ast.AST) -> int:
    """Statements in a piece of source, itself included where it is one, docstrings not."""
    return sum(isinstance(each, ast.stmt) and not _is_docstring(each) for each in ast.walk(node))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below, without the apparatus and without what stands under `if __name__ == "__main__"`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and child.name in APPARATUS:
            continue
        if isinstance(child, ast.If) and "__main__" in ast.unparse(child.test):
            continue
        yield child
        yield from _own(child)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _framework_aliases(tree: ast.AST) -> dict[str, str]:
    """The names by which the script calls the frameworks and what it imports from them."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {a.asname or a.name.split(".")[0]: a.name for a in node.names if _of_framework(a.name)}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _of_framework(node.module or ""):
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return aliases


def _of_framework(module: str) -> bool:
    return module.split(".")[0] in FRAMEWORK_PACKAGES


def _chain(node: ast.expr) -> list[str]:
    """`["nn", "Conv2d"]` of `nn.Conv2d`; empty where it does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []
