"""From a session's record to what the verdicts are made of: forms of trainings with their quantities, compared.

Four things keep a comparison from naming a winner: the parity card of the two is red; a form was run only once; the
medians are no further apart than the repeats of either; or, where times are compared, the machine was busy when one of
the runs began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..db.records import RunInfo
from .claim_records import ClaimRecord
from .parity import check_parity
from .repeats import Contrast, Form, Spread, contrast, repeats

if TYPE_CHECKING:
    from ..db.store import Store

Outcome = Literal["higher", "lower", "tie", "once", "busy", "red"]

TIMES = frozenset(
    {
        "samples_per_second",
        "step_seconds",
        "first_step_seconds",
        "seconds_to_first_step",
        "seconds_to_100_steps",
        "seconds_to_target",
        "processor_percent",
        "cpu_percent",
        "gpu_percent",
        "joules_per_sample",
    }
)
"""Quantities that another program on the machine changes. Memory and losses are nobody else's."""

TARGET = "val/loss"
"""Read for the time to a target: the worst value that any of the trainings of a workload ended with."""

LOSS_POINTS = 10
"""Losses at the end over which a mean is taken, where the losses of two trainings are compared."""

NO_DESIGN: frozenset[str] = frozenset()


SMALLEST: Mapping[str, float] = {"peak_memory_bytes": 0.02}
"""Relative differences below these are ties, however close the repeats: small networks moved the memory of a process of
500 MB by up to 10 MB from one run to the next, and two repeats may agree by luck."""


def _no_differences(one: Form, other: Form) -> tuple[str, ...]:
    return ()


def _no_gap(one: Form, other: Form) -> float:
    return math.nan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What was trained of one workload for a claim.

    Attributes:
        workload: its name.
        forms: repeats of each form together, the quantities of `repeats.UNITS` with those that claims add.
        differences: names of the red checks on the parity card of two forms.
        gap: how far the losses of two forms are apart in the end, as a share of the loss they began with; the largest
            of the seeds that both have, NaN where they have none.
    """

    workload: str
    forms: tuple[Form, ...]
    differences: Callable[[Form, Form], tuple[str, ...]] = _no_differences
    gap: Callable[[Form, Form], float] = _no_gap

    def find(
        self, framework: str, mode: str | None = None, *, precision: str = "float32", devices: int = 1
    ) -> Form | None:
        """The form with these properties, of several the one with the most updates; mode None: the default one."""
        wanted = mode or DEFAULT_MODES.get(framework)
        fitting = [
            form
            for form in self.forms
            if form.runs[0].framework == framework
            and form.runs[0].mode == wanted
            and form.runs[0].precision == precision
            and device_count(form.runs[0]) == devices
            and form.runs[0].config.get("batch_size") == self.usual_batch_size
        ]
        return max(fitting, key=lambda form: form.runs[0].total_steps or 0, default=None)

    @property
    def usual_batch_size(self) -> Any:
        """The smallest that was trained with: larger ones are a claim's own variation."""
        sizes = [form.runs[0].config.get("batch_size") for form in self.forms]
        return min((size for size in sizes if size is not None), default=None)


