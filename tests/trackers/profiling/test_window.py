"""When a window opens and closes, with a profiler that is none."""

from __future__ import annotations

import pytest

from trackside.db.errors import UsageError
from trackside.runs.traces.records import TraceContext
from trackside.trackers.guard import Guard
from trackside.trackers.options import ProfileSchedule
from trackside.trackers.profiling.window import ProfileWindow, Refused, Room


class FakeRun:
    """Keeps what is attached."""

    def __init__(self, folder):
        self.folder = folder
        self.attached = []

    def scratch(self, suffix):
        return self.folder / f"scratch{suffix}"

    def attach(self, path, **described):
        assert path.exists()
        self.attached.append(described)
        return True


class FakeRecording:
    """Notes what it was told."""

    kind, suffix = "trace/fake", ".fake"
    must_end = False

    def __init__(self, told, closes_at_end=True, refuses=None, fails=""):
        self.told, self.closes_at_end, self.refuses, self.fails = told, closes_at_end, refuses, fails

    def start(self, schedule, target, on_foreign):
        if self.refuses:
            raise Refused(self.refuses)
        if self.fails == "start":
            raise OSError("no profiler")
        self.target, self.on_foreign = target, on_foreign
        self.told.append("start")

    def begin_step(self, step):
        self.told.append(step)

    def end_step(self):
        self.told.append("end")

    def mark(self, name):
        self.told.append(name)

    def stop(self):
        self.told.append("stop")

    def save(self):
        if self.fails == "save":
            raise OSError("disk full")
        self.target.write_text("trace")
        return self.target


@pytest.fixture
def made(tmp_path):
    """`made(schedule, **recording)` gives a window, what its recordings were told, its run and its notices."""

    def make(schedule, lead=0, **arguments):
        told, notices, run = [], [], FakeRun(tmp_path)
        window = ProfileWindow(
            schedule,
            lambda: FakeRecording(told, **arguments),
            lambda: TraceContext(framework="fake"),
            run,
            notice=notices.append,
            guard=Guard(),
            lead=lead,
        )
        return window, told, run, notices

    return make


def train(window, steps, first=0, rooms=None):
    for step in range(first, first + steps):
        window.begin_step(step, rooms(step) if rooms else None)
        window.end_step(step + 1)


def spans(run):
    return [(one["detail"]["first_step"], one["detail"]["last_step"]) for one in run.attached]


def test_waits_records_and_hands_over(made):
    window, told, run, notices = made(ProfileSchedule(wait=2, active=2, shapes=True))
    train(window, 6, first=100)  # a run that is continued waits all the same
    assert told == ["start", 102, "end", 103, "end", "stop"]
    (trace,) = run.attached
    assert (trace["kind"], trace["name"], trace["step"], trace["move"]) == (
        "trace/fake",
        "steps-102-103.fake",
        102,
        True,
    )
    assert trace["detail"]["options"] == {"shapes": True, "memory": False, "stacks": False}
    assert trace["detail"]["recording"].keys() == {"start_seconds", "stop_seconds", "export_seconds"}
    assert window.done
    window.close()
    assert notices == []


def test_the_step_before_the_first_warms_the_profiler_up(made):
    window, told, run, _ = made(ProfileSchedule(wait=3, active=2), lead=1)
    for step in range(6):
        window.begin_step(step, Room(left=6 - step, between=6))
        window.mark("forward")
        window.end_step(step + 1)
    assert told == ["start", 3, "forward", "end", 4, "forward", "end", "stop"]
    assert spans(run) == [(3, 4)]
    window, told, _, notices = made(ProfileSchedule(wait=3, active=2), lead=1)
    train(window, 3)
    window.close()
    assert told == ["start", "stop"]
    assert len(notices) == 1


