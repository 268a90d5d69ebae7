"""Which layer of one model is which of another, though each framework names them its own way.

First by name, where both call a layer of the same family alike (`conv1`, `net.conv1`, `net/conv1`); the rest by
position: the second convolution that is left is the second convolution of the other. Where the shapes of their products
are known in both models and agree in all, position counts among layers of one shape. Where the models have different
numbers of layers of a family (PyTorch's may use one pooling twice), what is left of it is compared as a whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from .keras_names import family_of_class as family_of_keras_class
from .records import Family, Operator, Profile
from .torch_names import family_of_class as family_of_torch_class

Shape = tuple[tuple[int, ...], ...]
_SHAPE = re.compile(r"\[([\d, ]*)\]")


def matched_layers(profiles: Sequence[Profile]) -> list[dict[str, str]]:
    """For each profile a key of each of its layers; layers of the same key in different profiles are the same.

    The key is the path of the first profile's layer, a family for all that is left of it on both sides, or what only
    others have.
    """
    if not profiles:
        return []
    layers = [layers_in_order(profile) for profile in profiles]
    base = layers[0]
    matches = [_matched(profiles[0], base, *one) for one in zip(profiles[1:], layers[1:], strict=True)]
    grouped: set[Family] = set()
    for match, mine in zip(matches, layers[1:], strict=True):
        taken = set(match.values())
        left = {family for layer, family in base.items() if layer not in taken and family is not None}
        grouped |= left & {family for layer, family in mine.items() if layer not in match and family is not None}
    everywhere = set(base).intersection(*(match.values() for match in matches))

    def key(layer: str, family: Family | None, match: str | None) -> str:
        if family in grouped and match not in everywhere:
            return f"{family}: the rest"
        return match or f"{family}: {leaf(layer)}"

    return [
        {layer: key(layer, family, match.get(layer)) for layer, family in mine.items()}
        for mine, match in zip(layers, [{layer: layer for layer in base}, *matches], strict=True)
    ]


def layers_in_order(profile: Profile) -> dict[str, Family | None]:
    """The layers that a profile's operators name, in the model's order, with the family of each."""
    named = Counter(one.layer for one in profile.operators if one.layer is not None)
    family_of = family_of_torch_class if profile.context.framework == "torch" else family_of_keras_class
    known = {path: family_of(kind) for path, kind in profile.context.layers.items() if path in named}
    rest = {layer: _family_by_operators(profile.operators, layer) for layer in named if layer not in known}
    return {**known, **rest}


def leaf(layer: str) -> str:
    """The last part of a layer's path, of either framework's spelling."""
    return re.split(r"[./]", layer)[-1]


def _family_by_operators(operators: Sequence[Operator], layer: str) -> Family | None:
    times: Counter[Family] = Counter()
    for one in operators:
        if one.layer == layer and one.family != "other":
            times[one.family] += max(int(one.self_seconds * 1e9), 1)
    return next((family for family, _ in times.most_common(1)), None)


def _matched(
    base_profile: Profile, base: Mapping[str, Family | None], profile: Profile, layers: Mapping[str, Family | None]
) -> dict[str, str]:
    found: dict[str, str] = {}
    by_leaf = {(leaf(layer), family): layer for layer, family in base.items()}
    leaves = Counter(map(leaf, [*base, *layers]))
    for layer, family in layers.items():
        other = by_leaf.get((leaf(layer), family))
        if layer in base and base[layer] == family:
            found[layer] = layer
        elif other is not None and leaves[leaf(layer)] == 2 and not leaf(layer).isdigit():
            found[layer] = other
    rest = [layer for layer in layers if layer not in found]
    taken = set(found.values())
    free = [layer for layer in base if layer not in taken]
    shapes, others = _shapes(base_profile.operators), _shapes(profile.operators)
    for family in {layers[layer] for layer in rest} - {None}:
        mine = [layer for layer in rest if layers[layer] == family]
        theirs = [layer for layer in free if base[layer] == family]
        found |= _by_position(mine, theirs, others.get, shapes.get)
    return found


def _by_position(
    mine: Sequence[str],
    theirs: Sequence[str],
    shape: Callable[[str], Shape | None],
    other: Callable[[str], Shape | None],
) -> dict[str, str]:
    """Layers of one family without a name in common: the first is the first, within each shape where that is known."""
    known = all(shape(layer) for layer in mine) and all(other(layer) for layer in theirs)
    if known and Counter(map(shape, mine)) == Counter(map(other, theirs)):
        return {
            a: b
            for one in set(map(shape, mine))
            for a, b in zip(
                [layer for layer in mine if shape(layer) == one],
                [layer for layer in theirs if other(layer) == one],
                strict=True,
            )
        }
    # Different numbers of layers of a family: which of them are the same cannot be told.
    return dict(zip(mine, theirs, strict=True)) if len(mine) == len(theirs) else {}


def _shapes(operators: Sequence[Operator]) -> dict[str, Shape]:
    """Sizes of the operands of each layer's longest forward operator of two, free of the order of dimensions."""
    longest: dict[str, tuple[float, Shape]] = {}
    for one in operators:
        if one.layer is None or one.direction != "forward":
            continue
        sizes = [[int(size) for size in found.split(",") if size.strip()] for found in _SHAPE.findall(one.shapes)]
        operands = tuple(sorted(tuple(sorted(each)) for each in sizes if len(each) > 1))
        if len(operands) > 1 and one.self_seconds > longest.get(one.layer, (-1.0, ()))[0]:
            longest[one.layer] = one.self_seconds, operands
    return {layer: shape for layer, (_, shape) in longest.items()}
