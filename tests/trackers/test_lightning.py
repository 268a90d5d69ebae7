"""LightningTracker on real trainings of a tiny model."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
L = pytest.importorskip("lightning.pytorch")

import torch.nn.functional as F  # noqa: E402, N812
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import trackside  # noqa: E402
from trackside.db.errors import UsageError  # noqa: E402
from trackside.db.records import RunInfo  # noqa: E402
from trackside.db.store import Store  # noqa: E402
from trackside.trackers.fingerprints import batch_digest  # noqa: E402
from trackside.trackers.lightning import LightningTracker  # noqa: E402
from trackside.trackers.lightning_steps import StepRecorder  # noqa: E402
from trackside.trackers.lightning_usual import UsualStep  # noqa: E402

pytestmark = [
    pytest.mark.framework,
    # Lightning's advice to users: workers, loggers, small data sets.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SAMPLES, BATCH = 50, 16  # four batches an epoch, the last of 2


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Net(L.LightningModule):  # type: ignore[misc, name-defined]
    """Two layers with batch normalization; remembers the loss of every batch as training computed it."""

    def __init__(self, lr: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
        )
        self.losses: list[float] = []
        self.rates: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        prediction = self.net(x)
        loss = F.cross_entropy(prediction, y)
        self.losses.append(loss.item())
        accuracy = (prediction.argmax(1) == y).float().mean()
        self.log("train_acc", accuracy, on_step=True, on_epoch=True)
        self.log("train/margin", prediction.max(), on_step=False, on_epoch=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", F.cross_entropy(self.net(x), y))

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=self.hparams.momentum)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def tensors() -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(SAMPLES, 8, generator=generator)
    return x, (x.sum(1) > 0).long() + (x[:, 0] > 1).long()


def loader() -> Any:
    return DataLoader(TensorDataset(*tensors()), batch_size=BATCH)


def trainer(*callbacks: Any, package: Any = L, **arguments: Any) -> Any:
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return package.Trainer(callbacks=list(callbacks), **{**settings, **arguments})


def net(kind: type[Any] = Net, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return kind(**arguments)


def tracker(url: str, **arguments: Any) -> LightningTracker:
    return LightningTracker(**{"store": url, "system": False, **arguments})


def only_run(store: Store) -> RunInfo:
    (run,) = store.runs()
    return run


def values(store: Store, run: RunInfo, name: str) -> list[float]:
    return [float(value) for value in store.series(run, name).values]


def steps(store: Store, run: RunInfo, name: str) -> list[int]:
    return [int(step) for step in store.series(run, name).steps]


def test_everything_of_a_plain_fit(sqlite_url: str) -> None:
    model, callback = net(), tracker(sqlite_url, name="plain", gradient_norm=True, config={"note": "own"})
    trainer(callback, gradient_clip_val=1.0).fit(model, loader(), loader())
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "finished"
        assert (run.framework, run.mode, run.precision, run.device) == ("torch", "eager", "float32", "cpu")
        assert run.backend == f"lightning {sys.modules['lightning'].__version__}"
        assert (run.total_steps, run.last_step, run.world_size) == (8, 7, 1)
        assert run.config["optimizer"]["name"] == "SGD"
        assert run.config["optimizer"]["learning_rate"] == 0.1
        assert run.config["schedule"]["step_size"] == 3
        assert run.config["hparams"] == {"lr": 0.1, "momentum": 0.9}
        assert run.config["data"]["batch_size"] == BATCH
        assert run.config["note"] == "own"
        assert run.model["trainable_parameters"] == sum(p.numel() for p in model.parameters())
        assert [layer["class"] for layer in run.model["layers"]] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
        assert run.environment["threads"]["torch_intraop"] == 1

        assert steps(store, run, "train/loss") == list(range(8))
        assert values(store, run, "train/loss") == pytest.approx(model.losses, abs=1e-7)
        assert values(store, run, "optimizer/learning_rate") == pytest.approx(model.rates)
        assert steps(store, run, "optimizer/gradient_norm") == list(range(8))
        assert steps(store, run, "train/acc") == list(range(8))
        assert steps(store, run, "train/margin") == [3, 7]
        assert steps(store, run, "val/loss") == [3, 7]  # nothing from the sanity check
        assert steps(store, run, "step/first_seconds") == [0]
        assert steps(store, run, "step/seconds") == list(range(1, 8))
        period = np.array(values(store, run, "step/seconds"))
        parts = np.array(values(store, run, "step/data_seconds")) + values(store, run, "step/compute_seconds")
        assert period == pytest.approx(parts)
        reductions = {info.name: info.reduction for info in store.series_infos([run.id])}
        assert reductions["train/loss"] == "batch"
        assert reductions["train/margin"] == reductions["val/loss"] == "epoch_mean"

        axes = store.axes(run)
        latest = {int(s): (e, n) for s, e, n in zip(axes.steps, axes.epochs, axes.samples, strict=True)}
        assert [latest[step][1] for step in range(8)] == [16, 32, 48, 50, 66, 82, 98, 100]
        assert [latest[step][0] for step in range(8)] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]

        prints = store.fingerprints(run)
        x, y = (t.numpy() for t in tensors())
        expected = [batch_digest([x[i : i + BATCH], y[i : i + BATCH]]) for i in range(0, SAMPLES, BATCH)]
        assert prints["data/batches"] == {"batch_size": 16, "samples_per_epoch": SAMPLES, "digests": expected * 2}
        assert prints["evaluation"] == {"batch_size": 16, "samples": SAMPLES, "digests": expected}
        assert prints["init/weights"]["parameter_count"] == run.model["trainable_parameters"]
        first = next(net().parameters()).detach().double()
        assert prints["init/weights"]["tensors"][0]["norm"] == pytest.approx(first.norm().item(), rel=1e-9)
        arithmetic = prints["arithmetic"]
        assert arithmetic["loss"] == {"name": "cross_entropy", "reduction": "mean"}
        assert arithmetic["clipping"] == {"kind": "norm", "value": 1.0}
        assert arithmetic["accumulation"] == 1
        assert arithmetic["schedule"]["name"] == "StepLR"
        assert arithmetic["normalization"] == [
            {"kind": "batch", "momentum": 0.1, "epsilon": 1e-5, "variance": "unbiased"}
        ]


def test_gradient_norm_is_that_before_clipping(sqlite_url: str) -> None:
    norms: list[float] = []

    class Watched(Net):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            norms.append(torch.cat([p.grad.flatten() for p in self.parameters()]).norm().item())

    trainer(tracker(sqlite_url, gradient_norm=True), gradient_clip_val=0.01, max_epochs=1).fit(net(Watched), loader())
    with trackside.open_store(sqlite_url) as store:
        assert values(store, only_run(store), "optimizer/gradient_norm") == pytest.approx(norms, rel=1e-5)


def test_accumulated_batches_make_one_step(sqlite_url: str) -> None:
    model, callback = net(), tracker(sqlite_url)
    trainer(callback, accumulate_grad_batches=3).fit(model, loader())  # 3 batches, then the epoch's last alone
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        groups = [model.losses[0:3], model.losses[3:4], model.losses[4:7], model.losses[7:8]]
        assert steps(store, run, "train/loss") == [0, 1, 2, 3]
        assert values(store, run, "train/loss") == pytest.approx([np.mean(group) for group in groups], abs=1e-6)
        assert run.total_steps == 4
        assert store.axes(run).samples[-1] == 100
        assert store.fingerprints(run)["arithmetic"]["accumulation"] == 3
    assert callback.guard.failures == {}


def test_log_every_keeps_every_other_update(sqlite_url: str) -> None:
    model = net()
    trainer(tracker(sqlite_url, log_every=3)).fit(model, loader())
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert steps(store, run, "train/loss") == [0, 3, 6]
        assert values(store, run, "train/loss") == pytest.approx(model.losses[::3], abs=1e-7)


def test_weights_are_bit_identical_with_and_without(sqlite_url: str, tmp_path: Path) -> None:
    def weights(*callbacks: Any) -> dict[str, Any]:
        L.seed_everything(3, verbose=False)
        model = net()
        shuffled = DataLoader(TensorDataset(*tensors()), batch_size=BATCH, shuffle=True)
        trainer(*callbacks, gradient_clip_val=0.5).fit(model, shuffled, loader())
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    plain = weights()
    everything = tracker(sqlite_url, system=0.05, gradient_norm=True, tensorboard=tmp_path / "events")
    tracked = weights(everything)
    assert everything.guard.failures == {}
    assert plain.keys() == tracked.keys()
    assert all(torch.equal(plain[name], tracked[name]) for name in plain)


def test_resume_from_checkpoint_continues_the_run(sqlite_url: str, tmp_path: Path) -> None:
    first = trainer(tracker(sqlite_url, name="long"), max_epochs=1)
    first.fit(net(), loader(), loader())
    path = tmp_path / "state.ckpt"
    first.save_checkpoint(path)
    model, callback = net(), tracker(sqlite_url, name="long")
    trainer(callback, max_epochs=3).fit(model, loader(), loader(), ckpt_path=path)
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "finished"
        assert run.id == callback.run_id
        assert steps(store, run, "train/loss") == list(range(12))
        assert values(store, run, "train/loss")[4:] == pytest.approx(model.losses, abs=1e-7)
        assert steps(store, run, "step/first_seconds") == [0, 4]
        assert store.axes(run).samples[-1] == 150
        assert [event.kind for event in store.events(run)].count("resume") == 1
        # The weights of the start, not those of the resumption.
        norm = store.fingerprints(run)["init/weights"]["tensors"][0]["norm"]
        assert norm == pytest.approx(next(net().parameters()).detach().double().norm().item(), rel=1e-9)


def test_checkpoint_of_another_store_starts_a_new_run(sqlite_url: str, tmp_path: Path) -> None:
    first = trainer(tracker(f"sqlite:///{tmp_path / 'other.db'}"), max_epochs=1)
    first.fit(net(), loader())
    first.save_checkpoint(tmp_path / "state.ckpt")
    callback = tracker(sqlite_url)
    trainer(callback, max_epochs=2).fit(net(), loader(), ckpt_path=tmp_path / "state.ckpt")
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert steps(store, run, "train/loss") == [4, 5, 6, 7]
        assert any("not in this store" in event.message for event in store.events(run))


def test_each_fit_is_a_run_unless_its_steps_go_on(sqlite_url: str) -> None:
    callback = tracker(sqlite_url, name="fit")
    trainer(callback, max_epochs=1).fit(net(), loader())
    again = trainer(callback, max_epochs=1)
    again.fit(net(), loader())
    again.fit_loop.max_epochs = 2
    again.fit(net(), loader())
    with trackside.open_store(sqlite_url) as store:
        counts = {run.name: steps(store, run, "train/loss") for run in store.runs()}
    assert counts == {"fit": [0, 1, 2, 3], "fit-2": list(range(8))}
    assert callback.guard.failures == {}


def test_evaluations_belong_to_the_last_fit_or_to_nothing(sqlite_url: str) -> None:
    callback = tracker(sqlite_url)
    runner = trainer(callback, max_epochs=1)
    runner.validate(net(), loader(), verbose=False)
    runner.predict(net(), loader())
    with trackside.open_store(sqlite_url) as store:
        assert store.runs() == []
    model = net()
    runner.fit(model, loader())
    loss = runner.validate(model, loader(), verbose=False)[0]["val_loss"]
    runner.test(model, loader(), verbose=False)
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "finished"
        assert steps(store, run, "val/loss") == [3]
        assert values(store, run, "val/loss") == pytest.approx([loss])
        assert steps(store, run, "test/loss") == [3]
        assert store.axes(run).epochs[-1] == 1.0


class Failing(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 2:
            raise self.error
        return super().training_step(batch, batch_idx)

    error: BaseException = ValueError("the labels are wrong")


def test_exception_fails_the_run_with_its_traceback(sqlite_url: str) -> None:
    callback = tracker(sqlite_url)
    with pytest.raises(ValueError, match="labels are wrong"):
        trainer(callback).fit(net(Failing), loader())
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "failed"
        assert run.error is not None
        assert run.error["type"] == "ValueError"
        assert "raise self.error" in run.error["traceback"]
        assert steps(store, run, "train/loss") == [0, 1]
    assert callback.run is None


def test_interrupt_kills_the_run(sqlite_url: str) -> None:
    class Interrupted(Failing):
        error = KeyboardInterrupt()

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            trainer(tracker(sqlite_url)).fit(net(Interrupted), loader())
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    with trackside.open_store(sqlite_url) as store:
        assert only_run(store).state == "killed"


def test_failure_before_training_has_a_run_too(sqlite_url: str) -> None:
    class Unconfigured(Net):
        def configure_optimizers(self) -> Any:
            raise RuntimeError("no optimizer today")

    with pytest.raises(RuntimeError, match="no optimizer"):
        trainer(tracker(sqlite_url)).fit(net(Unconfigured), loader())
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "failed"
        assert run.error is not None
        assert "no optimizer today" in run.error["message"]


def test_early_stop_finishes_with_its_reason(sqlite_url: str) -> None:
    from lightning.pytorch.callbacks import EarlyStopping

    stop = EarlyStopping("val_loss", patience=1, min_delta=100.0, mode="min")
    trainer(tracker(sqlite_url), stop, max_epochs=20).fit(net(), loader(), loader())
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "finished"
        assert run.last_step is not None
        assert run.last_step < 79
        (event,) = [event for event in store.events(run) if event.kind == "early_stop"]
        assert "EarlyStopping stopped training" in event.message


def test_full_training_has_no_early_stop(sqlite_url: str) -> None:
    trainer(tracker(sqlite_url), max_steps=5, max_epochs=-1).fit(net(), loader())
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert (run.last_step, run.total_steps) == (4, 5)
        assert store.events(run) == []


def test_sigterm_kills_the_run_and_lightning_stops_as_ever(sqlite_url: str, tmp_path: Path) -> None:
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_lightning import *
        class Terminated(Net):
            def training_step(self, batch, batch_idx):
                if self.global_step == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
                return super().training_step(batch, batch_idx)
        try:
            trainer(tracker({sqlite_url!r}), default_root_dir={str(tmp_path)!r}).fit(net(Terminated), loader())
        except SystemExit as stopped:
            print(type(stopped).__name__)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=200
    )
    assert done.stdout.split() == ["SIGTERMException"], done.stderr
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "killed"
        assert steps(store, run, "train/loss") == [0, 1, 2]  # Lightning completes the step
        assert [event.message for event in store.events(run) if event.kind == "signal"]


class Gan(L.LightningModule):  # type: ignore[misc, name-defined]
    """Two optimizers that take turns within a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.a, self.b = torch.nn.Linear(8, 3), torch.nn.Linear(8, 3)
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        for optimizer, layer in zip(self.optimizers(), (self.a, self.b), strict=True):
            loss = F.cross_entropy(layer(x), y)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.a.parameters(), lr=0.1), torch.optim.Adam(self.b.parameters(), lr=0.01)]


