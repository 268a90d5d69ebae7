"""A row a step, written inside Keras' training function: what its `logs` do not tell.

Keras' `logs` are means since the epoch began, and undoing a float32 mean costs the digits one wants. So the training
function is built once more with two layers around the step. The inner one (`keras_values.py`) adds the batch's own
values to what `train_step` returns; the outer one, just outside of what XLA compiles, takes them out again, adds the
learning rate and the time at which the batch arrived, and writes a row into a small table on the host.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .debugging.keras_layers import LayerProbes
from .debugging.keras_moment import MomentKeeper, StepCopy
from .guard import Guard
from .keras_batches import HOST, BatchKeeper, Receiver
from .keras_values import VALUES, StepValues, each_optimizers, replaced
from .options import DebugOptions


@dataclass(frozen=True, slots=True)
class StepRow:
    """One call of the training step on one batch.

    Attributes:
        values: `loss`, `samples`, `learning_rate`, `gradient_norm` and `metric/<name>`, as far as they could be had;
            with several optimizers `optimizer<i>/learning_rate` and so on.
        data_seconds: how long the step waited for its batch; 0 where that cannot be measured.
    """

    values: dict[str, float]
    data_seconds: float


class StepProbe:
    """Builds a training function that writes a row a step, and reads the rows.

    Args:
        model: a compiled Keras model on the TensorFlow back end.
        gradient_norm: also record the global norm of the gradients before clipping.
        on_batch: receives the arrays of each of the first batches, in order.
        keep_batches: how many batches `on_batch` gets.
        before_update: called once, when all weights exist and this training has updated none of them.
        guard: takes what goes wrong in here.
        watch: keep a step whose loss or gradients are not finite.
        debug: measure the layers as well; under XLA also keep every step until the next.

    Attributes:
        moments: keeps such a step; None where that was not asked for, or cannot be.
        layers: measures the layers; None where that was not asked for, or cannot be.
        steps: how many steps an execution makes at most.
        records: whether steps can leave rows at all.
        splits_time: whether the time waiting for data can be told from the rest.
        values: what the steps compute; says how often a step computed its loss.
    """

    def __init__(
        self,
        model: Any,
        *,
        gradient_norm: bool = False,
        on_batch: Receiver | None = None,
        keep_batches: int = 8,
        before_update: Callable[[], None] | None = None,
        guard: Guard | None = None,
        watch: bool = False,
        debug: DebugOptions | None = None,
    ) -> None:
        self._guard = guard or Guard()
        self._model = model
        self.steps = int(model.steps_per_execution)
        # The place between the compiled step and the loop around it: Keras 3.11 and later have one to hook into.
        self._between = hasattr(model, "_autoconvert_optionals")
        one_replica = model.distribute_strategy.num_replicas_in_sync == 1
        compiled = bool(model.jit_compile) and not model.run_eagerly
        self.records = self._between or one_replica
        self.splits_time = self._between or (one_replica and not compiled)
        self.moments: MomentKeeper | StepCopy | None = None
        keeper = MomentKeeper(model, self._guard) if watch and one_replica and not compiled else None
        self._copy = StepCopy(model, self._guard) if debug is not None and one_replica and compiled else None
        if self._copy is not None and (not self._between or self.steps > 1):
            self._copy = None
        self._prepared = False
        self.moments = keeper or self._copy
        self.layers: LayerProbes | None = None
        if debug is not None and one_replica:
            self.layers = LayerProbes(model, percentiles=debug.histograms, guard=self._guard)
        self.values = StepValues(
            model,
            gradient_norm=gradient_norm,
            before_update=before_update,
            guard=self._guard,
            moments=keeper,
            layers=self.layers,
        )
        self._keeper: BatchKeeper | None = None
        if on_batch is not None and self.splits_time and one_replica:
            self._keeper = BatchKeeper(on_batch, limit=keep_batches, at_once=self.steps)
        self._table: tf.Variable | None = None
        self._index: tf.Variable | None = None
        self._rates: tuple[str, ...] = ()  # names of the learning rates in a row
        self._taken: list[bool] = []  # which optimizers' they are
        self._carrier: tuple[str, Any] | None = None  # the log that a row rides on, and what it is a number of
        self._rows: list[list[float]] = []  # that have been taken off it
        self._next = 0
        self._entered = 0.0
        self._unread = False

    def build(self) -> Callable[[Any], Any]:
        """Return a training function that records. The model's attributes are left as they were."""
        model = self._model
        if self._between:
            convert = model._autoconvert_optionals
            attributes = {
                "train_step": self.values.wrap(model.train_step),
                "_autoconvert_optionals": lambda step: self._recording(convert(step)),
            }
        elif self.records:
            attributes = {"train_step": self._recording(self.values.wrap(model.train_step))}
        else:
            attributes = {}
        # Keras before 3.8 looks the step up only when it traces it.
        late = {} if self._between else attributes

        def made() -> Callable[[Any], Any]:
            with replaced(model, train_function=None, **attributes):
                model.make_train_function(force=True)
                function: Callable[[Any], Any] = model.train_function
            return function

        function = made()

        def train_function(iterator: Any) -> Any:
            nonlocal function
            self._entered = time.time()
            if late:
                with replaced(model, **late):
                    logs = function(iterator)
            else:
                logs = function(iterator)
                if self._copy is not None and not self._prepared:
                    self._prepared = True
                    with self._guard("keep each step"):
                        function = made() if self._copy.prepare() else function
            self._unread = True
            if self._carrier is not None and isinstance(logs, dict):
                self._unload(logs, *self._carrier)
            return logs

        return train_function

    def discard(self) -> None:
        """Drop what was written since the last `read`, if the training function was called since."""
        if self._unread:
            self._keeper = None  # and its batches with it: the first ones are no longer known to be the first
            self.read()

    def read(self) -> list[StepRow]:
        """Return the rows of the steps since the last call, oldest first; call it after every execution."""
        table = self._new_rows() if self._unread else []
        self._unread = False
        if not table:
            return []
        self._next += len(table)
        if self._keeper is not None and self._keeper.wanted:
            with self._guard("read the first batches"):
                self._keeper.hand_out(self._next)
        found = []
        ready = self._entered
        columns = (*self._rates, *self.values.columns)
        for began, arrived, done, *values in table:
            waited = max(0.0, arrived - max(began, ready)) if self.splits_time else 0.0
            found.append(StepRow(dict(zip(columns, values, strict=True)), waited))
            ready = done
        return found

    def usual_row(self) -> list[float] | None:
        """Return the row of an execution of one step, as it was written; None where only `read` can tell.

        Returns:
            When the step began, when its batch had arrived, when it was done, the learning rates, and the values of
            `values.columns`. The row stays until `read` or `take_usual_row` takes it.
        """
        rows = self._rows
        if len(rows) != 1 or not self._unread or (self._keeper is not None and self._keeper.wanted):
            return None
        return rows[0]

    def take_usual_row(self) -> None:
        """Take away the row that `usual_row` returned."""
        self._rows, self._unread = [], False
        self._next += 1

    def waited(self, row: list[float]) -> float:
        """Return how long a usual row's step waited for its batch, in seconds; 0 where that cannot be measured."""
        return max(0.0, row[1] - max(row[0], self._entered)) if self.splits_time else 0.0

    def _new_rows(self) -> list[list[float]]:
        rows, self._rows = self._rows, []
        if rows or self._table is None:
            return rows
        table = contents(self._table)
        table = table[table[:, 0] >= self._next]
        ordered: list[list[float]] = table[np.argsort(table[:, 0]), 1:].tolist()
        return ordered

    def _recording(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the step with a row written after it; what it returns is what Keras gets to see."""

        def recorded(data: Any) -> Any:
            before = None
            with self._guard("record the step"):
                rates = [self._learning_rate(optimizer) for optimizer in self.values.optimizers]
                before = self._began(), self._stamp(data), rates
                if self._keeper is not None:
                    self._keeper.keep(data, self._count().read_value())
                if self._copy is not None:
                    self._copy.keep(data)
            logs = step(data)
            if not isinstance(logs, dict) or VALUES not in logs:
                return logs
            logs = dict(logs)
            values = logs.pop(VALUES)
            with self._guard("record the step"):
                if before is not None:
                    began, arrived, rates = before
                    # To wait for an output's operation is to wait for the whole call, weight updates included.
                    done = arrived if self.steps == 1 else self._stamp(logs)
                    row = tf.concat([[began, arrived, done], self._used(rates), values], axis=0)
                    if self.steps == 1:
                        self._load(logs, row)
                    else:
                        self._write(row)
            return logs

        return recorded

    def _load(self, logs: dict[str, Any], row: tf.Tensor) -> None:
        """Put a row in front of the first number that Keras takes out of the step anyway.

        An output more, or a variable to read, costs several times as much as all that is computed here.
        """
        for name, value in logs.items():
            if isinstance(value, tf.Tensor) and value.shape.rank == 0 and value.dtype.is_floating:
                logs[name] = tf.concat([row, [tf.cast(value, tf.float64)]], axis=0)
                self._carrier = name, value.dtype.as_numpy_dtype
                return

    def _unload(self, logs: dict[str, Any], name: str, kind: Any) -> None:
        """Take the row off again and leave the number as it was: no float type loses anything in a float64."""
        loaded = logs[name].numpy()  # an error of the step that shows only here is not ours to keep
        with self._guard("read the step's row"):
            *row, last = loaded.tolist()
            logs[name] = kind(last)
            self._rows.append(row)

    def _began(self) -> tf.Tensor:
        """Return when the execution began, 0 where that must be taken from outside: scalar float64.

        An operation that waits for nothing runs as soon as the graph does, side by side with the request for the
        batch; so what passes in Python before that does not count as waiting. A loop of several steps, and a step
        run eagerly, come here only once the batch is there.
        """
        if not self.splits_time or self.steps > 1 or tf.executing_eagerly():
            return tf.zeros([], tf.float64)
        with tf.device(HOST):
            return tf.timestamp()

    def _stamp(self, after: Any) -> tf.Tensor:
        """Return the time, in seconds since the epoch, at which `after` was there: scalar float64."""
        if not self.splits_time:
            return tf.constant(np.nan, tf.float64)  # XLA knows no clock
        tensors = [item for item in tf.nest.flatten(after, expand_composites=True) if tf.is_tensor(item)]
        with tf.device(HOST), tf.control_dependencies(tensors):
            return tf.timestamp()

    def _learning_rate(self, optimizer: Any) -> tf.Tensor:
        """Return the rate that this step will use; once it is done, a schedule shows the next one's."""
        return tf.cast(keras.ops.convert_to_tensor(optimizer.learning_rate), tf.float64)

    def _used(self, rates: list[tf.Tensor]) -> tf.Tensor:
        """Return the rates of the optimizers that the step used, or of all where it was seen to use none: float64."""
        if not self._rates:
            used = self.values.used or self.values.optimizers
            self._rates = tuple(each_optimizers("learning_rate", len(used)))
            self._taken = [any(optimizer is other for other in used) for optimizer in self.values.optimizers]
        taken = [rate for rate, is_taken in zip(rates, self._taken, strict=True) if is_taken]
        return tf.stack(taken) if taken else tf.zeros([0], tf.float64)

    def _count(self) -> tf.Variable:
        if self._index is None:
            with tf.init_scope(), tf.device(self._place()):
                self._index = tf.Variable(0, dtype=tf.int64, trainable=False, name="trackside_index")
        return self._index

    def _place(self) -> str | None:
        # A table that an XLA cluster writes must live where the cluster runs.
        return HOST if self.splits_time else None

    def _write(self, row: tf.Tensor) -> None:
        """Append a row to the table: (3 + rates + columns,) float64; see `read` for its order."""
        if tf.executing_eagerly():
            self._rows.append(row.numpy().tolist())
            return
        index = self._count()
        if self._table is None:
            with tf.init_scope(), tf.device(self._place()):
                empty = np.full((self.steps, 1 + row.shape[0]), -1.0)
                self._table = tf.Variable(empty, trainable=False, name="trackside_rows")
        count = index.read_value()
        row = tf.concat([[tf.cast(count, tf.float64)], row], axis=0)
        self._table.scatter_nd_update([[count % self.steps]], [row])
        index.assign_add(1)


def contents(variable: tf.Variable) -> NDArray[Any]:
    """Return what a variable holds. Its own `numpy` takes three times as long, which counts in every execution."""
    if isinstance(variable, tf.distribute.DistributedValues):
        return np.asarray(variable.numpy())
    return np.asarray(tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype).numpy())
