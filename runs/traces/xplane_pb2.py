"""The messages of `xplane.proto`: the file that tf.profiler writes, read and written without TensorFlow.

Used like what protobuf's compiler would make of it: `space = XSpace(); space.ParseFromString(data)`. A message of ours
is no message of TensorFlow's: hand on bytes, not objects.
"""

from __future__ import annotations

from pathlib import Path

from .protocol import message_classes

_classes = message_classes(Path(__file__).with_name("xplane.proto"))

XSpace = _classes["XSpace"]
XPlane = _classes["XPlane"]
XLine = _classes["XLine"]
XEvent = _classes["XEvent"]
XStat = _classes["XStat"]
XEventMetadata = _classes["XEventMetadata"]
XStatMetadata = _classes["XStatMetadata"]