def test_manual_optimization_counts_batches_and_says_so(sqlite_url: str) -> None:
    model, callback = net(Gan), tracker(sqlite_url, gradient_norm=True)
    trainer(callback).fit(model, loader())
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.total_steps == 8
        assert values(store, run, "train/loss") == pytest.approx(model.losses, abs=1e-7)
        assert steps(store, run, "train/loss") == list(range(8))
        assert values(store, run, "optimizer0/learning_rate") == [0.1] * 8
        assert values(store, run, "optimizer1/learning_rate") == [0.01] * 8
        assert steps(store, run, "optimizer1/gradient_norm") == list(range(8))
        assert [event.kind for event in store.events(run)] == ["notice"]
        arithmetic = store.fingerprints(run)["arithmetic"]
        assert [optimizer["name"] for optimizer in arithmetic["optimizers"]] == ["SGD", "Adam"]
        assert arithmetic["clipping"] is None  # each optimizer was seen to use the gradients as they were computed


@pytest.mark.parametrize("clip", ["in place", "anew"])
def test_gradients_that_are_changed_before_a_manual_update_may_be_clipped(sqlite_url: str, clip: str) -> None:
    class Clipped(Gan):
        def manual_backward(self, loss: Any) -> None:
            super().manual_backward(loss)
            gradients = [p for p in self.b.parameters() if p.grad is not None]  # none yet in the first one's update
            if clip == "in place":
                torch.nn.utils.clip_grad_norm_(gradients, 1e6)
            for parameter in gradients if clip == "anew" else ():
                parameter.grad = parameter.grad.clamp(-1.0, 1.0)

    callback = tracker(sqlite_url)
    trainer(callback).fit(net(Clipped), loader())
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        assert "clipping" not in store.fingerprints(only_run(store))["arithmetic"]


