"""What differs between the code of two runs."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trackside
from trackside.runs.code_difference import code_view, git_difference, text_difference

NAMES = ("a.py", "b.py")
FIRST = "import torch\n\nlr = 0.1\n" + "".join(f"line {n}\n" for n in range(20)) + "train()\n"
SECOND = FIRST.replace("lr = 0.1", "lr = 0.2\nmomentum = 0.9")


def shown(difference):
    return [f"{line.kind[0]} {line.first} {line.second} {line.text}" for line in difference.lines]


def test_equal_texts_have_no_difference():
    found = text_difference(FIRST, FIRST.replace("\n", "\r\n"), NAMES)
    assert found.same
    assert (found.added, found.removed) == (0, 0)


def test_changes_come_with_the_lines_around_them_and_their_numbers():
    found = text_difference(FIRST, SECOND, NAMES)
    assert (found.added, found.removed) == (2, 1)
    assert shown(found) == [
        "s 1 1 import torch",
        "s 2 2 ",
        "r 3 None lr = 0.1",
        "a None 3 lr = 0.2",
        "a None 4 momentum = 0.9",
        "s 4 5 line 0",
        "s 5 6 line 1",
        "s 6 7 line 2",
        "g None None 18 identical lines",
    ]


lines = st.lists(st.sampled_from(["", "a", "b", "  c", "d = 1"]), max_size=30)


@given(lines, lines)
def test_a_difference_turns_the_first_text_into_the_second(one, other):
    found = text_difference("\n".join(one), "\n".join(other), NAMES)
    one, other = "\n".join(one).splitlines(), "\n".join(other).splitlines()
    if found.same:
        assert one == other
        return
    for line in found.lines:
        if line.first is not None:
            assert one[line.first - 1] == line.text
        if line.second is not None:
            assert other[line.second - 1] == line.text
    unchanged = sum(block.size for block in difflib.SequenceMatcher(None, one, other).get_matching_blocks())
    assert len(one) - found.removed == len(other) - found.added == unchanged


def test_scripts_and_checkouts_of_two_runs(sqlite_url, tmp_path):
    ids = []
    for name, text, diff in (("a.py", FIRST, "-x\n+y\n"), ("b.py", SECOND, ""), (None, "", "-x\n+y\n")):
        source = tmp_path / name if name else False
        if name:
            source.write_text(text)
        with trackside.start_run(store=sqlite_url, source=source) as run:
            run.update(environment={"git": {"commit": "c" * 40, "dirty": bool(diff), "diff": diff}})
        ids.append(run.id)
    with trackside.open_store(sqlite_url) as store:
        a, b, none = map(store.run, ids)
        view = code_view(store, a, b)
        assert view.script.names == ("a.py", "b.py")
        assert view.sentence == "The scripts (a.py and b.py) differ: 1 lines removed, 2 added."
        assert view.git.sentence == "Both at commit cccccccccccc; the uncommitted changes differ."
        assert view.git.changes.removed == 2
        half = code_view(store, a, none)
        assert half.script is None
        assert half.sentence == "Only one of the two kept its script (a.py)."
        assert half.git.sentence.endswith("the uncommitted changes are the same.")
        assert code_view(store, none, none).sentence.startswith("Neither run kept its script")


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        ((None, None), "Neither run was trained from a git checkout, or that was not recorded."),
        (({"commit": "a" * 40}, None), "Only one of the two was trained from a git checkout (commit aaaaaaaaaaaa)."),
        (
            ({"commit": "a" * 40, "dirty": False}, {"commit": "b" * 40, "dirty": False}),
            "At commits aaaaaaaaaaaa and bbbbbbbbbbbb: git diff aaaaaaaaaaaa bbbbbbbbbbbb shows what lies between "
            "them; nothing was uncommitted.",
        ),
        (
            ({"commit": "a" * 40, "dirty": True}, {"commit": "a" * 40, "dirty": False}),
            "Both at commit aaaaaaaaaaaa; some uncommitted changes were not recorded.",
        ),
    ],
)
def test_what_git_can_say(sqlite_url, states, sentence):
    ids = []
    for state in states:
        with trackside.start_run(store=sqlite_url) as run:
            run.update(environment={"git": state} if state else {})
        ids.append(run.id)
    with trackside.open_store(sqlite_url) as store:
        assert git_difference(*map(store.run, ids)).sentence == sentence
