"""What it takes to add a feature to a training, read from the sources of our own workloads. Nothing is run.

What stands in the source for a feature's sake alone is a list that somebody wrote, below; how long it is, is counted,
and a piece that is no longer there is an error. Counted as in `source`: logical lines of statements that would go with
the feature, and apart from those arguments and conversions within statements that would stay.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .source import logical_lines

WORKLOADS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What one framework needs for a feature.

    Attributes:
        feature: what is added.
        framework: `torch` or `tensorflow`.
        file: where it stands, below `workloads/`.
        statements: how each statement, function or class begins that is there for the feature alone.
        arguments: what is written for it within other statements, as it stands there.
        note: why, where it may surprise.
    """

    feature: str
    framework: str
    file: str
    statements: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    note: str = ""


_torch = partial(Addition, framework="torch", file="torch_training.py")
_keras = partial(Addition, framework="tensorflow", file="keras_training.py")
_torch_script = partial(Addition, framework="torch", file="fraud/torch_lightning.py")
_keras_script = partial(Addition, framework="tensorflow", file="fraud/keras_tensorflow.py")

SCHEDULE, CLIPPING, PRECISION = "learning-rate schedule", "gradient clipping", "mixed precision"
DEVICES, RESUME, COMPILER = "several devices", "checkpoint and resume", "a compiler"

ADDITIONS = (
    _torch_script(
        feature=SCHEDULE,
        statements=("schedule = torch.optim.lr_scheduler.CosineAnnealingLR(",),
        arguments=('"lr_scheduler": {"scheduler": schedule, "interval": "step"}',),
    ),
    _keras_script(feature=SCHEDULE, statements=("schedule = keras.optimizers.schedules.CosineDecay(",)),
    _torch_script(feature=CLIPPING, arguments=("gradient_clip_val=fraud.CLIPPED_NORM",)),
    _keras_script(feature=CLIPPING, arguments=('"global_clipnorm": fraud.CLIPPED_NORM',)),
    _torch(feature=PRECISION, arguments=("precision=PRECISIONS[settings.precision]",)),
    _torch_script(feature=PRECISION, arguments=(".to(labels.dtype)",), note="half precision ends before the loss"),
    _keras(feature=PRECISION, statements=("keras.config.set_dtype_policy(",)),
    _keras_script(
        feature=PRECISION,
        arguments=('layers.Activation("linear", dtype=keras.config.floatx())',),
        note="half precision ends before the loss",
    ),
    _torch(
        feature=DEVICES,
        arguments=("devices=settings.devices", "strategy=strategy"),
        note="to run at all; claim 7 has what it takes to train with the losses of one device",
    ),
    _keras(
        feature=DEVICES,
        statements=("return tf.distribute.MirroredStrategy(", "with scope:"),
        note="to run at all; only the `with` itself is counted, not what stands in it",
    ),
    _torch(
        feature=RESUME,
        statements=("kept = ModelCheckpoint(", "callbacks.append(kept)", "def _checkpoint("),
        arguments=("ckpt_path=_checkpoint(settings)",),
    ),
    _keras(
        feature=RESUME,
        statements=("checkpoint = None if", "first_epoch = checkpoint.restore("),
        arguments=("initial_epoch=first_epoch", "[checkpoint]"),
    ),
    Addition(
        framework="tensorflow",
        file="keras_callbacks.py",
        feature=RESUME,
        statements=("class Checkpoint(",),
        note="Keras' BackupAndRestore would be one argument, and leaves nothing if killed while it writes",
    ),
    _torch(feature=COMPILER, arguments=("torch.compile(module)",)),
    _keras(feature=COMPILER, arguments=('"jit_compile": settings.mode == "xla"',)),
)


def count_features() -> list[dict[str, Any]]:
    """For each feature and framework `lines`, `arguments` and a `note`.

    Raises:
        LookupError: a piece of `ADDITIONS` stands no longer in the source.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in ADDITIONS:
        source = (WORKLOADS / one.file).read_text(encoding="utf-8")
        row = found.setdefault(
            (one.feature, one.framework),
            {"feature": one.feature, "framework": one.framework, "lines": 0, "arguments": 0, "note": ""},
        )
        statements = list(_statements(source))
        for begins in one.statements:
            matching = [statement for code, statement in statements if code.startswith(begins)]
            if not matching:
                raise LookupError(f"No statement of workloads/{one.file} begins with {begins!r}.")
            # Of a `with` the body would stay.
            row["lines"] += sum(1 if isinstance(each, ast.With) else logical_lines(each) for each in matching)
        for argument in one.arguments:
            times = source.count(argument)
            if not times:
                raise LookupError(f"Nowhere in workloads/{one.file} stands {argument!r}.")
            row["arguments"] += times
        row["note"] = "; ".join(dict.fromkeys(part for part in (row["note"], one.note) if part))
    return list(found.values())


def _statements(source: str) -> Iterator[tuple[str, ast.stmt]]:
    """Every statement with its source from its first character on; strings keep their quotes as they are written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            yield ast.get_source_segment(source, node) or "", node
