"""Our own copy of TensorFlow's trace format: the same bytes, and no quarrel with TensorFlow's copy in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trackside.runs.traces.protocol import message_classes
from trackside.runs.traces.xplane_pb2 import XSpace

OURS = """
from trackside.runs.traces.xplane_pb2 import XSpace
space = XSpace()
plane = space.planes.add(name="/host:CPU")
plane.event_metadata[7].name = "MatMul"
event = plane.lines.add(name="python", timestamp_ns=5).events.add(metadata_id=7, offset_ps=0, duration_ps=9)
event.stats.add(metadata_id=1, int64_value=-3)
"""
THEIRS = "from tensorflow.tsl.profiler.protobuf import xplane_pb2 as theirs"
SAME = """
other = theirs.XSpace.FromString(space.SerializeToString())
assert other.planes[0].event_metadata[7].name == "MatMul" and other.planes[0].lines[0].events[0].duration_ps == 9
assert other.planes[0].lines[0].events[0].stats[0].int64_value == -3
assert XSpace.FromString(other.SerializeToString()) == space
def fields(message):
    return {
        (f.number, f.name, f.type, f.is_repeated, f.containing_oneof.name if f.containing_oneof else None,
         f.message_type.name if f.message_type else None)
        for f in message.fields
    }
names = list(theirs.DESCRIPTOR.message_types_by_name)
assert len(names) == 7, names
for name in names:
    mine = XSpace.DESCRIPTOR.file.message_types_by_name[name]
    assert fields(mine) == fields(theirs.DESCRIPTOR.message_types_by_name[name]), name
"""


@pytest.mark.framework
@pytest.mark.parametrize("order", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours first", "theirs first"])
def test_ours_and_tensorflows_live_in_one_process(order):
    done = subprocess.run([sys.executable, "-c", "\n".join([*order, SAME])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reading_a_trace_loads_no_tensorflow():
    program = f"{OURS}\nimport sys; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_protobuf_one_sentence_says_what_to_install():
    program = "import sys; sys.modules['google.protobuf'] = None\nimport trackside.runs.traces.xplane_pb2"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "TraceError" in done.stderr
    assert "pip install 'trackside[dashboard]'" in done.stderr


def test_a_file_that_uses_more_of_the_language_is_refused(tmp_path: Path):
    path = tmp_path / "new.proto"
    path.write_text('syntax = "proto3";\npackage a;\nmessage M { optional Kind kind = 1; }\n')
    with pytest.raises(ValueError, match=r"new\.proto: cannot read"):
        message_classes(path)


def test_a_field_that_this_version_does_not_know_is_no_obstacle():
    data = XSpace(hostnames=["here"]).SerializeToString() + bytes([0xFA, 0x01, 0x01, 0x78])  # field 31, "x"
    assert XSpace.FromString(data).hostnames == ["here"]


@pytest.mark.framework
def test_what_we_read_of_an_xla_program_is_what_tensorflow_writes():
    program = """
from tensorflow.compiler.xla.service import hlo_pb2
from tensorflow.compiler.xla import xla_data_pb2
from trackside.runs.traces.hlo_pb2 import HloProto
theirs = {**hlo_pb2.DESCRIPTOR.message_types_by_name, **xla_data_pb2.DESCRIPTOR.message_types_by_name}
for name, message in HloProto.DESCRIPTOR.file.message_types_by_name.items():
    for field in message.fields:
        other = theirs[name].fields_by_name[field.name]
        mine, same = (field.number, field.type), (other.number, other.type)
        assert mine == same and field.is_repeated == other.is_repeated, field.name
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
