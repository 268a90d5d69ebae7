"""The two ways in which a journal grows: mapped into memory, and by `write(2)`."""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import pytest

WAYS = ("mapped", "appended")

# What a process of its own runs first to write its journal in a certain way, in blocks of 16 KiB.
CHOOSE_WAY = """
import sys
from trackside.runs import journal, mapped_file
journal.reserves_room = lambda path: sys.argv[-1] == "mapped"
mapped_file.BLOCK_BYTES = 16 << 10
"""


@contextmanager
def written(way, block_bytes=4096):
    """Journals begun in here grow in this way, whatever file system they lie on."""
    with (
        mock.patch("trackside.runs.journal.reserves_room", return_value=way == "mapped"),
        mock.patch("trackside.runs.mapped_file.BLOCK_BYTES", block_bytes),
    ):
        yield


@pytest.fixture(params=WAYS)
def way(request):
    """`mapped` or `appended`; the test runs once with each."""
    with written(request.param):
        yield request.param
