"""What recording with the framework's profiler costs: steps within windows against the steps between them, in one fit.

A window of a few steps follows a few steps without, over and over, and each is compared with the steps on either side:
what drifts slower than that cancels out. The networks are those of `training_overhead`. What a window takes at its
beginning and its end is no step's time, and is given in steps. Each framework trains in a process of its own.
"""

from __future__ import annotations

import statistics
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from report import Ratio, Report, Size, Table, Target, main, milliseconds, scratch
from training_overhead import CONVOLUTIONS, FRAMEWORKS

WAIT, ACTIVE, BATCH = 8, 6, 64
WINDOWS = {"full": 40, "quick": 15, "smoke": 4}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "Lightning": {
        "profile=True": {},
        "shapes": {"shapes": True},
        "shapes, memory": {"shapes": True, "memory": True},
        "stacks": {"stacks": True},
    },
    "Keras": {"graph": {}, "eager": {}},
}

NOTE = """step: a step within a window / a step between windows, median of the windows, and in brackets its 95 %
confidence interval. start, stop, export: on the training thread once a window, in steps of the plain training."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one fit showed.

    Attributes:
        within, beside: seconds a step of each window, and of the steps on either side of it.
        once: steps that starting, stopping and exporting took, of each window.
        size: bytes of a trace, before compression.
    """

    within: list[float]
    beside: list[float]
    once: dict[str, float]
    size: float


def measure_framework(framework: str, windows: int) -> dict[str, Found]:
    """All fits of one framework. Runs in a process of its own."""
    warnings.filterwarnings("ignore")
    with scratch() as folder:
        return {variant: _measure(framework, variant, windows, folder) for variant in VARIANTS[framework]}


def _measure(framework: str, variant: str, windows: int, folder: Path) -> Found:
    from trackside import ProfileSchedule, open_store
    from trackside.runs.traces import reading

    if framework == "Keras":
        import tensorflow as tf

        tf.config.run_functions_eagerly(variant == "eager")
    schedule = ProfileSchedule(wait=WAIT, active=ACTIVE, repeat=windows, **VARIANTS[framework][variant])
    store = f"sqlite:///{folder / 'trackside.db'}"
    steps = 2 * windows * (WAIT + ACTIVE)
    fit = FRAMEWORKS[framework](CONVOLUTIONS, BATCH, folder)
    fit(steps, None, {"store": store, "name": variant, "system": False, "profile": schedule})
    with open_store(store) as opened:
        series = opened.series(variant, "step/seconds")
        seconds = dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))
        traces = reading.traces(opened, variant)
    spans = [(one.detail["first_step"], one.detail["last_step"]) for one in traces]
    # The step before a window may run under the profiler too; the one after it begins with its end.
    between = [range(last + 2, first - 1) for (_, last), (first, _) in pairwise([(0, 0), *spans, (steps, steps)])]
    medians = [statistics.median(seconds[n] for n in some if n in seconds) for some in between]
    within = [statistics.median(seconds[n] for n in range(first, last + 1)) for first, last in spans]
    plain = statistics.median(medians)
    names = ("start_seconds", "stop_seconds", "export_seconds")
    once = {name: statistics.median(one.detail["recording"][name] for one in traces) / plain for name in names}
    beside = [(before + after) / 2 for before, after in pairwise(medians)]
    return Found(within, beside, once, statistics.median(one.size_bytes for one in traces))


def measure(size: Size) -> Report:
    """Both frameworks, one after the other."""
    windows, report = WINDOWS[size], Report(name="profile_window", notes=[NOTE])
    for framework in VARIANTS:
        # Spawned: TensorFlow and PyTorch do not share a process well, and neither likes to be forked.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(measure_framework, framework, windows).result()
        rows = []
        for variant, one in found.items():
            ratio = Ratio.sure(one.within, one.beside)
            once = [f"{one.once[f'{name}_seconds']:.2f}" for name in ("start", "stop", "export")]
            plain = milliseconds(statistics.median(one.beside))
            rows.append((variant, plain, f"{ratio:.3f}", *once, f"{one.size / 1e6:.2f}"))
        headings = ("recorded", "plain step ms", "step", "start", "stop", "export", "trace MB")
        title = f"{framework}: {windows} windows of {ACTIVE} steps, {WAIT} or more between them, 1 thread"
        report.tables.append(Table(title, headings, rows))
        default = next(iter(found.values()))
        what = f"{framework}: step within a window / between windows"
        report.targets.append(Target(what, Ratio.sure(default.within, default.beside), "at most", 1.25))
    return report


if __name__ == "__main__":
    main(measure, __doc__ or "")
