"""Verdicts on what is trained: speed, ResNet-50, mixed precision, several devices, prototypes, home fields.

One function a claim, its thresholds beside it: from the evidence to the claim's parts and the rows that show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .claim_evidence import Evidence, Trained, compare_forms, device_count
from .claim_judging import (
    CONTRADICTED,
    FRAMEWORKS,
    NOT_MEASURED,
    SUPPORTED,
    UNDECIDED,
    Judged,
    Part,
    Row,
    comparison_rows,
    form_rows,
    lean,
    listed,
)

COMPLEX_STEP_SECONDS = 0.010
"""A model is complex where a step of the faster framework takes this long. Lightning's Trainer and Keras' fit take
one to two milliseconds a step of their own (measured on a perceptron): below this they are much of what is timed."""

HALF_PRECISION_LOSS = 0.05
"""Of the first loss. With eight bits of mantissa losses stay within a few percent of float32's (measured: 2e-2)."""

DEVICES_LOSS = 0.05
"""Of the first loss. Batch normalisation over half the batch moved losses by 5e-3 in both frameworks, and no more."""


def speed(evidence: Evidence) -> Judged:
    """4. Samples a second of every workload: framework against framework, and compiled against eager."""
    complex_ones = [one for one in evidence.trained if _is_complex(one)]
    pairs = [compare_forms(one, one.find("torch"), one.find("tensorflow"), RATE) for one in complex_ones]
    others = [
        compare_forms(one, one.find("torch"), one.find("tensorflow"), RATE)
        for one in evidence.trained
        if one not in complex_ones
    ]
    compiled = [
        compare_forms(one, one.find(framework, mode), one.find(framework, "eager"), RATE)
        for one in evidence.trained
        for framework, mode in (("torch", "compile"), ("tensorflow", "graph"), ("tensorflow", "xla"))
    ]
    slower, throughput = lean(pairs, "lower"), lean(compiled, "higher")
    quantities = (RATE, "step_seconds", "first_step_seconds", "seconds_to_target")
    return [
        Part(
            statement="PyTorch trains slightly slower than TensorFlow on complex models, each in its default mode",
            verdict=slower[0],
            reason=f"{slower[1]} Complex: a step takes {COMPLEX_STEP_SECONDS * 1000:.0f} ms or more in both.",
        ),
        Part(
            statement="Static graphs reach a higher throughput than eager execution of the same framework",
            verdict=throughput[0],
            reason=throughput[1],
        ),
    ], [*comparison_rows([*pairs, *others, *compiled]), *form_rows(evidence, quantities)]


RATE = "samples_per_second"


def _is_complex(trained: Trained) -> bool:
    forms = [trained.find(framework) for framework in FRAMEWORKS]
    times = [form.quantities["step_seconds"].median for form in forms if form and "step_seconds" in form.quantities]
    return bool(times) and min(times) >= COMPLEX_STEP_SECONDS


def gpu_use(evidence: Evidence) -> Judged:
    """5. ResNet-50. The claim is about GPUs: processors are shown, and decide nothing."""
    statement = "TensorFlow uses the GPU better on ResNet-50"
    rows = form_rows(evidence, (RATE, "processor_percent", "cpu_percent", "peak_memory_bytes", *GPU_QUANTITIES))
    if not evidence.trained:
        return [Part(statement=statement, verdict=NOT_MEASURED, reason="ResNet-50 was not trained.")], rows
    (trained, *_) = evidence.trained
    if not any(run.device not in (None, "cpu") for run in evidence.runs):
        reason = "There is no GPU here: this is the use of a processor, which says nothing about that of a GPU."
        return [Part(statement=statement, verdict=UNDECIDED, reason=reason)], rows
    found = [compare_forms(trained, trained.find("tensorflow"), trained.find("torch"), name) for name in GPU_QUANTITIES]
    verdict, words = lean(found[:1], "higher", fewest=1)
    return [Part(statement=statement, verdict=verdict, reason=words)], [*comparison_rows(found), *rows]


GPU_QUANTITIES = ("gpu_percent", "joules_per_sample")


