"""Finds the user's own lines: in a traceback, on the stack, in the text of a message."""

from __future__ import annotations

import linecache
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType

from ..scrub import scrub_text
from .records import Source

LINES_BEFORE = 4
LINES_AFTER = 3
_LONGEST_LINE = 300

_OURS = str(Path(__file__).resolve().parents[2])
# TensorFlow lists `File "x.py", line 3, in f` as Python does; PyTorch's anomaly mode too.
_LISTED = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<function>[^\n]+))?')


@cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    folders += [site.getusersitepackages()] if hasattr(site, "getusersitepackages") else []
    return tuple(f"{Path(folder).resolve()}/" for folder in folders)


@cache
def is_own(file: str) -> bool:
    """Whether a file is the user's: not of the interpreter, an installed package, or this one.

    Args:
        file: a path as code objects and tracebacks have it. `<stdin>` and a notebook's cell are the user's too.
    """
    if file.startswith("<"):
        return file.startswith(("<stdin>", "<ipython", "<string>")) or bool(linecache.getlines(file))
    path = str(Path(file).resolve())
    if path.startswith(f"{_OURS}/workloads/"):
        return True  # training code like anybody's, installed or not
    if "/site-packages/" in path or "/dist-packages/" in path or path.startswith(_library_folders()):
        return False
    return not path.startswith(
        tuple(f"{_OURS}/{part}/" for part in ("db", "runs", "trackers", "dashboard", "src/trackside"))
    )


def source_at(file: str, line: int, function: str = "") -> Source:
    """A place in the code with the lines around it, shortened and without secrets."""
    first = max(line - LINES_BEFORE, 1)
    texts = [(number, linecache.getline(file, number).rstrip()) for number in range(first, line + LINES_AFTER + 1)]
    code = tuple((number, scrub_text(text[:_LONGEST_LINE])) for number, text in texts)
    while code and not code[-1][1]:
        code = code[:-1]
    return Source(file=file, line=line, function=function.strip(), code=code)


def traceback_frames(traceback: TracebackType | None) -> list[tuple[FrameType, int]]:
    """Frame and line of each level of a traceback, the outermost first."""
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


def own_place(frames: Iterable[tuple[FrameType, int]]) -> tuple[str, int, str] | None:
    """File, line and function of the last of these frames that is the user's; None where none is."""
    for frame, line in reversed(list(frames)):
        if is_own(frame.f_code.co_filename):
            return frame.f_code.co_filename, line, frame.f_code.co_qualname
    return None


def innermost_own(frames: Iterable[tuple[FrameType, int]]) -> Source | None:
    """The last of these frames that is the user's, with its code; None where none is."""
    place = own_place(frames)
    return None if place is None else source_at(*place)


def stack_frames(frame: FrameType | None = None) -> list[tuple[FrameType, int]]:
    """Frame and line of each level of the stack of whoever calls, the outermost first."""
    frames = []
    frame = frame or sys._getframe(1)
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return frames[::-1]


def listed_places(text: str) -> Iterator[tuple[str, int, str]]:
    """File, line and function of each `File "…", line n, in f` in a text, in its order."""
    for match in _LISTED.finditer(text):
        yield match["file"], int(match["line"]), (match["function"] or "").strip()


def innermost_listed(text: str) -> Source | None:
    """The last place that a text lists and that is the user's; None where none is."""
    own = [place for place in listed_places(text) if is_own(place[0])]
    return source_at(*own[-1]) if own else None
