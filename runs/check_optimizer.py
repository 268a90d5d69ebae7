"""Same update: optimizer, its constants, and where they enter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .checks import Check, Subject, agree, check, count, number, objects
from .labels import same_value

_BETAS = ("betas", "rho", "alpha")
_EPSILON_KINDS = {
    "outside": "added to the bias-corrected root",
    "hat": "added before the bias correction (epsilon hat)",
    "inside": "added under the root",
}
# How an update is computed, not what it comes to.
_IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable", "jit_compile", "loss_scale_factor"}


def optimizer_checks(subjects: Sequence[Subject]) -> list[Check]:
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
