"""Same loss, by name, reduction and what weighs in it; and whether what was recorded of it can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .checks import Check, Subject, agree, check, each_has, names_of, number, text
from .labels import same_value

_LOSSES = {
    "crossentropyloss": "cross_entropy",
    "crossentropy": "cross_entropy",
    "sparsecategoricalcrossentropy": "cross_entropy",
    "categoricalcrossentropy": "cross_entropy",
    "bcewithlogitsloss": "binary_cross_entropy",
    "bceloss": "binary_cross_entropy",
    "binarycrossentropywithlogits": "binary_cross_entropy",
    "binarycrossentropy": "binary_cross_entropy",
    "mseloss": "mean_squared_error",
    "mse": "mean_squared_error",
    "meansquarederror": "mean_squared_error",
    "l1loss": "mean_absolute_error",
    "mae": "mean_absolute_error",
    "meanabsoluteerror": "mean_absolute_error",
    "negativeloglikelihood": "negative_log_likelihood",
    "huber": "huber",
    "huberloss": "huber",
    # The same with constants of 1, and with others another first loss.
    "smoothl1": "huber",
    "smoothl1loss": "huber",
    "kldivergence": "kl_divergence",
}
_REDUCTIONS = {"sum_over_batch_size": "mean", "batchmean": "mean", "mean_with_sample_weight": "mean"}


def loss_check(subjects: Sequence[Subject]) -> Check:
    """By name and reduction; a name that is nobody's but the user's says nothing either way."""
    losses = [s.fact("arithmetic", "loss") for s in subjects]
    weights = [loss.get("pos_weight") if isinstance(loss, Mapping) else None for loss in losses]
    stated = [(s, weight) for s, weight in zip(subjects, weights, strict=True) if weight is not None]
    if not all(same_value(stated[0][1], weight) for _, weight in stated[1:]):
        having = each_has([s for s, _ in stated], [weight for _, weight in stated])
        shown = [_with_weight(_loss_name(loss), weight) for loss, weight in zip(losses, weights, strict=True)]
        return check("Loss", "arithmetic", subjects, "red", f"The weight of positive samples differs: {having}.", shown)
    shown = [_loss_name(loss) for loss in losses]
    common = [None if shown[i] is None else _common_loss(losses[i]) for i in range(len(losses))]
    if None in common and len(set(shown)) > 1:
        known = sorted({name for name in common if name is not None})
        if len(known) < 2:
            unsure = [s for s, name in zip(subjects, common, strict=True) if name is None]
            reason = f"Loss could not be established for {names_of(unsure)}."
            if all(shown):
                reason = f"Whether these are the same loss could not be established: {each_has(subjects, shown)}."
            return check("Loss", "arithmetic", subjects, "amber", reason, shown)
    return agree("Loss", "arithmetic", subjects, shown)


def _with_weight(name: str | None, weight: Any) -> str | None:
    return name if name is None or weight is None else f"{name}, positive samples by {text(weight)}"


def loss_by_value(loss: Check, first_loss: Check) -> Check:
    """The check "Loss", where a loss that nobody could name gave the same value as the others' did."""
    if loss.verdict != "amber" or first_loss.verdict != "green":
        return loss
    reason = "The losses go by no common name, and gave the same value for the same weights and batch."
    return replace(loss, verdict="green", reason=reason)


def _common_loss(loss: Mapping[str, Any]) -> str | None:
    """Name and reduction where the name is one that both frameworks have and the reduction is known."""
    known = _plain(loss["name"]) in _KNOWN_LOSSES and loss.get("reduction") is not None
    return _loss_name(loss) if known else None


def _plain(name: Any) -> str:
    return str(name).lower().replace("_", "").replace(" ", "")


_KNOWN_LOSSES = {*_LOSSES, *map(_plain, _LOSSES.values())}


def _loss_name(loss: Any) -> str | None:
    """Name, reduction and what else counts, in one vocabulary: frameworks have different names for one function."""
    if not isinstance(loss, Mapping) or not loss.get("name"):
        return None
    reduction = loss.get("reduction")
    parts = [_LOSSES.get(_plain(loss["name"]), str(loss["name"]))]
    if reduction:
        parts.append(_REDUCTIONS.get(str(reduction), str(reduction)))
    if smoothing := number(loss.get("label_smoothing")):
        parts.append(f"label smoothing {smoothing:g}")
    if loss.get("weighted"):
        parts.append("weighted")
    if loss.get("penalties"):
        parts.append("penalties of layers added")
    return ", ".join(parts)


def loss_record_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Whether `train/loss` is each batch's own in all runs; nothing where none recorded any."""
    values = [s.loss_reduction for s in subjects]
    if all(value is None for value in values):
        return []
    running = [s for s in subjects if s.loss_reduction == "running_mean"]
    if running and len(running) < len(subjects):
        reason = (
            f"The loss of {names_of(running)} is a mean since the epoch began, that of the others is each batch's own: "
            f"the curves differ although the training may not."
        )
        return [check("Recorded loss", "arithmetic", subjects, "amber", reason, values)]
    return [agree("Recorded loss", "arithmetic", subjects, values, difference="amber")]
