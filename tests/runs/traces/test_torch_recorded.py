"""Traces that torch.profiler records here and now, of a network on images and one on words."""

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.profiler import ProfilerActivity, profile, record_function, schedule  # noqa: E402

from trackside.runs.traces.reading import analyse, read  # noqa: E402
from trackside.runs.traces.records import Profile, TraceContext  # noqa: E402

from .steady import steady_share  # noqa: E402

pytestmark = pytest.mark.framework


class Images(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.MaxPool2d(2)
        self.out = nn.Linear(16 * 15 * 15, 10)

    def forward(self, x):
        return self.out(self.pool(torch.relu(self.norm(self.conv(x)))).flatten(1))


class Words(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(50, 32), nn.LSTM(32, 32, batch_first=True)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm, self.out = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        x, _ = self.lstm(self.embedding(x))
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.out(self.norm(x).mean(1))


def mark(name: str) -> None:
    with record_function(f"trackside::{name}"):
        pass


def named_layers(net: nn.Module) -> None:
    """Ranges around the layers' calls, as the tracker puts them in."""
    ranges = []
    for path, layer in net.named_children():

        def enter(module, inputs, path=path):
            ranges.append(record_function(f"trackside::layer::{path}"))
            ranges[-1].__enter__()

        layer.register_forward_pre_hook(enter)
        layer.register_forward_hook(lambda module, inputs, output: ranges.pop().__exit__(None, None, None))


def batches(words: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    data = torch.randint(50, (160, 12)) if words else torch.randn(160, 3, 32, 32)
    yield from torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data, torch.arange(160) % 10), batch_size=32)


def recorded(tmp_path, *, words: bool = False, marks: bool = True) -> tuple[Profile, float]:
    """Three steps of a training, recorded and read."""
    torch.manual_seed(0)
    net = Words() if words else Images()
    optimizer = torch.optim.Adam(net.parameters())
    loss_of = nn.CrossEntropyLoss()
    path = tmp_path / "trace.json"
    mine = schedule(wait=1, warmup=1, active=3)
    if marks:
        named_layers(net)
    with profile(
        activities=[ProfilerActivity.CPU], record_shapes=True, schedule=mine, acc_events=True,
        on_trace_ready=lambda made: made.export_chrome_trace(str(path)),
    ) as profiler:  # fmt: skip
        for step, (x, y) in enumerate(batches(words)):
            if marks:
                mark(f"step#{step}")
            optimizer.zero_grad()
            if marks:
                mark("forward")
            loss = loss_of(net(x), y)
            if marks:
                mark("backward")
            loss.backward()
            if marks:
                mark("optimizer")
            optimizer.step()
            if marks:
                mark("step_end")
                mark("end")
            profiler.step()
    layers = {name: type(layer).__name__ for name, layer in net.named_children()} if marks else {}
    raw, context = path.read_bytes(), TraceContext(framework="torch", layers=layers)
    return analyse(raw, "chrome", context), steady_share(*read(raw, "chrome", context))


@pytest.mark.parametrize("marks", [True, False])
def test_a_convolutional_network_is_classified_and_its_step_adds_up(tmp_path, marks) -> None:
    found, share = recorded(tmp_path, marks=marks)
    assert found.steps == 3
    assert sum(found.split.values()) == pytest.approx(sum(found.step_seconds) / 3)
    assert all(found.split[part] > 0 for part in ("data", "forward", "backward", "optimizer"))
    assert share > 0.95
    both = {(one.family, one.direction) for one in found.operators}
    for family in ("convolution", "normalisation", "activation", "pooling", "matmul", "loss"):
        assert {(family, "forward"), (family, "backward")} <= both
    gradients = {one.layer for one in found.operators if one.name == "aten::convolution_backward"}
    assert gradients == ({"conv"} if marks else {None})
    (product,) = (one for one in found.operators if one.name == "aten::mkldnn_convolution")
    assert product.flops == 3 * 2 * 32 * 16 * 30 * 30 * 3 * 3 * 3


def test_a_sequence_model_is_classified_by_what_its_composites_are(tmp_path) -> None:
    found, share = recorded(tmp_path, words=True)
    assert share > 0.9
    both = {(one.family, one.direction, one.layer) for one in found.operators}
    for family, layer in (
        ("recurrent", "lstm"), ("attention", "attention"), ("embedding", "embedding"), ("normalisation", "norm"),
        ("matmul", "out"),
    ):  # fmt: skip
        assert {(family, "forward", layer), (family, "backward", layer)} <= both