@dataclasses.dataclass
class Pair:
    x: Any
    y: Any


class Graphs:
    """A batch of a library's own, which knows its size."""

    def __init__(self, x: Any, y: Any) -> None:
        self.nodes, self.y, self.num_graphs = x.repeat(2, 1), y, len(y)

    @property
    def x(self) -> Any:
        return self.nodes[: len(self.y)]


def as_mapping(rows: Any) -> Any:
    return {"x": torch.stack([x for x, _ in rows]), "y": torch.stack([y for _, y in rows])}


def as_dataclass(rows: Any) -> Any:
    return Pair(**as_mapping(rows))


def as_graphs(rows: Any) -> Any:
    return Graphs(**as_mapping(rows))


def as_lists(rows: Any) -> Any:
    return [x for x, _ in rows], [y for _, y in rows]


@pytest.mark.parametrize(
    ("collate", "take", "digests"),
    [
        (as_mapping, lambda batch: (batch["x"], batch["y"]), True),
        (as_dataclass, lambda batch: (batch.x, batch.y), True),
        (as_graphs, lambda batch: (batch.x, batch.y), False),
        (as_lists, lambda batch: (torch.stack(batch[0]), torch.stack(batch[1])), False),
    ],
)
def test_batches_of_any_form_are_counted(
    sqlite_url: str, collate: Callable[[Any], Any], take: Callable[[Any], Any], digests: bool
) -> None:
    class Taking(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = take(batch)
            return F.cross_entropy(self.net(x), y)

    callback = tracker(sqlite_url)
    data = DataLoader(TensorDataset(*tensors()), batch_size=BATCH, collate_fn=collate)
    trainer(callback, max_epochs=1).fit(net(Taking), data)
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert store.axes(run).samples.tolist()[-4:] == [16, 32, 48, 50]
        if digests:
            x, y = (tensor.numpy()[:BATCH] for tensor in tensors())
            assert store.fingerprints(run)["data/batches"]["digests"][0] == batch_digest([x, y])


class Opaque:
    """A batch that gives nothing away and dislikes being looked at."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} for you")

    def tensors(self) -> Any:
        mapping = as_mapping(self._rows)
        return mapping["x"], mapping["y"]


def test_an_error_of_ours_is_counted_and_training_goes_on(sqlite_url: str) -> None:
    class Taking(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch.tensors(), batch_idx)

        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            return batch

    class Quiet(Taking):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch.tensors()
            return F.cross_entropy(self.net(x), y)

    callback = tracker(sqlite_url)
    data = DataLoader(TensorDataset(*tensors()), batch_size=BATCH, collate_fn=Opaque)
    runner = trainer(callback, max_epochs=1)
    runner.fit(net(Quiet), data)
    assert runner.global_step == 4
    assert callback.guard.failures == {"note the arrival of a batch": 4, "log a training step": 4}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.state == "finished"
        assert sum("for you" in sentence for sentence in run.warnings) == 2  # each kind once


def test_training_step_without_loss_says_so_once(sqlite_url: str) -> None:
    class Lossless(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None

    trainer(tracker(sqlite_url)).fit(net(Lossless), loader())
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert ["train/loss is missing" in event.message for event in store.events(run)] == [True]
        assert steps(store, run, "optimizer/learning_rate") == list(range(8))


def test_fast_dev_run(sqlite_url: str) -> None:
    callback = tracker(sqlite_url)
    trainer(callback, fast_dev_run=True).fit(net(), loader(), loader())
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert (run.state, run.last_step, run.total_steps) == ("finished", 0, 1)
        assert "samples_per_epoch" in store.fingerprints(run)["data/batches"]


def test_several_validation_sets_and_validation_within_an_epoch(sqlite_url: str) -> None:
    class Two(Net):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            super().validation_step(batch, batch_idx)

    callback = tracker(sqlite_url)
    trainer(callback, max_epochs=1, val_check_interval=2).fit(net(Two), loader(), [loader(), loader()])
    assert callback.guard.failures == {}
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert steps(store, run, "val/loss_dataloader0") == [1, 3]
        assert steps(store, run, "val/loss_dataloader1") == [1, 3]
        assert store.fingerprints(run)["evaluation"]["samples"] == 2 * SAMPLES


def test_the_older_package_name(sqlite_url: str) -> None:
    program = f"""
        import sys
        import pytorch_lightning as pl, torch
        import trackside
        class Model(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(8, 1)
            def training_step(self, batch, batch_idx):
                return self.layer(batch[0]).square().mean()
            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())
        tracker = trackside.LightningTracker(store={sqlite_url!r}, system=False)
        assert isinstance(tracker, pl.Callback)
        assert "lightning.pytorch" not in sys.modules
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(20, 8)), batch_size=5)
        pl.Trainer(callbacks=tracker, max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu",
                   enable_progress_bar=False, enable_model_summary=False).fit(Model(), data)
        assert not tracker.guard.failures, tracker.guard.failures
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert run.backend is not None
        assert run.backend.startswith("pytorch_lightning ")
        assert steps(store, run, "train/loss") == [0, 1, 2, 3]
        assert store.fingerprints(run)["arithmetic"]["optimizer"]["epsilon_kind"] == "outside"


