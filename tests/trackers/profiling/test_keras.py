"""Windows of TensorFlow's profiler in real trainings: what is recorded, what stays, whom ours gives way to."""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

import trackside
from trackside import KerasTracker, ProfileSchedule
from trackside.runs.traces import reading, xplane_pb2

pytestmark = pytest.mark.framework

MODES = {"graph": {}, "eager": {"run_eagerly": True}, "xla": {"jit_compile": True}}
X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def fit(url, *, profile=None, callbacks=(), epochs=1, validate=False, accumulate=None, model=None, **compiled):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    if model is None:
        layers = [keras.layers.Dense(8, activation="relu", name="first"), keras.layers.BatchNormalization(name="norm")]
        model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1, name="last")])
        model.compile(keras.optimizers.Adam(gradient_accumulation_steps=accumulate), "mse", **compiled)
    tracker = KerasTracker(store=url, profile=profile, system=False)
    data = (X[:8], Y[:8]) if validate else None
    model.fit(X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, validation_data=data,
              callbacks=[tracker, *callbacks])  # fmt: skip
    assert tracker.guard.failures == {}
    return model, tracker


def traces(url, tracker):
    """Detail, and how often each name of an event on the host occurs, of each trace of a run."""
    with trackside.open_store(url) as store:
        found = []
        for one in store.artifacts(tracker.run_id, "trace/xplane"):
            space = xplane_pb2.XSpace()
            space.ParseFromString(store.artifact_bytes(one.id))
            (plane,) = [plane for plane in space.planes if plane.name == "/host:CPU"]
            names = Counter(plane.event_metadata[e.metadata_id].name for line in plane.lines for e in line.events)
            found.append((one.detail, names))
        return found


def notices(url, tracker):
    with trackside.open_store(url) as store:
        return [event.message for event in store.events(tracker.run_id) if "profile" in event.message.lower()]


def ours(names):
    return {name.removeprefix("trackside::"): n for name, n in names.items() if name.startswith("trackside::")}


@pytest.mark.parametrize("mode", MODES)
def test_a_window_in_each_mode_changes_nothing_in_what_is_computed(sqlite_url, mode):
    plain, before = fit(sqlite_url, **MODES[mode])
    profiled, after = fit(sqlite_url, profile=ProfileSchedule(wait=3, active=2), **MODES[mode])
    for one, other in zip(plain.get_weights(), profiled.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with trackside.open_store(sqlite_url) as store:
        losses = [store.series(tracker.run_id, "train/loss").values.tobytes() for tracker in (before, after)]
    assert losses[0] == losses[1]
    ((detail, names),) = traces(sqlite_url, after)
    assert (detail["first_step"], detail["last_step"], detail["mode"]) == (3, 4, mode)
    assert detail["layers"] == {
        "input_layer": "InputLayer", "first": "Dense", "norm": "BatchNormalization", "last": "Dense"
    }  # fmt: skip
    assert (detail["optimizer"], detail["versions"]["keras"]) == ("Adam", keras.__version__)
    assert names["train"] == 2
    layers = {f"layer::{name}": 2 for name in ("first", "norm", "last")}
    assert ours(names) == ({**layers, "loss": 2, "backward": 2, "optimizer": 2} if mode == "eager" else {})
    assert notices(sqlite_url, after) == []


def test_nothing_is_left_in_an_eager_model(sqlite_url):
    plain, _ = fit(sqlite_url, run_eagerly=True)
    gradient = tf.GradientTape.gradient
    start = tf.profiler.experimental.start
    model, _ = fit(sqlite_url, profile=ProfileSchedule(wait=1, active=1), run_eagerly=True)
    assert vars(model).keys() == vars(plain).keys()
    assert "apply" not in vars(model.optimizer)
    assert all("call" not in vars(layer) for layer in model.layers)
    assert tf.GradientTape.gradient is gradient
    assert tf.profiler.experimental.start is start


def test_several_updates_in_one_execution_are_recorded_whole(sqlite_url):
    _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=3, active=2), steps_per_execution=4)
    ((detail, names),) = traces(sqlite_url, tracker)
    assert (detail["first_step"], detail["last_step"], names["train"]) == (4, 7, 1)


