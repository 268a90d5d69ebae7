"""What is said of each broken training in PyTorch: the right layer and the user's own line."""

from __future__ import annotations

import math
from functools import partial

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning.pytorch")

from trackside.trackers.lightning import LightningTracker  # noqa: E402
from trackside.workloads.broken import torch_broken  # noqa: E402

from . import gallery  # noqa: E402
from .gallery import only, recorded, without_warnings  # noqa: E402

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def broken(case: str, sqlite_url: str, *arguments, raises=None, **options):
    """Train a case of the gallery and return what was recorded of it."""
    tracker = LightningTracker(store=sqlite_url, system=False, **options)
    train = without_warnings(getattr(torch_broken, case))
    return recorded(tracker, sqlite_url, train, *arguments, raises=raises)


assert_culprit = partial(gallery.assert_culprit, gallery=torch_broken)


def test_division_by_zero(sqlite_url):
    event = only(broken("division_by_zero", sqlite_url), "non_finite")
    record = event.record
    assert_culprit(event, "division_by_zero")
    assert (event.step, record.batch_index, record.quantity) == (3, 3, "activation")
    assert (record.layer, record.layer_class, record.operator) == ("net.0", "Normalise", "aten.div.Tensor")
    assert record.counts == {"nan": 0, "positive_infinity": 8, "negative_infinity": 0, "size": 64}
    assert record.inputs[0] == {"shape": [8, 8], "dtype": "float32"}
    assert [step for step, _ in record.last_losses] == [0, 1, 2, 3]
    assert math.isnan(record.last_losses[-1][1])
    assert math.isfinite(record.last_losses[-2][1])
    assert (record.learning_rate, record.how) == (0.1, "search")
    assert record.batch_fingerprint is not None
    assert len(record.batch_fingerprint) == 32


def test_exploding_rate(sqlite_url):
    event = only(broken("exploding_rate", sqlite_url), "non_finite")
    losses = [loss for _, loss in event.record.last_losses]
    assert max(losses[:-1]) > 1e6 * losses[0]
    assert event.record.learning_rate == 30.0
    assert_culprit(event, "exploding_rate")


def test_log_of_negative(sqlite_url):
    event = only(broken("log_of_negative", sqlite_url), "non_finite")
    assert_culprit(event, "log_of_negative")
    record = event.record
    assert (event.step, record.quantity, record.operator) == (0, "loss", "aten.log.default")
    assert (record.layer, record.layer_class) == ("", "Logarithm")


@pytest.mark.parametrize(
    ("case", "error", "layer", "layer_class", "operator", "step", "shape"),
    [
        ("wrong_shape", RuntimeError, "net.head", "Linear", "linear", 0, [8, 16]),
        ("wrong_dtype", RuntimeError, "net.0", "Linear", "linear", 0, [8, 8]),
        ("label_out_of_range", IndexError, "", "Labelled", "cross_entropy_loss", 3, [8, 8]),
        ("out_of_memory", RuntimeError, "net.0", "Pairs", "new_ones", 0, [8, 8]),
    ],
)
def test_exception_in_a_step(case, error, layer, layer_class, operator, step, shape, sqlite_url):
    event = only(broken(case, sqlite_url, raises=error), "exception")
    assert_culprit(event, case)
    record = event.record
    assert (record.layer, record.layer_class, record.operator) == (layer, layer_class, operator)
    assert record.inputs[0]["shape"] == shape
    assert (event.step, record.batch_index, record.how) == (step, step, "traceback")
    assert record.message
    assert record.batch_fingerprint
    assert len(record.last_losses) == step


def test_worker_that_raises(sqlite_url):
    event = only(broken("worker_dies", sqlite_url, raises=OSError), "exception")
    assert_culprit(event, "worker_dies")
    assert event.record.message == "image 27 is truncated (in DataLoader worker process 0)"
    assert (event.record.layer, event.record.batch_index) == (None, None)


def test_worker_that_is_killed(sqlite_url):
    event = only(broken("worker_dies", sqlite_url, torch_broken.Killed(), raises=(RuntimeError, OSError)), "exception")
    assert event.record.layer is None
    assert "num_workers=0" in event.record.cannot[0]


def test_dead_relu(sqlite_url):
    event = only(broken("dead_relu", sqlite_url, debug=True), "dead_layer")
    assert (event.step, event.record.layer, event.record.layer_class) == (4, "net.1", "ReLU")


def test_frozen_layer_needs_no_asking(sqlite_url):
    event = only(broken("frozen_layer", sqlite_url), "frozen_layer")
    assert (event.record.layer, event.record.layer_class) == ("net.body", "Linear")
    assert "no gradient reached it" in event.record.message
    assert event.record.cannot