def test_precision_that_runs_is_the_one_recorded(sqlite_url: str) -> None:
    for precision, expected in (("16-mixed", "bf16-mixed"), ("64-true", "float64")):
        callback = tracker(sqlite_url)
        trainer(callback, precision=precision, max_epochs=1).fit(net(), loader())
        with trackside.open_store(sqlite_url) as store:
            assert store.run(str(callback.run_id)).precision == expected


def test_training_outside_the_main_thread(sqlite_url: str) -> None:
    callback = tracker(sqlite_url)
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: trainer(callback, max_epochs=1).fit(net(), loader()))
    thread.start()
    thread.join()
    assert callback.guard.failures == {}
    assert signal.getsignal(signal.SIGTERM) == before
    with trackside.open_store(sqlite_url) as store:
        assert only_run(store).state == "finished"


def test_signal_handlers_are_as_before_after_a_fit(sqlite_url: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    trainer(tracker(sqlite_url), max_epochs=1).fit(net(), loader())
    assert signal.getsignal(signal.SIGTERM) == before


def test_tracker_can_be_copied_and_pickled_while_it_tracks(sqlite_url: str) -> None:
    copies: list[Any] = []

    class Copying(L.Callback):  # type: ignore[misc, name-defined]
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            copies.extend([copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))])

    callback = tracker(sqlite_url)
    trainer(callback, Copying(), max_epochs=1, limit_train_batches=1).fit(net(), loader())
    assert all(other.run is None and other.run_id == callback.run_id for other in copies)


