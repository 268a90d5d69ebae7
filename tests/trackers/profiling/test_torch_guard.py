"""A PyTorch profiler of the user's own, at every moment, beside ours.

In processes of their own: where two profilers overlap, PyTorch ends the process.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import trackside
from trackside.runs.traces import reading

pytestmark = pytest.mark.framework

TRAIN = """
import sys, threading, warnings
warnings.simplefilter("ignore")
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PyTorchProfiler
from torch import nn
from torch.profiler import profile, schedule
from torch.utils.data import DataLoader, TensorDataset
from trackside import LightningTracker, ProfileSchedule

class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 1)

    def training_step(self, batch, index):
        return self.body(batch[0]).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

# Steps that theirs waits, warms up and records. Ours records steps 4 to 7.
SCHEDULES = {"active": (0, 0, 30), "warming up": (0, 20, 2), "warming up by then": (3, 3, 3), "after ours": (9, 2, 3),
             "ended before ours": (0, 1, 2)}

class Theirs(Callback):
    def __init__(self, case):
        self.case, self.profile, self.thread = case, None, None
        if case in SCHEDULES:
            wait, warmup, active = SCHEDULES[case]
            self.profile = profile(schedule=schedule(wait=wait, warmup=warmup, active=active, repeat=1))
            self.profile.start()

    def on_train_batch_start(self, trainer, module, batch, index):
        if index == 6 and self.case == "within ours":
            self.profile = profile()
            self.profile.start()
        if index == 6 and self.case == "in another thread":
            self.thread = threading.Thread(target=self.work)
            self.thread.start()

    def work(self):
        with profile() as self.profile:
            torch.ones(3).sum()

    def on_train_batch_end(self, trainer, module, *_):
        if self.case in SCHEDULES:
            self.profile.step()
        if trainer.global_step == 10:
            if self.case == "within ours":
                self.profile.stop()
            if self.thread is not None:
                self.thread.join()

    def finish(self):
        if self.case in SCHEDULES:
            self.profile.stop()
        if self.profile is not None and self.case != "warming up":
            assert len(self.profile.events()) > 0, "theirs recorded nothing"

def train(case, url):
    theirs = Theirs(case)
    tracker = LightningTracker(
        name=case, store=url, system=False, profile=ProfileSchedule(wait=4, active=4)
    )
    extra = {"profiler": PyTorchProfiler(filename=None)} if case == "Lightning's" else {}
    Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[theirs, tracker], **extra,
            ).fit(Net(), DataLoader(TensorDataset(torch.ones(32, 4)), batch_size=2))
    theirs.finish()
    assert not tracker.guard.failures, tracker.guard.failures

for case in sys.argv[2:]:
    train(case, sys.argv[1])
"""

ASIDE = "No steps were profiled: "
EARLY = "Profiling ended early: another profiler began"
CASES = {
    "active": (None, ASIDE),
    "warming up": (None, ASIDE),
    "warming up by then": (None, ASIDE),
    "within ours": (4, EARLY),
    "in another thread": (4, EARLY),
    "after ours": (4, None),
    "ended before ours": (4, None),
    "Lightning's": (None, ASIDE),
}


# In the second and the third theirs begins before anything of ours is there to see it.
@pytest.mark.parametrize("cases", [list(CASES), ["active"], ["warming up"]], ids=["all", "active", "warm"])
def test_a_profiler_of_the_users_own_goes_on_undisturbed(sqlite_url, tmp_path, cases):
    command = [sys.executable, "-c", TRAIN, sqlite_url, *cases]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert process.returncode == 0, process.stderr[-3000:]
    with trackside.open_store(sqlite_url) as store:
        for case in cases:
            first, sentence = CASES[case]
            run = store.run(case)
            assert run.last_step == 15
            spans = [one.detail for one in reading.traces(store, run)]
            said = [event.message for event in store.events(run) if "profile" in event.message]
            assert [span["first_step"] for span in spans] == ([] if first is None else [first]), case
            if sentence == EARLY:
                assert spans[0]["last_step"] < 7
            assert len(said) == (sentence is not None), case
            assert all(message.startswith(sentence) for message in said)
