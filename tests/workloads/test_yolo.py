"""YOLO: scenes whose boxes are exact, targets that lose nothing, a precision worked out by hand, and the gate."""

import numpy as np
import pytest

from trackside.db.errors import UsageError
from trackside.workloads.gate import run_gate
from trackside.workloads.plan import Request
from trackside.workloads.settings import Settings
from trackside.workloads.yolo import average_precision, problem, scenes


def settings(**options) -> Settings:
    return Settings(**{"mode": "eager", "steps": 10, "batch_size": 4, "size": 64, "samples": 8, **options})


@pytest.fixture(scope="module")
def training() -> scenes.Scenes:
    return scenes.make_scenes(200, 64)


# Scenes


def test_a_smaller_set_is_the_beginning_of_a_larger_one(training):
    fewer = scenes.make_scenes(50, 64)
    count = len(fewer.labels)
    np.testing.assert_array_equal(fewer.images, training.images[:50])
    np.testing.assert_array_equal(fewer.boxes, training.boxes[:count])
    np.testing.assert_array_equal(fewer.labels, training.labels[:count])
    assert training.scene[count] == 50


def test_images_are_of_eight_bits(training):
    assert training.images.shape == (200, 64, 64, 1)
    assert training.images.dtype == np.float32
    levels = 255 * training.images.astype(np.float64)
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    assert (levels.min(), levels.max()) == (0, pytest.approx(255))


def test_scenes_hold_up_to_six_digits_of_all_classes(training):
    of_each_scene = np.bincount(training.scene, minlength=200)
    assert of_each_scene.min() >= 1
    assert of_each_scene.max() == scenes.MOST
    of_each_class = np.bincount(training.labels, minlength=problem.CLASSES)
    assert of_each_class.min() > 0.5 * of_each_class.mean()


@pytest.mark.parametrize("size", [32, 64])
def test_boxes_lie_in_the_image_and_apart(size):
    found = scenes.make_scenes(100, size)
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= size
    for scene in range(100):
        boxes = found.boxes[found.scene == scene].astype(np.float64)
        np.testing.assert_array_equal(average_precision.overlap(boxes[:, np.newaxis], boxes), np.eye(len(boxes)))


def test_a_box_is_exactly_around_its_digit(monkeypatch):
    """On black, with nothing but one digit, the box is where the bright pixels are."""
    for name, value in {"BACKGROUND": 0.0, "INK": (1.0, 1.0), "FEWEST": 1, "MOST": 1}.items():
        monkeypatch.setattr(scenes, name, value)
    found = scenes.make_scenes(50, 64)
    for image, box in zip(found.images, found.boxes, strict=True):
        rows, columns = np.nonzero(image[..., 0] >= scenes.EDGE)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_training_and_validation_share_no_digit_and_no_part_of_a_photo():
    train, validation = scenes.load_material()
    assert len(train.digits) + len(validation.digits) == 1797
    # Handwriting repeats itself at 8 × 8 pixels, but not often.
    seen = {digit.tobytes() for digit in train.digits}
    assert sum(digit.tobytes() in seen for digit in validation.digits) == 0
    for one, other in zip(train.photos, validation.photos, strict=True):
        assert one.shape[1] + other.shape[1] == 640
    assert not np.array_equal(scenes.make_scenes(1, 64).images, scenes.make_scenes(1, 64, validation=True).images)


# Targets


