"""Same arithmetic: the update, learning rates, loss, clipping, dropout, normalisation, precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .check_loss import loss_check, loss_record_checks
from .check_optimizer import optimizer_checks
from .check_schedule import schedule_checks
from .checks import Check, Subject, agree, count, number, objects, text

_CLIPPING = {"norm": "norm of all gradients", "variable_norm": "norm of each gradient by itself", "value": "value"}


def arithmetic_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "arithmetic"."""
    return [
        *optimizer_checks(subjects),
        *schedule_checks(subjects),
        loss_check(subjects),
        *loss_record_checks(subjects),
        _clipping(subjects),
        agree(
            "Gradient accumulation",
            "arithmetic",
            subjects,
            [count(s.fact("arithmetic", "accumulation")) for s in subjects],
        ),
        *_dropout(subjects),
        *_normalization(subjects),
        agree(
            "Precision",
            "arithmetic",
            subjects,
            [s.run.precision for s in subjects],
            consequence="; neither losses nor speed can be compared",
        ),
    ]


def _clipping(subjects: Sequence[Subject]) -> Check:
    def stated(subject: Subject) -> Any:
        arithmetic = subject.fingerprints.get("arithmetic")
        if not isinstance(arithmetic, Mapping) or "clipping" not in arithmetic:
            return None
        clipping = arithmetic["clipping"]
        if not isinstance(clipping, Mapping):
            return "none"
        kind = str(clipping.get("kind", "norm"))
        return f"{_CLIPPING.get(kind, kind)} at {text(number(clipping.get('value')))}"

    return agree("Gradient clipping", "arithmetic", subjects, [stated(s) for s in subjects])


def _dropout(subjects: Sequence[Subject]) -> list[Check]:
    """The rates in use, not where: frameworks have a layer for each place, or one for all."""
    rates = [s.fact("arithmetic", "dropout") for s in subjects]
    known = [sorted({text(number(rate)) for rate in some}) if isinstance(some, list) else None for some in rates]
    if not any(known) and (None not in known or not any(some is not None for some in known)):
        return []
    return [agree("Dropout", "arithmetic", subjects, known, same=f"Dropout is {text(known[0])} in all runs.")]


def _normalization(subjects: Sequence[Subject]) -> list[Check]:
    name = "Normalization layers"
    layers = [objects(s.fact("arithmetic", "normalization")) for s in subjects]
    if not any(layers):
        return []

    def in_order(keys: Sequence[str]) -> list[Any]:
        # As a multiset: frameworks list the layers of one network in different orders.
        return [None if some is None else sorted(_words(layer, keys) for layer in some) for some in layers]

    result = agree(
        name, "arithmetic", subjects, in_order(("momentum", "epsilon", "statistics")),
        same="Every normalization layer has the same kind, momentum and epsilon.", show=_show_layers,
    )  # fmt: skip
    if result.verdict != "green":
        return [result]
    variance = agree(
        "Running variance", "arithmetic", subjects, in_order(("variance",)), difference="amber",
        consequence="; training is the same, evaluation differs by about one over the batch's size",
        same="Every normalization layer keeps the same kind of running variance.", show=_show_layers,
    )  # fmt: skip
    return [result, variance]


def _words(layer: Mapping[str, Any], keys: Sequence[str]) -> str:
    constants = ", ".join(f"{key} {text(layer[key])}" for key in keys if layer.get(key) is not None)
    return f"{text(layer.get('kind'))} ({constants})" if constants else text(layer.get("kind"))


def _show_layers(layers: Sequence[str]) -> str:
    return "; ".join(f"{layers.count(layer)} × {layer}" for layer in dict.fromkeys(layers)) or "none"
