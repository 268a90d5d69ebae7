"""Labels are short, distinct and made of what differs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.db.records import RunInfo
from trackside.runs.labels import differing_keys, metric_label, metric_order, run_labels, same_value


def a_run(id="a", name="demo", framework=None, **config):
    return RunInfo(
        id=id, name=name, project="p", state="finished", created=datetime.now(UTC), framework=framework, config=config
    )


def labels(*runs):
    return list(run_labels(runs).values())


def test_the_framework_alone_where_that_is_enough():
    assert labels(a_run("a", framework="torch"), a_run("b", framework="tensorflow")) == ["PyTorch", "TensorFlow"]


def test_one_run_is_called_by_its_name():
    assert labels(a_run(framework="torch")) == ["demo"]


def test_the_name_where_frameworks_repeat():
    runs = [a_run("a", "one", "torch"), a_run("b", "two", "torch"), a_run("c", "three", "tensorflow")]
    assert labels(*runs) == ["one", "two", "three"]


def test_name_and_framework_together():
    runs = [
        a_run(str(i), name, fw) for i, (name, fw) in enumerate([("a", "torch"), ("a", "tensorflow"), ("b", "torch")])
    ]
    assert labels(*runs) == ["a (PyTorch)", "a (TensorFlow)", "b (PyTorch)"]


def test_what_differs_in_the_configuration():
    runs = [a_run("a", lr=0.1, optimizer={"name": "sgd"}), a_run("b", lr=0.01, optimizer={"name": "sgd"})]
    assert labels(*runs) == ["demo (lr=0.1)", "demo (lr=0.01)"]
    assert labels(a_run("a", lr=0.1), a_run("b")) == ["demo (lr=0.1)", "demo (no lr)"]


def test_the_beginning_of_the_id_where_nothing_differs():
    assert labels(a_run("abcd01"), a_run("abce02")) == ["demo (abcd)", "demo (abce)"]
    assert labels(a_run("abcdef1"), a_run("abcdef2")) == ["demo (abcdef1)", "demo (abcdef2)"]


names = st.sampled_from(["one", "two", "ünï<b>"])


@given(st.lists(st.tuples(names, st.sampled_from(["torch", "tensorflow", None]), st.integers(0, 2)), max_size=8))
def test_labels_are_distinct_whatever_the_runs(descriptions):
    runs = [a_run(f"{i:012x}", name, framework, lr=lr) for i, (name, framework, lr) in enumerate(descriptions)]
    found = run_labels(runs)
    assert list(found) == [run.id for run in runs]
    assert len(set(found.values())) == len(runs)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.1, 0.10000000149011612, True),  # as float32 keeps it
        (1, 1.0, True),
        (True, 1, False),
        (0.1, 0.1001, False),
        ([0.9, 0.999], [0.9, 0.999], True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (float("nan"), float("nan"), True),
        ("x", None, False),
    ],
)
def test_values_are_compared_by_what_they_mean(one, other, same):
    assert same_value(one, other) is same
    assert bool(differing_keys([a_run("a", key=one), a_run("b", key=other)])) is not same


@pytest.mark.parametrize(
    ("metric", "unit", "label"),
    [
        ("train/loss", None, "Training loss"),
        ("val/acc", None, "Validation accuracy"),
        ("step/seconds", "seconds", "Step time (seconds)"),
        ("step/data_seconds", "seconds", "Step data (seconds)"),
        ("gpu0/power_watts", "watts", "GPU 0 power (watts)"),
        ("cpu/percent", "percent", "CPU (%)"),
        ("optimizer/learning_rate", None, "Learning rate"),
        ("loss", None, "Loss"),
        ("a/b/c_d", None, "A b c d"),
        ("/", None, "/"),
    ],
)
def test_metric_keys_read_as_words_on_an_axis(metric, unit, label):
    assert metric_label(metric, unit) == label


def test_metrics_are_ordered_by_what_people_look_at_first():
    expected = [
        "train/loss", "train/acc", "val/loss", "mine/thing", "optimizer/learning_rate", "step/seconds", "cpu/percent",
        "gpu0/power_watts", "gpu2/power_watts", "gpu10/power_watts",
    ]  # fmt: skip
    backwards = expected[::-1]
    assert sorted(backwards, key=metric_order) == expected
