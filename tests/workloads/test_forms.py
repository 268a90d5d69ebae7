"""The forms of a workload: several devices, half precision; each a property of the run that it recorded."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from trackside.db.store import Store, open_store
from trackside.runs.parity import check_parity
from trackside.workloads.plan import Request
from trackside.workloads.runner import Outcome, run_workload

pytestmark = pytest.mark.framework

# No batch normalisation: its statistics are each device's own, in both frameworks.
BASE = Request(workload="tabular", steps=30, precision="float64")


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/runs.db"


@pytest.fixture(scope="module")
def store(url):
    with open_store(url) as opened:
        yield opened


def train(request: Request) -> dict[str, Outcome]:
    outcomes = run_workload(request, Console(file=io.StringIO()))
    for outcome in outcomes:
        assert outcome.state == "finished", outcome.last_lines
    return {outcome.job.framework: outcome for outcome in outcomes}


@pytest.fixture(scope="module")
def single(url) -> dict[str, Outcome]:
    return train(replace(BASE, store=url))


@pytest.fixture(scope="module")
def double(url) -> dict[str, Outcome]:
    return train(replace(BASE, store=url, devices=2))


def losses(store: Store, outcome: Outcome) -> np.ndarray:
    series = store.series(outcome.run_id or "", "train/loss")
    assert series.steps.tolist() == list(range(30))  # one run a job, whatever the ranks
    return series.values


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_two_devices_see_the_losses_of_one(store, single, double, framework):
    np.testing.assert_allclose(losses(store, double[framework]), losses(store, single[framework]), rtol=1e-9)


def test_two_devices_are_one_run_with_its_ranks(store, double):
    torch, tensorflow = (store.run(double[framework].run_id or "") for framework in ("torch", "tensorflow"))
    assert (torch.device_count, torch.world_size) == (2, 2)  # a process a device
    assert (tensorflow.device_count, tensorflow.world_size) == (2, 1)  # one process for both
    ranks = {info.rank for info in store.series_infos([torch.id], ["step/seconds"])}
    assert ranks == {0, 1}
    assert {info.rank for info in store.series_infos([torch.id], ["train/loss"])} == {0}


def test_the_card_compares_devices_and_not_processes(store, double):
    card = check_parity(store, [outcome.run_id or "" for outcome in double.values()])
    assert card.verdict != "red", [check for check in card.checks if check.verdict == "red"]


def test_against_one_device_the_card_is_red_for_the_devices_alone(store, single, double):
    card = check_parity(store, [side["torch"].run_id or "" for side in (single, double)])
    assert [check.name for check in card.checks if check.verdict == "red"] == ["Number of devices"]
    (size,) = (check for check in card.checks if check.name == "Batch size")
    assert size.verdict == "green"
    (samples,) = (check for check in card.checks if check.name == "Evaluation samples")
    assert samples.verdict == "green"


def test_half_precision_is_a_property_of_the_run_and_close_to_single(store, url):
    half = train(replace(BASE, store=url, precision="bf16-mixed"))
    whole = train(replace(BASE, store=url, precision="float32"))
    for framework, outcome in half.items():
        assert store.run(outcome.run_id or "").precision == "bf16-mixed"
        difference = np.abs(losses(store, outcome) - losses(store, whole[framework]))
        assert 0 < difference.max() < 0.05
