"""Which trainings and probes answer which claim, in the quick and in the full form. A table to read, and its expansion.

A training that several claims ask for is made once. Repeats go through all forms of a workload in turn, each time in
the opposite order, so that what drifts meanwhile falls on all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..workload import Workload
from . import features, source
from .probe import run_probe

LANGUAGE, DYNAMIC, DEBUGGING, SPEED, RESNET, MIXED, DEVICES, PROTOTYPES, DEPLOYMENT, FIELDS, COMMUNITY = range(1, 12)
MEASURED = (LANGUAGE, DYNAMIC, DEBUGGING, SPEED, RESNET, MIXED, DEVICES, PROTOTYPES, FIELDS)
"""Claims that an experiment here bears on; deployment comes later, and a community cannot be run."""

RESNET_WORKLOAD = "resnet50"
DEFAULT_MODES = (("torch", "default"), ("tensorflow", "default"))

START_SECONDS = 8.0  # of a training process before its first step, on two slow cores with nothing else running
STATED_START_SECONDS = 15.0  # the same in what workloads state of their time, which was measured on a busy machine
MODE_SECONDS = {"compile": 20.0, "xla": 10.0}  # the compiler's, on top
EAGER_FACTOR = 8.0  # how much longer a step takes in Keras' eager mode
BF16_FACTOR = 3.0  # and in bfloat16 on a processor without its instructions


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One form of one workload, trained `repeats` times.

    Attributes:
        claims: the claims it bears on.
        workload: its name.
        framework, mode, precision, devices, steps, batch_size: as in `Request`.
        repeats: how often, each with another seed.
    """

    claims: frozenset[int]
    workload: str
    framework: str
    mode: str
    precision: str = "float32"
    devices: int = 1
    batch_size: int | None = None
    steps: int
    repeats: int

    @property
    def label(self) -> str:
        """In a word or two, for the list of what failed."""
        several = f" on {self.devices} devices" if self.devices > 1 else ""
        return f"{self.workload}, {self.framework} {self.mode} {self.precision}{several}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A row of the table: what a claim asks to be trained.

    Attributes:
        claims: the claims.
        modes: by framework; "default" is the workload's own first mode.
        precisions: each is a training of its own.
        devices: numbers of devices, likewise.
        workloads: names; None for every workload of the registry.
        batch_factor: times the workload's batch size.
        timing: enough updates to time a step will do; otherwise as many as the form allows.
        full_only: left out of the quick form.
    """

    claims: tuple[int, ...]
    modes: tuple[tuple[str, str], ...] = DEFAULT_MODES
    precisions: tuple[str, ...] = ("float32",)
    devices: tuple[int, ...] = (1,)
    workloads: tuple[str, ...] | None = None
    batch_factor: int = 1
    timing: bool = True
    full_only: bool = False


OTHER_MODES = (("torch", "compile"), ("tensorflow", "eager"), ("tensorflow", "xla"))

TABLE = (
    Rule(claims=(PROTOTYPES, FIELDS), timing=False),
    Rule(claims=(SPEED,)),
    Rule(claims=(RESNET,), workloads=(RESNET_WORKLOAD,)),
    Rule(claims=(SPEED,), modes=OTHER_MODES, workloads=("gpt",)),
    Rule(claims=(SPEED,), modes=OTHER_MODES, full_only=True),
    Rule(claims=(SPEED,), batch_factor=4, full_only=True),
    Rule(claims=(MIXED,), precisions=("float32", "bf16-mixed"), workloads=("digits-cnn", "gpt")),
    Rule(claims=(MIXED,), precisions=("float32", "bf16-mixed"), full_only=True),
    Rule(claims=(DEVICES,), devices=(1, 2), workloads=("digits-cnn",)),
    Rule(claims=(DEVICES,), devices=(1, 2), full_only=True),
)

PROBES: dict[int, tuple[str, ...]] = {
    DYNAMIC: ("control_flow_torch", "control_flow_keras"),
    DEBUGGING: ("broken_torch", "broken_keras"),
}
PROBE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How large the experiments are.

    Attributes:
        name: `quick` or `full`.
        repeats: trainings of each form.
        heavy_repeats: of those whose `fewest_steps` take longer than `training_seconds` already.
        training_seconds: how long one may train, by what the workload states of its time.
        fewest_steps, most_steps: whatever that comes to, no fewer and no more updates than these.
        timing_steps: the most where only step times are wanted.
    """

    name: str
    repeats: int
    heavy_repeats: int
    training_seconds: float
    fewest_steps: int
    most_steps: int
    timing_steps: int


QUICK = Form(
    name="quick",
    repeats=2,
    heavy_repeats=1,
    training_seconds=3.3,
    fewest_steps=8,
    most_steps=110,  # a hundred updates are timed from the start of the process
    timing_steps=110,
)
FULL = Form(
    name="full",
    repeats=5,
    heavy_repeats=3,
    training_seconds=90.0,
    fewest_steps=90,
    most_steps=100_000,
    timing_steps=200,
)


def trainings(workloads: Sequence[Workload], form: Form, claims: Iterable[int]) -> list[list[Training]]:
    """What is to be trained for these claims: a list a workload, each form of it once."""
    wanted = frozenset(claims)
    return [found for workload in workloads if (found := list(_of_workload(workload, form, wanted)))]


