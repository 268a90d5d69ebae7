"""The record of an exception that ended a Keras training.

What Python's traceback has depends on where it struck. While a graph is traced, and in eager mode, it leads through
the layers, though Keras cuts its own frames out of all but the exceptions in the chain behind the last. An error of a
running graph knows nothing of Python: its message names the node and lists where that was made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from ...runs.debugging.failure import LONGEST_MESSAGE, failure_record, own_source, plain
from ...runs.debugging.records import DebugRecord
from ...runs.debugging.source import innermost_own, stack_frames, traceback_frames
from .keras_frames import Place, innermost_layer, layer_of_node

# What Keras and TensorFlow wrap around the sentence that says what happened.
_WRAPPING = re.compile(
    r"Exception encountered when calling|Could not automatically infer|Graph execution error|Detected at node|"
    r"Arguments received|Error encountered|<stack traces unavailable>|Detected unsupported operations|"
    r"\d+ root error\(s\) found|File \"|[•^]"
)
_FUNCTION = re.compile(r"\{\{function_node [^}]*\}\}\s*")
_TRAILER = re.compile(r"\s*\[Op:\w+\](?: name:\s*\S*)?")
_OPERATORS = (
    re.compile(r"\[Op:(?!__inference|__forward)(\w+)\]"),
    re.compile(r"\{\{node [^}]+\}\} = (\w+)\["),
    re.compile(r"'(\w+)' Op has type"),
)  # fmt: skip
_NODE = re.compile(r"Detected at node (\S+) defined at|\{\{node ([^}\s]+)\}\}")
_ARGUMENTS = re.compile(r"Arguments received by \w+\.call\(\):(.*)", re.DOTALL)
_TENSOR = re.compile(r"shape=\(([\d, None]*)\), dtype=(\w+)")
_COPY = re.compile(r"_\d+$")
FIT_LINE = re.compile(r"\.(fit|evaluate|train_on_batch)\(")
_PIPELINE = re.compile(r"IteratorGetNext|PyFunc|EagerPyFunc|Iterator::")

NO_LINE = (
    "The operation is in Keras' own code: no line of yours is nearer to it than the call of fit. Layer and operator, "
    "where they are known, say where in the model it is."
)
"""Of a record whose source is the call of `fit`."""


def keras_failure(error: BaseException, model: Any, **known: Any) -> DebugRecord:
    """Return the record of an exception.

    Args:
        error: as it was caught, on its way through the training loop.
        model: whose layers have paths; None where there is none.
        known: further fields of the record.
    """
    message = plain(error)
    place = _place(error, message, model)
    found: dict[str, Any] = {"message": first_sentence(message) or type(error).__name__, "operator": _operator(message)}
    cannot = list(known.pop("cannot", ()))
    if place is not None:
        found |= {"layer": place.layer, "layer_class": place.layer_class}
        found["inputs"] = _inputs(message) or place.inputs
    source = own_source(error)
    if source is None:
        # Not yet on its way out of `fit`: the line that called it is on the stack, not in the traceback.
        source = innermost_own(stack_frames(sys._getframe(1)))
    found["source"] = source
    found["exact"] = source is not None and not FIT_LINE.search(dict(source.code).get(source.line, ""))
    if not found["exact"]:
        cannot.append(NO_LINE)
    return failure_record(error, **{**found, **known, "cannot": tuple(cannot)})


def first_sentence(message: str) -> str:
    """The line of a message of Keras or TensorFlow that says what happened, without what they wrap around it."""
    lines = [_TRAILER.sub("", _FUNCTION.sub("", line)).strip() for line in message.splitlines()]
    said = next((line for line in lines if line and not _WRAPPING.match(line)), "")
    return said[:LONGEST_MESSAGE]


def _place(error: BaseException, message: str, model: Any) -> Place | None:
    """The innermost layer that an exception, or one of those behind it, came through."""
    if _PIPELINE.search(message):
        return None
    deepest: Place | None = None
    for link in every_link(error):
        place = innermost_layer(traceback_frames(link.__traceback__), model)
        if place is not None and (deepest is None or _level(place) >= _level(deepest)):
            deepest = place
    if deepest is not None and deepest.layer:
        return deepest
    if model is not None:
        for match in _NODE.finditer(message):
            if (place := layer_of_node(match[1] or match[2], model)) is not None:
                return place
    return deepest


def _level(place: Place) -> int:
    return -1 if not place.layer else place.layer.count("/")


def every_link(error: BaseException) -> Iterator[BaseException]:
    """An exception and all before it, those that Keras hides (`raise … from None`) included."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _operator(message: str) -> str | None:
    for pattern in _OPERATORS:
        if (match := pattern.search(message)) is not None:
            return str(match[1])
    node = _NODE.search(message)
    return None if node is None else _COPY.sub("", str(node[1] or node[2]).rpartition("/")[2])


def _inputs(message: str) -> tuple[dict[str, Any], ...]:
    """Shape and type of what a layer was called with, as Keras appends them to the message."""
    arguments = _ARGUMENTS.search(message)
    if arguments is None:
        return ()
    found = []
    for shape, dtype in _TENSOR.findall(arguments[1]):
        sizes = [size.strip() for size in shape.split(",") if size.strip()]
        found.append({"shape": [None if size == "None" else int(size) for size in sizes], "dtype": dtype})
    return tuple(found[:8])
