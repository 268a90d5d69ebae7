"""Same start: the weights before the first update, those that are trained among them, and the first loss."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .checks import Check, Subject, agree, check, count, each_has, names_of, number, objects, text
from .difference import MIXED_RELATIVE

WEIGHT_TOLERANCE = 1e-6
"""Relative. The norm and mean of float32 weights are summed in float64, in whatever order the layout has; a
copied tensor agrees to 1e-12, one that went through a file of float32 or another initialiser's seed does not."""

LOSS_TOLERANCE = {"float32": 1e-5, "float64": 1e-7}
"""Relative, of the loss before any update; in every other precision, and on a GPU, where products of float32 may be
rounded to TF32, `difference.MIXED_RELATIVE`.

Between PyTorch and TensorFlow the first float32 loss of perceptrons, convolutional networks, LSTMs and transformers was
2e-7 apart at most. In float64 it was below 1e-12 where Keras keeps its constants in float64; it takes some of them
(the slope of LeakyReLU, GELU's) through float32, which costs 1e-8."""

# What must be the same before a difference of the first losses says anything of the networks.
_BEFORE_THE_FIRST_LOSS = {
    "Batch order", "Batch size", "Trainable parameters", "Initial weights", "Dropout", "Loss",
    "Gradient accumulation", "Normalization layers", "Precision",
}  # fmt: skip

Statistics = tuple[int, float, float]
"""Element count, norm and mean of a tensor."""


