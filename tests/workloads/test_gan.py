"""The DCGAN: data, noise, weights and measure in NumPy, and the proof that both frameworks train the same."""

from __future__ import annotations

import numpy as np
import pytest

from trackside.db.errors import UsageError
from trackside.workloads.gan import problem as gan
from trackside.workloads.gate import run_gate
from trackside.workloads.plan import Request
from trackside.workloads.problem import sample_order, with_places
from trackside.workloads.registry import find_workload
from trackside.workloads.settings import Settings


def settings(**options) -> Settings:
    return Settings(**{"mode": "eager", "steps": 50, "batch_size": 64, "size": 16, **options})


def test_the_digits_are_enlarged_exactly():
    small, large = gan.load_images(8)[0], gan.load_images(16)[0]
    assert large.shape == (gan.TRAIN_SAMPLES, 16, 16, 1)
    assert (large.min(), large.max()) == (-1, 1)
    np.testing.assert_array_equal(large * 256, np.round(large * 256))  # no rounding, whatever the precision
    # Linear interpolation: four new pixels around the middle of one old pixel's quarters have its neighbours' weights.
    inner = large[:, 1:15, 1:15].reshape(len(large), 7, 2, 7, 2, 1).mean(axis=(2, 4))
    around = (small[:, :-1, :-1] + small[:, 1:, :-1] + small[:, :-1, 1:] + small[:, 1:, 1:]) / 4
    np.testing.assert_allclose(inner, around, atol=1e-6)


def test_each_seed_has_its_own_weights_and_noise_and_all_have_the_same_data():
    one, again, other = (gan.load(settings(seed=seed)) for seed in (3, 3, 4))
    for problem in (again, other):
        np.testing.assert_array_equal(one.targets[0], problem.targets[0])
        np.testing.assert_array_equal(one.validation_inputs[0], problem.validation_inputs[0])
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        np.testing.assert_array_equal(weight, again.weights[name])
        assert weight.ndim == 1 or not np.array_equal(weight, other.weights[name])
        assert weight.dtype == np.float32
    np.testing.assert_array_equal(one.noise(50)[0], again.noise(50)[0])
    assert not np.array_equal(one.noise(50)[0], other.noise(50)[0])


def test_noise_is_fresh_for_every_image_that_is_taken():
    problem = gan.load(settings(samples=100))
    (noise,) = problem.noise(300)
    assert noise.shape == (300, gan.LATENT)
    assert len(np.unique(noise, axis=0)) == 300
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    np.testing.assert_array_equal(problem.noise(200)[0], noise[:200])  # a longer training begins like a shorter one
    order = with_places(sample_order(0, problem.samples, epochs=3))
    assert order.shape == (3, 100, 2)
    np.testing.assert_array_equal(order[..., 1].ravel(), np.arange(300))
    np.testing.assert_array_equal(np.sort(order[1, :, 0]), np.arange(100))


def test_the_first_batch_is_that_of_the_order():
    problem = gan.load(settings(samples=100, batch_size=8))
    (noise,), (images,) = problem.first_batch(settings(samples=100, batch_size=8))
    np.testing.assert_array_equal(noise, problem.noise(100)[0][:8])
    np.testing.assert_array_equal(images, problem.targets[0][sample_order(0, 100, 1)[0, :8]])


@pytest.mark.parametrize(
    ("size", "widths", "parameters"), [(8, (32,), 34_402), (16, (64, 32), 133_474), (32, (128, 64, 32), 462_690)]
)
def test_a_doubling_of_the_side_is_a_layer_more(size, widths, parameters):
    assert gan.widths(size) == widths
    weights = gan.initial_weights(0, size)
    assert sum(weight.size for weight in weights.values()) == parameters
    kernels = [weight for weight in weights.values() if weight.ndim == 4]
    assert len(kernels) == 2 * (len(widths) + 1)
    assert np.concatenate([kernel.ravel() for kernel in kernels]).std() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("size", [12, 17, 24])
def test_a_side_that_no_doubling_gives_is_refused(size):
    with pytest.raises(UsageError, match="pass 8, 16"):
        gan.WORKLOAD.check(settings(size=size))


class TestFrechetDistance:
    distance = gan.FrechetDistance(16)
    training, validation = gan.load_images(16)

    def test_is_that_of_the_means_and_covariances(self):
        images = self.training[:200]
        ours, others = self.distance.features(self.validation), self.distance.features(images)
        covariances = [np.cov(features, rowvar=False) for features in (ours, others)]
        values = np.linalg.eigvals(covariances[0] @ covariances[1])
        assert np.abs(np.imag(values)).max() < 1e-9
        means = ours.mean(axis=0) - others.mean(axis=0)
        expected = means @ means + sum(map(np.trace, covariances)) - 2 * np.sqrt(np.real(values)).sum()
        assert self.distance(images) == pytest.approx(expected, rel=1e-9)
        assert self.distance(self.validation) == pytest.approx(0, abs=1e-9)

    def test_orders_images_by_how_much_they_are_like_digits(self):
        from trackside.workloads.digits_cnn.problem import load_digits

        threes = self.training[load_digits().train_labels == 3]
        noise = np.random.default_rng(0).uniform(-1, 1, self.validation.shape)
        distances = [self.distance(images) for images in (self.training[:360], threes, noise)]
        np.testing.assert_allclose(distances, [1.8, 14.7, 149], rtol=0.02)

    def test_sees_that_all_images_are_one(self):
        mean = np.broadcast_to(self.training.mean(axis=0), self.validation.shape)
        assert self.distance(mean) > 30


def test_the_registry_describes_the_problem():
    entry = find_workload("gan")
    assert entry.train_samples == gan.TRAIN_SAMPLES == len(gan.load(settings()).targets[0])
    assert entry.steps % (entry.train_samples // entry.batch_size) == 0  # whole epochs


@pytest.mark.framework
def test_both_frameworks_train_the_same_networks():
    report = run_gate(Request(workload="gan", size=8, batch_size=16, samples=64, steps=10))
    assert report.passed, report.to_json()["parts"]
    assert {"train/discriminator_loss", "train/generator_loss", "train/loss"} == set(report.differences)
    gradients = [part.name for part in report.parts if part.name.startswith("gradient/")]
    assert len(gradients) == len(gan.initial_weights(0, 8))
