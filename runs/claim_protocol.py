"""The line that stands under every claim: on what, with what, how, how often, and how busy the machine was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .claim_evidence import Evidence, device_count

PACKAGES = ("torch", "lightning", "tensorflow", "tensorflow-cpu", "keras")


def protocol_line(evidence: Evidence) -> str:
    """One line, parts separated by semicolons; what is not the same in all runs is given as a list or a range."""
    environments: list[Mapping[str, Any]] = [run.environment for run in evidence.runs]
    environments = environments or [evidence.record.machine]
    runs = evidence.runs
    parts = [
        _machine(environments),
        _versions(environments),
        _listed("mode", (f"{run.framework} {run.mode}" for run in runs)),
        _listed("precision", (run.precision for run in runs)),
        _range("batch size", (run.config.get("batch_size") for run in runs)),
        _range("steps", (run.total_steps for run in runs)),
        _range("threads", (run.config.get("threads") for run in runs)),
        _range("devices", (device_count(run) for run in runs)),
        _repeats(evidence),
        _load(environments),
        f"{evidence.record.form} form" if evidence.record.form else "",
    ]
    return "; ".join(part for part in parts if part)


def _machine(environments: list[Mapping[str, Any]]) -> str:
    names = []
    for one in environments:
        gpus = one.get("gpus")
        found = [str(gpu.get("name")) for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list) else []
        memory = one.get("memory_bytes")
        size = f", {memory / 2**30:.0f} GiB" if isinstance(memory, int | float) else ""
        processor = f"{one.get('cpu') or 'unknown processor'}, {one.get('cpu_count') or '?'} cores{size}"
        names.append(f"{processor}, {', '.join(found) if found else 'no GPU'}")
    return " and ".join(dict.fromkeys(names))


def _versions(environments: list[Mapping[str, Any]]) -> str:
    said: dict[str, None] = {}
    for one in environments:
        packages = one.get("packages")
        if one.get("python"):
            said[f"Python {one['python']}"] = None
        if isinstance(packages, Mapping):
            said |= dict.fromkeys(f"{name} {packages[name]}" for name in PACKAGES if packages.get(name))
    return ", ".join(said)


def _listed(word: str, values: Iterable[str | None]) -> str:
    known = sorted({value for value in values if value})
    return f"{word} {', '.join(known)}" if known else ""


def _range(word: str, values: Iterable[Any]) -> str:
    known = sorted({value for value in values if isinstance(value, int | float)})
    if not known:
        return ""
    return f"{word} {known[0]}" if len(known) == 1 else f"{word} {known[0]} to {known[-1]}"


def _repeats(evidence: Evidence) -> str:
    return _range("n", (len(form.runs) for trained in evidence.trained for form in trained.forms)) or "n 1"


def _load(environments: list[Mapping[str, Any]]) -> str:
    loads = [one["load_average"][0] for one in environments if isinstance(one.get("load_average"), list)]
    return _range("load at the start", loads)
