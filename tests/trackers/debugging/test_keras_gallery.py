"""What is said of each broken training in Keras: the right layer and the user's own line, or what cannot be told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

import trackside  # noqa: E402
from trackside.runs.debugging.records import RecordedEvent  # noqa: E402
from trackside.trackers.keras import KerasTracker  # noqa: E402
from trackside.workloads.broken import keras_broken  # noqa: E402

from . import gallery  # noqa: E402
from .gallery import only, recorded  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.filterwarnings("ignore::UserWarning")]

GRAPH, EAGER, XLA = {"jit_compile": False}, {"run_eagerly": True}, {"jit_compile": True}
THREE = {"jit_compile": False, "steps_per_execution": 3}


def broken(
    case: str, mode: dict[str, Any], sqlite_url: str, raises: type[BaseException] | None = None, **options: Any
) -> list[RecordedEvent]:
    """Train a case of the gallery and return what was recorded of it."""
    tracker = KerasTracker(store=sqlite_url, system=False, **options)
    return recorded(tracker, sqlite_url, getattr(keras_broken, case), mode, raises=raises)


def assert_culprit(event: RecordedEvent, case: str) -> None:
    gallery.assert_culprit(event, case, keras_broken)
    assert event.record.cannot == ()


@pytest.mark.parametrize("mode", [GRAPH, EAGER, THREE], ids=["graph", "eager", "graph-3"])
def test_division_by_zero(mode: dict[str, Any], sqlite_url: str) -> None:
    event = only(broken("division_by_zero", mode, sqlite_url), "non_finite")
    record = event.record
    assert_culprit(event, "division_by_zero")
    assert (event.step, record.batch_index, record.quantity) == (3, 3, "activation")
    assert (record.layer, record.layer_class, record.operator) == ("normalise", "Normalise", "RealDiv")
    assert record.counts == {"nan": 0, "positive_infinity": 8, "negative_infinity": 0, "size": 64}
    assert record.inputs[0] == {"shape": [8, 8], "dtype": "float32"}
    assert [step for step, _ in record.last_losses] == [0, 1, 2, 3]
    assert math.isfinite(record.last_losses[-2][1])
    assert (record.learning_rate, record.how) == (pytest.approx(0.1), "search")
    assert record.batch_fingerprint is not None
    assert len(record.batch_fingerprint) == 32


def test_under_xla_the_step_is_told_and_that_no_more_is_known(sqlite_url: str) -> None:
    event = only(broken("division_by_zero", XLA, sqlite_url), "non_finite")
    assert (event.step, event.record.batch_index, event.record.quantity) == (3, 3, "loss")
    assert (event.record.exact, event.record.layer) == (False, None)
    assert "debug=True" in event.record.cannot[0]


@pytest.mark.parametrize("mode", [GRAPH, EAGER], ids=["graph", "eager"])
def test_exploding_rate(mode: dict[str, Any], sqlite_url: str) -> None:
    event = only(broken("exploding_rate", mode, sqlite_url), "non_finite")
    losses = [loss for _, loss in event.record.last_losses]
    assert max(losses[:-1]) > 1e6 * losses[0]
    assert event.record.learning_rate == 30.0
    # The overflow is in a layer of Keras' own, which no line of the user's calls but fit.
    assert (event.record.layer, event.record.operator) == ("out", "MatMul")
    assert "call of fit" in event.record.cannot[0]


@pytest.mark.parametrize("mode", [GRAPH, EAGER], ids=["graph", "eager"])
def test_log_of_negative(mode: dict[str, Any], sqlite_url: str) -> None:
    event = only(broken("log_of_negative", mode, sqlite_url), "non_finite")
    assert_culprit(event, "log_of_negative")
    assert (event.step, event.record.quantity, event.record.operator) == (0, "loss", "Log")
    assert event.record.learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize("mode", [GRAPH, EAGER, XLA], ids=["graph", "eager", "xla"])
@pytest.mark.parametrize(
    ("case", "error", "layer", "layer_class", "shape"),
    [("wrong_shape", ValueError, "head", "Head", [8, 16]), ("wrong_dtype", TypeError, "double", "Double", [8, 8])],
)
def test_exception_while_a_layer_is_called(
    case: str,
    error: type[Exception],
    layer: str,
    layer_class: str,
    shape: list[int],
    mode: dict[str, Any],
    sqlite_url: str,
) -> None:
    event = only(broken(case, mode, sqlite_url, error), "exception")
    record = event.record
    assert_culprit(event, case)
    assert (record.layer, record.layer_class, record.operator) == (layer, layer_class, "MatMul")
    assert record.inputs[0]["shape"] == shape
    assert (event.step, record.batch_index, record.how) == (0, 0, "traceback")
    assert "\x1b" not in record.message
    assert not record.message.startswith("Exception encountered")
    assert event.event.message == f"{error.__name__}: {record.message}"


@pytest.mark.parametrize("mode", [GRAPH, EAGER], ids=["graph", "eager"])
def test_label_out_of_range(mode: dict[str, Any], sqlite_url: str) -> None:
    event = only(broken("label_out_of_range", mode, sqlite_url, tf.errors.InvalidArgumentError), "exception")
    assert_culprit(event, "label_out_of_range")
    assert (event.step, event.record.batch_index) == (3, 3)
    assert event.record.operator == "SparseSoftmaxCrossEntropyWithLogits"
    assert event.record.message.startswith("Received a label value of 3 which is outside the valid range")
    assert len(event.record.last_losses) == 3


def test_label_out_of_range_in_a_loss_of_keras(sqlite_url: str) -> None:
    event = only(broken("stock_label_out_of_range", GRAPH, sqlite_url, tf.errors.InvalidArgumentError), "exception")
    assert event.record.operator == "SparseSoftmaxCrossEntropyWithLogits"
    assert not event.record.exact
    assert "call of fit" in event.record.cannot[0]


def test_under_xla_a_label_out_of_range_is_no_exception(sqlite_url: str) -> None:
    event = only(broken("label_out_of_range", XLA, sqlite_url), "non_finite")
    assert (event.step, event.record.quantity) == (3, "loss")


@pytest.mark.parametrize("mode", [GRAPH, EAGER, XLA], ids=["graph", "eager", "xla"])
def test_worker_that_raises(mode: dict[str, Any], sqlite_url: str) -> None:
    event = only(broken("worker_dies", mode, sqlite_url, tf.errors.UnknownError), "exception")
    assert_culprit(event, "worker_dies")
    assert event.record.message == "OSError: image 27 is truncated"
    assert event.record.layer is None


def test_out_of_memory(sqlite_url: str) -> None:
    event = only(broken("out_of_memory", GRAPH, sqlite_url, tf.errors.ResourceExhaustedError), "exception")
    assert_culprit(event, "out_of_memory")
    assert (event.record.layer, event.record.layer_class, event.record.operator) == ("pairs", "Pairs", "Tile")
    assert event.record.message.startswith("OOM when allocating tensor with shape")


@pytest.mark.parametrize("mode", [GRAPH, EAGER], ids=["graph", "eager"])
def test_the_dump_of_tensorflow_names_the_same_culprit(mode: dict[str, Any], sqlite_url: str) -> None:
    found = broken("division_by_zero", mode, sqlite_url, debug="tfdbg")
    assert [event.record.how for event in found] == ["search", "numerics"]
    for event in found:
        assert event.record.operator == "RealDiv"
        assert event.record.source is not None
        assert dict(event.record.source.code)[event.record.source.line].endswith("# culprit: division_by_zero")
    folder = Path(found[1].event.detail["log_directory"])
    assert any(file.name.startswith("tfdbg_events") for file in folder.iterdir())


def test_under_xla_there_is_no_dump(sqlite_url: str) -> None:
    only(broken("division_by_zero", XLA, sqlite_url, debug="tfdbg"), "non_finite")
    with trackside.open_store(sqlite_url) as store:
        (run,) = store.runs()
        assert any("dump was left out" in event.message for event in store.events(run))