def _of_workload(workload: Workload, form: Form, wanted: frozenset[int]) -> Iterable[Training]:
    merged: dict[Training, frozenset[int]] = {}
    for rule in TABLE:
        claims = wanted & set(rule.claims)
        outside = rule.workloads is not None and workload.name not in rule.workloads
        if not claims or outside or (rule.full_only and form.name != FULL.name):
            continue
        for one in _expand(workload, rule, *size_of(workload, form, timing=rule.timing)):
            merged[one] = merged.get(one, frozenset()) | claims
    return [replace(one, claims=claims) for one, claims in merged.items()]


def _expand(workload: Workload, rule: Rule, steps: int, repeats: int) -> Iterable[Training]:
    for framework, mode in rule.modes:
        if framework not in workload.frameworks:
            continue
        offered = workload.modes[framework]
        chosen = offered[0] if mode == "default" else mode
        for precision in rule.precisions:
            for devices in rule.devices:
                if chosen in offered and precision in workload.precisions and (devices == 1 or workload.devices):
                    yield Training(
                        claims=frozenset(),
                        workload=workload.name,
                        framework=framework,
                        mode=chosen,
                        precision=precision,
                        devices=devices,
                        batch_size=None if rule.batch_factor == 1 else rule.batch_factor * workload.batch_size,
                        steps=steps,
                        repeats=repeats,
                    )


def step_seconds(workload: Workload) -> float:
    """About what an update takes, by what the workload says of a default run of both frameworks."""
    return max((workload.seconds - 2 * STATED_START_SECONDS) / (2 * workload.steps), 0.001)


def size_of(workload: Workload, form: Form, *, timing: bool = False) -> tuple[int, int]:
    """Updates of a training, and how many times it is made."""
    affordable = int(form.training_seconds / step_seconds(workload))
    most = min(workload.steps, form.timing_steps if timing else form.most_steps)
    heavy = affordable < form.fewest_steps
    return min(max(affordable, form.fewest_steps), most), form.heavy_repeats if heavy else form.repeats


def estimate_seconds(groups: Sequence[Sequence[Training]], workloads: Sequence[Workload], probes: int) -> float:
    """About how long it all takes on two slow cores with nothing else running."""
    by_name = {workload.name: workload for workload in workloads}
    total = probes * PROBE_SECONDS
    for one in (training for group in groups for training in group):
        factor = EAGER_FACTOR if (one.framework, one.mode) == ("tensorflow", "eager") else 1.0
        factor *= BF16_FACTOR if one.precision == "bf16-mixed" else 1.0
        each = START_SECONDS + MODE_SECONDS.get(one.mode, 0.0)
        total += one.repeats * (each + factor * one.steps * step_seconds(by_name[one.workload]))
    return total


def probe_claim(claim: int, workloads: Sequence[Workload]) -> dict[str, Any]:
    """What a claim's own measurements, that are no trainings, came to; empty where it has none."""
    if claim == LANGUAGE:
        counts = [row for workload in workloads for row in source.count_workload(workload)]
        return {"sources": counts, "features": features.count_features()}
    if claim == DEVICES:
        return {"settings": [setting.to_json() for setting in DEVICE_SETTINGS]}
    found: dict[str, Any] = {}
    for module in PROBES.get(claim, ()):
        found[module] = _run(module)
    return found


_run: Callable[[str], dict[str, Any]] = run_probe


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSetting:
    """Something that had to be written so that a training shares its batches among devices.

    Attributes:
        framework: whose.
        code: as it stands in the source; a test finds it there.
        file: where.
        purpose: `to run`; `to agree` with the losses of one device; `processors only`: not needed with GPUs.
        why: in a few words.
    """

    framework: str
    code: str
    file: str
    purpose: str
    why: str

    def to_json(self) -> dict[str, str]:
        """As the record keeps it."""
        return {"framework": self.framework, "code": self.code, "purpose": self.purpose, "why": self.why}


_TORCH = {"framework": "torch", "file": "torch_training.py"}
_KERAS = {"framework": "tensorflow", "file": "keras_training.py"}
DEVICE_SETTINGS = (
    DeviceSetting(**_TORCH, code="devices=settings.devices", purpose="to run", why="how many"),
    DeviceSetting(**_TORCH, code="strategy=strategy", purpose="to run", why="a process a device"),
    DeviceSetting(
        **_TORCH,
        code="use_distributed_sampler=False",
        purpose="to agree",
        why="Lightning's own sampler shuffles the training data, also where shuffling is off",
    ),
    DeviceSetting(
        **_TORCH, code="FixedOrder(", purpose="to agree", why="a sampler that deals each batch out in stretches"
    ),
    DeviceSetting(
        **_TORCH, code="def over_all_devices", purpose="to agree", why="the loss logged is that of the whole batch"
    ),
    DeviceSetting(
        **_TORCH, code="batch_size = settings.batch_size // settings.devices", purpose="to agree", why="a share each"
    ),
    DeviceSetting(**_KERAS, code="tf.distribute.MirroredStrategy(", purpose="to run", why="which devices"),
    DeviceSetting(**_KERAS, code="strategy.scope()", purpose="to run", why="the model is built inside it"),
    DeviceSetting(
        **_KERAS,
        code="set_logical_device_configuration",
        purpose="processors only",
        why="one processor taken for several devices",
    ),
    DeviceSetting(
        **_KERAS, code="cross_device_ops=", purpose="processors only", why="the default way to add gradients needs GPUs"
    ),
)
