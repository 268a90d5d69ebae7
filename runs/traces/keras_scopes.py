"""Which layer of the model an operator's path names, though Keras spells the path unlike the layer's own.

An operator of layer `sequential/conv1` runs in the scope `sequential_1/conv1_1`: TensorFlow makes scopes unique with a
number, and automatic names of layers end in a number too (`dense_1`). Whether a trace's scopes carry the extra number
is decided once for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NUMBER = re.compile(r"_\d+$")


class Scopes:
    """Layers of a model by the scopes of a trace.

    Args:
        layers: path of each layer to the name of its class, as in `TraceContext`.
        paths: of the trace's operators.
    """

    def __init__(self, layers: Mapping[str, str], paths: Iterable[str]) -> None:
        self.layers = {path: kind for path, kind in layers.items() if path and kind != "InputLayer"}
        self._by_leaf: dict[str, list[tuple[str, ...]]] = {}
        for path in self.layers:
            parts = tuple(path.split("/"))
            self._by_leaf.setdefault(parts[-1], []).append(parts)
        self._numbered = self._are_numbered(paths)
        self._found: dict[str, str | None] = {}

    def layer(self, path: str) -> str | None:
        """The path of the innermost layer whose operator this is, or None."""
        scope = path.rpartition("/")[0]
        if scope not in self._found:
            self._found[scope] = self._lookup(scope)
        return self._found[scope]

    def class_of(self, layer: str | None) -> str | None:
        """The class of a layer, or None where it is unknown."""
        return self.layers.get(layer) if layer else None

    def _are_numbered(self, paths: Iterable[str]) -> bool:
        """Whether scopes are layers' names with a number behind, which `dense_1` alone does not tell: the majority."""
        votes = 0
        for one in {scope for path in paths for scope in path.split("/")[:-1]}:
            without = _NUMBER.sub("", one)
            if one not in self._by_leaf:
                votes += without in self._by_leaf
            elif without == one or without not in self._by_leaf:
                votes -= 1
        return votes >= 0

    def _spelling(self, scope: str, *, numbered: bool) -> str | None:
        """The layer that a scope can name; None for a scope without the number that all layers' scopes have."""
        without = _NUMBER.sub("", scope)
        if not numbered:
            return scope
        return None if without == scope else without

    def _lookup(self, scope: str) -> str | None:
        for numbered in (self._numbered, not self._numbered):
            parts = [self._spelling(one, numbered=numbered) for one in scope.split("/")]
            for end in range(len(parts) - 1, -1, -1):
                candidates = self._by_leaf.get(parts[end] or "", [])
                fitting = [one for one in candidates if _in_order(one[:-1], parts[:end])]
                if not fitting and len(candidates) == 1:
                    fitting = candidates
                if fitting:
                    longest: tuple[str, ...] = max(fitting, key=len)
                    return self.whole("/".join(longest))
        return None

    def whole(self, path: str) -> str:
        """The recurrent layer rather than the cell in it, which PyTorch does not have."""
        parent = path.rpartition("/")[0]
        if self.layers.get(path, "").endswith("Cell") and parent in self.layers:
            return parent
        return path


def _in_order(wanted: tuple[str, ...], scopes: list[str | None]) -> bool:
    """Whether the scopes hold all the wanted names, in their order."""
    rest = iter(scopes)
    return all(one in rest for one in wanted)