def mixed(evidence: Evidence) -> Judged:
    """6. Mixed precision against float32, in each framework's default mode."""
    parts, ratios, gaps = [], [], []
    native = evidence.record.machine.get("half_precision")
    on_cpu = all(run.device in (None, "cpu") for run in evidence.runs)
    for quantity, word, better in (("peak_memory_bytes", "memory", "lower"), (RATE, "time", "higher")):
        for framework, name in FRAMEWORKS.items():
            found = [
                compare_forms(
                    one,
                    one.find(framework, precision="bf16-mixed"),
                    one.find(framework),
                    quantity,
                    frozenset({"Precision"}),
                )
                for one in evidence.trained
            ]
            ratios += found
            verdict, reason = lean(found, "lower" if better == "lower" else "higher")
            if word == "time" and on_cpu and native == [] and verdict != SUPPORTED:
                # Slower without the instructions is no finding about hardware that has them.
                verdict, reason = UNDECIDED, f"{reason} This processor has no instructions for bfloat16."
            parts.append(Part(statement=f"Mixed precision saves {word} in {name}", verdict=verdict, reason=reason))
    for one in evidence.trained:
        for framework, name in FRAMEWORKS.items():
            half, single = one.find(framework, precision="bf16-mixed"), one.find(framework)
            if half is not None and single is not None:
                gap = one.gap(single, half)
                note = (
                    ""
                    if gap <= HALF_PRECISION_LOSS
                    else f"more than the {HALF_PRECISION_LOSS:.0%} that rounding explains"
                )
                gaps.append(Row(label=f"{one.workload}, {name}", quantity=LOSS_GAP, value=gap, note=note))
    rows = form_rows(evidence, ("peak_memory_bytes", RATE))
    return parts, [*comparison_rows(ratios), *gaps, *rows]


LOSS_GAP = "final losses apart, of the first loss"


def devices(evidence: Evidence) -> Judged:
    """7. The same global batch on one device and on two."""
    failed = {
        name: [one for one in _multi(evidence.record.failed) if one.get("framework") == name] for name in FRAMEWORKS
    }
    ran = {
        name: [one.find(name, devices=2) for one in evidence.trained if one.find(name, devices=2) is not None]
        for name in FRAMEWORKS
    }
    rows, apart = [], []
    for one in evidence.trained:
        for framework, name in FRAMEWORKS.items():
            single, double = one.find(framework), one.find(framework, devices=2)
            found = compare_forms(one, double, single, RATE, DEVICES_BY_DESIGN)
            if found is not None and single is not None and double is not None:
                label = f"{one.workload}, {name}"
                note = found.words if found.outcome in ("tie", "once", "busy", "red") else ""
                count = device_count(double.runs[0])
                rows.append(Row(label=label, quantity="scaling efficiency", value=found.found.ratio / count, note=note))
                gap = one.gap(single, double)
                far = math.isfinite(gap) and gap > DEVICES_LOSS
                apart += [framework] if far else []
                rows.append(Row(label=label, quantity=LOSS_GAP, value=gap, note="another training" if far else ""))
    settings = [
        one for one in listed(evidence.record.measured.get("settings")) if one.get("purpose") != "processors only"
    ]
    counts = {name: sum(one.get("framework") == name for one in settings) for name in FRAMEWORKS}
    for setting in listed(evidence.record.measured.get("settings")):
        label = f"{FRAMEWORKS.get(str(setting.get('framework')))}, {setting.get('purpose')}"
        rows.append(
            Row(label=label, quantity="setting", value=str(setting.get("code")), note=str(setting.get("why", "")))
        )
    return [_robust(failed, ran, apart), _configuration(counts)], [*rows, *form_rows(evidence, (RATE,))]


DEVICES_BY_DESIGN = frozenset({"Number of devices", "Evaluation samples"})  # every device validates all of them


def _multi(failed: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in failed if isinstance(one.get("devices"), int) and one["devices"] > 1]


