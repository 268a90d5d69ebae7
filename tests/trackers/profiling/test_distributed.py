"""Traces of trainings on several devices: what they exchange shows as communication, and steps still add up."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import trackside
from trackside.runs.traces.reading import profiles, traces
from trackside.runs.traces.records import Profile

pytestmark = pytest.mark.framework


def run_script(folder: Path, script: str) -> None:
    """Run it in a process of its own: devices are fixed when a framework starts, and processes start others."""
    path = folder / "job.py"
    path.write_text(textwrap.dedent(script))
    free = {key: value for key, value in os.environ.items() if key not in ("MASTER_PORT", "LOCAL_RANK")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)], env=free, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-3000:]


def adds_up(found: Profile) -> bool:
    return sum(found.split.values()) == pytest.approx(sum(found.step_seconds) / found.steps, rel=1e-6)


def test_each_rank_of_ddp_has_a_trace_with_its_communication(sqlite_url: str, tmp_path: Path) -> None:
    run_script(
        tmp_path,
        f"""
        import torch, lightning.pytorch as pl
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset
        from trackside import LightningTracker, ProfileSchedule

        class Net(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU())
                self.head = nn.Linear(128, 10)

            def training_step(self, batch, index):
                return nn.functional.cross_entropy(self.head(self.body(batch[0])), batch[1])

            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())

        if __name__ == "__main__":
            torch.set_num_threads(1)
            tracker = LightningTracker(
                store={sqlite_url!r}, name="pair", system=False,
                profile=ProfileSchedule(wait=2, active=3, every_rank=True),
            )
            data = TensorDataset(torch.randn(128, 64), torch.randint(10, (128,)))
            pl.Trainer(
                strategy="ddp", accelerator="cpu", devices=2, max_epochs=1, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, callbacks=[tracker],
            ).fit(Net(), DataLoader(data, batch_size=8))
            assert not tracker.guard.failures, tracker.guard.failures
        """,
    )
    with trackside.open_store(sqlite_url) as store:
        assert [one.rank for one in traces(store, "pair")] == [1, 0]  # the last stands for the run
        found = [profiles(store, "pair", rank) for rank in (0, 1)]
    for (one,) in found:
        assert (one.steps, one.context.first_step, adds_up(one)) == (3, 2, True)
        assert 0 < one.split["communication"] < sum(one.split.values())
        assert min(one.split[part] for part in ("forward", "backward", "optimizer")) > 0
        exchanged = {row.name: row for row in one.operators if row.family == "communication"}
        assert {"gloo:all_reduce", "gloo:broadcast", "c10d::allreduce_"} <= exchanged.keys()
        assert not exchanged["gloo:all_reduce"].background
        assert {"body.0", "body.1", "body.2", "head"} <= {row.layer for row in one.operators}
        assert one.classified_fraction > 0.85


def test_replicas_of_a_mirrored_strategy_share_rows_and_their_gradients_sum_is_communication(
    sqlite_url: str, tmp_path: Path
) -> None:
    run_script(
        tmp_path,
        f"""
        import os
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import numpy as np, tensorflow as tf, keras
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from trackside import KerasTracker, ProfileSchedule
        strategy = tf.distribute.MirroredStrategy(
            ["/cpu:0", "/cpu:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
        with strategy.scope():
            model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(128, name="body"),
                                      keras.layers.Dense(10, name="head")])
            model.compile("adam", "mse", jit_compile=False)
        x, y = np.ones((96, 64), "float32"), np.ones((96, 10), "float32")
        tracker = KerasTracker(
            store={sqlite_url!r}, name="mirrored", system=False, profile=ProfileSchedule(wait=2, active=3)
        )
        model.fit(x, y, batch_size=16, verbose=0, callbacks=[tracker])
        assert not tracker.guard.failures, tracker.guard.failures
        """,
    )
    with trackside.open_store(sqlite_url) as store:
        (one,) = profiles(store, "mirrored")
    assert (one.steps, one.context.first_step, adds_up(one)) == (3, 2, True)
    forward = [row for row in one.operators if "MatMul" in row.name and row.direction == "forward"]
    assert {row.layer for row in forward} == {"body", "head"}
    assert sum(row.calls for row in forward) == 2 * 2 * 3  # layers, replicas, steps
    sums = [row for row in one.operators if row.family == "communication" and row.name == "AddN"]
    assert sum(row.calls for row in sums) == 4 * 3  # one for each variable and step
    assert one.split.get("communication", 0.0) > 0