class Wrapper(L.Callback):  # type: ignore[misc, name-defined]
    """Somebody's callback that calls another's hooks itself."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.inner.on_after_backward(trainer, pl_module)


@pytest.mark.parametrize("direct", [True, False])
def test_hooks_without_work_are_called_only_by_who_cannot_pass_over_them(sqlite_url: str, direct: bool) -> None:
    added = tracker(sqlite_url)
    idle: list[bool] = []

    class Look(Net):
        def on_train_batch_end(self, *arguments: Any) -> None:
            idle.append(added.on_after_backward is None)

    trainer(added if direct else Wrapper(added), max_steps=4).fit(net(Look), loader())
    assert idle == [direct] * 4  # one step has described the model
    assert callable(added.on_after_backward)  # again, for the next fit


def test_bad_arguments_and_a_store_that_can_never_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="profile"):
        LightningTracker(profile="yes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="TensorFlow's own dump"):
        LightningTracker(debug="tfdbg")
    with pytest.raises(UsageError, match="SQLite or PostgreSQL"):
        LightningTracker(store="oracle://x/y")
    blocked = tmp_path / "file"
    blocked.write_text("no database")
    callback = tracker(f"sqlite:///{blocked}")
    runner = trainer(callback)
    with pytest.raises(trackside.TracksideError):
        runner.fit(net(), loader())
    assert runner.global_step == 0


def test_two_processes_share_one_run(sqlite_url: str, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_lightning import *
        if __name__ == "__main__":
            torch.set_num_threads(1)
            callback = tracker({sqlite_url!r}, name="pair", gradient_norm=True)
            trainer(callback, strategy="ddp", devices=2).fit(net(), loader(), loader())
            assert not callback.guard.failures, callback.guard.failures
        """)
    )
    free = {key: value for key, value in os.environ.items() if key not in ("MASTER_PORT", "LOCAL_RANK")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], env=free, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    with trackside.open_store(sqlite_url) as store:
        run = only_run(store)
        assert (run.state, run.world_size, run.device_count) == ("finished", 2, 2)
        assert steps(store, run, "train/loss") == [0, 1, 2, 3]
        ranks = {(info.name, info.rank) for info in store.series_infos([run.id])}
        assert ("step/seconds", 1) in ranks
        assert ("train/loss", 1) not in ranks
        assert store.axes(run).samples[-1] == 100  # each process saw half