def _robust(failed: Mapping[str, Sequence[Any]], ran: Mapping[str, Sequence[Any]], apart: Sequence[str]) -> Part:
    statement = "MirroredStrategy is the more robust way to several devices"
    trouble = {name: len(failed[name]) + apart.count(name) for name in FRAMEWORKS}
    if not any(len(failed[name]) + len(ran[name]) for name in FRAMEWORKS):
        return Part(statement=statement, verdict=NOT_MEASURED, reason="Nothing was trained on two devices.")
    words = (
        f"PyTorch DDP: {len(ran['torch'])} trained, {len(failed['torch'])} failed; "
        f"MirroredStrategy: {len(ran['tensorflow'])} trained, {len(failed['tensorflow'])} failed"
    )
    words += f"; losses unlike those of one device: {len(apart)}." if apart else "; losses as on one device."
    if len(failed["torch"]) + len(ran["torch"]) != len(failed["tensorflow"]) + len(ran["tensorflow"]):
        verdict, words = UNDECIDED, f"{words} Not everything was tried in both."
    elif trouble["torch"] == trouble["tensorflow"]:
        verdict = UNDECIDED
    else:
        verdict = SUPPORTED if trouble["torch"] > trouble["tensorflow"] else CONTRADICTED
    return Part(statement=statement, verdict=verdict, reason=words)


def _configuration(counts: Mapping[str, int]) -> Part:
    statement = "DistributedDataParallel asks for more configuration"
    if not any(counts.values()):
        return Part(statement=statement, verdict=NOT_MEASURED, reason="Nothing was counted.")
    torch, tensorflow = counts["torch"], counts["tensorflow"]
    verdict = UNDECIDED if torch == tensorflow else SUPPORTED if torch > tensorflow else CONTRADICTED
    reason = f"{torch} settings in PyTorch Lightning, {tensorflow} in Keras, to train with the losses of one device."
    return Part(statement=statement, verdict=verdict, reason=reason)


def prototypes(evidence: Evidence) -> Judged:
    """8. From the start of the process, imports included, on the small workloads."""
    small = [one for one in evidence.trained if not _is_complex(one)]
    rows = [
        row for row in form_rows(evidence, START_QUANTITIES) if row.label.split(",")[0] in {s.workload for s in small}
    ]
    parts, ratios = [], []
    for quantity, words in zip(START_QUANTITIES, ("the first step", "a hundred steps", "the target"), strict=True):
        found = [compare_forms(one, one.find("torch"), one.find("tensorflow"), quantity) for one in small]
        ratios += found
        verdict, reason = lean(found, "lower")
        parts.append(Part(statement=f"PyTorch is sooner at {words} on small models", verdict=verdict, reason=reason))
    return parts, [*comparison_rows(ratios), *rows]


START_QUANTITIES = ("seconds_to_first_step", "seconds_to_100_steps", "seconds_to_target")

HOME = {
    "torch": ("digits-cnn", "resnet50", "yolo", "gan", "lstm", "gru", "gpt"),
    "tensorflow": ("recommender", "fraud", "tabular"),
}
"""Whose field each workload is said to be."""

QUALITY = "val/loss"


def fields(evidence: Evidence) -> Judged:
    """10. Final quality of every workload in both: does either fail, or end worse than the repeats explain?"""
    parts, rows = [], []
    for framework, names in HOME.items():
        other = next(name for name in FRAMEWORKS if name != framework)
        own = [one for one in evidence.trained if one.workload in names]
        found = [compare_forms(one, one.find(framework), one.find(other), QUALITY) for one in own]
        verdict, words = lean(found, "lower")
        failures = {
            name: sum(one.get("workload") in names and one.get("framework") == name for one in evidence.record.failed)
            for name in FRAMEWORKS
        }
        if failures[framework] != failures[other]:
            verdict = SUPPORTED if failures[other] > failures[framework] and verdict != CONTRADICTED else CONTRADICTED
            words += (
                f" {failures[framework]} trainings failed in {FRAMEWORKS[framework]}, {failures[other]} in the other."
            )
        statement = f"{FRAMEWORKS[framework]} ends better on its home fields ({', '.join(names)})"
        parts.append(Part(statement=statement, verdict=verdict, reason=words))
        rows += comparison_rows(found)
    metrics = sorted(
        {name for one in evidence.trained for form in one.forms for name in form.quantities if name.startswith("val/")}
    )
    return parts, [*rows, *form_rows(evidence, metrics)]
