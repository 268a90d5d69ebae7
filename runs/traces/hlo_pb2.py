"""The messages of `hlo.proto`: a program that XLA compiled, as far as we read it."""

from __future__ import annotations

from pathlib import Path

from .protocol import message_classes

HloProto = message_classes(Path(__file__).with_name("hlo.proto"))["HloProto"]
