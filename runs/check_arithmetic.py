"""Same arithmetic: optimizer and its constants, learning rates, loss, clipping, dropout, normalisation, precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..db.records import Float64Array, Int64Array, Series
from .align import last_of_each_step
from .checks import Check, Subject, agree, check, count, each_has, names_of, number, objects, text
from .labels import same_value

RATE_TOLERANCE = 1e-6
"""Relative. Frameworks keep the learning rate in float32 (6e-8) and compute schedules in it (a few times that)."""

_BETAS = ("betas", "rho", "alpha")
_EPSILON_KINDS = {
    "outside": "added to the bias-corrected root",
    "hat": "added before the bias correction (epsilon hat)",
    "inside": "added under the root",
}
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
_CLIPPING = {"norm": "norm of all gradients", "variable_norm": "norm of each gradient by itself", "value": "value"}
_REDUCTIONS = {"sum_over_batch_size": "mean", "batchmean": "mean", "mean_with_sample_weight": "mean"}
# How an update is computed, not what it comes to.
_IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable", "jit_compile", "loss_scale_factor"}


def arithmetic_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "arithmetic"."""
    return [
        *_optimizers(subjects),
        *_schedules(subjects),
        _loss(subjects),
        *_loss_record(subjects),
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


def _optimizers(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of each optimizer; a run may have several."""
    lists: list[list[Mapping[str, Any]] | None] = []
    for subject in subjects:
        value = subject.fact("arithmetic", "optimizer")
        several = value or subject.fact("arithmetic", "optimizers")
        lists.append([value] if isinstance(value, Mapping) else objects(several))
    numbers = agree("Number of optimizers", "arithmetic", subjects, [len(some) if some else None for some in lists])
    if numbers.verdict == "red":
        return [numbers]
    checks = []
    several = max((len(some) for some in lists if some), default=1)
    for index in range(several):
        suffix = f" of optimizer {index + 1}" if several > 1 else ""
        checks += _optimizer(subjects, [some[index] if some else None for some in lists], suffix)
    return checks


def _optimizer(subjects: Sequence[Subject], optimizers: Sequence[Mapping[str, Any] | None], suffix: str) -> list[Check]:
    names = [None if o is None or not o.get("name") else _optimizer_name(o) for o in optimizers]
    one_family = "Adam and AdamW are one algorithm; how they decay weights is compared by itself."
    kind = agree(
        suffix.removeprefix(" of ").capitalize() or "Optimizer", "arithmetic", subjects, names,
        same=one_family if len(set(names)) > 1 else None, equal=lambda a, b: a.removesuffix("W") == b.removesuffix("W"),
    )  # fmt: skip
    if any(o is None for o in optimizers) or kind.verdict == "red":
        return [kind]
    known = [o for o in optimizers if o is not None]

    def values(key: str) -> list[Any]:
        return [o.get(key) for o in known]

    checks = [
        kind,
        agree("Learning rate" + suffix, "arithmetic", subjects, [number(v) for v in values("learning_rate")]),
    ]
    if any(values("momentum")):
        checks.append(_momentum(subjects, known, suffix))
    for key in _BETAS:
        if any(key in o for o in known):
            title = {"betas": "Betas", "rho": "Decay rho", "alpha": "Decay alpha"}[key]
            checks.append(agree(title + suffix, "arithmetic", subjects, values(key)))
    if any("epsilon" in o for o in known):
        checks.append(_epsilon(subjects, known, suffix))
    checks.append(_weight_decay(subjects, known, suffix))
    handled = {
        "name", "learning_rate", "momentum", "momentum_kind", *_BETAS, "epsilon", "epsilon_kind",
        "weight_decay", "weight_decay_kind", "weight_decay_parameters", *_IMPLEMENTATION,
    }  # fmt: skip
    for key in dict.fromkeys(key for o in known for key in o if key not in handled):
        # A switch that one framework does not have is one that is off there.
        settings = [_setting(o.get(key), [other.get(key) for other in known]) for o in known]
        if any(settings):
            title = key.replace("_", " ").capitalize()
            checks.append(agree(title + suffix, "arithmetic", subjects, settings))
    return checks


def _setting(value: Any, of_all: Sequence[Any]) -> Any:
    # Of a list, such as that of parameter groups, it is not known what its absence stands for.
    return False if value is None and not any(isinstance(other, list) for other in of_all) else value


def _optimizer_name(optimizer: Mapping[str, Any]) -> str:
    """The algorithm's name, whatever the class is called: `TorchAdam` is Adam, Adam that decays decoupled is AdamW."""
    name = str(optimizer["name"])
    lower = name.lower().removeprefix("torch")
    decays = bool(number(optimizer.get("weight_decay")))
    if lower in ("adam", "adamw"):
        kind = optimizer.get("weight_decay_kind") or ("decoupled" if lower == "adamw" else "coupled")
        return "AdamW" if decays and kind == "decoupled" else "Adam"
    return {"sgd": "SGD", "rmsprop": "RMSprop", "adagrad": "Adagrad", "adadelta": "Adadelta"}.get(lower, name)


def _momentum(subjects: Sequence[Subject], optimizers: Sequence[Mapping[str, Any]], suffix: str) -> Check:
    result = agree("Momentum" + suffix, "arithmetic", subjects, [number(o.get("momentum", 0.0)) for o in optimizers])
    if result.verdict != "green" or any("momentum_kind" in o for o in optimizers):
        kinds = [o.get("momentum_kind") for o in optimizers]
        if result.verdict == "green" and len(set(kinds)) > 1:
            return _momentum_of_two_kinds(subjects, result)
        return result
    stock = {
        s.run.framework for s, o in zip(subjects, optimizers, strict=True) if "torch" not in str(o.get("name")).lower()
    }
    scheduled = any(s.fact("arithmetic", "schedule") is not None for s in subjects)
    if scheduled and {"torch", "tensorflow"} <= stock:
        return _momentum_of_two_kinds(subjects, result)
    return result


def _momentum_of_two_kinds(subjects: Sequence[Subject], result: Check) -> Check:
    reason = (
        "Momentum is the same number, but PyTorch multiplies the buffer by the current learning rate and Keras keeps "
        "the rate inside it: updates differ whenever the rate changes."
    )
    return check(result.name, "arithmetic", subjects, "amber", reason, list(result.values.values()))


def _epsilon(subjects: Sequence[Subject], optimizers: Sequence[Mapping[str, Any]], suffix: str) -> Check:
    def show(value: tuple[float, str | None]) -> str:
        where = _EPSILON_KINDS.get(str(value[1]))
        return f"{value[0]:g} {where}" if where else f"{value[0]:g}"

    values = [
        None if number(o.get("epsilon")) is None else (number(o.get("epsilon")), o.get("epsilon_kind"))
        for o in optimizers
    ]
    kinds = {o.get("epsilon_kind") for o in optimizers}
    consequence = ""
    if len(kinds) > 1 and None not in kinds:
        consequence = "; no pair of values makes these equal, and losses part beyond rounding within ten steps"
    result = agree(
        "Epsilon" + suffix, "arithmetic", subjects, values, consequence=consequence, equal=_same_epsilon, show=show
    )
    if result.verdict == "green" and None in kinds and len({s.run.framework for s in subjects}) > 1:
        reason = "Epsilon is the same number, but where each framework adds it could not be established."
        return check(result.name, "arithmetic", subjects, "amber", reason, list(result.values.values()))
    return result


def _same_epsilon(one: tuple[float, str | None], other: tuple[float, str | None]) -> bool:
    return same_value(one[0], other[0]) and (one[1] is None or other[1] is None or one[1] == other[1])


def _weight_decay(subjects: Sequence[Subject], optimizers: Sequence[Mapping[str, Any]], suffix: str) -> Check:
    values: list[tuple[float, str | None, int | None] | None] = []
    for optimizer in optimizers:
        decay = number(optimizer.get("weight_decay", 0.0) or 0.0)
        kind = optimizer.get("weight_decay_kind") if decay else "none"
        parameters = count(optimizer.get("weight_decay_parameters")) if decay else None
        values.append(None if decay is None else (decay, kind, parameters))
    how_many = len({value[2] for value in values if value is not None and value[2] is not None}) > 1

    def show(value: tuple[float, str | None, int | None]) -> Any:
        decay, kind, parameters = value
        if not decay:
            return decay
        some = f"of {parameters:,} parameters" if how_many and parameters is not None else None
        return " ".join(part for part in (f"{decay:g}", kind, some) if part)

    return agree("Weight decay" + suffix, "arithmetic", subjects, values, equal=_same_decay, show=show)


def _same_decay(one: tuple[float, str | None, int | None], other: tuple[float, str | None, int | None]) -> bool:
    parameters = one[2] is None or other[2] is None or one[2] == other[2]
    return parameters and _same_epsilon(one[:2], other[:2])


def _schedules(subjects: Sequence[Subject]) -> list[Check]:
    """Check of the learning rates of each optimizer; a run may have several."""
    several = max(len(s.other_learning_rates) for s in subjects)
    checks = [_learning_rates(subjects, " of optimizer 1" if several else "")]
    for index in range(several):
        rates = [s.other_learning_rates[index] if index < len(s.other_learning_rates) else None for s in subjects]
        others = [replace(s, learning_rates=series) for s, series in zip(subjects, rates, strict=True)]
        checks.append(_learning_rates(others, f" of optimizer {index + 2}"))
    return checks


def _learning_rates(subjects: Sequence[Subject], suffix: str) -> Check:
    """Whether the rates used were the same at every step; by the schedule's name only where they were not logged."""
    name = "Learning-rate schedule" + suffix
    shown = [_schedule(subject) for subject in subjects]
    series = [s.learning_rates for s in subjects if s.learning_rates is not None and len(s.learning_rates)]
    if len(series) < len(subjects):
        named = agree(name, "arithmetic", subjects, shown)
        if named.verdict == "red" and len({s.run.framework for s in subjects}) > 1 and "constant" not in shown:
            reason = "The schedules have different names in different frameworks, and not every run logged its rates."
            return check(name, "arithmetic", subjects, "amber", reason, shown)
        return named
    compared = 0
    for subject, rates in zip(subjects[1:], series[1:], strict=True):
        steps, one, other = _common(series[0], rates)
        compared = max(compared, len(steps))
        # Against the largest rate: what a cosine leaves at its end is mostly rounding.
        bound = RATE_TOLERANCE * float(np.abs(one).max(initial=0.0))
        apart = np.flatnonzero(~np.isclose(one, other, rtol=0.0, atol=bound, equal_nan=True))
        if len(apart):
            if _in_proportion(subjects[0], subject, one, other):
                continue
            at = apart[0]
            reason = (
                f"The learning rates differ from step {steps[at]} on: {one[at]:.6g} in {subjects[0].label}, "
                f"{other[at]:.6g} in {subject.label}."
            )
            return check(name, "arithmetic", subjects, "red", reason, shown)
    if not compared:
        reason = "The runs logged their learning rates at different steps."
        return check(name, "arithmetic", subjects, "amber", reason, shown)
    reason = f"The learning rates agree at all {compared:,} steps compared."
    if len({number(s.fact("arithmetic", "optimizer", "learning_rate")) for s in subjects}) > 1:
        reason = f"The learning rates follow one schedule, from different ones, at all {compared:,} steps compared."
    return check(name, "arithmetic", subjects, "green", reason, shown)


def _in_proportion(reference: Subject, subject: Subject, one: Float64Array, other: Float64Array) -> bool:
    """Whether two runs follow one schedule from different initial rates, which the check of those says by itself."""
    begin, other_begin = (number(s.fact("arithmetic", "optimizer", "learning_rate")) for s in (reference, subject))
    if not begin or not other_begin or same_value(begin, other_begin):
        return False
    scaled = other * (begin / other_begin)
    bound = RATE_TOLERANCE * float(np.abs(one).max(initial=0.0))
    return bool(np.isclose(one, scaled, rtol=0.0, atol=bound, equal_nan=True).all())


def _common(one: Series, other: Series) -> tuple[Int64Array, Float64Array, Float64Array]:
    """The steps that two series share, and their values there."""
    first, second = last_of_each_step(one.steps), last_of_each_step(other.steps)
    steps, i, j = np.intersect1d(one.steps[first], other.steps[second], assume_unique=True, return_indices=True)
    return steps, one.values[first][i], other.values[second][j]


def _schedule(subject: Subject) -> str | None:
    arithmetic = subject.fingerprints.get("arithmetic")
    if not isinstance(arithmetic, Mapping) or "schedule" not in arithmetic:
        return None
    schedule = arithmetic["schedule"]
    if not isinstance(schedule, Mapping):
        return "constant"
    settings = ", ".join(f"{key} {text(value)}" for key, value in schedule.items() if key != "name")
    name = str(schedule.get("name", "unnamed"))
    return f"{name} ({settings})" if settings else name


def _loss(subjects: Sequence[Subject]) -> Check:
    """By name and reduction; a name that is nobody's but the user's says nothing either way."""
    losses = [s.fact("arithmetic", "loss") for s in subjects]
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


def _loss_record(subjects: Sequence[Subject]) -> list[Check]:
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