DEFAULT_MODES: Mapping[str, str] = {"torch": "eager", "tensorflow": "graph"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One quantity of two forms of a workload.

    Attributes:
        workload: its name.
        one, other: labels.
        found: the numbers.
        outcome: of `one` against `other`; `once`: a form was run once only; `busy`: the machine had more to do than
            it has cores; `red`: not the same experiment.
        red: the checks that are red.
    """

    workload: str
    one: str
    other: str
    found: Contrast
    outcome: Outcome
    red: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """For a table: the ratio, and whether it decides anything."""
        ratio = f"{self.found.ratio:.3g} times" if math.isfinite(self.found.ratio) else "no ratio"
        if self.outcome == "red":
            return f"{ratio}, but not the same experiment: {', '.join(self.red).lower()}"
        words = {"tie": ": a tie", "once": ", run only once", "busy": ", on a busy machine"}
        return f"{ratio}{words.get(self.outcome, '')}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """All that bears on one claim: its record, and the trainings by workload."""

    record: ClaimRecord
    trained: tuple[Trained, ...] = ()
    runs: tuple[RunInfo, ...] = field(default=())


def compare_forms(
    trained: Trained, one: Form | None, other: Form | None, quantity: str, by_design: frozenset[str] = NO_DESIGN
) -> Comparison | None:
    """Compare a quantity of two forms; None where one is missing or lacks it.

    Args:
        trained: the workload's trainings.
        one: a form.
        other: another.
        quantity: its name.
        by_design: checks of the parity card that may be red, for what they compare is what the claim varies.
    """
    if one is None or other is None:
        return None
    found = contrast(one, other, quantity)
    if found is None:
        return None
    red = tuple(name for name in trained.differences(one, other) if name not in by_design)
    outcome: Outcome
    if red:
        outcome = "red"
    elif found.tie is None:
        outcome = "once"
    elif quantity in TIMES and any(map(was_busy, (*one.runs, *other.runs))):
        outcome = "busy"
    elif found.tie or found.ratio == 1 or abs(found.ratio - 1) < SMALLEST.get(quantity, 0.0):
        outcome = "tie"
    else:
        outcome = "higher" if one.quantities[quantity].median > other.quantities[quantity].median else "lower"
    labels = [form_label(form.runs[0]) for form in (one, other)]
    return Comparison(workload=trained.workload, one=labels[0], other=labels[1], found=found, outcome=outcome, red=red)


def was_busy(run: RunInfo) -> bool:
    """Whether more was running than there are cores when the run began, as the parity card counts it."""
    loads, cores = run.environment.get("load_average"), run.environment.get("cpu_count")
    if not isinstance(loads, list) or not loads or not isinstance(cores, int):
        return False
    return isinstance(loads[0], int | float) and loads[0] > cores


def form_label(run: RunInfo) -> str:
    """`PyTorch eager`, `TensorFlow graph bf16-mixed`, `PyTorch eager 2 devices`."""
    name = {"torch": "PyTorch", "tensorflow": "TensorFlow"}.get(run.framework or "", run.framework or run.name)
    devices = device_count(run)
    parts = [name, run.mode, None if run.precision in (None, "float32") else run.precision]
    return " ".join([*filter(None, parts), *([f"{devices} devices"] if devices > 1 else [])])


def device_count(run: RunInfo) -> int:
    """Devices that shared each batch, whether a process drove each or one all of them."""
    return max(run.device_count, run.world_size)


def gather(store: Store, record: ClaimRecord) -> Evidence:
    """Read the trainings of a record, with everything the rules ask for."""
    known = {run.id: run for run in store.runs(ids=record.run_ids)} if record.run_ids else {}
    runs = tuple(known[run_id] for run_id in record.run_ids if run_id in known and known[run_id].state == "finished")
    by_workload: dict[str, list[RunInfo]] = {}
    for run in runs:
        by_workload.setdefault(run.workload or run.name, []).append(run)
    return Evidence(
        record=record,
        trained=tuple(_trained(store, name, some) for name, some in sorted(by_workload.items())),
        runs=runs,
    )


def _trained(store: Store, workload: str, runs: Sequence[RunInfo]) -> Trained:
    forms = repeats(store, runs)
    targets = _seconds_to_target(store, runs)
    gpus = _gpu_use(store, runs)
    wider = tuple(replace(form, quantities={**form.quantities, **_added(form, targets, gpus)}) for form in forms)

    @cache
    def differences(one: Form, other: Form) -> tuple[str, ...]:
        pair = _same_seed(one, other)
        checks = () if pair is None else check_parity(store, pair[0]).checks
        return tuple(check.name for check in checks if check.verdict == "red")

    @cache
    def gap(one: Form, other: Form) -> float:
        pairs = _same_seed(one, other) or []
        return max((_loss_gap(store, *pair) for pair in pairs), default=math.nan)

    return Trained(workload=workload, forms=wider, differences=differences, gap=gap)


def _same_seed(one: Form, other: Form) -> list[tuple[RunInfo, RunInfo]] | None:
    """Pairs of runs of the same seed; None where there is none."""
    by_seed = {run.config.get("seed"): run for run in other.runs}
    pairs = [(run, by_seed[run.config.get("seed")]) for run in one.runs if run.config.get("seed") in by_seed]
    return pairs or None


def _loss_gap(store: Store, one: RunInfo, other: RunInfo) -> float:
    losses = [store.series(run, "train/loss").values for run in (one, other)]
    if not all(map(len, losses)) or not losses[0][0]:
        return math.nan
    ends = [float(np.mean(values[-LOSS_POINTS:])) for values in losses]
    # Of the first loss: one that has come close to nothing would make a small difference look large.
    return abs(ends[0] - ends[1]) / abs(float(losses[0][0]))


def _added(form: Form, targets: Mapping[str, float], gpus: Mapping[str, Mapping[str, float]]) -> dict[str, Spread]:
    """Quantities that claims add to those of `repeats`: over the runs that have them."""
    values = {
        "seconds_to_target": [targets[run.id] for run in form.runs if run.id in targets],
        "processor_percent": [share for run in form.runs if (share := processor_percent(run)) is not None],
        **{
            name: [gpus[run.id][name] for run in form.runs if name in gpus.get(run.id, {})]
            for name in ("gpu_percent", "joules_per_sample")
        },
    }
    return {name: Spread(values=np.array(some, np.float64)) for name, some in values.items() if some}


def _gpu_use(store: Store, runs: Sequence[RunInfo]) -> dict[str, dict[str, float]]:
    """Mean utilisation of the GPUs, and energy per training sample, by run id; nothing where there is no GPU."""
    found: dict[str, dict[str, list[float]]] = {}
    for info in store.series_infos([run.id for run in runs if run.device not in (None, "cpu")]):
        if info.name.startswith("gpu") and info.name.endswith("/utilization_percent"):
            found.setdefault(info.run_id, {}).setdefault("gpu_percent", []).append(info.mean)
        elif info.name.startswith("gpu") and info.name.endswith("/energy_joules"):
            found.setdefault(info.run_id, {}).setdefault("joules", []).append(info.last)
    use: dict[str, dict[str, float]] = {}
    for run in runs:
        read = found.get(run.id, {})
        samples = (run.total_steps or 0) * (run.config.get("batch_size") or 0)
        percent, joules = read.get("gpu_percent", []), read.get("joules", [])
        use[run.id] = {"gpu_percent": float(np.mean(percent))} if percent else {}
        if joules and samples:
            use[run.id]["joules_per_sample"] = sum(joules) / samples
    return use


def processor_percent(run: RunInfo) -> float | None:
    """How much of all cores the process kept busy, from its start to its end; None where it was not recorded."""
    environment = run.environment
    used, began, cores = (environment.get(key) for key in ("processor_seconds", "process_started", "cpu_count"))
    numbers = [value for value in (used, began, cores) if isinstance(value, int | float)]
    if len(numbers) < 3 or run.ended is None or not numbers[2]:
        return None
    seconds = run.ended.timestamp() - numbers[1]
    return 100 * numbers[0] / (seconds * numbers[2]) if seconds > 0 else None


def _seconds_to_target(store: Store, runs: Iterable[RunInfo]) -> dict[str, float]:
    """From the start of the process until `TARGET` was first as good as the worst of the trainings ended, by run id.

    Only trainings with the usual number of updates take part: a shorter one, made to time steps, has another target.
    """
    longest: dict[str | None, int] = {}
    for run in runs:
        longest[run.framework] = max(longest.get(run.framework, 0), run.total_steps or 0)
    whole = [run for run in runs if (run.total_steps or 0) == longest[run.framework]]
    having = {info.run_id for info in store.series_infos([run.id for run in whole], [TARGET]) if info.rank == 0}
    series = {run.id: store.series(run, TARGET) for run in whole if run.id in having}
    ends = [float(one.values[-1]) for one in series.values() if len(one)]
    if len(ends) < 2 or not all(map(math.isfinite, ends)):
        return {}
    target, found = max(ends), {}
    for run in whole:
        began = run.environment.get("process_started")
        if run.id in series and isinstance(began, int | float):
            reached = np.flatnonzero(series[run.id].values <= target)
            if len(reached):
                found[run.id] = float(series[run.id].times[reached[0]]) - began
    return found
