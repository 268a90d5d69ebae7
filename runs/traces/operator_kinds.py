"""Which operators of the two frameworks do the same work, so that one row can hold both.

A framework may need one operator where the other needs ten: PyTorch's `native_batch_norm` is Keras' `Mean`,
`SquaredDifference`, `Rsqrt` and more; `convolution_backward` is `Conv2DBackpropInput`, `Conv2DBackpropFilter` and
`BiasAddGrad`; `addmm` is `MatMul` and `BiasAdd`. So operators are the same work where they are of one family, direction
and layer, dropout apart from other activations. Those of no family are told apart by their plain names.
"""

from __future__ import annotations

import re
from functools import cache

from .keras_names import plain
from .records import Family

_DROPOUT = re.compile(r"dropout", re.IGNORECASE)
_BARE = re.compile(r"^aten::_?|^torch::|_native|\.\d+$|_+$|(?<=fusion)_\d+$")
_ALIKE = {
    "addv2": "add", "addn": "add", "assignaddvariableop": "add", "realdiv": "div", "subtract": "sub", "multiply": "mul",
    "selectv2": "where", "select": "where", "concatv2": "cat", "concatenate": "cat", "transpose": "permute",
    "t": "permute", "reshape": "view", "unsafe_view": "view", "bitcast": "view", "expanddims": "view",
    "squeeze": "view", "unsqueeze": "view", "flatten": "view", "identity": "copy", "cast": "to", "to_copy": "to",
    "convert": "to", "zeroslike": "fill", "zeros_like": "fill", "zero": "fill", "zeros": "fill",
    "broadcastto": "expand", "tile": "expand", "broadcast": "expand", "readvariableop": "read variable",
}  # fmt: skip
"""Names of the same elementary work: TensorFlow's, XLA's and PyTorch's spelling of it."""


@cache
def kind(name: str, family: Family, layer_class: str | None = None) -> str:
    """What an operator does, in both frameworks' words: its family, `dropout`, or `add` for `aten::add_` and `AddV2`.

    Args:
        name: as the framework spells it.
        family: of the operator.
        layer_class: of the layer that it works for, where that is known.
    """
    if family == "activation" and (_DROPOUT.search(layer_class or "") or _DROPOUT.search(name)):
        return "dropout"
    if family != "other":
        return family
    bare = _BARE.sub("", plain(name)).lower()
    return _ALIKE.get(bare, bare)
