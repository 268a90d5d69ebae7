"""Which operation a line was in the middle of: read off the very piece of source that Python was executing."""

from __future__ import annotations

import ast
import linecache
from itertools import islice
from types import CodeType

_OPERATORS: dict[type[ast.AST], str] = {
    ast.MatMult: "matmul", ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div",
    ast.FloorDiv: "floor_divide", ast.Mod: "remainder", ast.Pow: "pow",
}  # fmt: skip


def operator_at(code: CodeType, last_instruction: int) -> str | None:
    """The operation that a frame was executing: `cross_entropy` for `F.cross_entropy(…)`, `matmul` for `a @ b`.

    Args:
        code: the frame's code.
        last_instruction: index of the instruction, as `tb_lasti` and `f_lasti` have it.

    Returns:
        None where the source cannot be read or the instruction is no operation.
    """
    found = next(islice(code.co_positions(), last_instruction // 2, None), None)
    if found is None or None in found:
        return None
    first, last, begin, end = found
    if first is None or last is None or begin is None or end is None or last - first > 50:
        return None
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]  # the columns count bytes
    lines[0] = lines[0][begin:]
    try:
        node = ast.parse(b"".join(lines).decode().strip(), mode="eval").body
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return None
    if isinstance(node, ast.Await):
        node = node.value
    if isinstance(node, ast.Call):
        called = node.func
        return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else None
    if isinstance(node, ast.BinOp):
        return _OPERATORS.get(type(node.op))
    return "getitem" if isinstance(node, ast.Subscript) else None
