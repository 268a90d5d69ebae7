"""KerasTracker on real trainings of tiny models."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

import trackside  # noqa: E402
from trackside.db.errors import RunNotFoundError, UsageError  # noqa: E402
from trackside.db.records import RunInfo, Series  # noqa: E402
from trackside.db.store import Store  # noqa: E402
from trackside.trackers import keras_fit  # noqa: E402
from trackside.trackers.fingerprints import batch_digest, weights_fingerprint  # noqa: E402
from trackside.trackers.keras import KerasTracker  # noqa: E402
from trackside.trackers.keras_steps import StepRecorder  # noqa: E402

pytestmark = [
    pytest.mark.framework,
    # Keras' advice to users: data that ran out, shuffling that a dataset ignores.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SAMPLES, BATCH, FEATURES, CLASSES = 50, 16, 6, 3  # four batches an epoch, the last of 2
STEPS = 4

generator = np.random.default_rng(7)
X = generator.normal(size=(SAMPLES, FEATURES)).astype("float32")
Y = generator.integers(0, CLASSES, SAMPLES)

MODES = [
    pytest.param({"jit_compile": False}, id="graph"),
    pytest.param({"run_eagerly": True}, id="eager"),
    pytest.param({"jit_compile": True}, id="xla"),
    pytest.param({"jit_compile": False, "steps_per_execution": 3}, id="graph-3"),
    pytest.param({"jit_compile": True, "steps_per_execution": 3}, id="xla-3"),
]


def make_model(*, normalized: bool = False, optimizer: Any = None, metrics: Any = ("accuracy",), **how: Any) -> Any:
    """Two layers, started from the same weights every time."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Input((FEATURES,)), keras.layers.Dense(8, activation="relu")]
    if normalized:
        layers.append(keras.layers.BatchNormalization())
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    compile_model(model, optimizer=optimizer, metrics=metrics, **how)
    return model


