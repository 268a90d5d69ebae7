"""Real English prose for language models, as tokens that are its characters. NumPy alone.

Data: `text_data/python_topics.txt`, 373,253 characters of the documentation of Python 3.11 (`pydoc_data.topics`), PSF
licence 2.0, https://www.python.org. It is a frozen copy because the module is another in every version of Python;
`text_data/LICENSE.txt` has the licence and what was changed. The last tenth is held out: no 96 characters of it in a
row occur in what is trained on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..db.errors import TracksideError

PATH = Path(__file__).parent / "text_data" / "python_topics.txt"
SHA256 = "9ea194c544d304dc8286a8aa72d29715cf6be7a040c8fa2ab6d2b7e2039097bc"
CHARACTERS = 373_253
SYMBOLS = 94
"""Different characters in the text: the size of the vocabulary."""
HELD_OUT = CHARACTERS // 10

DESCRIPTION = "373,253 characters of Python's documentation (PSF licence 2.0), in the package; nothing is downloaded"

Tokens = NDArray[np.int64]


class TextError(TracksideError):
    """The text is not the one that runs are compared on."""


class Text(NamedTuple):
    """The text as tokens, in two stretches, and what they stand for."""

    training: Tokens  # (335928,)
    validation: Tokens  # (37325,)
    alphabet: str  # a token is an index into it


def load_text() -> Text:
    """The text in one fixed split.

    Raises:
        TextError: the file was changed since it was committed, by an editor or by git's conversion of line ends.
    """
    content = PATH.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise TextError(f"{PATH} is not the text it was: git checkout {PATH.name}, or install trackside again.")
    characters = np.frombuffer(content, np.uint8)  # it is ASCII
    codes, tokens = np.unique(characters, return_inverse=True)
    tokens = tokens.astype(np.int64)
    return Text(tokens[:-HELD_OUT], tokens[-HELD_OUT:], codes.tobytes().decode("ascii"))


def windows(tokens: Tokens, length: int) -> tuple[Tokens, Tokens]:
    """The tokens cut into windows, and for every token the one that follows it.

    Args:
        tokens: (n,) of running text.
        length: T, tokens a window.

    Returns:
        Inputs and targets, each (windows, T): the windows do not overlap, and what fills no window is dropped.
    """
    count = window_count(len(tokens), length)
    return tokens[: count * length].reshape(count, length), tokens[1 : count * length + 1].reshape(count, length)


def window_count(tokens: int, length: int) -> int:
    """How many windows `windows` makes of so many tokens."""
    return (tokens - 1) // length
