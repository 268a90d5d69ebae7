"""Same conditions: device, threads, execution mode, machine and what else it was doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from ..db.records import RunInfo
from .checks import Check, Subject, Verdict, agree, check, count, each_has, names_of, number

_DEFAULT_MODES = {"torch": "eager", "tensorflow": "graph"}
_COMPILED_MODES = {"compile", "xla"}
_THREADS = {"torch": "torch_intraop", "tensorflow": "tensorflow_intraop"}


def condition_checks(subjects: Sequence[Subject]) -> list[Check]:
    """Checks of the group "conditions"."""
    return [
        _framework(subjects),
        _mode(subjects),
        agree(
            "Device",
            "conditions",
            subjects,
            [s.run.device for s in subjects],
            consequence="; speed cannot be compared",
        ),
        agree(
            "Number of devices",
            "conditions",
            subjects,
            # Whether a process each drives them or one for all is the framework's way, and part of what is compared.
            [s.run.device_count for s in subjects],
            consequence="; speed cannot be compared",
        ),
        _hardware(subjects),
        *_threads(subjects),
        _load(subjects),
        *_overlap(subjects),
    ]


def _framework(subjects: Sequence[Subject]) -> Check:
    name = "Framework"
    shown = [_framework_name(s.run) for s in subjects]
    unknown = [s for s, value in zip(subjects, shown, strict=True) if value is None]
    if unknown:
        reason = f"The framework could not be established for {names_of(unknown)}."
        return check(name, "conditions", subjects, "amber", reason, shown)
    if len({s.run.framework for s in subjects}) > 1:
        reason = "The frameworks differ by design: they are what is compared."
        return check(name, "conditions", subjects, "green", reason, shown)
    return agree(name, "conditions", subjects, shown, difference="amber")


def _framework_name(run: RunInfo) -> str | None:
    if run.framework is None:
        return None
    version = f"{run.framework} {run.framework_version}" if run.framework_version else run.framework
    return f"{version}, {run.backend}" if run.backend else version


def _mode(subjects: Sequence[Subject]) -> Check:
    name = "Execution mode"
    modes = [s.run.mode for s in subjects]
    result = agree(
        name, "conditions", subjects, modes, difference="amber", consequence="; a speed difference may be the mode's"
    )
    if result.verdict != "amber" or None in modes:
        return result
    if all(_DEFAULT_MODES.get(str(s.run.framework)) == s.run.mode for s in subjects):
        reason = f"Each run is in its framework's default mode: {each_has(subjects, modes)}."
        return check(name, "conditions", subjects, "green", reason, modes)
    frameworks = {(s.run.framework, s.run.mode) for s in subjects}
    one_mode_each = len(frameworks) == len({framework for framework, _ in frameworks})
    if one_mode_each and all(mode in _COMPILED_MODES for mode in modes):
        reason = f"Each run is compiled, by its framework's own compiler: {each_has(subjects, modes)}."
        return check(name, "conditions", subjects, "green", reason, modes)
    return result


def _hardware(subjects: Sequence[Subject]) -> Check:
    """The model of GPU where that computes, else of processor: another host with the same is as good."""
    on_gpu = any(s.run.device not in (None, "cpu") for s in subjects)
    values = []
    for subject in subjects:
        environment = subject.run.environment
        if on_gpu and subject.run.device != "cpu":
            gpus = environment.get("gpus")
            names = [g.get("name") for g in gpus if isinstance(g, Mapping)] if isinstance(gpus, list) else []
            values.append(", ".join(sorted({str(name) for name in names if name})) or None)
        else:
            values.append(environment.get("cpu") or None)
    return agree(
        "GPU" if on_gpu else "Processor",
        "conditions",
        subjects,
        values,
        difference="amber",
        consequence="; speed cannot be compared",
    )


def _threads(subjects: Sequence[Subject]) -> list[Check]:
    values = [_thread_count(s.run) for s in subjects]
    on_cpu = all(s.run.device in (None, "cpu") for s in subjects)
    difference: Verdict = "red" if on_cpu else "amber"
    consequence = "; speed cannot be compared, and sums are rounded differently" if on_cpu else ""
    result = agree("Threads", "conditions", subjects, values, difference=difference, consequence=consequence)
    if not on_cpu and result.verdict == "amber" and all(value is None for value in values):
        return []  # Where a GPU computes, nobody need have said how many threads fed it.
    return [result]


def _thread_count(run: RunInfo) -> int | None:
    """Threads that share one operation; TensorFlow's 0 means as many as there are cores."""
    threads = run.environment.get("threads")
    if not isinstance(threads, Mapping):
        return None
    keys = [_THREADS[run.framework]] if run.framework in _THREADS else ["OMP_NUM_THREADS"]
    for key in keys:
        known = count(threads.get(key))
        if known is not None:
            return known if known > 0 else count(run.environment.get("cpu_count"))
    return None


def _load(subjects: Sequence[Subject]) -> Check:
    """Whether the machine had more to do than it has cores when the runs began."""
    name = "Machine load"
    loads: list[float | None] = []
    for subject in subjects:
        averages = subject.run.environment.get("load_average")
        loads.append(number(averages[0]) if isinstance(averages, list) and averages else None)
    cores = [count(s.run.environment.get("cpu_count")) for s in subjects]
    busy = [
        subject
        for subject, load, available in zip(subjects, loads, cores, strict=True)
        if load is not None and available is not None and load > available
    ]
    unknown = [s for s, load, c in zip(subjects, loads, cores, strict=True) if load is None or c is None]
    verdict: Verdict = "green"
    reason = "No machine had more running than it has cores when its run began."
    if busy:
        having = each_has(busy, [load for s, load in zip(subjects, loads, strict=True) if s in busy])
        verdict = "amber"
        reason = f"The machine had more running than it has cores (load {having}): step times are not reliable."
    elif unknown:
        verdict, reason = "amber", f"Machine load could not be established for {names_of(unknown)}."
    return check(name, "conditions", subjects, verdict, reason, loads)


def _overlap(subjects: Sequence[Subject]) -> list[Check]:
    """Whether two of the runs trained at the same time on one machine, and took its cores from each other."""
    name = "Ran alone"
    spans: list[tuple[Any, datetime, datetime]] = []
    for subject in subjects:
        host = subject.run.environment.get("host")
        if host is None or subject.run.started is None:
            return []
        spans.append((host, subject.run.started, _end(subject.run)))
    shown = [f"{begun:%Y-%m-%d %H:%M:%S} to {ended:%Y-%m-%d %H:%M:%S} UTC on {host}" for host, begun, ended in spans]
    for (one, (host, begun, ended)), (other, (other_host, other_begun, other_ended)) in combinations(
        zip(subjects, spans, strict=True), 2
    ):
        if host == other_host and begun < other_ended and other_begun < ended:
            reason = f"{one.label} and {other.label} trained on one machine at the same time: each slowed the other."
            return [check(name, "conditions", subjects, "amber", reason, shown)]
    reason = "No two of the runs trained on one machine at the same time."
    return [check(name, "conditions", subjects, "green", reason, shown)]


def _end(run: RunInfo) -> datetime:
    return run.ended or (datetime.now(UTC) if run.state == "running" else run.heartbeat or run.created)
