"""Windows of torch.profiler in real trainings: what is recorded, what stays as it was, and whom ours gives way to."""

from __future__ import annotations

import copy
import io
import json
from collections import Counter

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trackside
from trackside import LightningTracker, ProfileSchedule
from trackside.runs.traces import reading

pytestmark = [
    pytest.mark.framework,
    # Lightning's advice to users: workers, loggers, small data sets.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Net(pl.LightningModule):  # type: ignore[misc]
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 1)

    def training_step(self, batch, index):
        return nn.functional.mse_loss(self.head(self.body(batch[0])), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", self.training_step(batch, index))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class TwoOptimizers(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return torch.optim.SGD(self.body.parameters(), 0.1), torch.optim.SGD(self.head.parameters(), 0.1)

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, index))
            optimizer.step()


def loader(batches=12, batch_size=4):
    generator = torch.Generator().manual_seed(1)
    rows = batches * batch_size
    data = TensorDataset(torch.randn(rows, 4, generator=generator), torch.randn(rows, 1, generator=generator))
    return DataLoader(data, batch_size=batch_size)


def fit(url, net=None, *, profile=None, callbacks=(), batches=12, validate=False, **trainer):
    net = net or Net()
    tracker = LightningTracker(store=url, profile=profile, system=False)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    made = pl.Trainer(**{"max_epochs": 1, "enable_model_summary": False, **quiet, **trainer},
                     callbacks=[tracker, *callbacks])  # fmt: skip
    made.fit(net, loader(batches), loader(2) if validate else None)
    assert tracker.guard.failures == {}
    return net, tracker


def traces(url, tracker):
    """Detail and events of each trace of a run, oldest first."""
    with trackside.open_store(url) as store:
        found = store.artifacts(tracker.run_id, "trace/chrome")
        return [(one.detail, json.loads(store.artifact_bytes(one.id))["traceEvents"]) for one in found]


def notices(url, tracker):
    with trackside.open_store(url) as store:
        return [event.message for event in store.events(tracker.run_id) if "profile" in event.message]


def ours(events):
    """Names of our markers and ranges in order, without the prefix, from the first step on."""
    marks = [event for event in events if event.get("ph") == "X" and event["name"].startswith("trackside::")]
    names = [event["name"].removeprefix("trackside::") for event in sorted(marks, key=lambda event: event["ts"])]
    return names[next(i for i, name in enumerate(names) if name.startswith("step#")) :]


def test_a_window_names_steps_phases_and_layers(sqlite_url):
    net, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=3, active=2, shapes=True))
    ((detail, events),) = traces(sqlite_url, tracker)
    layers = ["layer::body", "layer::body.0", "layer::body.1", "layer::body.2", "layer::head"]
    step = ["forward", *layers, "zero_grad", "backward", "after_backward", "optimizer", "step_end"]
    assert ours(events) == ["step#3", *step, "step#4", *step, "end"]
    assert (detail["first_step"], detail["last_step"], detail["mode"]) == (3, 4, "eager")
    assert detail["layers"]["body.1"] == "BatchNorm1d"
    assert (detail["optimizer"], detail["versions"]["torch"]) == ("Adam", torch.__version__)
    assert any("Input Dims" in event.get("args", {}) for event in events)
    assert not any(event.get("cat") == "python_function" for event in events)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in net.modules())
    assert notices(sqlite_url, tracker) == []


