"""Traces made by hand, as the profilers write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from trackside.runs.traces.xplane_pb2 import XSpace


class MadeXSpace:
    """An XPlane file in the making; times are in microseconds from the start of the profile."""

    def __init__(self) -> None:
        self.space = XSpace()

    def plane(self, name: str) -> Any:
        return next((one for one in self.space.planes if one.name == name), None) or self.space.planes.add(name=name)

    def line(self, name: str, events: Sequence[tuple[Any, ...]], *, plane: str = "/host:CPU") -> MadeXSpace:
        """Add a thread of events `(name, start, duration)` or `(name, start, duration, {statistic: value})`."""
        owner = self.plane(plane)
        line = owner.lines.add(id=len(owner.lines) + 1, name=name, timestamp_ns=1000)
        for title, start, duration, *rest in events:
            event = line.events.add(
                metadata_id=self._entry(owner.event_metadata, title),
                offset_ps=round(start * 1e6),
                duration_ps=round(duration * 1e6),
            )
            for key, value in (rest[0] if rest else {}).items():
                stat = event.stats.add(metadata_id=self._entry(owner.stat_metadata, key))
                if isinstance(value, str):
                    stat.ref_value = self._entry(owner.stat_metadata, value)
                else:
                    stat.int64_value = value
        return self

    def program(self, name: str, hlo: bytes) -> MadeXSpace:
        """Add an XLA program, a serialised `HloProto`."""
        owner = self.plane("/host:metadata")
        stat = owner.event_metadata[self._entry(owner.event_metadata, name)].stats.add()
        stat.metadata_id, stat.bytes_value = self._entry(owner.stat_metadata, "Hlo Proto"), hlo
        return self

    def bytes(self) -> Any:
        """The file."""
        return self.space.SerializeToString()

    @staticmethod
    def _entry(table: Any, name: str) -> int:
        found = next((id for id, one in table.items() if one.name == name), len(table) + 1)
        table[found].id, table[found].name = found, name
        return found


@pytest.fixture
def made() -> MadeXSpace:
    return MadeXSpace()
