"""What the trackers add to real trainings with steps of about 10 ms: `Trainer.fit` and Keras' `model.fit`.

Each framework trains in a process of its own, all of its fits in that one process: a fresh process a fit would add
seconds of imports and another layout of memory to either side, and pairing would cancel neither. A fit with the tracker
is paired with one without any callback beside it, which of the two comes first changing every time, so that drift
falls on both. Every fit makes its model, its trainer and its run anew.

Timed is the whole distance from the start of one step to the start of a much later one, seen from within the model and
alike with and without the tracker: what happens between steps counts, background threads included. Three clocks tell
where a difference lies: the wall's; that of the training thread's own processor time, which other programs on the
machine disturb little; and that of the whole process, background threads included. What is paid once a fit, before the
first and after the last step, is told apart.
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from report import Ratio, Report, Size, Table, Target, main, milliseconds, scratch

STEP_SECONDS = 0.010
# What the tracker does in the first second (git, the machine, the first commit) is paid once a fit, not a step.
WARM_UP = 120
FEATURES, HIDDEN, CLASSES = 784, 512, 10

# Arguments of the tracker; None is a fit without any callback.
VARIANTS: dict[str, dict[str, Any]] = {
    "everything": {"gradient_norm": True},
    "defaults": {},
    "system=False": {"system": False},
    "everything and tensorboard=": {"gradient_norm": True, "tensorboard": "events"},
}
EVERYTHING = "everything"

NOTE = """wall, process: seconds a step with the tracker / without any callback, by the clock and of processor time;
median and middle half of the pairs. Processor time holds the background threads', which slow training down only as
far as they have no core to themselves or hold the interpreter. training thread µs: what its own processor time grew
by, a step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: pairs of fits a variant, timed steps of a fit, and which variants."""

    pairs: int
    steps: int
    variants: tuple[str, ...]


PLANS = {
    "full": Plan(pairs=6, steps=600, variants=tuple(VARIANTS)),
    "quick": Plan(pairs=3, steps=300, variants=("everything", "defaults")),
    "smoke": Plan(pairs=1, steps=5, variants=("everything",)),
}


@dataclass(slots=True)
class Stamps:
    """Clocks read at the start of every step."""

    wall: list[float] = field(default_factory=list)
    thread: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)

    def stamp(self) -> None:
        """A step begins."""
        self.wall.append(time.perf_counter())
        self.thread.append(time.thread_time())
        self.process.append(time.process_time())


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one fit.

    Attributes:
        wall, thread, process: of a step, on the average over all after the warm-up.
        around: of everything before the first and after the last step, by the wall clock.
    """

    wall: float
    thread: float
    process: float
    around: float


Fit = Callable[[Stamps, int, "dict[str, Any] | None"], None]
"""Trains for a number of steps, stamping each; the arguments of a tracker, or None for no callback."""


def cost(fit: Fit, steps: int, arguments: dict[str, Any] | None) -> Cost:
    """One fit, measured."""
    stamps = Stamps()
    began = time.perf_counter()
    fit(stamps, WARM_UP + steps, arguments)
    ended = time.perf_counter()
    wall, thread, process = (
        (clock[-1] - clock[WARM_UP - 1]) / (len(clock) - WARM_UP)
        for clock in (stamps.wall, stamps.thread, stamps.process)
    )
    # The last step lies after the last stamp.
    around = (stamps.wall[0] - began) + (ended - stamps.wall[-1]) - wall
    return Cost(wall, thread, process, around)