def test_nothing_changes_in_what_is_computed(sqlite_url):
    plain, before = fit(sqlite_url, max_epochs=2, validate=True)
    schedule = ProfileSchedule(wait=2, active=2, repeat=3, shapes=True, memory=True, stacks=True)
    profiled, after = fit(sqlite_url, profile=schedule, max_epochs=2, validate=True)
    assert len(traces(sqlite_url, after)) == 3
    for one, other in zip(plain.state_dict().values(), profiled.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with trackside.open_store(sqlite_url) as store:
        for metric in ("train/loss", "val/loss"):
            pair = [store.series(tracker.run_id, metric).values.tobytes() for tracker in (before, after)]
            assert pair[0] == pair[1]


class Copies(pl.Callback):  # type: ignore[misc]
    """Takes copies of the model from within a batch."""

    def __init__(self):
        self.copies = []

    def on_before_backward(self, trainer, module, loss):
        if trainer.global_step == 2:
            file = io.BytesIO()
            torch.save(module.body, file)
            file.seek(0)
            self.copies += [copy.deepcopy(module.body), torch.load(file, weights_only=False)]
            assert module.head._forward_hooks


def test_copies_made_within_a_window_compute_the_same(sqlite_url):
    copies = Copies()
    fit(sqlite_url, profile=ProfileSchedule(wait=1, active=3), callbacks=[copies])
    x = torch.randn(5, 4)
    first, second = (body.eval()(x) for body in copies.copies)
    assert torch.equal(first, second)


def test_a_step_is_an_update_of_several_batches(sqlite_url):
    _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=1, active=2), accumulate_grad_batches=2)
    ((detail, events),) = traces(sqlite_url, tracker)
    counts = Counter(name.partition("#")[0] for name in ours(events))
    assert (counts["step"], counts["forward"], counts["step_end"], counts["optimizer"]) == (2, 4, 4, 2)
    assert (detail["first_step"], detail["last_step"]) == (1, 2)


def test_manual_optimization_goes_forward_again_after_each_optimizer(sqlite_url):
    _, tracker = fit(sqlite_url, TwoOptimizers(), profile=ProfileSchedule(wait=1, active=1))
    ((_, events),) = traces(sqlite_url, tracker)
    phases = [name for name in ours(events) if "layer" not in name]
    once = ["forward", "backward", "after_backward", "optimizer"]
    assert phases == ["step#1", *once, *once, "forward", "step_end", "end"]


def test_validation_is_no_part_of_a_step(sqlite_url):
    _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=5, active=4), max_epochs=3, batches=7, validate=True)
    ((detail, _),) = traces(sqlite_url, tracker)
    assert (detail["first_step"], detail["last_step"]) == (8, 11)  # the step before warms the profiler up
    _, tracker = fit(sqlite_url, profile=ProfileSchedule(wait=2, active=9), max_epochs=3, batches=4, validate=True)
    ((detail, events),) = traces(sqlite_url, tracker)
    assert (detail["first_step"], detail["last_step"]) == (5, 7)
    assert ours(events)[-1] == "end"


class Fails(pl.Callback):  # type: ignore[misc]
    def on_before_backward(self, trainer, module, loss):
        if trainer.global_step == 6:
            raise RuntimeError("out of luck")


def test_an_exception_ends_the_window_and_keeps_the_steps_before(sqlite_url):
    net = Net()
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(sqlite_url, net, profile=ProfileSchedule(wait=4, active=5), callbacks=[Fails()])
    assert all(not module._forward_hooks for module in net.modules())
    with trackside.open_store(sqlite_url) as store:
        (run,) = store.runs()
        (trace,) = reading.traces(store, run)
        assert (run.state, trace.detail["first_step"], trace.detail["last_step"]) == ("failed", 4, 5)
    with torch.profiler.profile() as theirs:  # the profiler is free again
        torch.ones(3).sum()
    assert theirs.key_averages()


def test_a_training_too_short_says_so(sqlite_url):
    _, tracker = fit(sqlite_url, profile=True, batches=4)
    assert traces(sqlite_url, tracker) == []
    (sentence,) = notices(sqlite_url, tracker)
    assert "training ended before step 10 began" in sentence


def test_a_loop_of_ones_own(sqlite_url):
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with trackside.start_run(store=sqlite_url) as run:
        with run.profile(wait=2, active=2, model=net, framework="torch") as profiler:
            for step in range(6):
                net(torch.ones(2, 4)).sum().backward()
                optimizer.step()
                run.log({"x": 1.0}, step=step)
                profiler.step()
        assert profiler.guard.failures == {}
        with pytest.raises(trackside.TracksideError, match=r"takes wait.*not wat\."):
            run.profile(wat=3)
        with pytest.raises(trackside.TracksideError, match="torch or tensorflow"):
            run.profile(framework="jax")
    with trackside.open_store(sqlite_url) as store:
        (trace,) = reading.traces(store, run.id)
        assert trace.name == "steps-2-3.pt.trace.json"
        names = ours(json.loads(store.artifact_bytes(trace.id))["traceEvents"])
    assert names == ["step#2", "layer::0", "layer::1", "step#3", "layer::0", "layer::1", "end"]