def start_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "start" that look at weights alone."""
    trained = [_statistics_of(s.fact("init/weights", "tensors")) for s in subjects]
    frozen = [_statistics_of(s.fact("init/weights", "frozen")) or [] for s in subjects]
    whole = [None if some is None else [*some, *others] for some, others in zip(trained, frozen, strict=True)]
    known = [some for some in trained if some]
    trained_alike = len(known) < 2 or _same_weights(known)
    if not trained_alike and any(frozen) and _same_weights([some for some in whole if some]):
        # The same weights; another part of them is trained.
        return [_trained(subjects, trained, frozen), _weights(subjects, whole)]
    return [_trainable(subjects, trained), _weights(subjects, trained)]


def _trainable(subjects: Sequence[Subject], tensors: Sequence[list[Statistics] | None]) -> Check:
    # What both frameworks count alike: statistics of normalisation layers are parameters in one of them only.
    numbers = [
        count(s.fact("arithmetic", "trainable_parameter_count")) if some is None else sum(size for size, _, _ in some)
        for s, some in zip(subjects, tensors, strict=True)
    ]
    consequence = "; these are not the same model"
    return agree("Trainable parameters", "start", subjects, numbers, consequence=consequence)


def _trained(
    subjects: Sequence[Subject], trained: Sequence[list[Statistics] | None], frozen: Sequence[list[Statistics]]
) -> Check:
    """Of equal weights, not the same are trained."""
    shown = [None if some is None else sum(size for size, _, _ in some) for some in trained]
    parts = [
        f"{subject.label} leaves {_names(subject)} as they are"
        for subject, some in zip(subjects, frozen, strict=True)
        if some
    ]
    reason = f"The runs do not train the same weights: {each_has(subjects, shown)}; {', '.join(parts)}."
    return check("Trainable parameters", "start", subjects, "red", reason, shown)


def _names(subject: Subject) -> str:
    """The frozen tensors by name, the first few of many."""
    tensors = objects(subject.fact("init/weights", "frozen")) or []
    names = [str(tensor["name"]) for tensor in tensors if tensor.get("name")]
    if len(names) < len(tensors) or not names:
        return f"{len(tensors)} tensors"
    return f"{', '.join(names[:4])} and {len(names) - 4} more" if len(names) > 5 else ", ".join(names)


def _weights(subjects: Sequence[Subject], statistics: Sequence[list[Statistics] | None]) -> Check:
    name = "Initial weights"
    shown = [None if some is None else _show_weights(some) for some in statistics]
    known = [(s, some) for s, some in zip(subjects, statistics, strict=True) if some]
    for subject, some in known[1:]:
        reference, first = known[0]
        if _sizes(some) != _sizes(first):
            reason = f"The weights of {subject.label} have other sizes than those of {reference.label}."
            return check(name, "start", subjects, "red", reason, shown)
        lonely = _unmatched(first, some)
        if lonely:
            reason = (
                f"{lonely} of {len(first)} tensors of {reference.label} have no counterpart in {subject.label}: "
                f"the runs started from different weights."
            )
            return check(name, "start", subjects, "red", reason, shown)
    if len(known) < len(subjects):
        unknown = [s for s, some in zip(subjects, statistics, strict=True) if not some]
        reason = f"{name} could not be established for {names_of(unknown)}."
        return check(name, "start", subjects, "amber", reason, shown)
    if any(not math.isfinite(norm) for _, some in known for _, norm, _ in some):
        reason = f"Some weights are not finite before the first update: {each_has(subjects, shown)}."
        return check(name, "start", subjects, "amber", reason, shown)
    reason = f"All {len(known[0][1])} tensors agree in size, norm and mean."
    return check(name, "start", subjects, "green", reason, shown)


def _statistics_of(tensors: Any) -> list[Statistics] | None:
    some = objects(tensors)
    return None if some is None else [_statistics(tensor) for tensor in some]


def _statistics(tensor: Mapping[str, Any]) -> Statistics:
    """Element count, norm and mean; NaN for what is not recorded, which then equals nothing but its like."""
    norm, mean = number(tensor.get("norm")), number(tensor.get("mean"))
    size = count(tensor.get("count")) or 0
    return size, math.nan if norm is None else norm, math.nan if mean is None else mean


def _show_weights(tensors: Sequence[Statistics]) -> str:
    total = math.sqrt(math.fsum(norm * norm for _, norm, _ in tensors))
    return f"{len(tensors)} tensors, norm {total:.6g}"


def _unmatched(ones: Sequence[Statistics], others: Sequence[Statistics]) -> int:
    """How many of `ones` have no partner of their own among `others`. Both have the same sizes.

    As multisets, not in order: another layout or another order of layers changes neither norm nor mean.
    """
    left: dict[int, list[tuple[float, float]]] = {}
    for size, norm, mean in sorted(others, key=lambda t: (math.isnan(t[1]), t[1])):
        left.setdefault(size, []).append((norm, mean))
    lonely = 0
    for size, norm, mean in ones:
        partner = _partner(left[size], size, norm, mean)
        if partner is None:
            lonely += 1
        else:
            del left[size][partner]
    return lonely


def _partner(candidates: Sequence[tuple[float, float]], size: int, norm: float, mean: float) -> int | None:
    """Index of the first of `candidates`, sorted by norm with NaN last, that has this norm and mean."""
    # Of a large model hundreds of tensors have one size: search by norm, then walk over the few that are close.
    start = 0 if math.isnan(norm) else bisect_left(candidates, norm - WEIGHT_TOLERANCE * norm, key=lambda c: c[0])
    # The mean may be zero by cancellation: it is measured against the size of the elements.
    element = norm / math.sqrt(max(size, 1))
    for at in range(start, len(candidates)):
        if candidates[at][0] > norm + WEIGHT_TOLERANCE * norm:
            return None
        if _close(candidates[at][0], norm, norm) and _close(candidates[at][1], mean, element):
            return at
    return None


def _close(one: float, other: float, size: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= WEIGHT_TOLERANCE * size


def _sizes(tensors: Sequence[Statistics]) -> Counter[int]:
    return Counter(size for size, _, _ in tensors)


def _same_weights(known: Sequence[list[Statistics]]) -> bool:
    first = known[0]
    return all(_sizes(some) == _sizes(first) and not _unmatched(first, some) for some in known[1:])


# ---- The first loss ----


def first_loss_check(subjects: Sequence[Subject], others: Sequence[Check]) -> Check | None:
    """Whether the networks computed the same from the same weights and batch: the check "First loss".

    The one check that finds what no description has: padding, an activation, a loss of somebody's own.

    Args:
        subjects: the runs.
        others: the other checks of the same runs. Where one of them already says why the losses cannot agree, there
            is nothing to add.

    Returns:
        None where the losses were bound to differ, or no run logged any.
    """
    name = "First loss"
    losses = [subject.first_loss for subject in subjects]
    before = [other for other in others if other.name in _BEFORE_THE_FIRST_LOSS]
    if any(other.verdict == "red" for other in before) or all(subject.loss_reduction is None for subject in subjects):
        return None
    unknown = [subject for subject, loss in zip(subjects, losses, strict=True) if loss is None]
    if unknown:
        reason = f"{name} could not be established for {names_of(unknown)}: no train/loss was logged at step 0."
        return check(name, "start", subjects, "amber", reason, losses)
    known = [loss for loss in losses if loss is not None]
    having = each_has(subjects, [float(f"{loss:.9g}") if math.isfinite(loss) else loss for loss in known])
    if not all(map(math.isfinite, known)):
        return check(name, "start", subjects, "amber", f"{name} is not finite: {having}.", losses)
    tolerance = _loss_tolerance(subjects)
    layers = _layers_apart(subjects)
    if max(known) - min(known) <= tolerance * max(map(abs, known)):
        if twins := _twins_apart(subjects):
            reason = f"The first losses agree to {tolerance:g}, which does not tell these apart: {twins}."
            return check(name, "start", subjects, "red", reason, losses)
        if layers and tolerance > LOSS_TOLERANCE["float32"]:
            reason = f"The first losses agree, but only to {tolerance:g} as they are rounded here, and {layers}."
            return check(name, "start", subjects, "amber", reason, losses)
        reason = f"From the same weights and batch all runs computed the same loss, to {tolerance:g}."
        return check(name, "start", subjects, "green", reason, losses)
    doubts = _doubts(subjects, before)
    if doubts:
        reason = f"{name} differs, which need not mean that the networks do: {'; '.join(doubts)}."
        return check(name, "start", subjects, "amber", f"{reason} {_sentence(layers)}".strip(), losses)
    look = layers or (
        "look at padding, activations and normalisation, at the loss and its reduction, and at whether it takes logits "
        "or probabilities"
    )
    if not layers and (words := _weights_of_the_loss(subjects)):
        look = words
    reason = (
        f"From the same weights and the same batch the loss is {having}: the networks do not compute the same "
        f"function; {look}."
    )
    return check(name, "start", subjects, "red", reason, losses)


def _weights_of_the_loss(subjects: Sequence[Subject]) -> str:
    """Where losses with weights may part, as half a sentence; empty where none has any."""
    if not any(subject.fact("arithmetic", "loss", "weighted") for subject in subjects):
        return ""
    stated = [(s, w) for s in subjects if (w := s.fact("arithmetic", "loss", "pos_weight")) is not None]
    if stated:
        having = each_has([s for s, _ in stated], [weight for _, weight in stated])
        return f"the weight of positive samples is {having}" + (
            ", and that of the others is not known" if len(stated) < len(subjects) else ""
        )
    return "with weights PyTorch divides a mean loss by their sum, Keras by the number of samples"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _loss_tolerance(subjects: Sequence[Subject]) -> float:
    if any(subject.run.device not in (None, "cpu") for subject in subjects):
        return MIXED_RELATIVE
    return max(LOSS_TOLERANCE.get(subject.run.precision or "float32", MIXED_RELATIVE) for subject in subjects)


def _doubts(subjects: Sequence[Subject], before: Sequence[Check]) -> list[str]:
    """Why the first losses of one and the same network may differ here."""
    doubts = []
    random = [s for s in subjects if s.fact("arithmetic", "random") is True]
    if random:
        doubts.append(f"{names_of(random)} drew random numbers in the step, as dropout does")
    means = [s for s in subjects if s.loss_reduction not in (None, "batch", "running_mean")]
    if means:
        doubts.append(f"train/loss of {names_of(means)} is no batch's own")
    several = [s for s in subjects if s.run.world_size > 1 or s.run.device_count > 1]
    if several:
        doubts.append(f"that of {names_of(several)} may be of one device's share of the batch")
    unsaid = [s for s in subjects if s.fact("arithmetic", "random") is None]
    if unsaid:
        doubts.append(f"whether {names_of(unsaid)} drew random numbers is not known")
    amber = [other.name.lower() for other in before if other.verdict == "amber" and other.name != "Loss"]
    if amber:
        doubts.append(f"{' and '.join(amber)} could not be established")
    return doubts


def _layers_apart(subjects: Sequence[Subject]) -> str:
    """What differs in how the runs describe their layers, as half a sentence; empty where nothing is known to."""
    convolutions = [objects(s.fact("arithmetic", "convolutions")) for s in subjects]
    if all(convolutions) and len({len(some) for some in convolutions if some}) == 1:
        for key in ("kernel", "stride", "dilation", "padding"):
            values = [sorted(_per_dimension(layer.get(key)) for layer in some or ()) for some in convolutions]
            if any(value != values[0] for value in values) and not any("unknown" in value for value in values):
                return f"the {key} of the convolutions is {each_has(subjects, values)}"
    names = [sorted(map(str, _activations(subject))) for subject in subjects]
    if all(names) and any(some != names[0] for some in names):
        return f"the activations are {each_has(subjects, names)}"
    return ""


def _twins_apart(subjects: Sequence[Subject]) -> str:
    """The exact GELU in one run, its approximation in another: a first loss may agree all the same."""
    kinds = [{"gelu", "gelu tanh"} & set(map(str, _activations(subject))) for subject in subjects]
    if all(len(kind) == 1 for kind in kinds) and any(kind != kinds[0] for kind in kinds):
        return f"the activations are {each_has(subjects, [sorted(kind) for kind in kinds])}"
    return ""


def _activations(subject: Subject) -> Sequence[Any]:
    some = subject.fact("arithmetic", "activations")
    return some if isinstance(some, list) else ()


def _per_dimension(value: Any) -> str:
    """`3 × 3` of [3, 3]."""
    return " × ".join(map(text, value)) if isinstance(value, list | tuple) else text(value)