def images(batch: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(8 * batch, FEATURES) float32 and (8 * batch,) int64."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((8 * batch, FEATURES), dtype=np.float32)
    return inputs, rng.integers(0, CLASSES, 8 * batch)


# ---- Lightning -------------------------------------------------------------------------------------------------------


def lightning_fit(batch: int, folder: Path) -> Fit:
    """A multilayer perceptron in Lightning, fed by a DataLoader."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    from trackside import LightningTracker

    torch.set_num_threads(1)
    inputs, labels = images(batch)
    data = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(labels))

    class Perceptron(LightningModule):  # type: ignore[misc]
        def __init__(self, stamps: Stamps) -> None:
            super().__init__()
            sizes = (FEATURES, HIDDEN, HIDDEN, CLASSES)
            layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
            self.layers = torch.nn.ModuleList(layers)
            self.stamps = stamps

        def training_step(self, step: Any, batch_index: int) -> Any:
            self.stamps.stamp()
            x, y = step
            for layer in self.layers[:-1]:
                x = functional.relu(layer(x))
            logits = self.layers[-1](x)
            loss = functional.cross_entropy(logits, y)
            self.log("train_accuracy", (logits.argmax(1) == y).float().mean(), on_step=True, on_epoch=False)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    def fit(stamps: Stamps, steps: int, arguments: dict[str, Any] | None) -> None:
        torch.manual_seed(0)
        trainer = Trainer(
            max_steps=steps,
            accelerator="cpu",
            callbacks=[LightningTracker(**arguments)] if arguments is not None else None,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(Perceptron(stamps), DataLoader(data, batch_size=batch, shuffle=True))

    return fit


# ---- Keras -----------------------------------------------------------------------------------------------------------


def keras_fit(batch: int, folder: Path) -> Fit:
    """The same perceptron in Keras on TensorFlow, compiled as `compile` does it by default."""
    import keras
    import tensorflow as tf

    from trackside import KerasTracker

    inputs, labels = images(batch)
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).shuffle(len(inputs), seed=0).batch(batch).repeat()

    class Perceptron(keras.Sequential):  # type: ignore[misc]
        stamps: Stamps
        train_function: Any

        def make_train_function(self, force: bool = False) -> None:
            """Stamp each execution, whoever asked for the function."""
            before = self.train_function
            super().make_train_function(force)
            if self.train_function is before:
                return
            function, stamp = self.train_function, self.stamps.stamp

            def stamped(iterator: Any) -> Any:
                stamp()
                return function(iterator)

            self.train_function = stamped

    def fit(stamps: Stamps, steps: int, arguments: dict[str, Any] | None) -> None:
        keras.utils.set_random_seed(0)
        hidden = [keras.layers.Dense(HIDDEN, activation="relu") for _ in range(2)]
        model = Perceptron([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(CLASSES)])
        object.__setattr__(model, "stamps", stamps)  # past Keras' tracking, which would wrap its lists
        model.compile(
            optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        callbacks = [KerasTracker(**arguments)] if arguments is not None else None
        model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=callbacks)

    return fit


FRAMEWORKS: dict[str, Callable[[int, Path], Fit]] = {"Lightning": lightning_fit, "Keras": keras_fit}


# ---- Measuring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What one framework's process measured: batch size, and pairs (with, without) by variant."""

    batch: int
    pairs: Mapping[str, list[tuple[Cost, Cost]]]


def measure_framework(framework: str, plan: Plan) -> Found:
    """All fits of one framework. Runs in a process of its own."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with scratch() as folder:
        make = FRAMEWORKS[framework]
        batch = 64 if plan.steps > 20 else 8
        if plan.steps > 20:  # the first fit warms the process up; the second says how large a batch takes 10 ms
            cost(make(batch, folder), 60, None)
            step = statistics.median(cost(make(batch, folder), 60, None).process for _ in range(3))
            batch = max(8, round(batch * STEP_SECONDS / step))
        fit = make(batch, folder)
        cost(fit, 20, None)
        pairs: dict[str, list[tuple[Cost, Cost]]] = {}
        for variant in plan.variants:
            cost(fit, 20, _arguments(variant, folder, -1))
            pairs[variant] = []
            for number in range(plan.pairs):
                arguments = _arguments(variant, folder, number)
                if number % 2:
                    tracked, plain = cost(fit, plan.steps, arguments), cost(fit, plan.steps, None)
                else:
                    plain, tracked = cost(fit, plan.steps, None), cost(fit, plan.steps, arguments)
                pairs[variant].append((tracked, plain))
        _all_there(folder, plan)
        return Found(batch, pairs)


def _arguments(variant: str, folder: Path, number: int) -> dict[str, Any]:
    arguments = {**VARIANTS[variant], "store": f"sqlite:///{folder / 'trackside.db'}"}
    arguments["name"] = f"{variant} {number}"
    if "tensorboard" in arguments:
        arguments["tensorboard"] = str(folder / arguments["tensorboard"])
    return arguments


def _all_there(folder: Path, plan: Plan) -> None:
    """Raises: RuntimeError, if a tracker was fast because it recorded nothing."""
    from trackside import open_store

    with open_store(f"sqlite:///{folder / 'trackside.db'}") as store:
        for variant in plan.variants:
            steps = WARM_UP + plan.steps
            wanted = len(range(0, steps, VARIANTS[variant].get("log_every", 1)))
            found = len(store.series(f"{variant} 0", "train/loss"))
            if found != wanted:
                raise RuntimeError(f"The tracker ({variant}) recorded {found} of {wanted} losses.")


def measure(size: Size) -> Report:
    """Both frameworks, one after the other."""
    plan, report = PLANS[size], Report(name="training_overhead")
    for framework in FRAMEWORKS:
        # Spawned: TensorFlow and PyTorch do not share a process well, and neither likes to be forked.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(measure_framework, framework, plan).result()
        _add(framework, found, plan, report)
    report.notes.append(NOTE)
    return report


def _add(framework: str, found: Found, plan: Plan, report: Report) -> None:
    rows = []
    for variant, pairs in found.pairs.items():
        clocks = {
            clock: Ratio.of([getattr(a, clock) for a, _ in pairs], [getattr(b, clock) for _, b in pairs])
            for clock in ("wall", "process")
        }
        # Keras computes on TensorFlow's threads: a ratio of the training thread's own time would be of little.
        added = [(tracked.thread - plain.thread, plain.process) for tracked, plain in pairs]
        rows.append(
            (
                variant,
                milliseconds(statistics.median(plain.wall for _, plain in pairs)),
                *map(str, clocks.values()),
                f"{statistics.median(extra for extra, _ in added) * 1e6:+,.0f}",
                f"{statistics.median(extra / step for extra, step in added):+.1%}",
                f"{statistics.median(a.around - b.around for a, b in pairs) * 1e3:+,.0f}",
            )
        )
        if variant == EVERYTHING:
            what = f"{framework}, {variant}: step with tracker / without any callback"
            report.targets.append(Target(what, clocks["wall"], "at most", 1.01))
    headings = (
        "tracker", "plain step ms", "wall", "process", "training thread µs", "of a step", "once a fit ms"
    )  # fmt: skip
    title = (
        f"{framework}: {plan.pairs} pairs of fits of {plan.steps} timed steps each, batches of {found.batch}, 1 thread"
    )
    report.tables.append(Table(title, headings, rows))


if __name__ == "__main__":
    main(measure, __doc__ or "")
