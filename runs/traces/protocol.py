"""Message classes from a .proto file, without a compiler and without a trace in anybody's registry.

TensorFlow registers the same messages in protobuf's default pool, and a second definition of a name there is an error
or, worse, not one. Ours live in a pool of their own, so that both can be loaded in one process in either order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from ...db.errors import TraceError

SCALARS = {
    "double": 1, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
"""Types of a field by the numbers that protobuf's descriptor.proto gives them."""
MESSAGE, OPTIONAL, REPEATED = 11, 1, 3
COMMENT = re.compile(r"//[^\n]*")
STATEMENT = re.compile(
    r"""\s*(?:
        (?P<kind>message|oneof)\s+(?P<opened>\w+)\s*\{
      | (?P<repeated>repeated\s+)?(?:map\s*<\s*(?P<key>\w+)\s*,\s*(?P<value>\w+)\s*>|(?P<type>\w+))
            \s+(?P<name>\w+)\s*=\s*(?P<number>\d+)\s*;
      | (?P<header>(?:syntax\s*=|package)\s*"?(?P<stated>[\w.]+)"?\s*;)
      | (?P<closed>\})
    )\s*""",
    re.VERBOSE,
)


def message_classes(path: Path) -> dict[str, Any]:
    """The classes of all messages that a .proto file defines, by name.

    Read is what our files use of the language: proto3, messages at the top level, scalars, `repeated`, `map` and
    `oneof`.

    Raises:
        TraceError: the package protobuf is not installed.
        ValueError: the file uses more of the language than that.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as missing:
        raise TraceError(
            "A TensorFlow trace can only be read with the package protobuf: "
            "install it with `pip install 'trackside[dashboard]'`."
        ) from missing
    file = descriptor_pb2.FileDescriptorProto(name=f"trackside/{path.name}", syntax="proto3")
    _fill(file, COMMENT.sub("", path.read_text(encoding="utf-8")), path.name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
        for message in file.message_type
    }


def decode_error() -> type[Exception]:
    """What protobuf raises for bytes that are no message; only to be asked for after `message_classes`."""
    from google.protobuf.message import DecodeError

    return cast(type[Exception], DecodeError)


def _fill(file: Any, text: str, name: str) -> None:
    """Read the statements of a .proto file, comments gone, into its descriptor."""
    message, in_oneof, place = None, False, 0
    while place < len(text):
        found = STATEMENT.match(text, place)
        if found is None:
            raise ValueError(f"{name}: cannot read {text[place : place + 60]!r}")
        place = found.end()
        if found["header"]:
            file.package = found["stated"] if found["header"].startswith("package") else file.package
        elif found["kind"] == "message":
            message = file.message_type.add(name=found["opened"])
        elif found["kind"] == "oneof":
            message.oneof_decl.add(name=found["opened"])  # type: ignore[union-attr]
            in_oneof = True
        elif found["closed"]:
            message, in_oneof = (message, False) if in_oneof else (None, False)
        else:
            _add_field(file.package, message, found, in_oneof)


def _add_field(package: str, message: Any, found: re.Match[str], in_oneof: bool) -> None:
    """One field of a message; a map is a repeated message of keys and values, as in any .proto file."""
    field = message.field.add(name=found["name"], number=int(found["number"]), label=OPTIONAL)
    if found["key"]:
        entry = message.nested_type.add(name="".join(part.title() for part in found["name"].split("_")) + "Entry")
        entry.options.map_entry = True
        for number, (name, kind) in enumerate([("key", found["key"]), ("value", found["value"])], start=1):
            _set_type(package, entry.field.add(name=name, number=number, label=OPTIONAL), kind)
        field.type, field.label = MESSAGE, REPEATED
        field.type_name = f".{package}.{message.name}.{entry.name}"
        return
    _set_type(package, field, found["type"])
    if found["repeated"]:
        field.label = REPEATED
    if in_oneof:
        field.oneof_index = len(message.oneof_decl) - 1


def _set_type(package: str, field: Any, kind: str) -> None:
    if kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        field.type, field.type_name = MESSAGE, f".{package}.{kind}"
