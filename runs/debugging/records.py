"""One record of what went wrong, whichever framework it went wrong in.

A record is the `detail` of an event in the store. The event has kind, step, time and one sentence; the record has the
rest. Whatever a framework cannot tell stays empty, and `cannot` says so in words.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...db.records import Event, RunInfo
from ...db.store import Store
from ..clean import json_object

Quantity = Literal["loss", "gradient", "activation", "weight"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

How = Literal["watch", "search", "anomaly", "numerics", "traceback"]
"""How a record came about.

`watch`: the values that are read at every step anyway. `search`: the layers and operators were looked at one by one.
`anomaly`: PyTorch's anomaly mode. `numerics`: TensorFlow's numerics check or dump. `traceback`: an exception.
"""
HOWS: tuple[How, ...] = get_args(How)

KINDS = ("exception", "non_finite", "exploding_layer", "dead_layer", "frozen_layer")
"""Kinds of events that carry a record, the gravest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A place in the user's own code.

    Attributes:
        file: path as Python knows it.
        line: the culprit, counted from 1.
        function: the function it is in.
        code: (line number, text) of the culprit and some lines around it; empty where the file could not be read.
    """

    file: str
    line: int
    function: str = ""
    code: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugRecord:
    """What is known of one thing that went wrong.

    Attributes:
        quantity: what was not finite, dead or exploding; None for an exception.
        layer: path of the layer, as the framework spells it (`net.conv1`, `sequential/conv1`); "" for the model itself.
        layer_class: name of its class.
        operator: the operation that failed or gave the first bad value, as the framework spells it (`aten.div.Tensor`).
        source: the innermost place in the user's code.
        type: full name of an exception's class.
        message: first line of an exception's message, or one sentence.
        traceback: the exception's whole traceback; its end where it is very long.
        inputs: shape and type of each tensor that went into the layer: `{"shape": [32, 10], "dtype": "float32"}`.
        outputs: likewise of what came out.
        last_losses: (step, loss) of the last steps, the newest last; may hold NaN and infinities.
        last_gradient_norms: likewise the norm over all gradients, before clipping.
        learning_rate: at that step.
        batch_index: the batch within the epoch, counted from 0.
        batch_fingerprint: a digest of the batch's tensors; the same batch has the same.
        how: how this came to be known.
        exact: whether layer and line are where it happened, not merely where it was noticed.
        cannot: sentences that say what could not be told here, and how to get it if one can.
        counts: of the bad tensor: `nan`, `positive_infinity`, `negative_infinity`, `size` in elements.
    """

    quantity: Quantity | None = None
    layer: str | None = None
    layer_class: str | None = None
    operator: str | None = None
    source: Source | None = None
    type: str | None = None
    message: str = ""
    traceback: str = ""
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    last_losses: tuple[tuple[int, float], ...] = ()
    last_gradient_norms: tuple[tuple[int, float], ...] = ()
    learning_rate: float | None = None
    batch_index: int | None = None
    batch_fingerprint: str | None = None
    how: How = "watch"
    exact: bool = False
    cannot: tuple[str, ...] = ()
    counts: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as the `detail` of an event: a JSON object without what is empty."""
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        batch = {"index": kept.pop("batch_index"), "fingerprint": kept.pop("batch_fingerprint")}
        kept["batch"] = batch if any(value is not None for value in batch.values()) else None
        empty = {
            name for name, value in kept.items() if value in (None, "", ()) and not (name == "layer" and value == "")
        }
        return json_object({name: value for name, value in kept.items() if name not in empty})

    @classmethod
    def from_json(cls, detail: Mapping[str, Any]) -> DebugRecord:
        """Read what `to_json` wrote; what is missing or malformed stays empty, as in the event of an older version."""
        batch = _mapping(detail.get("batch"))
        quantity, how = detail.get("quantity"), detail.get("how")
        return cls(
            quantity=quantity if quantity in QUANTITIES else None,
            layer=_text(detail.get("layer")),
            layer_class=_text(detail.get("layer_class")),
            operator=_text(detail.get("operator")),
            source=_source(detail.get("source")),
            type=_text(detail.get("type")),
            message=_text(detail.get("message")) or "",
            traceback=_text(detail.get("traceback")) or "",
            inputs=_mappings(detail.get("inputs")),
            outputs=_mappings(detail.get("outputs")),
            last_losses=_points(detail.get("last_losses")),
            last_gradient_norms=_points(detail.get("last_gradient_norms")),
            learning_rate=_number(detail.get("learning_rate")),
            batch_index=_whole(batch.get("index")),
            batch_fingerprint=_text(batch.get("fingerprint")),
            how=how if how in HOWS else ("traceback" if "traceback" in detail else "watch"),
            exact=detail.get("exact") is True,
            cannot=tuple(str(sentence) for sentence in _list(detail.get("cannot"))),
            counts={str(k): int(v) for k, v in _mapping(detail.get("counts")).items() if _whole(v) is not None} or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event of a run with its record.

    Attributes:
        event: kind, step, time, rank and the sentence.
        record: the rest.
    """

    event: Event
    record: DebugRecord

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.event.kind

    @property
    def step(self) -> int | None:
        """The optimizer update it happened in, counted from 0; None where that is unknown."""
        return self.event.step


def records(store: Store, run: RunInfo | str) -> list[RecordedEvent]:
    """What went wrong in a run, in the order it happened.

    Raises:
        RunNotFoundError: if there is no such run.
    """
    return [
        RecordedEvent(event=event, record=DebugRecord.from_json(event.detail))
        for event in store.events(run)
        if event.kind in KINDS
    ]


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(dict(item) for item in _list(value) if isinstance(item, Mapping))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    """A number, also where it stands in JSON as the word for what JSON has no number for."""
    if isinstance(value, str):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _points(value: Any) -> tuple[tuple[int, float], ...]:
    pairs = [pair for pair in _list(value) if isinstance(pair, list | tuple) and len(pair) == 2]
    return tuple((step, number) for step, v in pairs if _whole(step) is not None and (number := _number(v)) is not None)


def _source(value: Any) -> Source | None:
    given = _mapping(value)
    file, line = _text(given.get("file")), _whole(given.get("line"))
    if file is None or line is None:
        return None
    pairs = [pair for pair in _list(given.get("code")) if isinstance(pair, list | tuple) and len(pair) == 2]
    code = tuple((number, str(text)) for number, text in pairs if _whole(number) is not None)
    return Source(file=file, line=line, function=_text(given.get("function")) or "", code=code)
