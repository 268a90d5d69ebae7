"""What is read off PyTorch objects."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from trackside.trackers import torch_graph, torch_model  # noqa: E402
from trackside.trackers.torch_batches import batch_size  # noqa: E402

pytestmark = pytest.mark.framework

WEIGHT = [nn.Parameter(torch.zeros(3, 2))]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (
            torch.optim.SGD(WEIGHT, lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
            {"name": "SGD", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay_kind": "coupled"},
        ),
        (torch.optim.SGD(WEIGHT, lr=0.1), {"weight_decay": 0, "weight_decay_kind": None, "nesterov": False}),
        (
            torch.optim.Adam(WEIGHT, weight_decay=0.01),
            {"betas": [0.9, 0.999], "epsilon": 1e-8, "epsilon_kind": "outside", "weight_decay_kind": "coupled"},
        ),
        (torch.optim.AdamW(WEIGHT), {"weight_decay": 0.01, "weight_decay_kind": "decoupled"}),
        (
            torch.optim.NAdam(WEIGHT, weight_decay=0.1, decoupled_weight_decay=True),
            {"weight_decay_kind": "decoupled"},
        ),
        (torch.optim.RMSprop(WEIGHT, alpha=0.9, centered=True), {"rho": 0.9, "centered": True, "momentum": 0}),
        (torch.optim.Adagrad(WEIGHT), {"epsilon": 1e-10, "epsilon_kind": "outside"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_optimizers(optimizer: Any, expected: dict[str, Any]) -> None:
    found = torch_model.describe_optimizer(optimizer)
    assert {key: found.get(key) for key in expected} == expected
    assert "amsgrad" not in found


def test_learning_rate_is_the_one_before_the_schedule() -> None:
    optimizer = torch.optim.SGD(WEIGHT, lr=0.4)
    torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    assert torch_model.describe_optimizer(optimizer)["learning_rate"] == 0.4


def test_parameter_groups_are_listed() -> None:
    optimizer = torch.optim.SGD([{"params": WEIGHT}, {"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0}], lr=0.1)
    assert [group["learning_rate"] for group in torch_model.describe_optimizer(optimizer)["groups"]] == [0.1, 1.0]


LOGITS = torch.randn(4, 3, requires_grad=True)
TARGET = torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (F.cross_entropy(LOGITS, TARGET), ("cross_entropy", "mean")),
        (F.cross_entropy(LOGITS, TARGET, reduction="sum"), ("cross_entropy", "sum")),
        (F.cross_entropy(LOGITS, TARGET, reduction="sum") / 3, ("cross_entropy", None)),
        (F.cross_entropy(LOGITS, TARGET) * 0.5, ("cross_entropy", None)),
        (F.cross_entropy(LOGITS, TARGET, reduction="none").mean(), ("cross_entropy", "mean")),
        (F.mse_loss(LOGITS, LOGITS.detach(), reduction="none").sum(), ("mean_squared_error", "sum")),
        (F.cross_entropy(LOGITS, TARGET) + torch.ones(()), ("cross_entropy", "mean")),
        (F.cross_entropy(LOGITS, TARGET, label_smoothing=0.1), None),
        (F.nll_loss(LOGITS, TARGET), ("negative_log_likelihood", "mean")),
        (F.mse_loss(LOGITS, LOGITS.detach()), ("mean_squared_error", "mean")),
        (F.binary_cross_entropy_with_logits(LOGITS, torch.ones(4, 3)), ("binary_cross_entropy", "mean")),
        (F.mse_loss(LOGITS, LOGITS.detach()) + LOGITS.abs().sum(), None),
        (LOGITS.sum(), None),
        (LOGITS.detach().sum(), None),
    ],
)
def test_loss_is_found_in_the_graph_or_not_guessed(loss: Any, expected: tuple[str, str] | None) -> None:
    found = torch_graph.loss_of_graph(loss)
    assert (None if found is None else (found["name"], found.get("reduction"))) == expected


def test_a_loss_with_a_penalty_is_a_sum() -> None:
    loss = F.cross_entropy(LOGITS, TARGET)
    assert torch_graph.is_sum((loss + 0.1 * LOGITS.square().sum()) / 1)
    assert torch_graph.is_sum(loss - LOGITS.mean())
    assert not torch_graph.is_sum(loss / 2)
    assert not torch_graph.is_sum(loss + torch.ones(()))
    assert not torch_graph.is_sum(LOGITS.detach().sum())


def test_what_lightning_divides_a_loss_by_is_no_scale_of_it() -> None:
    loss = F.cross_entropy(LOGITS, TARGET) / 4
    assert torch_graph.loss_of_graph(loss, batches=4) == {"name": "cross_entropy", "reduction": "mean"}
    weighted = F.cross_entropy(LOGITS, TARGET, weight=torch.ones(3))
    assert torch_graph.loss_of_graph(weighted) == {"name": "cross_entropy", "reduction": "mean", "weighted": True}


@pytest.mark.parametrize(("given", "said"), [([20.0], 20.0), ([3.0, 3.0], 3.0), ([3.0, 5.0], [3.0, 5.0])])
def test_the_weight_of_positive_samples_is_read_off_a_function_and_off_a_layer(
    given: list[float], said: float | list[float]
) -> None:
    logits, weight = torch.zeros(4, 2, requires_grad=True), torch.tensor(given)
    loss = F.binary_cross_entropy_with_logits(logits, torch.ones(4, 2), pos_weight=weight)
    expected = {"name": "binary_cross_entropy", "reduction": "mean", "weighted": True, "pos_weight": said}
    assert torch_graph.loss_of_graph(loss) == expected
    assert torch_model.describe_loss(nn.ModuleList([nn.BCEWithLogitsLoss(pos_weight=weight)])) == expected


def test_convolutions_and_activations_are_read_off_what_was_called() -> None:
    weight, reused = nn.Parameter(torch.randn(2, 2, 3, 3)), nn.Parameter(torch.randn(2, 2, 1, 1))
    image = torch.randn(4, 2, 8, 8)
    x = F.conv2d(F.pad(image.requires_grad_(), (1, 1, 2, 2)), weight, padding=1, stride=2)
    x = F.gelu(F.conv2d(F.conv2d(x, reused), reused), approximate="tanh")
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), nn.Parameter(torch.randn(2, 2, 2, 2)), dilation=2)
    x = F.leaky_relu(F.conv_transpose2d(x, nn.Parameter(torch.randn(2, 2, 2, 2))), 0.2).relu()
    found = torch_graph.describe_operations(F.selu(F.elu(x)).sum())
    assert found["activations"] == ["elu", "gelu tanh", "leaky_relu 0.2", "relu", "selu"]
    by_kernel = {(tuple(row["kernel"]), tuple(row["stride"])): row for row in found["convolutions"]}
    assert by_kernel[(3, 3), (2, 2)] == {"kernel": [3, 3], "stride": [2, 2], "dilation": [1, 1], "padding": [3, 2]}
    assert by_kernel[(1, 1), (1, 1)]["padding"] == [0, 0]
    assert [row["padding"] for row in found["convolutions"] if row["kernel"] == [2, 2]] == [None, None]
    assert len(found["convolutions"]) == 4
    assert torch_graph.describe_operations(LOGITS.sum()) == {}


@pytest.mark.parametrize(("pad", "padding"), [(0, [1, 1]), (1, None)])
def test_padding_of_the_images_themselves_has_no_part_in_the_graph(pad: int, padding: Any) -> None:
    images = torch.randn(4, 8, 8)
    loss = F.conv2d(F.pad(images[:, None], (pad,) * 4), nn.Parameter(torch.randn(2, 1, 3, 3)), padding=1).sum()
    assert torch_graph.describe_operations(loss, [images.shape])["convolutions"][0]["padding"] == padding


def test_a_graph_that_shows_no_operations() -> None:
    assert torch_graph.describe_operations(torch.zeros(())) == {}


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), np.random.rand, random.random])
def test_random_numbers_leave_a_trace(draw: Any) -> None:
    before = torch_graph.random_state(torch.device("cpu"))
    LOGITS.softmax(1)
    assert torch_graph.random_state(torch.device("cpu")) == before
    draw()
    assert torch_graph.random_state(torch.device("cpu")) != before


def test_loss_layer() -> None:
    assert torch_model.describe_loss(nn.ModuleList([nn.MSELoss(reduction="sum")])) == {
        "name": "mean_squared_error",
        "reduction": "sum",
    }
    assert torch_model.describe_loss(nn.ModuleList([nn.MSELoss(), nn.L1Loss()])) is None


def test_loss_layer_with_smoothing_or_weights() -> None:
    found = torch_model.describe_loss(nn.ModuleList([nn.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1)]))
    assert found == {"name": "cross_entropy", "reduction": "mean", "label_smoothing": 0.1, "weighted": True}


def test_an_optimizer_of_ones_own_goes_by_the_name_of_what_it_computes() -> None:
    class Mine(torch.optim.AdamW):  # type: ignore[misc, name-defined]
        pass

    class Other(torch.optim.AdamW):  # type: ignore[misc, name-defined]
        def step(self, closure: Any = None) -> Any:
            return None

    torch.optim.AdamW(WEIGHT)
    assert torch_model.describe_optimizer(Mine(WEIGHT))["name"] == "AdamW"
    assert torch_model.describe_optimizer(Mine(WEIGHT))["weight_decay_kind"] == "decoupled"
    assert torch_model.describe_optimizer(Other(WEIGHT))["name"] == "Other"


def test_groups_that_differ_in_whether_they_decay_are_one_decay_of_some_parameters() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(2))], "weight_decay": 0.0}, {"params": WEIGHT}]
    found = torch_model.describe_optimizer(torch.optim.AdamW(groups, weight_decay=0.1))
    assert (found["weight_decay"], found["weight_decay_kind"], found["weight_decay_parameters"]) == (
        0.1,
        "decoupled",
        6,
    )
    assert "groups" not in found


def test_what_no_optimizer_has_is_not_trained() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    trained = torch_model.trained_ids([torch.optim.SGD(model[1].parameters(), lr=0.1)])
    assert torch_model.trainable_count(model, trained) == 4
    assert [name for name, _ in torch_model.frozen_arrays(model, trained)] == ["0.weight", "0.bias"]
    assert sum(array.size for array in torch_model.trainable_arrays(model, trained)) == 4
    # An optimizer with copies of its own says nothing of the model's parameters.
    copies = torch_model.trained_ids([torch.optim.SGD([nn.Parameter(torch.zeros(3))], lr=0.1)])
    assert torch_model.trainable_count(model, copies) == 13
    assert torch_model.trained_ids([]) is None


def test_dropout_and_normalization() -> None:
    model = nn.ModuleList(
        [nn.Dropout(0.5), nn.Dropout(0.0), nn.LSTM(2, 2, num_layers=2, dropout=0.1), nn.LSTM(2, 2),
         nn.MultiheadAttention(4, 2, dropout=0.2), nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval(), nn.RMSNorm(2, eps=1e-6)]
    )  # fmt: skip
    assert torch_model.dropout_rates(model) == [0.1, 0.2, 0.5]
    batch = {"kind": "batch", "momentum": 0.1, "epsilon": 1e-5, "variance": "unbiased"}
    rms = {"kind": "rms", "epsilon": 1e-6}
    assert torch_model.describe_normalization(model) == [batch, {**batch, "statistics": "running"}, rms]


def test_model_summary_counts_shared_frozen_and_lazy_parameters() -> None:
    shared = nn.Linear(4, 4)
    frozen = nn.Linear(2, 2)
    frozen.requires_grad_(False)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": frozen, "lazy": nn.LazyLinear(3)})
    found = torch_model.describe_model(model)
    assert (found["parameters"], found["trainable_parameters"]) == (20 + 6, 20)
    assert [layer["name"] for layer in found["layers"]] == ["a", "c", "lazy"]
    with pytest.raises(ValueError, match="not whole"):
        list(torch_model.trainable_arrays(model))


def test_compiled_models_are_told_apart() -> None:
    assert not torch_model.is_compiled(nn.Sequential(nn.Linear(1, 1)))
    inner = nn.Linear(1, 1)
    inner.compile()  # compiles at the first call, which never comes
    assert torch_model.is_compiled(nn.Sequential(inner))
    assert torch_model.is_compiled(nn.Sequential(torch.compile(nn.Linear(1, 1))))


def test_gradient_norm_of_dense_and_sparse_gradients() -> None:
    table = nn.Embedding(10, 2, sparse=True)
    layer = nn.Linear(2, 1)
    (layer(table(torch.tensor([1, 1, 3]))).sum()).backward()
    optimizer = torch.optim.SGD([*table.parameters(), *layer.parameters()], lr=0.1)
    dense = [p.grad.to_dense() if p.grad.is_sparse else p.grad for p in [*table.parameters(), *layer.parameters()]]
    expected = torch.cat([gradient.flatten() for gradient in dense]).norm().item()
    norm = torch_model.gradient_norm(optimizer)
    assert norm is not None
    assert norm.item() == pytest.approx(expected)
    assert table.weight.grad is not None
    assert table.weight.grad.is_sparse
    assert torch_model.gradient_norm(torch.optim.SGD(WEIGHT, lr=0.1)) is None


@pytest.mark.parametrize(
    ("batch", "expected", "size"),
    [
        (torch.zeros(5, 2), None, 5),
        ((torch.zeros(5, 2), torch.zeros(5)), 8, 5),
        ({"x": torch.zeros(5, 2), "mask": torch.zeros(1, 7)}, 5, 5),
        ([torch.zeros(5, 2), [torch.zeros(5), torch.zeros(5)]], 8, 5),
        (([torch.zeros(3, 9, 9)] * 4, [{"boxes": torch.zeros(2, 4)}] * 4), 4, 4),
        (["a", "b", "c"], None, 3),
        (torch.tensor(1.0), None, None),
        (None, None, None),
        (7, None, None),
    ],
)
def test_batch_size(batch: Any, expected: int | None, size: int | None) -> None:
    assert batch_size(batch, expected) == size
