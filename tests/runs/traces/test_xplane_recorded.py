"""Traces that TensorFlow records here and now: a small network in graph, eager and XLA mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackside.runs.traces.interpreted import Interpreted
from trackside.runs.traces.records import Profile, TraceContext
from trackside.runs.traces.summary import summarise
from trackside.runs.traces.xplane_trace import interpret

from .steady import steady_share

pytestmark = pytest.mark.framework

WAIT, ACTIVE = 4, 4
SHARE = {"graph": 0.95, "eager": 0.85, "xla": 0.85}
"""Of the operators' time that must have a family."""


def train(mode: str, folder: Path, each: int = 1) -> tuple[bytes, TraceContext]:
    """Train two convolutions with normalisation and record four steps, `each` in an execution, as the tracker does."""
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    range_of = tf.profiler.experimental.Trace

    def ranged(owner: Any, name: str, label: str) -> None:
        inner = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with range_of(label):
                return inner(*args, **kwargs)

        setattr(owner, name, wrapped)

    class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == WAIT:
                if mode == "eager":
                    for layer in self.model.layers:
                        ranged(layer, "call", f"trackside::layer::{layer.name}")
                    ranged(self.model.optimizer, "apply", "trackside::optimizer")
                    ranged(self.model, "compute_loss", "trackside::loss")
                tf.profiler.experimental.start(str(folder))
            if WAIT <= batch < WAIT + ACTIVE:
                self.step = range_of("train", step_num=batch, _r=1)
                self.step.__enter__()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch >= WAIT:
                self.step.__exit__(None, None, None)
            if batch == WAIT + ACTIVE - 1:
                tf.profiler.experimental.stop()

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            layers.Conv2D(16, 3, name="conv1"),
            layers.BatchNormalization(name="bn1"),
            layers.ReLU(name="relu1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Conv2D(32, 3, name="conv2"),
            layers.BatchNormalization(name="bn2"),
            layers.ReLU(name="relu2"),
            layers.MaxPooling2D(2, name="pool2"),
            layers.Flatten(name="flat"),
            layers.Dense(10, name="fc"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    how = {"jit_compile": mode == "xla", "run_eagerly": mode == "eager", "steps_per_execution": each}
    model.compile(keras.optimizers.Adam(), loss, **how)
    rows = 32 * (WAIT + ACTIVE)
    x, y = np.random.default_rng(0).normal(size=(rows, 24, 24, 3)).astype("float32"), np.arange(rows) % 10
    model.fit(x, y, batch_size=32, verbose=0, callbacks=[Recorder()])
    (file,) = folder.glob("plugins/profile/*/*.xplane.pb")
    known = {layer.name: type(layer).__name__ for layer in model.layers}
    context = TraceContext(
        framework="tensorflow",
        mode=mode,
        layers=known,
        optimizer="Adam",
        first_step=WAIT,
        last_step=WAIT + ACTIVE - 1,
    )
    return file.read_bytes(), context


@pytest.fixture(scope="module", params=["graph", "eager", "xla"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Interpreted, Profile]:
    raw, context = train(request.param, tmp_path_factory.mktemp("trace"))
    found = interpret(raw, context)
    return found, summarise(found.trace, found.labels, context, "xplane", phases=found.phases, notes=found.notes)


@pytest.fixture
def profile(recorded: tuple[Interpreted, Profile]) -> Profile:
    return recorded[1]


def test_two_steps_in_one_execution_are_two_steps(tmp_path):
    raw, context = train("graph", tmp_path, each=2)
    found = interpret(raw, context)
    profile = summarise(found.trace, found.labels, context, "xplane", phases=found.phases, notes=found.notes)
    assert profile.steps == ACTIVE
    assert steady_share(found.trace, found.labels) > SHARE["graph"]
    assert min(profile.split[part] for part in ("data", "forward", "backward", "optimizer")) > 0
    assert {one.layer for one in profile.operators if one.family == "convolution"} == {"conv1", "conv2"}


def test_nearly_all_operator_time_has_a_family(recorded):
    found, profile = recorded
    assert steady_share(found.trace, found.labels) > SHARE[profile.context.mode]
    assert 0.5 < profile.classified_fraction <= 1


def test_the_split_adds_up_and_every_pass_took_time(profile):
    assert profile.steps == ACTIVE
    assert sum(profile.split.values()) == pytest.approx(sum(profile.step_seconds) / ACTIVE)
    assert min(profile.split[part] for part in ("forward", "backward", "optimizer")) > 0


@pytest.mark.parametrize(
    ("family", "layers"),
    [
        ("convolution", {"conv1", "conv2"}),
        ("normalisation", {"bn1", "bn2"}),
        ("pooling", {"pool1", "pool2"}),
        ("matmul", {"fc"}),
    ],
)
def test_layers_are_known_in_both_directions(profile, family, layers):
    for direction in ("forward", "backward"):
        found = {one.layer for one in profile.operators if (one.family, one.direction) == (family, direction)}
        assert found == layers, direction


def test_what_is_guessed_says_so(profile):
    mode = profile.context.mode
    guessed = {one.direction for one in profile.operators if one.inferred and one.self_seconds > 0}
    assert guessed == {"graph": set(), "eager": {"backward"}}.get(mode, guessed)
    named = [one for one in profile.operators if one.family == "convolution" and one.direction == "forward"]
    assert not any(one.inferred for one in named if one.name.startswith(("convolution", "Conv2D", "_Mkl")))
    assert any(one.family == "data" for one in profile.operators)
    assert any(one.family == "optimizer" and not one.inferred for one in profile.operators)