def compile_model(model: Any, *, optimizer: Any = None, metrics: Any = (), **how: Any) -> None:
    model.compile(
        optimizer or keras.optimizers.SGD(0.1, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
        **{"jit_compile": False, **how},
    )


def fit(model: Any, *callbacks: Any, x: Any = X, y: Any = Y, **how: Any) -> Any:
    settings = {"batch_size": BATCH, "epochs": 2, "verbose": 0, "shuffle": False, **how}
    if y is None:
        settings.pop("batch_size")
    return model.fit(x, y, callbacks=list(callbacks), **settings)


class ByHand(keras.callbacks.Callback):  # type: ignore[misc]
    """Computes the loss of every batch again, with the weights the batch met; one step an execution."""

    def __init__(self, x: Any = X, y: Any = Y) -> None:
        super().__init__()
        self.x, self.y = x, y
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.rates: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        rows = slice(batch * BATCH, (batch + 1) * BATCH)
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(y=tf.constant(self.y[rows]), y_pred=self.model(self.x[rows]))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.losses.append(float(loss))
        self.norms.append(float(tf.linalg.global_norm(gradients)))
        self.rates.append(float(self.model.optimizer.learning_rate))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
def tracker(url: str) -> KerasTracker:
    return KerasTracker(name="run", store=url, system=False)


@pytest.fixture
def read(url: str) -> Callable[..., Reading]:
    def reading(name: str = "run") -> Reading:
        return Reading(url, name)

    return reading


class Reading:
    """What the store holds of a run."""

    def __init__(self, url: str, name: str) -> None:
        with Store(url) as store:
            self.run: RunInfo = store.run(name)
            self.series: dict[str, Series] = {
                info.name: store.series(self.run, info.name) for info in store.series_infos([self.run.id])
            }
            self.axes = store.axes(self.run)
            self.events = [(event.kind, event.message) for event in store.events(self.run)]
            self.fingerprints = store.fingerprints(self.run)

    def values(self, name: str) -> list[float]:
        return [float(value) for value in self.series[name].values]

    def steps(self, name: str) -> list[int]:
        return [int(step) for step in self.series[name].steps]

    def notices(self) -> list[str]:
        return [message for kind, message in self.events if kind == "notice"]


# ---- Values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", MODES[:3])
def test_a_step_logs_the_loss_of_its_own_batch(tracker: KerasTracker, read: Any, how: dict[str, Any]) -> None:
    by_hand = ByHand()
    fit(make_model(**how), by_hand, tracker, epochs=3)

    found = read()
    assert tracker.guard.failures == {}
    assert found.run.state == "finished"
    assert found.steps("train/loss") == list(range(3 * STEPS))
    assert np.abs(np.array(found.values("train/loss")) - by_hand.losses).max() < 1e-6
    assert found.series["train/loss"].info.reduction == "batch"
    assert found.steps("train/acc") == list(range(3 * STEPS))
    assert found.axes.samples[: STEPS + 1].tolist() == [16, 32, 48, 50, 66]
    assert found.axes.epochs[:STEPS].tolist() == [0.25, 0.5, 0.75, 1.0]
    expected = "eager" if how.get("run_eagerly") else "xla" if how["jit_compile"] else "graph"
    assert found.run.mode == expected


@pytest.mark.parametrize("how", MODES)
def test_training_is_bit_for_bit_what_it_is_without(tracker: KerasTracker, read: Any, how: dict[str, Any]) -> None:
    tracker = KerasTracker(name="run", store=tracker.options.store, gradient_norm=True)
    validation = {"validation_data": (X[:20], Y[:20]), "epochs": 3}
    seen: tuple[list[Any], list[Any]] = ([], [])
    listen = [
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, to=to: to.append((batch, logs)))
        for to in seen
    ]
    plain = make_model(normalized=True, optimizer=keras.optimizers.Adam(0.02), **how)
    expected = fit(plain, listen[0], **validation).history
    tracked = make_model(normalized=True, optimizer=keras.optimizers.Adam(0.02), **how)
    history = fit(tracked, listen[1], tracker, **validation).history

    assert tracker.guard.failures == {}
    assert history == expected
    assert seen[0] == seen[1]
    for one, other in zip(plain.get_weights(), tracked.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(plain.optimizer.variables, tracked.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert len(read().values("train/loss")) == 3 * STEPS


def test_an_execution_of_several_steps_loses_none(url: str, read: Any) -> None:
    for name, several in (("one", 1), ("three", 3)):
        tracker = KerasTracker(name=name, store=url, system=False, gradient_norm=True)
        fit(make_model(steps_per_execution=several), tracker)
    one, three = read("one"), read("three")
    for name in ("train/loss", "train/acc", "optimizer/learning_rate", "optimizer/gradient_norm"):
        assert three.steps(name) == one.steps(name) == list(range(2 * STEPS))
        assert three.values(name) == one.values(name)
    assert three.axes.samples[: 2 * STEPS].tolist() == one.axes.samples[: 2 * STEPS].tolist()
    assert three.axes.epochs[: 2 * STEPS].tolist() == one.axes.epochs[: 2 * STEPS].tolist()
    assert three.fingerprints["data/batches"] == one.fingerprints["data/batches"]
    assert any("3 updates in one execution" in notice for notice in three.notices())


def test_the_learning_rate_is_the_one_the_update_used(tracker: KerasTracker, read: Any) -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.9)
    by_hand = ByHand()
    # Long enough to come past the batches that are fingerprinted, from where on steps take the short way.
    fit(make_model(optimizer=keras.optimizers.SGD(schedule)), by_hand, tracker, epochs=6)
    found = read()
    assert len(by_hand.rates) > 16
    np.testing.assert_allclose(found.values("optimizer/learning_rate"), by_hand.rates, rtol=1e-6)
    assert found.values("optimizer/learning_rate")[0] == pytest.approx(0.1)
    assert found.fingerprints["arithmetic"]["schedule"]["name"] == "ExponentialDecay"


def test_the_gradient_norm_is_that_before_clipping(url: str, read: Any) -> None:
    by_hand = ByHand()
    tracker = KerasTracker(name="run", store=url, system=False, gradient_norm=True)
    fit(make_model(optimizer=keras.optimizers.SGD(0.1, global_clipnorm=0.01)), by_hand, tracker)
    np.testing.assert_allclose(read().values("optimizer/gradient_norm"), by_hand.norms, rtol=1e-5)


def test_accumulated_batches_make_one_step(url: str, read: Any) -> None:
    by_hand = ByHand()
    tracker = KerasTracker(name="run", store=url, system=False, gradient_norm=True)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
    fit(make_model(optimizer=optimizer), by_hand, tracker, epochs=3)  # twelve batches: four updates, across epochs

    found = read()
    means = np.array(by_hand.losses).reshape(4, 3).mean(axis=1)
    assert found.steps("train/loss") == [0, 1, 2, 3]
    np.testing.assert_allclose(found.values("train/loss"), means, atol=1e-6)
    assert found.axes.samples[:4].tolist() == [48, 82, 116, 150]
    assert found.run.total_steps == 4
    assert found.fingerprints["arithmetic"]["accumulation"] == 3
    assert len(found.values("optimizer/gradient_norm")) == 4


def test_the_norm_of_accumulated_gradients_is_that_of_their_mean(url: str, read: Any) -> None:
    class Means(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norms: list[float] = []
            self.sums: list[Any] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            rows = slice(batch * BATCH, (batch + 1) * BATCH)
            with tf.GradientTape() as tape:
                loss = self.model.compute_loss(y=tf.constant(Y[rows]), y_pred=self.model(X[rows]))
            self.sums.append(tape.gradient(loss, self.model.trainable_variables))
            if len(self.sums) == 2:
                means = [(one + other) / 2 for one, other in zip(*self.sums, strict=True)]
                self.norms.append(float(tf.linalg.global_norm(means)))
                self.sums.clear()

    means = Means()
    tracker = KerasTracker(name="run", store=url, system=False, gradient_norm=True)
    fit(make_model(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)), means, tracker)
    np.testing.assert_allclose(read().values("optimizer/gradient_norm"), means.norms, rtol=1e-5)


def test_metrics_are_the_batchs_own_and_those_that_cannot_be_are_means_of_the_epoch(
    tracker: KerasTracker, read: Any
) -> None:
    class Largest(keras.metrics.Metric):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="largest")
            self.value = self.add_weight(shape=(), initializer="zeros")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))

        def result(self) -> Any:
            return self.value

    expected = []

    class Accuracy(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            rows = slice(batch * BATCH, (batch + 1) * BATCH)
            expected.append(float(np.mean(np.argmax(self.model(X[rows]).numpy(), axis=1) == Y[rows])))

    history = fit(make_model(metrics=["accuracy", Largest()]), Accuracy(), tracker).history
    found = read()
    np.testing.assert_allclose(found.values("train/acc"), expected, atol=1e-7)
    assert found.series["train/largest"].info.reduction == "epoch_mean"
    assert found.steps("train/largest") == [STEPS - 1, 2 * STEPS - 1]
    assert found.values("train/largest") == history["largest"]


def test_validation_is_logged_at_the_last_update_before_it(tracker: KerasTracker, read: Any) -> None:
    history = fit(make_model(), tracker, validation_split=0.2).history
    found = read()
    assert found.steps("val/loss") == [2, 5]  # 40 samples are left: three batches an epoch
    assert found.values("val/loss") == history["val_loss"]
    assert found.values("val/acc") == history["val_accuracy"]
    assert found.series["val/loss"].info.reduction == "epoch_mean"
    assert found.fingerprints["evaluation"]["samples"] == 10
    assert found.fingerprints["evaluation"]["digests"] == [batch_digest([X[40:], Y[40:]])]


def test_what_a_callback_adds_to_the_results_of_a_validation_is_logged_with_them(
    tracker: KerasTracker, read: Any
) -> None:
    measured = []

    def measure(epoch: int, logs: dict[str, float]) -> None:
        measured.append(0.5 + 0.125 * epoch)
        logs["val_f1"] = measured[-1]

    fit(make_model(), keras.callbacks.LambdaCallback(on_epoch_end=measure), tracker, validation_split=0.2)
    found = read()
    assert found.values("val/f1") == measured
    assert found.steps("val/f1") == found.steps("val/loss") == [2, 5]


def test_log_every_thins_out_the_record(url: str, read: Any) -> None:
    fit(make_model(), KerasTracker(name="run", store=url, system=False, log_every=3))
    assert read().steps("train/loss") == [0, 3, 6]


def test_waiting_for_data_is_told_from_computing(tracker: KerasTracker, read: Any) -> None:
    def slowly() -> Any:
        for _ in range(6):
            time.sleep(0.05)
            yield X[:BATCH], Y[:BATCH]

    signature = (tf.TensorSpec((None, FEATURES), tf.float32), tf.TensorSpec((None,), tf.int64))
    data = tf.data.Dataset.from_generator(slowly, output_signature=signature)
    fit(make_model(), tracker, x=data, y=None, epochs=1)
    found = read()
    seconds, waiting, computing = (
        np.array(found.values(f"step/{part}")) for part in ("seconds", "data_seconds", "compute_seconds")
    )
    assert found.steps("step/first_seconds") == [0]
    assert found.steps("step/seconds") == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(waiting + computing, seconds)
    # The source sleeps 50 ms a batch; a step of this model is far shorter, but the first few hide in its tracing.
    assert np.median(waiting) > 0.025
    assert found.axes.samples[:6].tolist() == [16, 32, 48, 64, 80, 96]


# ---- Data of every kind ----------------------------------------------------------------------------------------------


class Sequence(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches by index, one of which may be broken."""

    def __init__(self, broken: int | None = None) -> None:
        super().__init__()
        self.broken = broken

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> Any:
        if index == self.broken:
            raise KeyError("no such image")
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], Y[rows]


def batches() -> Any:
    for index in range(2 * STEPS):
        rows = slice((index % STEPS) * BATCH, (index % STEPS + 1) * BATCH)
        yield X[rows], Y[rows]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: {"x": X, "y": Y}, id="numpy"),
        pytest.param(lambda: {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH), "y": None}, id="dataset"),
        pytest.param(lambda: {"x": Sequence(), "y": None}, id="sequence"),
        pytest.param(lambda: {"x": batches(), "y": None, "steps_per_epoch": STEPS}, id="generator"),
    ],
)
def test_the_first_batches_are_fingerprinted_whatever_they_come_from(
    tracker: KerasTracker, read: Any, data: Callable[[], dict[str, Any]]
) -> None:
    fit(make_model(), tracker, **data())
    found = read()
    slices = [slice(i * BATCH, (i + 1) * BATCH) for i in range(STEPS)]
    digests = [batch_digest([X[rows], Y[rows]]) for rows in slices]
    assert found.fingerprints["data/batches"]["digests"] == digests * 2
    assert found.fingerprints["data/batches"]["samples_per_epoch"] == SAMPLES
    assert found.fingerprints["data/batches"]["batch_size"] == BATCH
    assert found.run.config["data"]["batch_size"] == BATCH
    assert found.axes.samples[2 * STEPS - 1] == 2 * SAMPLES
    assert tracker.guard.failures == {}


def test_a_dataset_without_a_length_counts_epochs_once_it_knows_it(tracker: KerasTracker, read: Any) -> None:
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).filter(lambda x, y: True)
    fit(make_model(), tracker, x=data, y=None, epochs=2)
    found = read()
    assert found.steps("train/loss") == list(range(2 * STEPS))
    assert found.axes.epochs[STEPS : 2 * STEPS].tolist() == [1.25, 1.5, 1.75, 2.0]


def test_sample_weights_and_masks_count_in_the_loss(tracker: KerasTracker, read: Any) -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,))
    hidden = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.GRU(4)(hidden)))
    compile_model(model)
    tokens = np.random.default_rng(1).integers(0, 9, (BATCH, 5))
    weights = np.linspace(0, 2, BATCH).astype("float32")
    expected = []

    class Weighted(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            loss = self.model.compute_loss(
                y=tf.constant(Y[:BATCH]), y_pred=self.model(tokens), sample_weight=tf.constant(weights)
            )
            expected.append(float(loss))

    fit(model, Weighted(), tracker, x=tokens, y=Y[:BATCH], sample_weight=weights)
    np.testing.assert_allclose(read().values("train/loss"), expected, atol=1e-6)


# ---- Models of every kind --------------------------------------------------------------------------------------------


class Subclassed(keras.Model):  # type: ignore[misc]
    """Gets its weights with the first batch; its training step is written out, as the guides show it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(8, activation="relu")
        self.out = keras.layers.Dense(CLASSES)

    def call(self, inputs: Any) -> Any:
        return self.out(self.hidden(inputs))

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


@pytest.mark.parametrize("how", MODES[:3])
def test_a_training_step_of_ones_own_that_calls_compute_loss(
    tracker: KerasTracker, read: Any, how: dict[str, Any]
) -> None:
    keras.utils.set_random_seed(3)
    by_hand = ByHand()
    model = Subclassed()
    compile_model(model, metrics=["accuracy"], **how)
    started: list[Any] = []

    class Keep(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if not started:  # the loss computed by hand has just made the weights
                started.extend(model.get_weights())

    fit(model, by_hand, Keep(), tracker)
    found = read()
    assert np.abs(np.array(found.values("train/loss")) - by_hand.losses).max() < 1e-6
    assert found.fingerprints["init/weights"] == weights_fingerprint(started)
    assert found.run.model["class"] == "Subclassed"
    assert found.run.model["parameters"] == model.count_params()
    assert found.notices() == []


def test_weights_made_with_the_first_batch_are_fingerprinted_before_they_change(
    tracker: KerasTracker, read: Any
) -> None:
    keras.utils.set_random_seed(6)
    model = Subclassed()
    compile_model(model)
    fit(model, tracker, epochs=1)
    keras.utils.set_random_seed(6)
    again = Subclassed()
    again(X[:1])
    assert read().fingerprints["init/weights"] == weights_fingerprint(again.get_weights())


class Total(keras.metrics.Metric):  # type: ignore[misc]
    """No mean: what one batch adds to it is not known."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, value: Any) -> None:
        self.total.assign_add(value)

    def result(self) -> Any:
        return self.total


class Adversarial(keras.Model):  # type: ignore[misc]
    """Two losses of its own and no call of compute_loss."""

    def __init__(self, metric: Any = keras.metrics.Mean) -> None:
        super().__init__()
        self.make = keras.layers.Dense(FEATURES)
        self.judge = keras.layers.Dense(1)
        self.judge_loss = metric(name="judge_loss")
        self.make_loss = metric(name="make_loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.judge_loss, self.make_loss]

    def call(self, inputs: Any) -> Any:
        return self.judge(self.make(inputs))

    def train_step(self, data: Any) -> Any:
        with tf.GradientTape(persistent=True) as tape:
            judged = tf.reduce_mean(self(data) ** 2)
            made = tf.reduce_mean((self.make(data) - data) ** 2)
        self.optimizer.apply_gradients(
            [(tape.gradient(judged, v), v) for v in self.judge.trainable_variables]
            + [(tape.gradient(made, v), v) for v in self.make.trainable_variables]
        )
        self.judge_loss.update_state(judged)
        self.make_loss.update_state(made)
        return {"judge_loss": self.judge_loss.result(), "make_loss": self.make_loss.result()}


@pytest.mark.parametrize("how", MODES)
def test_the_means_that_a_training_step_of_ones_own_keeps_are_logged_batch_by_batch(
    tracker: KerasTracker, read: Any, how: dict[str, Any]
) -> None:
    model = Adversarial()
    model.compile(keras.optimizers.SGD(0.01), **{"jit_compile": False, **how})
    means: list[float] = []
    listen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: means.append(logs["make_loss"]))
    history = fit(model, listen, tracker, x=tf.data.Dataset.from_tensor_slices(X).batch(BATCH), y=None).history
    found = read()
    assert tracker.guard.failures == {}
    assert found.series["train/make_loss"].info.reduction == "batch"
    assert found.steps("train/judge_loss") == list(range(2 * STEPS))
    made = np.array(found.values("train/make_loss")).reshape(2, STEPS)
    np.testing.assert_allclose(made.mean(axis=1), history["make_loss"], rtol=1e-5)  # Keras' own result is as it was
    if "steps_per_execution" not in how:
        running = np.cumsum(made, axis=1) / np.arange(1, STEPS + 1)
        np.testing.assert_allclose(running.ravel(), means, rtol=1e-5)
        assert found.notices() == []


def test_a_training_step_with_losses_of_its_own_says_what_is_missing(tracker: KerasTracker, read: Any) -> None:
    model = Adversarial(Total)
    model.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    seen: list[float] = []
    listen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["make_loss"]))
    fit(model, listen, tracker, x=tf.data.Dataset.from_tensor_slices(X).batch(BATCH), y=None)
    found = read()
    assert tracker.guard.failures == {}
    assert found.values("train/make_loss") == seen
    assert found.series["train/make_loss"].info.reduction == "running_mean"
    assert found.series["train/judge_loss"].info.reduction == "running_mean"
    assert len([notice for notice in found.notices() if "without compute_loss" in notice]) == 1
    assert found.axes.samples[:STEPS].tolist() == [16, 32, 48, 50]
    assert "loss" not in found.fingerprints["arithmetic"]


class TwoOptimizers(keras.Model):  # type: ignore[misc]
    """As the guide to DCGAN has it: no `call`, an optimizer each, and none for Keras itself."""

    def __init__(self) -> None:
        super().__init__()
        self.make = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(FEATURES)])
        self.judge = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1)])

    def compile(self, d_optimizer: Any, g_optimizer: Any, loss_fn: Any, **how: Any) -> None:
        super().compile(**how)
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn
        self.d_loss, self.g_loss = keras.metrics.Mean(name="d_loss"), keras.metrics.Mean(name="g_loss")

    def train_step(self, data: Any) -> Any:
        with tf.GradientTape() as tape:
            real, fake = self.judge(data), self.judge(self.make(data))
            d_loss = self.loss_fn(tf.ones_like(real), real) + self.loss_fn(tf.zeros_like(fake), fake)
        weights = self.judge.trainable_weights
        self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))
        with tf.GradientTape() as tape:
            fake = self.judge(self.make(data))
            g_loss = self.loss_fn(tf.ones_like(fake), fake)
        weights = self.make.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


@pytest.mark.parametrize("how", MODES)
def test_several_optimizers(url: str, read: Any, how: dict[str, Any]) -> None:
    model = TwoOptimizers()
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=1, decay_rate=0.5)
    model.compile(
        keras.optimizers.Adam(decay, beta_1=0.5),
        keras.optimizers.SGD(0.01),
        keras.losses.BinaryCrossentropy(from_logits=True),
        **{"jit_compile": False, **how},
    )
    start = model.get_weights()
    tracker = KerasTracker(name="run", store=url, system=False, gradient_norm=True)
    fit(model, tracker, x=tf.data.Dataset.from_tensor_slices(X).batch(BATCH), y=None, epochs=1)
    found = read()
    assert tracker.guard.failures == {}
    np.testing.assert_allclose(found.values("optimizer0/learning_rate"), 0.1 * 0.5 ** np.arange(STEPS), rtol=1e-6)
    np.testing.assert_allclose(found.values("optimizer1/learning_rate"), [0.01] * STEPS, rtol=1e-6)
    assert "optimizer/learning_rate" not in found.series  # that of the RMSprop which Keras made and nobody uses
    rows = X[:BATCH]
    again = TwoOptimizers()
    again.set_weights(start)
    with tf.GradientTape() as tape:
        real, fake = again.judge(rows), again.judge(again.make(rows))
        loss = model.loss_fn(tf.ones_like(real), real) + model.loss_fn(tf.zeros_like(fake), fake)
    norm = tf.linalg.global_norm(tape.gradient(loss, again.judge.trainable_weights))
    assert found.values("train/d_loss")[0] == pytest.approx(float(loss), rel=1e-5)
    assert found.values("optimizer0/gradient_norm")[0] == pytest.approx(float(norm), rel=1e-5)
    assert found.steps("optimizer1/gradient_norm") == list(range(STEPS))
    arithmetic = found.fingerprints["arithmetic"]
    for described in (arithmetic, found.run.config):
        assert [optimizer["name"] for optimizer in described["optimizers"]] == ["Adam", "SGD"]
        assert "optimizer" not in described
    assert arithmetic["clipping"] is None
    assert "schedule" not in arithmetic  # they have not the same
    assert arithmetic["loss"] == {"name": "binary_cross_entropy", "reduction": "mean"}
    assert found.fingerprints["init/weights"] == weights_fingerprint(start)


def test_several_outputs(tracker: KerasTracker, read: Any) -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((FEATURES,))
    outputs = {"kind": keras.layers.Dense(CLASSES, name="kind")(inputs), "size": keras.layers.Dense(1)(inputs)}
    model = keras.Model(inputs, outputs)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss={"kind": cross_entropy, "size": "mse"}, metrics={"kind": ["accuracy"]}, jit_compile=False)
    target = {"kind": Y, "size": X[:, :1]}
    history = fit(model, tracker, y=target, epochs=1).history
    found = read()
    assert tracker.guard.failures == {}
    assert found.steps("train/kind_accuracy") == list(range(STEPS))
    sizes = np.array([16, 16, 16, 2])
    assert np.average(found.values("train/loss"), weights=sizes) == pytest.approx(history["loss"][0], rel=1e-5)
    assert found.series["train/kind_loss"].info.reduction == "epoch_mean"
    assert found.fingerprints["arithmetic"]["loss"] == {
        "name": "cross_entropy + mean_squared_error",
        "reduction": "mean",
    }


@pytest.mark.parametrize(("policy", "precision"), [("mixed_bfloat16", "bf16-mixed"), ("mixed_float16", "fp16-mixed")])
def test_mixed_precision(url: str, read: Any, policy: str, precision: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy(before)
    by_hand = ByHand()
    tracker = KerasTracker(name="run", store=url, system=False, gradient_norm=True)
    fit(model, by_hand, tracker)
    found = read()
    assert tracker.guard.failures == {}
    assert found.run.precision == precision
    np.testing.assert_allclose(found.values("train/loss"), by_hand.losses, rtol=0.02)
    # Without loss scaling undone it would be thousands of times as large.
    np.testing.assert_allclose(found.values("optimizer/gradient_norm"), by_hand.norms, rtol=0.1)


# ---- How a training ends ---------------------------------------------------------------------------------------------


def test_early_stopping_is_a_finished_run_with_an_event(tracker: KerasTracker, read: Any) -> None:
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=0, min_delta=100.0)
    fit(make_model(), stop, tracker, epochs=9)
    found = read()
    assert found.run.state == "finished"
    assert [message for kind, message in found.events if kind == "early_stop"] == [
        "EarlyStopping, which watches loss, stopped training after epoch 2 of 9."
    ]


def failing_hook(hook: str, error: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return keras.callbacks.LambdaCallback(**{hook: fail})


class BrokenLayer(keras.layers.Layer):  # type: ignore[misc]
    def call(self, inputs: Any) -> Any:
        raise ArithmeticError("cannot compute this")


def broken_model() -> Any:
    model = keras.Sequential([keras.layers.Dense(4), BrokenLayer()])
    compile_model(model)
    return model


@pytest.mark.parametrize(
    ("train", "error", "said"),
    [
        pytest.param(lambda t: fit(broken_model(), t), ArithmeticError, "cannot compute this", id="model"),
        pytest.param(
            lambda t: fit(make_model(), t, x=Sequence(broken=2), y=None), KeyError, "no such image", id="data"
        ),
        pytest.param(
            lambda t: fit(make_model(), t, failing_hook("on_train_batch_end", OSError("disk full"))),
            OSError, "disk full", id="callback",
        ),
        pytest.param(
            lambda t: fit(make_model(), t, failing_hook("on_epoch_end", OSError("disk full"))),
            OSError, "disk full", id="callback-epoch",
        ),
        pytest.param(
            lambda t: fit(make_model(), t, validation_data=Sequence(broken=3)),
            KeyError, "no such image", id="validation",
        ),
    ],
)  # fmt: skip
def test_an_exception_fails_the_run_and_goes_its_way(
    tracker: KerasTracker, read: Any, train: Any, error: type[BaseException], said: str
) -> None:
    with pytest.raises(Exception, match=said) as caught:
        train(tracker)
    assert isinstance(caught.value, error) or "Error" in type(caught.value).__name__
    found = read()
    assert found.run.state == "failed"
    assert found.run.error is not None
    assert said in found.run.error["message"]
    assert found.run.error["traceback"]
    assert tracker.run is None
    assert tracker.guard.failures == {}


def test_an_exception_between_two_hooks_fails_the_run_too(tracker: KerasTracker, read: Any) -> None:
    def train() -> None:  # once it has returned, nothing holds on to the exception any more
        with pytest.raises(KeyError, match="no such image"):
            fit(make_model(), tracker, validation_data=Sequence(broken=0))

    train()
    found = read()
    assert found.run.state == "failed"
    assert any("left by an exception" in notice for notice in found.notices())


def test_an_interrupt_kills_the_run(tracker: KerasTracker, read: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), tracker, failing_hook("on_train_batch_end", KeyboardInterrupt()))
    assert read().run.state == "killed"


def test_termination_kills_the_run(tmp_path: Path, url: str) -> None:
    script = f"""
        import os
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import numpy, keras, trackside
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        started = lambda batch, logs: open({str(tmp_path / "started")!r}, "w").close() if batch == 3 else None
        tracker = trackside.KerasTracker(name="run", store={url!r})
        model.fit(
            numpy.zeros((64, 4)), numpy.zeros(64), batch_size=1, epochs=100_000, verbose=0,
            callbacks=[tracker, keras.callbacks.LambdaCallback(on_train_batch_end=started)],
        )
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "started").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    found = Reading(url, "run")
    assert found.run.state == "killed"
    assert any(kind == "signal" for kind, _ in found.events)


# ---- Several fits, and continuing one --------------------------------------------------------------------------------


def test_every_fit_is_a_run(tracker: KerasTracker, read: Any) -> None:
    model = make_model()
    fit(model, tracker)
    fit(model, tracker)
    assert read("run").steps("train/loss") == read("run-2").steps("train/loss") == list(range(2 * STEPS))
    assert read("run-2").axes.samples[0] == BATCH


def test_a_fit_that_goes_on_continues_its_run(tracker: KerasTracker, read: Any) -> None:
    model = make_model()
    fit(model, tracker, epochs=1)
    fit(model, tracker, epochs=3, initial_epoch=1)
    found = read("run")
    assert found.steps("train/loss") == list(range(3 * STEPS))
    assert found.axes.samples.max() == 3 * SAMPLES
    assert found.run.state == "finished"
    with pytest.raises(RunNotFoundError):
        read("run-2")


@pytest.mark.parametrize("resume", ["run", True])
def test_a_training_restored_from_a_backup_continues_its_run(
    url: str, read: Any, tmp_path: Path, resume: str | bool
) -> None:
    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)

    first = KerasTracker(name="run", store=url, system=False, resume=resume is True)
    stop = failing_hook("on_epoch_begin", OSError("power cut"))
    stop.on_epoch_begin = lambda epoch, logs=None: stop_at(epoch)

    def stop_at(epoch: int) -> None:
        if epoch == 2:
            raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        fit(make_model(), first, backup(), stop, epochs=4)
    assert read().run.state == "failed"

    by_hand = ByHand()
    second = KerasTracker(name="run", store=url, system=False, resume=resume)
    fit(make_model(), second, backup(), by_hand, epochs=4)  # the tracker comes before what restores the weights
    found = read()
    assert second.run_id == first.run_id
    assert found.run.state == "finished"
    assert found.steps("train/loss") == list(range(4 * STEPS))
    assert found.values("train/loss")[2 * STEPS :] == pytest.approx(by_hand.losses, abs=1e-6)
    assert found.axes.samples.max() == 4 * SAMPLES
    assert found.run.error is None


def test_to_resume_what_is_not_there_is_an_error_before_training(url: str) -> None:
    with pytest.raises(RunNotFoundError):
        fit(make_model(), KerasTracker(store=url, resume="nobody"))


def test_a_later_start_without_resume_is_a_run_of_its_own(url: str, read: Any) -> None:
    model = make_model()
    fit(model, epochs=1)
    fit(model, KerasTracker(name="run", store=url, system=False), epochs=2, initial_epoch=1)
    found = read()
    assert found.steps("train/loss") == [STEPS + i for i in range(STEPS)]
    assert any("give KerasTracker its id or name" in notice for notice in found.notices())


def test_evaluation_adds_to_the_last_run_and_alone_tracks_nothing(
    tracker: KerasTracker, read: Any, tmp_path: Path
) -> None:
    model = make_model()
    model.evaluate(X, Y, callbacks=[tracker], verbose=0)
    model.predict(X, callbacks=[tracker], verbose=0)
    assert not (tmp_path / "runs.db").exists()
    fit(model, tracker)
    loss, accuracy = model.evaluate(X, Y, callbacks=[tracker], verbose=0)
    found = read()
    assert found.values("test/loss") == [pytest.approx(loss)]
    assert found.values("test/acc") == [pytest.approx(accuracy)]
    assert found.steps("test/loss") == [2 * STEPS - 1]
    assert found.run.state == "finished"


# ---- The model afterwards, and while it trains -----------------------------------------------------------------------


def test_the_model_is_left_as_it_was(tracker: KerasTracker) -> None:
    model = make_model(normalized=True)
    fit(model, epochs=1, validation_data=(X, Y))
    attributes, of_optimizer, function, test_function = (
        set(vars(model)), set(vars(model.optimizer)), model.train_function, model.test_function,
    )  # fmt: skip
    fit(model, tracker, validation_data=(X, Y))
    assert set(vars(model)) - attributes == set()
    assert set(vars(model.optimizer)) == of_optimizer
    assert model.train_function is function
    assert model.test_function is test_function
    with pytest.raises(OSError, match="disk full"):
        fit(model, tracker, failing_hook("on_train_batch_end", OSError("disk full")))
    assert model.train_function is function


def test_the_model_can_be_saved_and_copied_while_it_trains_and_after(tracker: KerasTracker, tmp_path: Path) -> None:
    class Copies(keras.callbacks.Callback):  # type: ignore[misc]
        made: list[Any] = []  # noqa: RUF012

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                self.model.save(tmp_path / "during.keras")
                self.made = [copy.deepcopy(self.model), pickle.loads(pickle.dumps(self.model))]
                keras.models.clone_model(self.model)
                self.expected = self.model(X).numpy()

    copies = Copies()
    model = make_model(normalized=True)
    fit(model, tracker, copies, epochs=1)
    for copied in (keras.models.load_model(tmp_path / "during.keras"), *copies.made):
        np.testing.assert_array_equal(copied(X).numpy(), copies.expected)
    model.save(tmp_path / "after.keras")
    restored = keras.models.load_model(tmp_path / "after.keras")
    np.testing.assert_array_equal(restored(X).numpy(), model(X).numpy())
    fit(copy.deepcopy(model), epochs=1)
    assert tracker.guard.failures == {}


def test_a_callback_may_compile_anew_in_mid_training(tracker: KerasTracker, read: Any) -> None:
    class Unfreeze(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                compile_model(self.model, metrics=["accuracy"])
                self.model.make_train_function()

    by_hand = ByHand()
    fit(make_model(), tracker, Unfreeze(), by_hand)
    found = read()
    np.testing.assert_allclose(found.values("train/loss"), by_hand.losses, atol=1e-6)
    assert tracker.guard.failures == {}


def test_a_batch_that_a_callback_trains_on_is_no_step_of_the_fit(tracker: KerasTracker, read: Any) -> None:
    class Extra(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.train_on_batch(X[:3], Y[:3])

    by_hand = ByHand()
    fit(make_model(), tracker, Extra(), by_hand)
    found = read()
    np.testing.assert_allclose(found.values("train/loss"), by_hand.losses, atol=1e-6)
    assert found.axes.samples.max() == 2 * SAMPLES


def test_training_goes_on_when_the_tracker_is_broken(
    tracker: KerasTracker, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug of ours")

    plain = make_model()
    fit(plain)
    monkeypatch.setattr(keras_fit.KerasFit, "_make_probe", broken)
    monkeypatch.setattr(keras_fit.KerasFit, "end_epoch", broken)
    model = make_model()
    fit(model, tracker)
    for one, other in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    found = read()
    assert found.run.state == "finished"
    assert tracker.guard.failures == {"look into the training step": 1, "end an epoch": 2}
    assert sum("a bug of ours" in sentence for sentence in found.run.warnings) == 2
    assert found.series["train/loss"].info.reduction == "running_mean"


# ---- What is said of the run -----------------------------------------------------------------------------------------


def test_the_run_says_what_was_trained_and_how(url: str, read: Any) -> None:
    tracker = KerasTracker(
        name="run", project="digits", config={"note": "mine"}, store=url, tags=["a"], group="pair", workload="toy"
    )
    model = make_model(normalized=True, optimizer=keras.optimizers.AdamW(0.01, weight_decay=0.02, clipnorm=1.0))
    started = model.get_weights()
    fit(model, tracker)
    found = read()
    run = found.run
    assert (run.framework, run.framework_version) == ("tensorflow", tf.__version__)
    assert (run.backend, run.mode, run.precision) == (f"keras {keras.__version__}", "graph", "float32")
    assert (run.project, run.tags, run.group, run.workload) == ("digits", ("a",), "pair", "toy")
    assert (run.total_steps, run.last_step, run.device) == (2 * STEPS, 2 * STEPS - 1, "cpu")
    assert run.config["note"] == "mine"
    assert run.config["trainer"]["max_epochs"] == 2
    assert run.model["parameters"] == run.model["trainable_parameters"] == 6 * 8 + 8 + 2 * 8 + 8 * 3 + 3
    assert [layer["class"] for layer in run.model["layers"]] == ["Dense", "BatchNormalization", "Dense"]
    arithmetic = found.fingerprints["arithmetic"]
    assert arithmetic["optimizer"] == {
        "name": "AdamW", "learning_rate": 0.01, "weight_decay": 0.02, "weight_decay_kind": "decoupled",
        "weight_decay_parameters": 6 * 8 + 8 + 2 * 8 + 8 * 3 + 3, "betas": [0.9, 0.999], "epsilon": 1e-7,
        "epsilon_kind": "hat",
    }  # fmt: skip
    assert arithmetic["clipping"] == {"kind": "variable_norm", "value": 1.0}
    assert arithmetic["schedule"] is None
    assert arithmetic["loss"] == {"name": "cross_entropy", "reduction": "mean"}
    assert arithmetic["normalization"] == [{"kind": "batch", "momentum": 0.01, "epsilon": 1e-3, "variance": "biased"}]
    assert arithmetic["trainable_parameter_count"] == run.model["parameters"]
    trainable = [w for w, v in zip(started, model.weights, strict=True) if v.trainable]
    assert found.fingerprints["init/weights"] == weights_fingerprint(trainable)
    assert "cpu/percent" in found.series


def test_event_files_for_tensorboard(url: str, read: Any, tmp_path: Path) -> None:
    fit(make_model(), KerasTracker(name="run", store=url, system=False, tensorboard=tmp_path / "logs"))
    directory = read().run.log_directory
    assert directory is not None
    assert list(Path(directory).glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"profile": "yes"}, "profile"),
        ({"debug": "yes"}, "debug"),
        ({"log_every": 0}, "log_every"),
        ({"resume": 3}, "resume"),
        ({"resume": True}, "give the tracker a name"),
        ({"store": "mysql://somewhere"}, "mysql"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        KerasTracker(**arguments)


def test_the_tracker_can_be_copied_and_is_public(tracker: KerasTracker) -> None:
    fit(make_model(), tracker, epochs=1)
    assert copy.deepcopy(tracker).options == tracker.options
    assert pickle.loads(pickle.dumps(tracker)).options == tracker.options
    assert trackside.KerasTracker is KerasTracker


def test_another_back_end_is_tracked_from_its_logs(url: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = f"""
        import numpy, keras, trackside
        assert keras.backend.backend() == "torch"
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x = numpy.arange(40, dtype="float32").reshape(10, 4) / 40
        tracker = trackside.KerasTracker(name="run", store={url!r}, system=False)
        model.fit(x, x[:, :1], batch_size=2, epochs=2, verbose=0, callbacks=[tracker], validation_split=0.2)
        assert not tracker.guard.failures, tracker.guard.failures
    """
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, cwd=tmp_path, env=environment, timeout=240
    )
    found = Reading(url, "run")
    assert (found.run.framework, found.run.state) == ("torch", "finished")
    assert found.steps("train/loss") == list(range(8))
    assert found.series["train/loss"].info.reduction == "running_mean"
    assert found.steps("val/loss") == [3, 7]
    assert any("torch back end" in notice for notice in found.notices())
    assert found.fingerprints["init/weights"]["parameter_count"] == 5


def test_a_step_that_took_no_time_does_not_mislead_the_short_way(url: str, read: Callable[..., Reading]) -> None:
    """It has no samples a second; those after it have."""

    class Skips(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 9:  # as where somebody else has put the tracker aside for a while
                assert tracker._fit is not None
                clock = tracker._fit.session.clock
                clock._batch_began = clock._gap_began = None
                clock._data = 0.0

    tracker = KerasTracker(name="run", store=url, system=False)
    model = make_model()
    fit(model, tracker, Skips(), x=np.tile(X, (4, 1)), y=np.tile(Y, 4), epochs=1)
    assert not tracker.guard.failures
    steps = read().series["train/loss"].steps
    np.testing.assert_array_equal(steps, np.arange(13))
    assert 9 not in read().series["step/samples_per_second"].steps


@pytest.mark.parametrize("how", [*MODES, pytest.param({"accumulate": 2}, id="accumulation")])
@pytest.mark.parametrize("gradient_norm", [False, True])
def test_the_short_way_records_what_the_careful_one_does(
    url: str, read: Callable[..., Reading], how: dict[str, Any], gradient_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = [0]
    log = StepRecorder._log_usual

    def counted(self: StepRecorder, *given: Any) -> bool:
        logged = log(self, *given)
        short[0] += logged
        return logged

    monkeypatch.setattr(StepRecorder, "_log_usual", counted)
    taken = {}
    for name in ("short", "careful"):
        if name == "careful":
            monkeypatch.setattr(StepRecorder, "_learn", lambda self, *given: None)
        schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.9)
        options = {"gradient_accumulation_steps": 2} if "accumulate" in how else {}
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, **options)
        plain = {key: value for key, value in how.items() if key != "accumulate"}
        model = make_model(normalized=True, optimizer=optimizer, **plain)
        callback = KerasTracker(name=name, store=url, system=False, gradient_norm=gradient_norm)
        fit(model, callback, epochs=5, validation_data=(X, Y))
        assert not callback.guard.failures
        taken[name], short[0] = short[0], 0
    one, other = read("short"), read("careful")
    assert taken["careful"] == 0
    if "accumulate" in how or "steps_per_execution" in how:
        assert taken["short"] == 0
    else:  # all but the first eight, whose batches are being digested
        assert taken["short"] >= 5 * STEPS - 8
    assert one.series.keys() == other.series.keys()
    for name, series in one.series.items():
        np.testing.assert_array_equal(series.steps, other.series[name].steps)
        if not name.startswith("step/"):
            np.testing.assert_array_equal(series.values, other.series[name].values)
    for column in ("steps", "epochs", "samples"):
        np.testing.assert_array_equal(getattr(one.axes, column), getattr(other.axes, column))
    assert one.fingerprints == other.fingerprints
