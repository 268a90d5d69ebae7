"""A legend is made of what differs between runs, and of their names where that would say nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from trackside.db.records import RunInfo
from trackside.runs.legend import MOST_DIFFERENCES, legend_labels


def a_run(id="a", name="a long name of a run", framework="torch", mode=None, precision=None, **config):
    return RunInfo(
        id=id,
        name=name,
        project="p",
        state="finished",
        created=datetime.now(UTC),
        framework=framework,
        mode=mode,
        precision=precision,
        config=config,
    )


def entries(*runs):
    return list(legend_labels(runs).values())


def test_only_settings_that_differ_are_named():
    runs = [
        a_run("a", "one", lr=0.1, batch_size=32, optimizer={"name": "sgd"}),
        a_run("b", "two", lr=0.01, batch_size=32, optimizer={"name": "sgd"}),
    ]
    assert entries(*runs) == ["lr=0.1", "lr=0.01"]


def test_nested_settings_go_by_their_last_word_where_that_is_clear():
    one = a_run("a", optimizer={"lr": 0.1, "decay": 0}, schedule={"decay": 1})
    other = a_run("b", optimizer={"lr": 0.2, "decay": 1}, schedule={"decay": 0})
    assert entries(one, other)[0] == "lr=0.1, optimizer.decay=0, schedule.decay=1"


def test_framework_mode_and_precision_are_settings_too():
    runs = [a_run("a", mode="graph"), a_run("b", mode="eager"), a_run("c", framework="tensorflow", mode="graph")]
    assert entries(*runs) == ["PyTorch, graph", "PyTorch, eager", "TensorFlow, graph"]
    assert entries(a_run("a", precision="float32"), a_run("b", precision="bf16-mixed")) == ["float32", "bf16-mixed"]


def test_the_framework_alone_where_that_is_enough():
    assert entries(a_run("a", lr=1), a_run("b", framework="tensorflow", lr=2)) == ["PyTorch", "TensorFlow"]


def test_what_one_framework_alone_says_is_no_difference():
    runs = [a_run("a", lr=1, amsgrad=False), a_run("b", lr=2, amsgrad=False), a_run("c", framework="tensorflow", lr=1)]
    assert entries(*runs) == ["PyTorch, lr=1", "PyTorch, lr=2", "TensorFlow, lr=1"]


def test_names_where_nothing_differs_and_where_everything_does():
    assert entries(a_run("a", "one"), a_run("b", "two")) == ["one", "two"]
    keys = [f"k{n}" for n in range(MOST_DIFFERENCES + 1)]
    runs = [a_run("a", "one", **dict.fromkeys(keys, 1)), a_run("b", "two", **dict.fromkeys(keys, 2))]
    assert entries(*runs) == ["one", "two"]


def test_of_many_settings_as_few_as_tell_runs_apart():
    runs = [a_run(f"{n}", f"run {n}", a=n // 4, b=n // 2 % 2, c=n % 2, d=n // 2, e=n % 2) for n in range(8)]
    found = entries(*runs)
    assert len(set(found)) == 8
    assert all(label.count("=") == 2 for label in found)
    assert found[5] == "c=1, d=2"


def test_repeats_have_no_setting_of_their_own_and_keep_their_names():
    runs = [a_run("aaaa1", "r", lr=1), a_run("bbbb2", "r", lr=1), a_run("cccc3", "r", lr=2)]
    assert entries(*runs) == ["r (aaaa)", "r (bbbb)", "r (cccc)"]


def test_one_run_goes_by_its_name():
    assert entries(a_run("a", "one", lr=1)) == ["one"]


settings = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2), max_size=8)


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["torch", None]), settings), max_size=8))
def test_entries_are_distinct_whatever_the_runs(described):
    runs = [
        a_run(f"{place:012x}", name, framework, **config) for place, (name, framework, config) in enumerate(described)
    ]
    found = legend_labels(runs)
    assert list(found) == [run.id for run in runs]
    assert len(set(found.values())) == len(runs)
