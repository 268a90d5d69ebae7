"""The wall clock of a TensorFlow step: several threads, one split that adds up."""

from __future__ import annotations

import pytest

from trackside.runs.traces.records import TraceContext
from trackside.runs.traces.summary import summarise
from trackside.runs.traces.xplane_trace import interpret

CONTEXT = TraceContext(framework="tensorflow", layers={"net/conv": "Conv2D"}, optimizer="SGD")
FORWARD, BACKWARD, OPTIMIZER = "net_1/conv_1/a:Conv2D", "gradient_tape/net_1/conv_1/b:Mul", "sgd/c:Sub"


def split(made):
    found = interpret(made.bytes(), CONTEXT)
    profile = summarise(found.trace, found.labels, CONTEXT, "xplane", phases=found.phases)
    assert sum(profile.split.values()) == pytest.approx(sum(profile.step_seconds) / profile.steps)
    return {part: round(seconds * 1e6, 3) for part, seconds in profile.split.items() if seconds}


def step(start=0.0, duration=100.0, number=1):
    return ("train", start, duration, {"step_num": number, "_r": 1})


def test_a_moment_between_two_operators_counts_as_what_came_before(made):
    made.line("python", [step()]).line("tf_Compute/1", [(FORWARD, 10, 10), (BACKWARD, 30, 20), (OPTIMIZER, 60, 10)])
    assert split(made) == {"forward": 20, "backward": 30, "optimizer": 10, "other": 40}


def test_where_two_threads_work_the_earlier_stage_counts(made):
    made.line("python", [step()])
    made.line("tf_Compute/1", [(FORWARD, 0, 20), (BACKWARD, 20, 40)])
    made.line("tf_Compute/2", [(BACKWARD, 10, 20), (OPTIMIZER, 50, 50)])
    assert split(made) == {"forward": 20, "backward": 40, "optimizer": 40}


@pytest.mark.parametrize("kind", ["", "AsOptional"])
def test_waiting_for_the_batch_is_data_and_what_follows_is_the_forward_passs(made, kind):
    made.line("python", [step()])
    made.line(
        "tf_data_iterator_get_next/1", [(f"IteratorGetNext{kind}Op::DoCompute", 5, 30), ("Iterator::Root", 6, 28)]
    )
    made.line("tf_Compute/1", [(FORWARD, 40, 60)])
    assert split(made) == {"data": 30, "forward": 65, "other": 5}


def test_work_of_the_input_pipeline_on_its_own_threads_is_nobodys_wait(made):
    made.line("python", [step()]).line("tf_Compute/1", [(FORWARD, 0, 50)])
    made.line("tf_data_iterator_resource/1", [("Iterator::Root::Map", 50, 50)])
    assert split(made) == {"forward": 50, "other": 50}


def test_a_gap_between_steps_belongs_to_neither_pass(made):
    made.line("python", [step(0, 90, 1), step(100, 100, 2)])
    made.line("tf_Compute/1", [(FORWARD, 10, 50), (OPTIMIZER, 60, 10), (FORWARD, 120, 60)])
    assert split(made) == {"forward": 55, "optimizer": 5, "other": 40}


def test_ranges_of_the_tracker_are_phases_of_an_eager_step(made):
    made.line(
        "python",
        [
            step(),
            ("EagerLocalExecute: IteratorGetNext", 2, 8),
            ("trackside::layer::net/conv", 20, 10),
            ("EagerLocalExecute: Conv2D", 22, 5),
            ("trackside::loss", 32, 8),
            ("trackside::backward", 45, 30),
            ("EagerLocalExecute: Mul", 50, 1),
            ("trackside::optimizer", 80, 10),
        ],
    )
    assert split(made) == {"data": 8, "forward": 35, "backward": 35, "optimizer": 10, "other": 12}


def test_a_step_without_operators_is_pythons(made):
    assert split(made.line("python", [step()])) == {"other": 100}
