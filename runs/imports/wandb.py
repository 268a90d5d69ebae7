"""W&B's offline run folders: the log `run-<id>.wandb`, read without W&B.

The file is a log in LevelDB's form: blocks of 32 KiB, records in one or more pieces, each piece with a checksum, a
length and whether it is the first, the last, both or neither. A record is a protocol buffer of `wandb_internal.proto`;
only the fields named below are looked at, by number, so that later versions of W&B with more fields are read too.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...db.errors import UsageError
from .records import FoundRun, FoundSeries, keys

_BLOCK, _PIECE = 32_768, struct.Struct("<IHB")
_FILE_HEAD = b":W&B"
_FULL, _FIRST, _LAST = 1, 2, 4

# Fields of Record, RunRecord, HistoryRecord and their items, by number.
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 4, 17, 18
_RUN_ID, _PROJECT, _RUN_CONFIG, _GROUP, _NAME, _NOTES, _TAGS, _STARTED = 1, 3, 4, 6, 8, 9, 10, 17
_ITEMS, _STEP, _KEY, _NESTED_KEY, _VALUE_JSON, _UPDATES = 1, 2, 1, 2, 16, 1
_EXIT_CODE = 1


def read_wandb(path: Path) -> Iterator[FoundRun]:
    """The runs of a folder `wandb`, of one `offline-run-…` folder in it, or of one `.wandb` file.

    Raises:
        UsageError: there is none.
    """
    files = [path] if path.is_file() else sorted({file.resolve() for file in path.rglob("*.wandb")})
    if not files:
        raise UsageError(
            f"There is no .wandb file under {path}: name the folder wandb, or an offline-run folder in it."
        )
    for file in files:
        yield _run(file)


def _run(file: Path) -> FoundRun:
    about: dict[int, Any] = {}
    config: dict[str, Any] = {}
    points: dict[str, list[tuple[int, float, float]]] = {}
    left_out: dict[str, int] = {}
    exit_code: int | None = None
    for record in _records(file, left_out):
        fields = _fields(record)
        for run in fields.get(_RUN, ()):
            about = {number: values[-1] for number, values in _fields(run).items()}
            about[_TAGS] = _fields(run).get(_TAGS, [])
            for part in _fields(run).get(_RUN_CONFIG, ()):
                config |= _config(part)
        for part in fields.get(_CONFIG, ()):
            config |= _config(part)
        for history in fields.get(_HISTORY, ()):
            _take(history, points, left_out)
        for ended in fields.get(_EXIT, ()):
            exit_code = int(_fields(ended).get(_EXIT_CODE, [0])[-1])
    run_id = _text(about.get(_RUN_ID)) or file.stem.removeprefix("run-")
    named = keys(list(points))
    return FoundRun(
        identity=f"wandb {run_id} {_text(about.get(_PROJECT))} {_started(about)}",
        name=_text(about.get(_NAME)) or run_id,
        source=str(file.parent),
        series=[
            FoundSeries(
                name=named[key][0],
                source=key,
                steps=np.array([step for step, _, _ in found], np.int64),
                times=np.array([time for _, time, _ in found], np.float64),
                values=np.array([value for _, _, value in found], np.float64),
                reduction=named[key][1],
            )
            for key, found in points.items()
        ],
        config=config,
        state="lost" if exit_code is None else "finished" if exit_code == 0 else "failed",
        properties={
            "project": _text(about.get(_PROJECT)) or "wandb",
            "group_name": _text(about.get(_GROUP)),
            "notes": _text(about.get(_NOTES)),
            "tags": tuple(_text(tag) for tag in about.get(_TAGS, ())),
        },
        left_out=[f"{count:,} × {what}" for what, count in left_out.items()],
    )


def _take(history: bytes, points: dict[str, list[tuple[int, float, float]]], left_out: dict[str, int]) -> None:
    """Add the numbers of one history record: one step of `wandb.log`."""
    fields = _fields(history)
    row: dict[str, Any] = {}
    for item in fields.get(_ITEMS, ()):
        parts = _fields(item)
        names = [_text(name) for name in (*parts.get(_KEY, ()), *parts.get(_NESTED_KEY, ())) if name]
        row[".".join(names)] = _json(parts.get(_VALUE_JSON, [b"null"])[-1])
    steps = [int(number) for step in fields.get(_STEP, ()) for number in _fields(step).get(1, [0])] or [0]
    step = int(row.get("_step", steps[-1]))
    time = row.get("_timestamp")
    time = float(time) if isinstance(time, int | float) else math.nan
    for key, value in row.items():
        number = _number(value)
        if number is not None and not key.startswith("_"):
            points.setdefault(key, []).append((step, 0.0 if math.isnan(time) else time, number))
        elif number is None:
            kind = value.get("_type", "object") if isinstance(value, dict) else type(value).__name__
            sentence = f"{kind} left out: only numbers are brought over"
            left_out[sentence] = left_out.get(sentence, 0) + 1


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    return (
        {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value) if isinstance(value, str) else None
    )


def _config(part: bytes) -> dict[str, Any]:
    """The settings of a ConfigRecord, W&B's own left out."""
    found = {}
    for update in _fields(part).get(_UPDATES, ()):
        fields = _fields(update)
        names = [_text(name) for name in (*fields.get(_KEY, ()), *fields.get(_NESTED_KEY, ())) if name]
        if names and not names[0].startswith("_"):
            value = _json(fields.get(_VALUE_JSON, [b"null"])[-1])
            found[".".join(names)] = value
    return found


def _started(about: dict[int, Any]) -> int:
    stamp = about.get(_STARTED)
    return int(_fields(stamp).get(1, [0])[-1]) if isinstance(stamp, bytes) else 0


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _json(value: Any) -> Any:
    try:
        return json.loads(value)
    except (ValueError, TypeError):
        return None


def _records(file: Path, left_out: dict[str, int]) -> Iterator[bytes]:
    """The records of the log; what is damaged or cut short at the end is counted and skipped."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}): check the path.") from error
    if data[:4] != _FILE_HEAD:
        raise UsageError(f"{file} is no log of W&B: name the folder wandb, or an offline-run folder in it.")
    position, record = 7, b""
    while position + _PIECE.size <= len(data):
        room = _BLOCK - position % _BLOCK
        if room < _PIECE.size:
            position += room
            continue
        _, length, kind = _PIECE.unpack_from(data, position)
        position += _PIECE.size
        piece = data[position : position + length]
        if kind not in (1, 2, 3, 4) or len(piece) < length:
            left_out["the end of the log, which was cut short"] = 1
            return
        position += length
        record = piece if kind in (_FULL, _FIRST) else record + piece
        if kind in (_FULL, _LAST):
            yield record


def _fields(message: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol buffer by number: whole numbers, or bytes."""
    found: dict[int, list[Any]] = {}
    position = 0
    try:
        while position < len(message):
            tag, position = _varint(message, position)
            number, wire = tag >> 3, tag & 7
            value: Any
            if wire == 0:
                value, position = _varint(message, position)
            elif wire == 2:
                length, position = _varint(message, position)
                value, position = message[position : position + length], position + length
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
                value, position = message[position : position + size], position + size
            else:
                break
            found.setdefault(number, []).append(value)
    except IndexError:
        pass  # cut short: what came before counts
    return found


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
