"""What differs between the code of two runs: their scripts, and their checkouts as git saw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final, Literal

from ..db.records import RunInfo
from .script import Script, script_of

if TYPE_CHECKING:
    from ..db.store import Store

CONTEXT: Final = 3
"""Lines shown around each change."""

MOST_LINES: Final = 20_000
"""Of a text: what stands behind is not compared."""

LineKind = Literal["same", "removed", "added", "gap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffLine:
    """A line of a unified difference.

    Attributes:
        kind: "removed" is in the first text only, "added" in the second only; "gap" stands for lines left out.
        first: number of the line in the first text, from 1; None where it is not in it.
        second: the same of the second text.
        text: the line; of a gap, how many lines it stands for.
    """

    kind: LineKind
    first: int | None
    second: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDifference:
    """Two texts compared line by line.

    Attributes:
        names: what the two are called.
        lines: changes with the lines around them; empty where the texts are equal.
        added: lines that only the second has.
        removed: lines that only the first has.
    """

    names: tuple[str, str]
    lines: tuple[DiffLine, ...]
    added: int
    removed: int

    @property
    def same(self) -> bool:
        """Whether the two texts are equal."""
        return not self.lines


@dataclass(frozen=True, slots=True, kw_only=True)
class GitDifference:
    """Two checkouts compared.

    Attributes:
        commits: of each run; None where it was trained outside of a checkout, or that was not recorded.
        changes: what was not committed, compared as patches; None unless both commits are known.
        sentence: what can be said, in one sentence.
    """

    commits: tuple[str | None, str | None]
    changes: TextDifference | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeView:
    """The code of two runs.

    Attributes:
        a: id of the first run.
        b: id of the second run.
        script: their scripts compared; None unless both were kept.
        git: their checkouts compared.
        sentence: what can be said of the scripts, in one sentence.
    """

    a: str
    b: str
    script: TextDifference | None
    git: GitDifference
    sentence: str


def code_view(store: Store, a: RunInfo, b: RunInfo) -> CodeView:
    """Compare the code of two runs as far as it was kept."""
    scripts = script_of(store, a.id), script_of(store, b.id)
    difference = _scripts(*scripts)
    return CodeView(
        a=a.id, b=b.id, script=difference, git=git_difference(a, b), sentence=_said_of_scripts(scripts, difference)
    )


def text_difference(first: str, second: str, names: tuple[str, str]) -> TextDifference:
    """Compare two texts line by line; ends of lines do not count."""
    one, other = first.splitlines()[:MOST_LINES], second.splitlines()[:MOST_LINES]
    if one == other:
        return TextDifference(names=names, lines=(), added=0, removed=0)
    lines: list[DiffLine] = []
    at = 0
    for group in SequenceMatcher(None, one, other).get_grouped_opcodes(CONTEXT):
        lines += _gap(group[0][1] - at)
        for tag, i, i_end, j, j_end in group:
            if tag == "equal":
                lines += [
                    DiffLine(kind="same", first=i + k + 1, second=j + k + 1, text=one[i + k]) for k in range(i_end - i)
                ]
            else:
                lines += [DiffLine(kind="removed", first=k + 1, second=None, text=one[k]) for k in range(i, i_end)]
                lines += [DiffLine(kind="added", first=None, second=k + 1, text=other[k]) for k in range(j, j_end)]
        at = group[-1][2]
    lines += _gap(len(one) - at)
    return TextDifference(
        names=names,
        lines=tuple(lines),
        added=sum(line.kind == "added" for line in lines),
        removed=sum(line.kind == "removed" for line in lines),
    )


def _gap(count: int) -> list[DiffLine]:
    if count <= 0:
        return []
    text = f"{count:,} identical line{'s' if count != 1 else ''}"
    return [DiffLine(kind="gap", first=None, second=None, text=text)]


def git_difference(a: RunInfo, b: RunInfo) -> GitDifference:
    """Compare what git said of the two checkouts."""
    states = [_git(run) for run in (a, b)]
    commits = [str(state["commit"]) if state.get("commit") else None for state in states]
    one, other = commits
    if one is None or other is None:
        known = [commit for commit in commits if commit]
        sentence = (
            f"Only one of the two was trained from a git checkout (commit {known[0][:12]})."
            if known
            else "Neither run was trained from a git checkout, or that was not recorded."
        )
        return GitDifference(commits=(one, other), changes=None, sentence=sentence)
    patches = [str(state.get("diff") or "") for state in states]
    changes = text_difference(patches[0], patches[1], ("uncommitted changes", "uncommitted changes"))
    where = (
        f"Both at commit {one[:12]}"
        if one == other
        else f"At commits {one[:12]} and {other[:12]}: git diff {one[:12]} {other[:12]} shows what lies between them"
    )
    return GitDifference(commits=(one, other), changes=changes, sentence=f"{where}; {_uncommitted(states, changes)}.")


def _uncommitted(states: Sequence[Mapping[str, Any]], changes: TextDifference) -> str:
    dirty = [bool(state.get("dirty")) for state in states]
    if not any(dirty):
        return "nothing was uncommitted"
    if any(state.get("dirty") and not state.get("diff") for state in states):
        return "some uncommitted changes were not recorded"
    if any(state.get("diff_truncated") for state in states):
        return "uncommitted changes are compared as far as they were recorded, 100 kB"
    return "the uncommitted changes are the same" if changes.same else "the uncommitted changes differ"


def _git(run: RunInfo) -> Mapping[str, Any]:
    state = run.environment.get("git")
    return state if isinstance(state, Mapping) else {}


def _scripts(one: Script | None, other: Script | None) -> TextDifference | None:
    if one is None or other is None:
        return None
    return text_difference(one.text, other.text, (one.name, other.name))


def _said_of_scripts(scripts: tuple[Script | None, Script | None], difference: TextDifference | None) -> str:
    one, other = scripts
    if one is None or other is None or difference is None:
        kept = one or other
        return (
            f"Only one of the two kept its script ({kept.name})."
            if kept
            else "Neither run kept its script: it was started in a notebook, or with source=False."
        )
    names = one.name if one.name == other.name else f"{one.name} and {other.name}"
    if difference.same:
        return f"The scripts ({names}) are the same."
    return f"The scripts ({names}) differ: {difference.removed:,} lines removed, {difference.added:,} added."
