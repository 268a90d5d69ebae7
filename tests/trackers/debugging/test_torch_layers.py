"""Layers are measured exactly, and neither the training nor the model notices."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
L = pytest.importorskip("lightning.pytorch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import trackside  # noqa: E402
from trackside.runs.debugging.records import records  # noqa: E402
from trackside.trackers.debugging.torch_layers import LayerProbes  # noqa: E402
from trackside.trackers.lightning import LightningTracker  # noqa: E402
from trackside.workloads.broken import torch_broken  # noqa: E402

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STATISTICS = ("gradient_norm", "activation_norm", "zero_fraction", "update_ratio")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Net(L.LightningModule):  # type: ignore[misc, name-defined]
    """Dropout and batch normalization, so that a random number drawn or a statistic counted twice would show."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(8, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(16, 16),
            nn.ReLU(),
            nn.Linear(16, 3),
        )

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


def loader() -> DataLoader:
    return DataLoader(torch_broken.data(), batch_size=8)


def fit(model, callbacks, **settings):
    torch.manual_seed(3)
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=callbacks, **settings,
    )  # fmt: skip
    trainer.fit(model, loader())
    return trainer


def fresh() -> Net:
    torch.manual_seed(1)
    return Net()


def by_hand(accumulate: int = 1) -> dict[str, list[float]]:
    """The same training in a loop of its own, everything measured in double precision as it is defined."""
    model = fresh()
    found: dict[str, list[float]] = {}
    layers = {name: layer for name, layer in model.named_modules() if not list(layer.children())}
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, __, out, name=name: outputs[name].append(out.detach().double().clone()))
    optimizer = model.configure_optimizers()
    torch.manual_seed(3)
    for _ in range(2):
        for index, batch in enumerate(loader()):
            if index % accumulate == 0:
                optimizer.zero_grad()
            (model.training_step(batch, index) / accumulate).backward()
            if (index + 1) % accumulate:
                continue
            before = {name: [p.detach().double().clone() for p in layer.parameters()] for name, layer in layers.items()}
            optimizer.step()
            for name, layer in layers.items():
                out = torch.cat(outputs[name])
                values = {"activation_norm": out.norm(), "zero_fraction": (out == 0).double().mean()}
                if before[name]:
                    now = [p.detach().double() for p in layer.parameters()]
                    moved = torch.cat([(n - b).flatten() for n, b in zip(now, before[name], strict=True)]).norm()
                    values["update_ratio"] = moved / torch.cat([b.flatten() for b in before[name]]).norm()
                    values["gradient_norm"] = torch.cat([p.grad.double().flatten() for p in layer.parameters()]).norm()
                for statistic, value in values.items():
                    found.setdefault(f"layers/{name}/{statistic}", []).append(value.item())
                outputs[name].clear()
    return found


