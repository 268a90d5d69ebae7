"""What the probes write down inside Keras' compiled functions, without a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from trackside.trackers.guard import Guard  # noqa: E402
from trackside.trackers.keras_errors import CallbackWatch, callback_list, reporting  # noqa: E402
from trackside.trackers.keras_evaluation import EvaluationProbe  # noqa: E402
from trackside.trackers.keras_probe import StepProbe, StepRow  # noqa: E402
from trackside.trackers.keras_values import VALUES, batch_samples, replaced  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.filterwarnings("ignore::UserWarning")]

generator = np.random.default_rng(11)
X = generator.normal(size=(20, 4)).astype("float32")
Y = generator.normal(size=(20, 1)).astype("float32")
BATCH = 8  # three batches, the last of 4

MODES = [
    pytest.param({"jit_compile": False}, id="graph"),
    pytest.param({"run_eagerly": True}, id="eager"),
    pytest.param({"jit_compile": True}, id="xla"),
    pytest.param({"jit_compile": False, "steps_per_execution": 2}, id="graph-2"),
]


def make_model(**how: Any) -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"], **{"jit_compile": False, **how})
    return model


def dataset() -> Any:
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)


def run_epoch(model: Any, probe: StepProbe) -> tuple[list[StepRow], list[dict[str, Any]]]:
    """Call the recording function on one epoch, as `fit` does."""
    function = probe.build()
    iterator = iter(dataset())
    rows: list[StepRow] = []
    logs = []
    while len(rows) < 3:
        logs.append(function(iterator))
        rows += probe.read()
    return rows, logs


@pytest.mark.parametrize("how", MODES)
def test_every_step_leaves_a_row_and_keras_sees_its_own_logs_only(how: dict[str, Any]) -> None:
    model = make_model(**how)
    probe = StepProbe(model, gradient_norm=True)
    rows, logs = run_epoch(model, probe)
    assert [row.values["samples"] for row in rows] == [8, 8, 4]
    for row in rows:
        assert set(row.values) == {"learning_rate", "loss", "samples", "gradient_norm", "metric/mae"}
        assert row.values["learning_rate"] == pytest.approx(0.01)
        assert row.data_seconds >= 0
    first = model.compute_loss(y=tf.constant(Y[:8]), y_pred=make_model()(X[:8]))
    assert rows[0].values["loss"] == pytest.approx(float(first), abs=1e-6)
    assert all(set(seen) == {"loss", "mae"} for seen in logs)
    assert probe.read() == []


@pytest.mark.parametrize("how", MODES)
def test_the_first_batches_are_handed_out_in_order(how: dict[str, Any]) -> None:
    batches: list[list[Any]] = []
    model = make_model(**how)
    run_epoch(model, StepProbe(model, on_batch=lambda arrays, weights: batches.append(arrays), keep_batches=2))
    assert len(batches) == 2
    for index, (x, y) in enumerate(batches):
        np.testing.assert_array_equal(x, X[index * BATCH : (index + 1) * BATCH])
        np.testing.assert_array_equal(y, Y[index * BATCH : (index + 1) * BATCH])


def test_building_leaves_the_model_as_it_was() -> None:
    model = make_model()
    model.make_train_function()
    before = dict(vars(model))
    StepProbe(model).build()
    assert vars(model) == before


def test_steps_that_nobody_read_can_be_dropped() -> None:
    model = make_model()
    probe = StepProbe(model)
    function = probe.build()
    iterator = iter(dataset())
    function(iterator)
    probe.discard()
    function(iterator)
    assert [row.values["samples"] for row in probe.read()] == [8]
    probe.discard()  # nothing is left to drop


def test_two_calls_of_compute_loss_leave_no_loss() -> None:
    class Twice(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.layer(inputs)

        def train_step(self, data: Any) -> Any:
            x, y = data
            self.compute_loss(y=y, y_pred=self(x))
            return {"loss": self.compute_loss(y=y, y_pred=self(x))}

    model = Twice()
    model.compile("sgd", "mse", jit_compile=False)
    probe = StepProbe(model)
    rows, _ = run_epoch(model, probe)
    assert probe.values.losses_per_step == 2
    assert set(rows[0].values) == {"learning_rate", "samples"}


def test_a_loss_from_inside_a_branch_is_not_taken_out_of_it() -> None:
    class Branching(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.layer(inputs)

        def train_step(self, data: Any) -> Any:
            x, y = data
            y_pred = self(x)
            # The loss lives in the graph of the branch; to use it outside would end the training.
            loss = tf.cond(tf.size(x) > 0, lambda: self.compute_loss(y=y, y_pred=y_pred), lambda: tf.constant(0.0))
            return {"loss": loss}

    guard = Guard()
    model = Branching()
    model.compile("sgd", "mse", jit_compile=False)
    rows, logs = run_epoch(model, StepProbe(model, guard=guard))
    assert guard.failures == {}
    assert "loss" not in rows[0].values
    assert float(logs[0]["loss"]) > 0


def test_a_step_that_returns_no_dictionary_is_left_alone() -> None:
    class Silent(keras.Model):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            return tf.constant(1.0)

    model = Silent()
    model.compile("sgd", "mse", jit_compile=False)
    probe = StepProbe(model)
    assert float(probe.build()(iter(dataset()))) == 1.0
    assert probe.read() == []


def test_text_has_no_digest() -> None:
    class Reader(keras.Model):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            return {"loss": tf.cast(tf.strings.length(data)[0], tf.float32)}

    batches: list[Any] = []
    model = Reader()
    model.compile("sgd", "mse", jit_compile=False)
    probe = StepProbe(model, on_batch=lambda arrays, weights: batches.append(arrays))
    probe.build()(iter(tf.data.Dataset.from_tensor_slices(["one", "three"]).batch(2)))
    assert probe.read()[0].values["samples"] == 2
    assert batches == []


def test_replicas_share_a_row() -> None:
    """Two virtual devices in a process of their own: TensorFlow fixes its devices when it starts."""
    import subprocess
    import sys
    import textwrap

    script = """
        import os
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import numpy as np, tensorflow as tf, keras
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from trackside.trackers.keras_probe import StepProbe
        strategy = tf.distribute.MirroredStrategy(
            ["/cpu:0", "/cpu:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
        class Model(keras.Sequential):
            def __init__(self, layers):
                super().__init__(layers)
                self.own = keras.metrics.Mean(name="own")
            def train_step(self, data):
                x, y = data
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(y=y, y_pred=self(x, training=True))
                gradients = tape.gradient(loss, self.trainable_variables)
                self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
                self.own.update_state(loss * 2)  # where replicas have waited for one another; Keras halved the loss
                return {"own": self.own.result()}
        with strategy.scope():
            model = Model([keras.layers.Input((4,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse", jit_compile=False)
        x, y = np.ones((16, 4), "float32"), np.arange(16, dtype="float32")[:, None]
        rows = []
        class Probe(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.probe = StepProbe(self.model, gradient_norm=True)
                self.model.train_function = self.probe.build()
            def on_train_batch_begin(self, batch, logs=None):
                rows_of = slice(8 * batch, 8 * batch + 8)
                kernel, bias = self.model.get_weights()
                self.expected = float(np.mean((x[rows_of] @ kernel + bias - y[rows_of]) ** 2))
            def on_train_batch_end(self, batch, logs=None):
                (row,) = self.probe.read()
                rows.append((row.values["loss"], self.expected, row.values["samples"]))
                rows.append((row.values["metric/own"], self.expected, row.values["samples"]))
        model.fit(x, y, batch_size=8, verbose=0, shuffle=False, callbacks=[Probe()])
        assert len(rows) == 4 and "compute_loss" not in vars(model) and "update_state" not in vars(model.own), rows
        for loss, expected, samples in rows:
            assert abs(loss - expected) < 1e-4 * expected and samples == 8, rows
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("how", MODES)
def test_an_evaluation_counts_its_samples_and_keeps_its_first_batches(how: dict[str, Any]) -> None:
    batches: list[list[Any]] = []
    model = make_model(**how)
    model.make_test_function()
    before = dict(vars(model))
    probe = EvaluationProbe(
        model, on_batch=lambda arrays, weights: batches.append(arrays), keep_batches=2, guard=Guard()
    )
    assert probe.records
    function = probe.build()
    assert vars(model) == before
    iterator = iter(dataset())
    with pytest.raises((StopIteration, tf.errors.OutOfRangeError)):
        while True:
            function(iterator)
            probe.hand_out()
    assert probe.samples() == 20
    assert [len(x) for x, _ in batches] == [8, 8]


def test_samples_of_ragged_sparse_and_shapeless_batches() -> None:
    assert int(batch_samples((tf.ragged.constant([[1], [2, 3]]), None))) == 2
    assert int(batch_samples(tf.sparse.from_dense([[1, 0], [0, 2], [0, 0]]))) == 3
    assert np.isnan(batch_samples((tf.constant(1.0), None)))


def test_replaced_attributes_return_to_what_they_were() -> None:
    class Owner:
        def method(self) -> int:
            return 1

    owner = Owner()
    owner.__dict__["kept"] = 1
    with pytest.raises(KeyError), replaced(owner, method=lambda: 2, kept=2):
        assert (owner.method(), owner.__dict__["kept"]) == (2, 2)
        raise KeyError
    assert owner.method() == 1
    assert vars(owner) == {"kept": 1}


def test_only_real_errors_are_reported() -> None:
    def fail(error: BaseException) -> None:
        raise error

    seen: list[BaseException] = []
    reported = reporting(fail, seen.append)
    for harmless in (StopIteration(), tf.errors.OutOfRangeError(None, None, "end")):
        with pytest.raises(type(harmless)):
            reported(harmless)
    interrupt = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        reported(interrupt)
    assert seen == [interrupt]


def test_the_watch_follows_the_list_of_callbacks_and_does_not_keep_it_alive() -> None:
    found: list[Any] = []

    class Finder(keras.callbacks.Callback):  # type: ignore[misc]
        def set_model(self, model: Any) -> None:
            super().set_model(model)
            found.append(callback_list())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise OSError("disk full")

    errors: list[str] = []  # an exception kept would keep the list, through its traceback
    vanished: list[bool] = []
    callbacks = keras.callbacks.CallbackList([Finder()], model=make_model())
    assert found.pop() is callbacks
    watch = CallbackWatch(callbacks, lambda error: errors.append(str(error)), lambda: vanished.append(True))
    with pytest.raises(OSError, match="disk full"):
        callbacks.on_epoch_end(0)
    assert errors == ["disk full"]
    assert len(watch.callbacks) == 1
    del callbacks
    assert vanished == [True]
    assert watch.callbacks == []
    assert callback_list() is None


def test_a_released_watch_is_silent() -> None:
    vanished: list[bool] = []
    callbacks = keras.callbacks.CallbackList([keras.callbacks.Callback()], model=make_model())
    before = dict(vars(callbacks))
    watch = CallbackWatch(callbacks, lambda error: None, lambda: vanished.append(True))
    watch.release()
    assert vars(callbacks) == before
    del callbacks
    assert vanished == []


def test_the_key_of_the_values_is_no_metric_of_anyone() -> None:
    model = make_model()
    history = model.fit(X, Y, verbose=0).history
    assert VALUES not in history
