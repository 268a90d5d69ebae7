"""Batches that are sliced at once are those that PyTorch stacks sample by sample, bit for bit."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, Dataset, TensorDataset  # noqa: E402

from trackside.trackers.fingerprints import batch_digest  # noqa: E402
from trackside.workloads.problem import channels_first, sample_order, with_places  # noqa: E402
from trackside.workloads.settings import Settings  # noqa: E402
from trackside.workloads.torch_data import (  # noqa: E402
    ArrayDataset,
    ExpandedDataset,
    FixedOrder,
    WithNoise,
    collate,
    dataset,
)

pytestmark = pytest.mark.framework

SAMPLES, BATCH = 37, 8
GENERATOR = np.random.default_rng(5)
IMAGES = GENERATOR.standard_normal((SAMPLES, 4, 6, 2)).astype(np.float32)
LABELS = np.arange(SAMPLES, dtype=np.int64)
NOISE = torch.from_numpy(GENERATOR.standard_normal((2 * SAMPLES, 3)).astype(np.float32))
ORDER = sample_order(0, SAMPLES, 2)


class OneByOne(Dataset):  # type: ignore[misc]
    """The samples of another data set, which is not asked for several at once."""

    def __init__(self, samples):
        self.samples = samples

    def __getitem__(self, index):
        return self.samples[index]

    def __len__(self):
        return len(self.samples)


def settings(precision="float32") -> Settings:
    return Settings(mode="eager", steps=1, batch_size=BATCH, size=1, precision=precision)


def batches(samples, order, collate_fn=None):
    sampler = FixedOrder(order, BATCH)
    sampler.set_epoch(1)
    return list(DataLoader(samples, BATCH, sampler=sampler, drop_last=True, collate_fn=collate_fn))


def expanded(precision):
    return ExpandedDataset(
        (IMAGES,), (LABELS,), lambda some: channels_first((np.repeat(some[0], 2, 1),)), settings(precision)
    )


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda precision: dataset((IMAGES,), (LABELS,), settings(precision)), ORDER),
        (expanded, ORDER),
        (lambda precision: WithNoise(dataset((IMAGES,), (LABELS,), settings(precision)), (NOISE,)), with_places(ORDER)),
        (lambda precision: WithNoise(expanded(precision), (NOISE, NOISE)), with_places(ORDER)),
        (lambda precision: WithNoise(OneByOne(expanded(precision)), (NOISE,)), with_places(ORDER)),
    ],
    ids=["arrays", "expanded", "noise", "noise and expanded", "noise and another's"],
)
def test_a_batch_is_what_pytorch_makes_of_its_samples(make, order, precision):
    samples = make(precision)
    at_once, stacked = batches(samples, order, collate), batches(OneByOne(samples), order)
    assert len(at_once) == len(stacked) == SAMPLES // BATCH
    for ours, theirs in zip(at_once, stacked, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
            assert torch.equal(one, other)
        assert batch_digest([t.numpy() for t in ours]) == batch_digest([t.numpy() for t in theirs])


def test_the_samples_are_those_of_a_tensor_dataset():
    tensors = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)
    ours, theirs = ArrayDataset(*tensors), TensorDataset(*tensors)
    assert len(ours) == len(theirs)
    for index in (0, 17, SAMPLES - 1):
        assert all(torch.equal(one, other) for one, other in zip(ours[index], theirs[index], strict=True))


def test_a_data_set_of_somebody_elses_is_stacked_as_ever():
    found = batches(OneByOne(dataset((IMAGES,), (LABELS,), settings())), ORDER, collate)
    torch.testing.assert_close(found[0][0], torch.from_numpy(IMAGES[ORDER[1, :BATCH]]), rtol=0, atol=0)