@pytest.mark.parametrize("accumulate", [1, 3])
def test_series_are_those_of_a_hand_written_loop(accumulate, sqlite_url):
    tracker = LightningTracker(store=sqlite_url, system=False, debug=True)
    fit(fresh(), [tracker], accumulate_grad_batches=accumulate)
    assert not tracker.guard.failures
    expected = by_hand(accumulate)
    with trackside.open_store(sqlite_url) as store:
        logged = {info.name for info in store.series_infos([tracker.run_id]) if info.name.startswith("layers/")}
        assert logged == expected.keys()
        for name, values in expected.items():
            series = store.series(tracker.run_id, name)
            np.testing.assert_array_equal(series.steps, np.arange(12 // accumulate))
            np.testing.assert_allclose(series.values, values, rtol=2e-6, atol=1e-12, err_msg=name)
            assert series.info.reduction == "batch"
        assert records(store, tracker.run_id) == []


def test_weights_and_losses_are_bit_identical_with_and_without(sqlite_url):
    plain, watched = fresh(), fresh()
    fit(plain, [])
    fit(watched, [LightningTracker(store=sqlite_url, system=False, debug=True)])
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name


def test_the_search_leaves_weights_buffers_and_random_numbers_as_they_were(sqlite_url):
    """One loss is NaN in the middle of a training that goes on as if nothing had been."""

    class Stumbling(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("train_loss", loss)
            return loss if self.trainer.global_step != 2 else loss * torch.log(loss.detach() * 0 - 1)

        def on_before_optimizer_step(self, optimizer):
            for parameter in self.parameters():
                parameter.grad.nan_to_num_(0.0)

    torch.manual_seed(1)
    plain = Stumbling()
    torch.manual_seed(1)
    watched = Stumbling()
    fit(plain, [])
    tracker = LightningTracker(store=sqlite_url, system=False)
    fit(watched, [tracker])
    assert not tracker.guard.failures
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    with trackside.open_store(sqlite_url) as store:
        (event,) = records(store, tracker.run_id)
        assert len(store.series(tracker.run_id, "train/loss")) == 12
    assert (event.step, event.record.operator) == (2, "aten.log.default")


def test_every_other_update(sqlite_url):
    tracker = LightningTracker(store=sqlite_url, system=False, debug=trackside.DebugOptions(every=4))
    fit(fresh(), [tracker])
    with trackside.open_store(sqlite_url) as store:
        for statistic in STATISTICS:
            np.testing.assert_array_equal(store.series(tracker.run_id, f"layers/net.0/{statistic}").steps, [0, 4, 8])


def test_model_is_copied_pickled_and_exported_while_it_is_measured_and_clean_afterwards(sqlite_url, tmp_path):
    class Busy(L.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):  # the hooks are on the model now
            assert any(layer._forward_hooks for layer in module.modules())
            twin = copy.deepcopy(module.net).eval()
            again = pickle.loads(pickle.dumps(module.net)).eval()
            x = torch.ones(2, 8)
            self.agree = torch.equal(twin(x), again(x))
            torch.save(module.net, tmp_path / "net.pt")
            torch.export.export(twin, (x,))

    busy, model = Busy(), fresh()
    tracker = LightningTracker(store=sqlite_url, system=False, debug=True)
    fit(model, [tracker, busy], limit_train_batches=2)
    assert busy.agree
    assert not tracker.guard.failures
    assert not any(layer._forward_hooks for layer in model.modules())
    load = f"import sys, torch; torch.load({str(tmp_path / 'net.pt')!r}, weights_only=False)(torch.ones(2, 8)); "
    loaded = subprocess.run(
        [sys.executable, "-c", load + "assert 'trackside' not in sys.modules"], capture_output=True, text=True
    )
    assert loaded.returncode == 0, loaded.stderr


def test_hooks_are_off_after_an_exception(sqlite_url):
    class Failing(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if batch_idx == 2:
                raise ValueError("no")
            return loss

    model = Failing()
    with pytest.raises(ValueError, match="no"):
        fit(model, [LightningTracker(store=sqlite_url, system=False, debug=True)])
    assert not any(layer._forward_hooks for layer in model.modules())


def test_a_layer_that_fails_to_be_measured_does_not_fail_the_training(sqlite_url, monkeypatch):
    monkeypatch.setattr(LayerProbes, "see_output", lambda *_: 1 / 0)
    tracker = LightningTracker(store=sqlite_url, system=False, debug=True)
    fit(fresh(), [tracker])
    assert set(tracker.guard.failures) == {"measure a layer"}


def test_two_optimizers_by_hand(sqlite_url):
    class Pair(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.one, self.two = nn.Linear(8, 3), nn.Linear(8, 3)

        def training_step(self, batch, batch_idx):
            x, y = batch
            for layer, optimizer in zip((self.one, self.two), self.optimizers(), strict=True):
                optimizer.zero_grad()
                loss = F.cross_entropy(layer(x), y)
                if batch_idx == 4 and layer is self.two:
                    loss = loss / (y - y).sum()  # culprit
                self.manual_backward(loss)
                optimizer.step()

        def configure_optimizers(self):
            return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.one, self.two)]

    tracker = LightningTracker(store=sqlite_url, system=False, debug=True)
    fit(Pair(), [tracker], limit_train_batches=5)
    assert not tracker.guard.failures
    with trackside.open_store(sqlite_url) as store:
        event = records(store, tracker.run_id)[0]
        for layer in ("one", "two"):
            assert len(store.series(tracker.run_id, f"layers/{layer}/update_ratio")) == 10
    assert (event.kind, event.step, event.record.operator) == ("non_finite", 4, "aten.div.Tensor")
    assert dict(event.record.source.code)[event.record.source.line].endswith("# culprit")


def test_gradient_that_is_not_finite_is_traced_to_the_forward_line(sqlite_url):
    class Distance(torch_broken.Classifier):
        def training_step(self, batch, batch_idx):
            x, y = batch
            out = self.net(x)
            gap = torch.sqrt(((out - out.detach()) ** 2).sum(1))  # culprit
            return F.cross_entropy(out, y) + gap.mean()

    for options in ({}, {"debug": True}):
        tracker = LightningTracker(store=sqlite_url, system=False, **options)
        fit(Distance(), [tracker], limit_train_batches=1, max_steps=1)
        assert not tracker.guard.failures
        with trackside.open_store(sqlite_url) as store:
            (event,) = records(store, tracker.run_id)
        record = event.record
        assert (event.kind, event.step, record.quantity, record.operator) == (
            "non_finite",
            0,
            "gradient",
            "SqrtBackward0",
        )
        assert dict(record.source.code)[record.source.line].endswith("# culprit")
        assert record.last_losses == () or record.last_losses[0][1] > 0


def test_a_mask_full_of_infinities_is_no_alarm(sqlite_url):
    class Masked(torch_broken.Classifier):
        def training_step(self, batch, batch_idx):
            x, y = batch
            mask = torch.full((8, 8), float("-inf")).triu(1)
            weights = torch.softmax(x @ x.T + mask, 1)
            return F.cross_entropy(self.net(weights @ x), y)

    tracker = LightningTracker(store=sqlite_url, system=False, debug=True)
    fit(Masked(), [tracker])
    with trackside.open_store(sqlite_url) as store:
        assert records(store, tracker.run_id) == []


def test_bad_data_is_told_from_a_bad_layer(sqlite_url):
    samples = torch_broken.data()
    samples.tensors[0][27, 3] = float("nan")
    tracker = LightningTracker(store=sqlite_url, system=False)
    torch_broken.fit(torch_broken.Classifier(), tracker, DataLoader(samples, batch_size=8))
    with trackside.open_store(sqlite_url) as store:
        (event,) = records(store, tracker.run_id)
    assert (event.step, event.record.quantity, event.record.batch_index) == (3, None, 3)
    assert event.record.counts["nan"] == 1
    assert "The batch itself" in event.record.message


def test_batch_of_another_form(sqlite_url):
    """A batch of another form, one argument, and a step that gives a dictionary."""

    class Odd(torch_broken.Classifier):
        def training_step(self, batch):
            out = self.net(batch["x"])
            y = batch.pop("y")  # what the step takes out of its batch is still there when it is looked at
            return {"loss": F.cross_entropy(out / (out - out).sum(), y)}

    dataset = [{"x": torch.ones(8), "y": torch.tensor(1)} for _ in range(8)]
    tracker = LightningTracker(store=sqlite_url, system=False)
    torch_broken.fit(Odd(), tracker, DataLoader(dataset, batch_size=4))
    with trackside.open_store(sqlite_url) as store:
        event = records(store, tracker.run_id)[0]
    assert (event.step, event.record.operator) == (0, "aten.div.Tensor")


def test_percentiles_of_the_gradients_on_request(sqlite_url):
    tracker = LightningTracker(store=sqlite_url, system=False, debug=trackside.DebugOptions(histograms=True))

    class Kept(L.Callback):
        def __init__(self):
            self.gradients = []

        def on_before_optimizer_step(self, trainer, module, optimizer):
            self.gradients.append(torch.cat([p.grad.flatten() for p in module.net[4].parameters()]).double().numpy())

    kept = Kept()
    fit(fresh(), [tracker, kept])
    with trackside.open_store(sqlite_url) as store:
        for percentile in (5, 25, 50, 75, 95):
            series = store.series(tracker.run_id, f"layers/net.4/gradient_p{percentile:02d}")
            expected = [np.percentile(gradient, percentile) for gradient in kept.gradients]
            np.testing.assert_allclose(series.values, expected, rtol=1e-5, atol=1e-9)


def test_layers_tell_where_a_step_cannot_be_computed_again(sqlite_url, monkeypatch):
    """As in distributed training, where one process cannot do so alone."""
    from trackside.trackers.debugging import torch_watch

    monkeypatch.setattr(torch_watch, "replayable", lambda *_: "Not here.")
    for options, layer in (({}, None), ({"debug": True}, "net.0")):
        tracker = LightningTracker(store=sqlite_url, system=False, **options)
        torch_broken.division_by_zero(tracker)
        with trackside.open_store(sqlite_url) as store:
            event = records(store, tracker.run_id)[0]
        assert (event.step, event.record.layer, event.record.cannot) == (3, layer, ("Not here.",))
        assert event.record.exact == (layer is not None)


def test_loss_that_is_read_late_is_told_by_the_layers(sqlite_url, monkeypatch):
    """As on an accelerator: nobody waits for the loss before the backward pass."""
    from trackside.trackers.debugging.torch_watch import TorchWatch
    from trackside.trackers.lightning_usual import UsualStep

    monkeypatch.setattr(UsualStep, "log", lambda *_: False)  # the short way is for the CPU
    monkeypatch.setattr(TorchWatch, "before_backward", lambda *_: None)
    monkeypatch.setattr(TorchWatch, "before_update", lambda *_: None)
    for options, layer in (({}, None), ({"debug": True}, "net.0")):
        tracker = LightningTracker(store=sqlite_url, system=False, **options)
        torch_broken.division_by_zero(tracker)
        assert not tracker.guard.failures
        with trackside.open_store(sqlite_url) as store:
            event = records(store, tracker.run_id)[0]
        assert (event.kind, event.step, event.record.layer) == ("non_finite", 3, layer)
        assert event.record.cannot


def test_compiled_layers_carry_no_hooks(sqlite_url):
    model = fresh()
    model.net.compile(backend="eager")
    tracker = LightningTracker(store=sqlite_url, system=False, debug=True)
    fit(model, [tracker], limit_train_batches=2)
    assert not tracker.guard.failures
    with trackside.open_store(sqlite_url) as store:
        names = [info.name for info in store.series_infos([tracker.run_id]) if info.name.startswith("layers/")]
        assert any("compiled layers" in event.message for event in store.events(tracker.run_id))
    assert {name.rpartition("/")[2] for name in names} == {"gradient_norm", "update_ratio"}