def test_anchors_are_the_centres_of_three_clusters():
    """k-means on the boxes' sizes, with their overlap as likeness and medians as centres, as `ANCHORS` says."""
    boxes = scenes.make_scenes(2000, 64).boxes
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = sizes[np.argsort(sizes.prod(1))][len(sizes) * np.array([1, 3, 5]) // 6]
    for _ in range(20):
        common = np.minimum(sizes[:, np.newaxis], centres).prod(-1)
        overlaps = common / (sizes.prod(-1)[:, np.newaxis] + centres.prod(-1) - common)
        centres = np.stack([np.median(sizes[overlaps.argmax(1) == one], axis=0) for one in range(3)])
    np.testing.assert_array_equal(problem.ANCHORS, centres)
    assert overlaps.max(1).mean() == pytest.approx(0.81, abs=0.01)


def test_targets_hold_every_object_and_nothing_else(training):
    targets = problem.encode(training)
    assert targets.shape == (200, 8, 8, 3, 15)
    assert targets.dtype == np.float32
    objects = average_precision.decode_targets(targets)
    assert len(objects.labels) == len(training.labels)

    def in_order(scene, labels, boxes):
        return np.lexsort((boxes[:, 1].round(), boxes[:, 0].round(), labels, scene))

    there = in_order(training.scene, training.labels, training.boxes)
    found = in_order(objects.image, objects.labels, objects.boxes)
    np.testing.assert_array_equal(objects.image[found], training.scene[there])
    np.testing.assert_array_equal(objects.labels[found], training.labels[there])
    np.testing.assert_allclose(objects.boxes[found], training.boxes[there], atol=1e-4)
    np.testing.assert_array_equal(targets[targets[..., 4] == 0], 0)
    np.testing.assert_array_equal(targets[..., 5:].sum(-1), targets[..., 4])


def test_an_object_goes_to_the_anchor_of_its_shape_and_two_of_one_cell_to_two():
    boxes = np.array([[10, 9, 13, 19], [13, 10, 17, 20], [28, 28, 43, 53]], np.float32)
    made = scenes.Scenes(np.zeros((1, 64, 64, 1), np.float32), np.zeros(3, np.int64), boxes, np.array([1, 7, 0]))
    targets = problem.encode(made)[0]
    assert [place.tolist() for place in np.nonzero(targets[..., 4])] == [[1, 1, 5], [1, 1, 4], [0, 1, 2]]
    assert targets[1, 1, 0, 5 + 1] == 1
    np.testing.assert_allclose(targets[5, 4, 2, :4], [35.5 / 8 - 4, 40.5 / 8 - 5, 0, 0], atol=1e-6)


# Problem


def test_only_weights_depend_on_the_seed():
    one, other = problem.load(settings(seed=0)), problem.load(settings(seed=1))
    assert one.full_config(settings())["data"] == other.full_config(settings())["data"]
    assert one.weights.keys() == other.weights.keys()
    assert not np.array_equal(one.weights["head.weight"], other.weights["head.weight"])
    again = problem.load(settings(seed=0))
    for name, weights in one.weights.items():
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(weights, again.weights[name])


def test_the_untrained_head_expects_few_objects():
    bias = problem.initial_weights(0)["head.bias"].reshape(3, 15)
    np.testing.assert_allclose(1 / (1 + np.exp(-bias[:, 4])), problem.PRIOR, rtol=1e-6)


def test_the_data_have_the_size_asked_for():
    small = problem.load(settings(size=40, samples=5))
    assert (small.inputs[0].shape, small.targets[0].shape) == ((5, 40, 40, 1), (5, 5, 5, 3, 15))
    assert small.validation_inputs[0].shape == (problem.VALIDATION_SCENES, 40, 40, 1)
    with pytest.raises(UsageError, match="pass a multiple of 8"):
        problem.WORKLOAD.check(settings(size=60))


# Mean average precision


def outputs_for(targets: np.ndarray) -> np.ndarray:
    """What a network says that is right and sure."""
    outputs = np.where(targets[..., 4:] == 1, 20.0, -20.0)
    offsets = np.clip(targets[..., :2].astype(np.float64), 1e-6, 1 - 1e-6)
    return np.concatenate([np.log(offsets / (1 - offsets)), targets[..., 2:4], outputs], axis=-1)


def test_what_is_right_has_a_precision_of_one_and_chance_next_to_none(training):
    targets = problem.encode(training)
    assert average_precision.mean_average_precision(outputs_for(targets), targets) == pytest.approx(1.0)
    noise = np.random.default_rng(0).normal(size=targets.shape)
    assert average_precision.mean_average_precision(noise, targets) < 0.02


def test_boxes_beyond_half_an_overlap_do_not_count(training):
    targets = problem.encode(training)
    outputs = outputs_for(targets)
    for growth, precision in ((1.9, 1.0), (2.1, 0.0)):  # of the area
        grown = outputs.copy()
        grown[..., 2] += np.log(growth)
        assert average_precision.mean_average_precision(grown, targets) == pytest.approx(precision, abs=1e-6)


def detections(rows: list[tuple[int, float, float]]) -> average_precision.Detections:
    """Squares of 10 pixels, all of class 0: image, left edge and score."""
    image, left, scores = (np.array(column) for column in zip(*rows, strict=True))
    corner = np.stack([left, np.zeros(len(left))], axis=1)
    boxes = np.concatenate([corner, corner + 10], axis=1).astype(np.float64)
    return average_precision.Detections(image, boxes, np.zeros(len(rows), np.int64), scores)


def test_average_precision_is_that_worked_out_by_hand():
    objects = detections([(0, 0, 1), (0, 30, 1), (1, 0, 1), (1, 30, 1)])
    found = detections(
        [
            (0, 1, 0.9),  # right
            (0, 2, 0.8),  # the same object again: wrong
            (1, 30, 0.7),  # right
            (1, 50, 0.6),  # nothing there
            (2, 0, 0.5),  # nothing in this image
            (0, 28, 0.4),  # right; the fourth object is never found
        ]
    )
    # Recall goes up by a quarter at ranks 1, 3 and 6, with a precision of 1, 2/3 and 1/2.
    assert average_precision.average_precision(found, objects, 0) == pytest.approx((1 + 2 / 3 + 1 / 2) / 4)
    assert average_precision.average_precision(found, objects, 1) == 0.0


def test_the_best_box_of_a_class_suppresses_those_it_covers():
    lefts = np.array([0, 2, 4, 30, 1], np.float64)  # best first
    boxes = np.stack([lefts, 0 * lefts, lefts + 10, 0 * lefts + 10], axis=-1)[np.newaxis]
    labels = np.array([[0, 0, 0, 0, 1]])
    # The third is covered by the second only, which is gone; the last is of another class.
    assert average_precision.suppressed(boxes, labels).tolist() == [[False, True, False, False, False]]


# Both frameworks


@pytest.mark.framework
def test_both_frameworks_train_the_same_detector():
    report = run_gate(Request(workload="yolo", size=32, batch_size=4, samples=32, steps=20))
    assert report.passed, [part for part in report.parts if not part.agrees]
    assert {part.name.partition(" ")[0] for part in report.parts} >= {
        "outputs",
        "gradient/backbone.0.conv.weight",
        "train/loss",
        "train/box_loss",
        "train/object_loss",
        "train/class_loss",
    }