def test_a_last_step_that_ends_with_the_next_is_recorded_until_then(made):
    window, told, run, _ = made(ProfileSchedule(wait=1, active=2), closes_at_end=False)
    train(window, 3)
    assert told == ["start", 1, "end", 2, "end"]
    window.begin_step(3)
    assert told[-1] == "stop"
    assert spans(run) == [(1, 2)]


def test_repeats(made):
    window, _, run, _ = made(ProfileSchedule(wait=2, active=1, repeat=3))
    train(window, 20)
    assert spans(run) == [(2, 2), (5, 5), (8, 8)]


def test_several_steps_at_once_are_recorded_whole(made):
    window, _, run, _ = made(ProfileSchedule(wait=10, active=5))
    for step in range(0, 40, 4):
        window.begin_step(step)
        window.end_step(step + 4)
    assert spans(run) == [(12, 19)]


def test_begins_where_no_validation_comes_in_between(made):
    window, _, run, _ = made(ProfileSchedule(wait=4, active=5))
    train(window, 20, rooms=lambda step: Room(left=8 - step % 8, between=8))
    assert spans(run) == [(8, 12)]  # not 4, where but four steps of the epoch are left


def test_records_what_there_is_where_epochs_are_short_or_the_end_is_near(made):
    window, _, run, _ = made(ProfileSchedule(wait=4, active=5))
    for epoch in range(4):
        train(window, 3, first=3 * epoch, rooms=lambda step: Room(left=3 - step % 3, between=3))
        window.interrupt()
    assert spans(run) == [(6, 8)]
    window, _, run, _ = made(ProfileSchedule(wait=10, active=5))
    train(window, 12, rooms=lambda step: Room(left=12 - step, between=12, last=True))
    window.close()
    assert spans(run) == [(10, 11)]


def test_an_exception_keeps_the_steps_before(made):
    window, told, run, _ = made(ProfileSchedule(wait=0, active=5))
    train(window, 2)
    window.begin_step(2)
    window.close()
    window.close()
    assert told[-2:] == [2, "stop"]
    assert spans(run) == [(0, 1)]


@pytest.mark.parametrize(
    ("steps", "sentence"), [(0, "recording ended within its first step"), (2, "training ended before step 5 began")]
)
def test_a_training_too_short_is_told(made, steps, sentence):
    window, _, run, notices = made(ProfileSchedule(wait=5 if steps else 0))
    train(window, steps)
    if not steps:
        window.begin_step(0)
    window.close()
    assert run.attached == []
    assert len(notices) == 1
    assert sentence in notices[0]


def test_steps_aside_once_and_for_all(made):
    window, told, run, notices = made(ProfileSchedule(wait=1, repeat=2), refuses="somebody profiles.")
    train(window, 30)
    window.close()
    assert (told, run.attached) == ([], [])
    assert notices == ["No steps were profiled: somebody profiles."]


def test_gives_way_to_another_and_keeps_what_it_has(made):
    window, told, run, notices = made(ProfileSchedule(wait=0, active=5, repeat=2))
    train(window, 3)
    window.recording.on_foreign()
    assert told[-1] == "stop"
    train(window, 20, first=3)
    window.close()
    assert spans(run) == [(0, 2)]
    assert len(notices) == 1
    assert "another profiler began" in notices[0]


@pytest.mark.parametrize("fails", ["start", "save"])
def test_a_profiler_that_fails_costs_one_warning(made, fails):
    window, told, run, _ = made(ProfileSchedule(wait=1, active=1), fails=fails)
    train(window, 20)
    window.close()
    assert sum(window._guard.failures.values()) == 1
    assert told[-1] == "stop"
    assert run.attached == []
    assert not list(run.folder.iterdir())


@pytest.mark.parametrize(
    "arguments", [{"wait": -1}, {"active": 0}, {"active": True}, {"repeat": 0}, {"shapes": 1}, {"wait": 1.5}]
)
def test_a_schedule_that_cannot_be_is_refused(arguments):
    with pytest.raises(UsageError, match="ProfileSchedule"):
        ProfileSchedule(**arguments)
