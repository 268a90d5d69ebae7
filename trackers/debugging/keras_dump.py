"""`debug="tfdbg"`: TensorFlow's own dump of the health of every tensor, for TensorBoard, and the first culprit in it.

TensorFlow writes it for the whole process from `start` to `stop`. It costs several times the step, and cannot be had
with `jit_compile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ...runs.debugging.records import DebugRecord
from ...runs.debugging.source import is_own, source_at
from ..session import TrackerSession
from .keras_frames import layer_of_node

_HEALTH = ("size", "negative_infinity", "positive_infinity", "nan")  # the fifth to eighth number of a tensor's health


class NumericsDump:
    """Dumps a fit.

    Args:
        session: the run.
        model: the model; built without XLA.
        folder: where to.
    """

    def __init__(self, session: TrackerSession, model: Any, folder: Path) -> None:
        self._session = session
        self._model = model
        self._folder = folder
        self._running = False

    def start(self) -> None:
        """Dump from now on; call it before the training step is traced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tf.debugging.experimental.enable_dump_debug_info(
            str(self._folder), tensor_debug_mode="FULL_HEALTH", circular_buffer_size=-1
        )
        self._running = True
        self._session.notice(
            f"TensorFlow dumps every tensor's health to {self._folder}: tensorboard --logdir {self._folder}, then open "
            "its page at #debugger-v2. Training takes several times as long.",
            kind="tfdbg",
            log_directory=str(self._folder),
            fragment="#debugger-v2",
        )

    def stop(self) -> None:
        """End the dump and record the first tensor in it that was not finite."""
        if not self._running:
            return
        self._running = False
        tf.debugging.experimental.disable_dump_debug_info()
        with self._session.guard("read TensorFlow's dump"):
            record = first_culprit(self._folder, self._model)
            if record is not None:
                sentence = f"{record.operator} gave the first value that is not finite, as TensorFlow's dump has it."
                detail = {**record.to_json(), "message": sentence, "log_directory": str(self._folder)}
                self._session.run.event("non_finite", sentence, detail=detail)


def first_culprit(folder: Path, model: Any) -> DebugRecord | None:
    """Return the record of the first tensor in a dump that was not finite; None where all were."""
    from tensorflow.python.debug.lib.debug_events_reader import DebugDataReader

    with DebugDataReader(str(folder)) as reader:
        reader.update()
        found = min((*_eager(reader), *_graph(reader)), key=lambda item: item[0], default=None)
    if found is None:
        return None
    _, operator, name, frames, health = found
    place = None if model is None or not name else layer_of_node(name, model)
    own = [frame for frame in frames if is_own(frame[0])]
    return DebugRecord(
        quantity="gradient" if "gradient_tape" in name else "activation" if place is not None else None,
        layer=None if place is None else place.layer,
        layer_class=None if place is None else place.layer_class,
        operator=operator,
        source=source_at(*own[-1]) if own else None,
        how="numerics",
        exact=True,
        counts=dict(zip(_HEALTH, (int(number) for number in health[4:8]), strict=True)),
        cannot=("The dump does not know the optimizer's updates: which step it was is not told.",),
    )


_Found = tuple[float, str, str, list[tuple[str, int, str]], Any]


def _graph(reader: Any) -> Iterator[_Found]:
    for digest in reader.graph_execution_traces(digest=True):
        health = reader.read_graph_execution_trace(digest).debug_tensor_value
        if _is_bad(health):
            operation = reader.graph_by_id(digest.graph_id).get_op_creation_digest(digest.op_name)
            _, frames = reader.read_graph_op_creation_stack_trace(operation)
            yield digest.wall_time, digest.op_type, digest.op_name, _places(frames), health
            return


def _eager(reader: Any) -> Iterator[_Found]:
    for digest in reader.executions(digest=True):
        execution = reader.read_execution(digest)
        for health in execution.debug_tensor_values or ():
            if _is_bad(health):
                _, frames = reader.read_execution_stack_trace(execution)
                yield digest.wall_time, digest.op_type, "", _places(frames), health
                return


def _is_bad(health: Any) -> bool:
    return health is not None and len(health) >= 8 and bool(np.any(np.asarray(health)[5:8] > 0))


def _places(frames: Iterable[Any]) -> list[tuple[str, int, str]]:
    return [(str(frame[0]), int(frame[1]), str(frame[2])) for frame in frames]
