"""What is read off PyTorch objects."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from trackside.trackers import torch_model  # noqa: E402
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
        (F.cross_entropy(LOGITS, TARGET, reduction="sum") / 3, ("cross_entropy", "sum")),
        (F.nll_loss(LOGITS, TARGET), ("negative_log_likelihood", "mean")),
        (F.mse_loss(LOGITS, LOGITS.detach()), ("mean_squared_error", "mean")),
        (F.binary_cross_entropy_with_logits(LOGITS, torch.ones(4, 3)), ("binary_cross_entropy", "mean")),
        (F.mse_loss(LOGITS, LOGITS.detach()) + LOGITS.abs().sum(), None),
        (LOGITS.sum(), None),
        (LOGITS.detach().sum(), None),
    ],
)
def test_loss_is_found_in_the_graph_or_not_guessed(loss: Any, expected: tuple[str, str] | None) -> None:
    found = torch_model.loss_of_graph(loss)
    assert (None if found is None else (found["name"], found["reduction"])) == expected


def test_loss_layer() -> None:
    assert torch_model.describe_loss(nn.ModuleList([nn.MSELoss(reduction="sum")])) == {
        "name": "mean_squared_error",
        "reduction": "sum",
    }
    assert torch_model.describe_loss(nn.ModuleList([nn.MSELoss(), nn.L1Loss()])) is None


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