def test_a_step_is_an_update_of_several_batches(sqlite_url):
    _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=2, active=2), accumulate=2)
    ((detail, names),) = traces(sqlite_url, tracker)
    assert (detail["first_step"], detail["last_step"], names["train"]) == (2, 3, 2)


def test_validation_is_no_part_of_a_step(sqlite_url):
    _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=9, active=5), epochs=2, validate=True)
    ((detail, _),) = traces(sqlite_url, tracker)
    assert (detail["first_step"], detail["last_step"]) == (12, 16)


class Fails(keras.callbacks.Callback):  # type: ignore[misc]
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 6:
            raise RuntimeError("out of luck")


def test_an_exception_ends_the_window_and_keeps_the_steps_before(sqlite_url):
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(sqlite_url, profile=ProfileSchedule(wait=4, active=5), callbacks=[Fails()], run_eagerly=True)
    with trackside.open_store(sqlite_url) as store:
        (run,) = store.runs()
        (trace,) = reading.traces(store, run)
        assert (run.state, trace.detail["first_step"], trace.detail["last_step"]) == ("failed", 4, 5)
    with pytest.raises(tf.errors.UnavailableError):
        tf.profiler.experimental.stop()  # none is left running


def tensorboard(tmp_path, batches):
    return keras.callbacks.TensorBoard(str(tmp_path / "tensorboard"), profile_batch=batches, write_graph=False)


@pytest.mark.parametrize(
    ("batches", "spans", "sentence"),
    [
        ((2, 10), [], "No steps were profiled: another"),
        ((7, 9), [(4, 5)], "Profiling ended early"),
        ((10, 11), [(4, 7)], ""),
    ],
    ids=["theirs first", "theirs within ours", "theirs after ours"],
)
@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_a_profiler_of_the_users_own_goes_on_undisturbed(sqlite_url, tmp_path, batches, spans, sentence, mode, caplog):
    theirs = tensorboard(tmp_path, batches)
    _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=4, active=4), callbacks=[theirs], **MODES[mode])
    recorded = traces(sqlite_url, tracker)
    assert [(detail["first_step"], detail["last_step"]) for detail, _ in recorded] == spans
    assert [names["train"] for _, names in recorded] == [last - first + 1 for first, last in spans]
    said = notices(sqlite_url, tracker)
    assert len(said) == bool(sentence)
    assert all(one.startswith(sentence) for one in said)
    (trace,) = (tmp_path / "tensorboard").rglob("*.xplane.pb")
    space = xplane_pb2.XSpace()
    space.ParseFromString(trace.read_bytes())
    names = Counter(
        plane.event_metadata[e.metadata_id].name for plane in space.planes for line in plane.lines for e in line.events
    )
    assert names["Profiled batch"] >= batches[1] - batches[0]
    assert "Failed to start profiler" not in caplog.text


def test_a_profiler_started_by_hand_goes_first(sqlite_url, tmp_path):
    with tf.profiler.experimental.Profile(str(tmp_path / "theirs")):
        _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=1, active=2))
    assert traces(sqlite_url, tracker) == []
    assert len(notices(sqlite_url, tracker)) == 1
    assert list((tmp_path / "theirs").rglob("*.xplane.pb"))


def test_a_loop_of_ones_own(sqlite_url):
    variable = tf.Variable(1.0)
    with (
        trackside.start_run(store=sqlite_url) as run,
        run.profile(wait=1, active=2, framework="tensorflow") as profiler,
    ):
        for step in range(5):
            variable.assign_add(1.0)
            run.log({"x": 1.0}, step=step)
            profiler.step()
    assert profiler.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        (trace,) = reading.traces(store, run.id)
        assert (trace.kind, trace.name) == ("trace/xplane", "steps-1-2.xplane.pb")
