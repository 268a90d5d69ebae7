"""What KerasTracker(debug=True) measures of each layer, against a loop written by hand."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

import trackside  # noqa: E402
from trackside.runs.debugging.records import records  # noqa: E402
from trackside.trackers.keras import KerasTracker  # noqa: E402
from trackside.trackers.options import DebugOptions  # noqa: E402
from trackside.workloads.broken import keras_broken  # noqa: E402

from .gallery import only  # noqa: E402
from .test_keras_gallery import EAGER, GRAPH, THREE, XLA, assert_culprit, broken  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.filterwarnings("ignore::UserWarning")]

X, Y = keras_broken.data()
BATCH = keras_broken.BATCH


def make_model(clipnorm: float | None = None, dropout: float = 0.3, **mode: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((keras_broken.FEATURES,)),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(dropout, seed=5, name="drop"),
            keras.layers.Dense(keras_broken.CLASSES, name="out"),
        ],
        name="net",
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.2, momentum=0.9, clipnorm=clipnorm), loss=loss, **mode)
    return model


def by_hand(model: Any, epochs: int = 1) -> dict[str, list[float]]:
    """Train the model in a loop of its own and return each series."""
    series: dict[str, list[float]] = {}
    loss_of = model.loss
    for first in [*range(0, len(X), BATCH)] * epochs:
        outputs = {}
        with tf.GradientTape() as tape:
            h = tf.constant(X[first : first + BATCH])
            for layer in model.layers:
                h = layer(h, training=True)
                outputs[layer.name] = h
            loss = loss_of(tf.constant(Y[first : first + BATCH]), h)
        weights = model.trainable_variables
        gradients = tape.gradient(loss, weights)
        before = [np.array(w) for w in weights]
        model.optimizer.apply(gradients, weights)
        for layer in model.layers:
            path = f"layers/{layer.name}"
            series.setdefault(f"{path}/activation_norm", []).append(float(tf.norm(outputs[layer.name])))
            series.setdefault(f"{path}/zero_fraction", []).append(float(np.mean(np.array(outputs[layer.name]) == 0)))
            own = [i for i, w in enumerate(weights) if any(w is v for v in layer.trainable_variables)]
            if own:
                series.setdefault(f"{path}/gradient_norm", []).append(norm([gradients[i] for i in own]))
                moved = norm([np.array(weights[i]) - before[i] for i in own])
                series.setdefault(f"{path}/update_ratio", []).append(moved / norm([before[i] for i in own]))
    return series


def norm(arrays: Any) -> float:
    return float(np.sqrt(sum(np.square(np.asarray(a, "float64")).sum() for a in arrays)))


def fit(model: Any, *callbacks: Any, **settings: Any) -> Any:
    return model.fit(X, Y, **{"batch_size": BATCH, "shuffle": False, "verbose": 0, "callbacks": callbacks, **settings})


def layer_series(url: str, run: str) -> dict[str, Any]:
    with trackside.open_store(url) as store:
        names = [info.name for info in store.series_infos([run]) if info.name.startswith("layers/")]
        return {name: store.series(run, name) for name in names}


@pytest.mark.parametrize("mode", [GRAPH, EAGER, XLA, THREE], ids=["graph", "eager", "xla", "graph-3"])
def test_every_layer_is_measured_as_by_hand_and_weights_stay_the_same(mode: dict[str, Any], sqlite_url: str) -> None:
    tracker = KerasTracker(store=sqlite_url, system=False, debug=True)
    how = {
        "clipnorm": 0.5,
        "dropout": 0.0 if mode.get("jit_compile") else 0.3,
    }  # XLA draws others
    model, plain = make_model(**how, **mode), make_model(**how, **mode)
    fit(model, tracker)
    fit(plain)
    assert not tracker.guard.failures
    assert all((a == b).all() for a, b in zip(model.get_weights(), plain.get_weights(), strict=True))
    assert tracker.run_id is not None
    found, expected = layer_series(sqlite_url, tracker.run_id), by_hand(make_model(**how, run_eagerly=True))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].values, values, rtol=2e-5, atol=1e-7, err_msg=name)
        assert found[name].steps.tolist() == list(range(6))


def test_every_says_which_updates_are_logged_and_histograms_adds_percentiles(sqlite_url: str) -> None:
    tracker = KerasTracker(store=sqlite_url, system=False, debug=DebugOptions(every=4, histograms=True))
    fit(make_model(**GRAPH), tracker)
    assert tracker.run_id is not None
    assert not tracker.guard.failures
    found = layer_series(sqlite_url, tracker.run_id)
    assert found["layers/out/gradient_norm"].steps.tolist() == [0, 4]
    with tf.GradientTape() as tape:
        model = make_model(**GRAPH)
        loss = model.compute_loss(y=tf.constant(Y[:BATCH]), y_pred=model(X[:BATCH], training=True))
    gradients = tape.gradient(loss, model.get_layer("out").trainable_variables)
    together = np.concatenate([np.ravel(g) for g in gradients])
    for percentile in (5, 25, 50, 75, 95):
        value = found[f"layers/out/gradient_p{percentile:02d}"].values[0]
        assert value == pytest.approx(np.percentile(together, percentile), rel=1e-4, abs=1e-7)


def test_models_are_saved_copied_and_exported_while_they_are_measured(sqlite_url: str, tmp_path: Path) -> None:
    class Uses(keras.callbacks.Callback):  # type: ignore[misc]  # Keras comes without types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                expected = self.model.predict(X, verbose=0)
                copied = copy.deepcopy(self.model), pickle.loads(pickle.dumps(self.model))
                self.model.save(tmp_path / "model.keras")
                self.model.export(tmp_path / "exported", verbose=False)
                read = keras.models.load_model(tmp_path / "model.keras")
                for other in (*copied, read):
                    assert (other.predict(X, verbose=0) == expected).all()
                keras.models.clone_model(self.model)

    tracker = KerasTracker(store=sqlite_url, system=False, debug=True)
    model = make_model(**GRAPH)
    fit(model, Uses(), tracker)
    assert not tracker.guard.failures
    assert all("call" not in vars(layer) for layer in model._flatten_layers())
    assert "apply" not in vars(model.optimizer)
    fit(model)  # nothing is left of it
    pickle.dumps(model)


@pytest.mark.parametrize("mode", [GRAPH, EAGER, XLA], ids=["graph", "eager", "xla"])
def test_dead_relu(mode: dict[str, Any], sqlite_url: str) -> None:
    event = only(broken("dead_relu", mode, sqlite_url, debug=True), "dead_layer")
    assert (event.step, event.record.layer, event.record.layer_class) == (4, "hidden", "Dense")


@pytest.mark.parametrize("mode", [GRAPH, XLA], ids=["graph", "xla"])
def test_frozen_layer_needs_no_asking(mode: dict[str, Any], sqlite_url: str) -> None:
    event = only(broken("frozen_layer", mode, sqlite_url), "frozen_layer")
    assert (event.record.layer, event.record.layer_class) == ("cut/body", "Dense")
    assert "no gradient reached it" in event.record.message
    assert event.record.cannot


@pytest.mark.parametrize("case", ["division_by_zero", "log_of_negative"])
def test_under_xla_each_step_is_kept(case: str, sqlite_url: str) -> None:
    event = only(broken(case, XLA, sqlite_url, debug=True), "non_finite")
    if event.step == 0:
        assert event.record.quantity == "loss"
        assert "the first" in event.record.cannot[0]
    else:
        assert_culprit(event, case)


def test_two_fits_and_an_alarm_in_the_second(sqlite_url: str) -> None:
    tracker = KerasTracker(store=sqlite_url, system=False, name="fit")
    model = make_model(**GRAPH)
    fit(model, tracker)
    bad = X.copy()
    bad[20, 3] = np.nan
    model.fit(bad, Y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[tracker])
    assert not tracker.guard.failures
    with trackside.open_store(sqlite_url) as store:
        assert records(store, store.run("fit").id) == []
        (event,) = records(store, store.run("fit-2").id)
    assert (event.step, event.record.quantity, event.record.batch_index) == (2, None, 2)
    assert event.record.message.startswith("The batch itself")
