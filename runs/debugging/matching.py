"""Puts the layers of several runs into one order: the same layer of two frameworks has another name in each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...db.records import RunInfo

_SYNONYMS = {
    "dense": "linear", "lazylinear": "linear", "einsumdense": "linear", "maxpooling": "maxpool",
    "averagepooling": "avgpool", "averagepool": "avgpool", "globalaveragepooling": "adaptiveavgpool",
    "batchnormalization": "batchnorm", "layernormalization": "layernorm", "groupnormalization": "groupnorm",
    "syncbatchnorm": "batchnorm", "conv2dtranspose": "convtranspose", "crossentropy": "crossentropyloss",
    "multiheadattention": "attention", "spatialdropout": "dropout",
}  # fmt: skip
_ACTIVATIONS = frozenset(
    ("activation", "relu", "relu6", "leakyrelu", "prelu", "elu", "selu", "gelu", "silu", "swish", "tanh", "sigmoid",
     "softmax", "softplus", "hardswish", "mish", "logsoftmax")
)  # fmt: skip
_PLUMBING = frozenset(("flatten", "reshape", "identity", "dropout", "inputlayer", "permute", "zeropadding"))


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as a run's model description has it.

    Attributes:
        path: as the framework spells it.
        kind: name of its class.
        parameters: how many it has of its own: the same whichever way round a framework lays them out.
    """

    path: str
    kind: str = ""
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class Matched:
    """One layer in several runs.

    Attributes:
        paths: by run id; a run without such a layer is left out.
        outputs: by run id, whose output may be comparable instead: the activation behind it, which another run has no
            layer for and may have fused in.
        kind: name of its class in the first run that has it.
    """

    paths: dict[str, str]
    outputs: dict[str, str]
    kind: str = ""


def layers_of(run: RunInfo, measured: Sequence[str]) -> list[Layer]:
    """The layers of a run, first to last: those of its model description, then others that were measured.

    Args:
        run: the run.
        measured: paths of the layers that it has statistics of.
    """
    described = run.model.get("layers")
    known: dict[str, Layer] = {}
    for item in described if isinstance(described, list) else ():
        if isinstance(item, Mapping) and isinstance(item.get("name"), str):
            count = item.get("parameters")
            known[item["name"]] = Layer(
                item["name"], str(item.get("class") or ""), count if isinstance(count, int) else 0
            )
    for path in measured:
        known.setdefault(path, Layer(path))
    wanted = set(measured)
    # A model's own containers are no layers of the description: they stand behind, where nobody looks for a culprit.
    return [layer for layer in known.values() if layer.path in wanted or layer.kind]


def match(layers: Mapping[str, Sequence[Layer]]) -> list[Matched]:
    """Layers of several runs in one order; what only some runs have stands where it comes in them.

    The runs are matched to the first by place, number of parameters and class: a transposed kernel and channels first
    or last make no difference, and neither do names.

    Args:
        layers: by run id, first to last.
    """
    (first, own), *others = layers.items()
    rows = [Matched({first: layer.path}, {first: layer.path}, layer.kind) for layer in own]
    of_row: list[Layer] = list(own)
    for run_id, theirs in others:
        pairs = _align(of_row, theirs)
        merged: list[Matched] = []
        merged_layers: list[Layer] = []
        for mine, other in pairs:
            if mine is not None:
                row, layer = rows[mine], of_row[mine]
                if other is not None:
                    path = theirs[other].path
                    row = Matched({**row.paths, run_id: path}, {**row.outputs, run_id: path}, row.kind)
            else:
                layer = theirs[other]  # type: ignore[index]  # one of the two is there
                row = Matched({run_id: layer.path}, {run_id: layer.path}, layer.kind)
            merged.append(row)
            merged_layers.append(layer)
        rows, of_row = merged, merged_layers
    return _fused(rows)


def is_activation(kind: str) -> bool:
    """Whether a layer's class is that of an activation by itself."""
    return _kind(kind) in _ACTIVATIONS


def _fused(rows: list[Matched]) -> list[Matched]:
    """Let the activation behind a layer speak for it where another run has no such layer: it may be fused in there."""
    done: list[Matched] = []
    for place, row in enumerate(rows):
        outputs = dict(row.outputs)
        behind = place + 1
        while behind < len(rows) and len(row.paths) > 1 and not set(rows[behind].paths) >= set(row.paths):
            if is_activation(rows[behind].kind):
                outputs |= {run_id: path for run_id, path in rows[behind].paths.items() if run_id in outputs}
                break
            behind += 1
        done.append(Matched(row.paths, outputs, row.kind))
    return done


def _align(one: Sequence[Layer], other: Sequence[Layer]) -> list[tuple[int | None, int | None]]:
    """Pairs of indices in order, None where a side has no partner: the alignment of the highest score."""
    rows, columns = len(one), len(other)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        here, below = best[i], best[i + 1]
        for j in range(columns - 1, -1, -1):
            here[j] = max(below[j], here[j + 1], below[j + 1] + _score(one[i], other[j]))
    pairs: list[tuple[int | None, int | None]] = []
    i = j = 0
    while i < rows or j < columns:
        score = _score(one[i], other[j]) if i < rows and j < columns else 0
        if score and best[i][j] == best[i + 1][j + 1] + score:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif j == columns or (i < rows and best[i][j] == best[i + 1][j]):
            pairs.append((i, None))
            i += 1
        else:
            pairs.append((None, j))
            j += 1
    return pairs


def _score(one: Layer, other: Layer) -> int:
    """How surely two layers are the same one: parameters first, class second, name last; 0 if they are not."""
    same_kind = _kind(one.kind) == _kind(other.kind)
    same_name = one.path.rpartition(".")[2] == other.path.rpartition("/")[2]
    if one.parameters != other.parameters:
        # Two biases where the other framework has one: an LSTM is an LSTM.
        return 3 if same_kind and one.parameters and other.parameters and _recurrent(one.kind) else 0
    if one.parameters:
        return 12 + 4 * same_kind + same_name
    if not one.kind and not other.kind:
        return 2 if one.path == other.path or same_name else 0
    if same_kind:
        return 3 + same_name
    both_act = is_activation(one.kind) and is_activation(other.kind)
    return 1 if both_act and "activation" in (_kind(one.kind), _kind(other.kind)) else 0


def _recurrent(kind: str) -> bool:
    return _kind(kind) in ("lstm", "gru", "rnn", "simplernn", "lstmcell", "grucell")


def _kind(name: str) -> str:
    """A class's name without what the frameworks disagree on."""
    plain = re.sub(r"[123]d$|[123]d(?=transpose)", "", name.lower().replace("_", ""))
    return _SYNONYMS.get(plain, plain)