class Whimsical(Net):
    """Does every so often what the step before did not."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        step = self.trainer.global_step
        self.log("train_loss", loss, on_step=True, on_epoch=False)
        if step % 7 == 3:
            self.log("sometimes", float(step), on_step=True, on_epoch=False)
        if step in (9, 21):
            self.optimizers().optimizer.param_groups[0]["lr"] = torch.tensor(0.01)
        if step == 13:
            group = {"params": [torch.nn.Parameter(torch.zeros(2))], "lr": 0.3}
            self.optimizers().optimizer.add_param_group(group)
        if step == 17 and not self.hparams.get("skipped"):
            self.hparams.skipped = True
            return None
        return loss


@pytest.mark.parametrize("kind", [Net, Whimsical])
@pytest.mark.parametrize("gradient_norm", [False, True])
@pytest.mark.parametrize("arguments", [{}, {"accumulate_grad_batches": 2}, {"limit_train_batches": 3}])
def test_the_short_way_records_what_the_careful_one_does(
    sqlite_url: str, kind: type[Any], gradient_norm: bool, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = [0]
    log = UsualStep.log

    def counted(self: UsualStep, *given: Any) -> bool:
        logged = log(self, *given)
        short[0] += logged
        return logged

    monkeypatch.setattr(UsualStep, "log", counted)
    callbacks = [tracker(sqlite_url, name=name, gradient_norm=gradient_norm) for name in ("short", "careful")]
    trainer(callbacks[0], max_epochs=8, **arguments).fit(net(kind), loader())
    taken, short[0] = short[0], 0
    monkeypatch.setattr(StepRecorder, "_learn", lambda self, *given: None)
    trainer(callbacks[1], max_epochs=8, **arguments).fit(net(kind), loader())
    assert short[0] == 0
    assert (taken == 0) == ("accumulate_grad_batches" in arguments)
    if kind is Net and taken:
        assert taken == 8 * arguments.get("limit_train_batches", 4) - 2
    assert not any(callback.guard.failures for callback in callbacks)
    with Store(sqlite_url) as store:
        runs = {run.name: run for run in store.runs()}
        found = [{info.name: info for info in store.series_infos([runs[name].id])} for name in ("short", "careful")]
        assert found[0].keys() == found[1].keys()
        for name in found[0]:
            one, other = (store.series(runs[run], name) for run in ("short", "careful"))
            np.testing.assert_array_equal(one.steps, other.steps)
            assert (found[0][name].unit, found[0][name].reduction) == (found[1][name].unit, found[1][name].reduction)
            if not name.startswith("step/"):
                np.testing.assert_array_equal(one.values, other.values)
        axes = [store.axes(runs[name]) for name in ("short", "careful")]
        for column in ("steps", "epochs", "samples"):
            np.testing.assert_array_equal(getattr(axes[0], column), getattr(axes[1], column))
