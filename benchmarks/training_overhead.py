"""What the trackers add to real trainings with steps of about 10 ms: `Trainer.fit` and Keras' `model.fit`.

A percent of such a step is 100 µs, and two fits in a row differ by more than that. So the tracker is turned on and off
within one fit, a block of about a second each, and each block with it is compared with the blocks without on either
side: what drifts slower than that cancels out. Off means that nothing of it is left: not its callback in the trainer's
list, not its training function in Keras' model, not its threads, which wait until it is on again. (They come by half as
often on the clock, and so as often as always while the tracker is on.)

Timed is the distance between the same point of two steps: what happens between steps counts, background threads
included. What is paid once a fit, before the first and after the last step, is told apart.

Two fits of the same differ by a percent or two in how they lie in memory and in how a graph was laid out, which no
number of blocks within one fit averages away. So each is repeated in several processes, and what is reported is the
mean over these with the confidence interval that their scatter gives.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from report import Ratio, Report, Size, Table, Target, main, milliseconds, scratch

STEP_SECONDS = 0.010
# What the tracker does in the first second (git, the machine, the first commit) is paid once a fit, not a step.
WARM_UP_BLOCKS = 4
PIXELS, HIDDEN, CLASSES = 28, 512, 10

# Arguments of the tracker.
VARIANTS: dict[str, dict[str, Any]] = {"defaults": {}, "gradient_norm=True": {"gradient_norm": True}}
CONVOLUTIONS, PERCEPTRON = "convolutions", "perceptron"

NOTE = """wall, process: seconds a step with the tracker / without any callback, by the clock and of processor time;
mean over the fits (of each the median of its blocks), and in brackets its 95 % confidence interval. Processor time
holds the background threads', which slow training down only as far as they have no core to themselves or hold the
interpreter. The gradient norm is a pass over all gradients: in the perceptron (670,000 parameters) it is bound by
memory, in the network of convolutions (17,000) by the number of tensors."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: processes, each with a fit; blocks with the tracker a fit; steps a block."""

    processes: int
    blocks: int
    steps: int


PLANS = {
    "full": Plan(processes=8, blocks=10, steps=100),
    "quick": Plan(processes=3, blocks=5, steps=100),
    "smoke": Plan(processes=1, blocks=1, steps=3),
}


class Switch:
    """Turns the tracker on and off every so many steps, and reads the clocks at every step.

    Args:
        steps: steps of a block; the first is with the tracker, the last without.
        last: the last step, when the tracker is turned on for the end of the fit.
        turn: turns the tracker on or off.
    """

    def __init__(self, steps: int, last: int, turn: Callable[[bool], None]) -> None:
        self.steps = steps
        self.last = last
        self.turn = turn
        self.wall: list[float] = []
        self.process: list[float] = []

    def stamp(self) -> None:
        """Between two steps, or at the same point of each."""
        self.wall.append(time.perf_counter())
        self.process.append(time.process_time())
        block, rest = divmod(len(self.wall), self.steps)
        if rest == 0:
            self.turn(block % 2 == 0 or len(self.wall) == self.last)

    def blocks(self, clock: list[float]) -> list[float]:
        """Seconds a step of each block, in order: one with the tracker, one without, and so on."""
        edges = clock[self.steps - 1 :: self.steps]
        return [0.0, *((after - before) / self.steps for before, after in pairwise(edges))]


@dataclass(slots=True)
class Threads:
    """The tracker's threads, which wait while it is off."""

    on: threading.Event = field(default_factory=threading.Event)
    caught: bool = False

    def turn(self, session: Any, on: bool) -> None:
        """Let them go on, or wait after what they are doing."""
        if not self.caught:
            self.caught = True
            writer, sampler = session.run._writer, session._sampler
            writer._wake = Gated(writer._wake, self.on)
            sampler._stop = Gated(sampler._stop, self.on)
        self.on.set() if on else self.on.clear()


@dataclass(frozen=True, slots=True)
class Gated:
    """An event whose `wait` also waits until a gate is open."""

    event: threading.Event
    gate: threading.Event

    def wait(self, timeout: float | None = None) -> bool:
        self.event.wait(timeout)
        self.gate.wait()
        return self.event.is_set()

    def set(self) -> None:
        self.event.set()
        self.gate.set()  # whoever is told to end must be able to

    def clear(self) -> None:
        self.event.clear()

    def is_set(self) -> bool:
        return self.event.is_set()


Fit = Callable[[int, "int | None", "dict[str, Any] | None"], Switch]
"""Trains for a number of steps, with the tracker turned on and off in blocks of a length (None: always on), and with
these arguments (None: without any callback)."""


def images(batch: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(8 * batch, PIXELS, PIXELS) float32 and (8 * batch,) int64."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((8 * batch, PIXELS, PIXELS), dtype=np.float32)
    return inputs, rng.integers(0, CLASSES, 8 * batch)


# ---- Lightning -------------------------------------------------------------------------------------------------------


def lightning_fit(model: str, batch: int, folder: Path) -> Fit:
    """A network in Lightning, fed by a DataLoader."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    from trackside import LightningTracker

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("lightning")]:
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    inputs, labels = images(batch)
    data = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(labels))

    def layers() -> Any:
        if model == PERCEPTRON:
            hidden = [nn.Linear(PIXELS**2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
            return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(HIDDEN, CLASSES))
        stages: list[Any] = []
        for before, after in ((1, 16), (16, 32), (32, 32)):
            stages += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(nn.Unflatten(1, (1, PIXELS)), *stages, nn.Flatten(), nn.Linear(288, CLASSES))

    class Network(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers()
            self.switch: Switch

        def training_step(self, step: Any, batch_index: int) -> Any:
            x, y = step
            logits = self.layers(x)
            loss = functional.cross_entropy(logits, y)
            self.log("train_accuracy", (logits.argmax(1) == y).float().mean(), on_step=True, on_epoch=False)
            return loss

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.switch.stamp()  # Lightning calls the callbacks before

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    def fit(steps: int, block: int | None, arguments: dict[str, Any] | None) -> Switch:
        torch.manual_seed(0)
        tracker = LightningTracker(**arguments) if arguments is not None else None
        trainer = Trainer(
            max_steps=steps,
            accelerator="cpu",
            callbacks=[tracker] if tracker is not None else None,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        every, threads = list(trainer.callbacks), Threads()

        def turn(on: bool) -> None:
            trainer.callbacks[:] = every if on else [callback for callback in every if callback is not tracker]
            threads.turn(tracker._session, on)

        network = Network()
        network.switch = Switch(block or steps + 1, steps, turn)
        trainer.fit(network, DataLoader(data, batch_size=batch, shuffle=True))
        return network.switch

    return fit


# ---- Keras -----------------------------------------------------------------------------------------------------------


def keras_fit(model: str, batch: int, folder: Path) -> Fit:
    """The same in Keras on TensorFlow, compiled as `compile` does it by default."""
    import keras
    import tensorflow as tf

    from trackside import KerasTracker
    from trackside.trackers.keras_errors import callback_list

    inputs, labels = images(batch)
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).shuffle(len(inputs), seed=0).batch(batch).repeat()

    def layers() -> list[Any]:
        if model == PERCEPTRON:
            return [keras.layers.Flatten(), *(keras.layers.Dense(HIDDEN, activation="relu") for _ in range(2))]
        stages: list[Any] = [keras.layers.Reshape((PIXELS, PIXELS, 1))]
        for width in (16, 32, 32):
            stages += [keras.layers.Conv2D(width, 3, padding="same"), keras.layers.BatchNormalization()]
            stages += [keras.layers.ReLU(), keras.layers.MaxPooling2D()]
        return [*stages, keras.layers.Flatten()]

    class Between(keras.callbacks.Callback):  # type: ignore[misc]
        """Stamps each step at its beginning. Without a hook at its end, Keras treats it like no callback at all."""

        switch: Switch

        def __init__(self, tracker: KerasTracker | None) -> None:
            super().__init__()
            self.tracker = tracker
            self.threads = Threads()

        def on_train_begin(self, logs: Any = None) -> None:
            self.list = callback_list()
            self.plain = vars(self.model)["train_function"]
            self.apart = self.list._async_train

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.switch.stamp()

        def turn(self, on: bool) -> None:
            """Swap the list of callbacks, what the tracker has put on it, and the training function."""
            own = vars(self.list)
            if not on:
                self.function = vars(self.model)["train_function"]
                self.hooks = {name: own[name] for name in list(own) if name.startswith("on_")}
                self.every = self.list.callbacks
            vars(self.model)["train_function"] = self.function if on else self.plain
            # Without callbacks Keras takes the end of a step to another thread.
            own["_async_train"] = self.apart if on else True
            own["_executor"] = own["_executor"] or ThreadPoolExecutor()
            for name in self.hooks:
                own.pop(name, None)
            own.update(self.hooks if on else {})
            own["callbacks"] = self.every if on else [one for one in self.every if one is not self.tracker]
            self.threads.turn(self.tracker._fit.session, on)

    def fit(steps: int, block: int | None, arguments: dict[str, Any] | None) -> Switch:
        keras.utils.set_random_seed(0)
        network = keras.Sequential([keras.Input((PIXELS, PIXELS)), *layers(), keras.layers.Dense(CLASSES)])
        network.compile(
            optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        tracker = KerasTracker(**arguments) if arguments is not None else None
        between = Between(tracker)
        between.switch = Switch(block or steps + 1, steps, between.turn)
        callbacks = [between] if tracker is None else [tracker, between]
        network.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=callbacks)
        return between.switch

    return fit


FRAMEWORKS: dict[str, Callable[[str, int, Path], Fit]] = {"Lightning": lightning_fit, "Keras": keras_fit}


# ---- Measuring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What one fit showed.

    Attributes:
        model, variant: what was trained, and how it was tracked.
        batch: samples of a batch.
        wall, process: seconds a step of each block, by the wall clock and of processor time: with the tracker, without,
            with, …
        around: seconds that a short fit took longer with the tracker.
    """

    model: str
    variant: str
    batch: int
    wall: list[float]
    process: list[float]
    around: float


def measure_framework(framework: str, plan: Plan) -> list[Found]:
    """One fit of each kind in a framework. Runs in a process of its own."""
    warnings.filterwarnings("ignore")
    from trackside.runs import writer

    writer.INTERVAL_SECONDS *= 2  # the tracker is off half of the time
    writer.HEARTBEAT_SECONDS *= 2
    with scratch() as folder:
        return [
            found for model in (CONVOLUTIONS, PERCEPTRON) for found in _measure_model(framework, model, plan, folder)
        ]


def _measure_model(framework: str, model: str, plan: Plan, folder: Path) -> list[Found]:
    make, batch = FRAMEWORKS[framework], 8
    if plan.steps > 20:  # the first fit warms the process up; the second says how large a batch takes 10 ms
        batch = 64
        make(model, batch, folder)(60, None, None)
        durations = np.diff(make(model, batch, folder)(120, None, None).wall)
        batch = max(8, round(batch * STEP_SECONDS / statistics.median(durations[20:])))
    fit, found = make(model, batch, folder), []
    for variant in VARIANTS:
        name = f"{model} {variant}"
        arguments = {**VARIANTS[variant], "store": f"sqlite:///{folder / 'trackside.db'}", "name": name, "system": 2.0}
        for _ in range(2):  # the first loads what the second finds loaded
            around = _around(fit, {**arguments, "name": "short"}) - _around(fit, None)
        steps = (WARM_UP_BLOCKS + 2 * plan.blocks) * plan.steps
        switch = fit(steps, plan.steps, arguments)
        _all_there(framework, name, steps, folder)
        wall, process = switch.blocks(switch.wall), switch.blocks(switch.process)
        found.append(Found(model, variant, batch, wall, process, around))
    return found


def _around(fit: Fit, arguments: dict[str, Any] | None) -> float:
    began = time.perf_counter()
    fit(20, None, arguments)
    return time.perf_counter() - began


def _all_there(framework: str, name: str, steps: int, folder: Path) -> None:
    """Raises: RuntimeError, if a tracker was fast because it recorded nothing."""
    from trackside import open_store

    with open_store(f"sqlite:///{folder / 'trackside.db'}") as store:
        found = len(store.series(name, "train/loss"))
    if found < 0.48 * steps:
        raise RuntimeError(f"The tracker ({framework}, {name}) recorded {found} losses of {steps} steps.")


def measure(size: Size) -> Report:
    """Both frameworks, one after the other."""
    plan, report = PLANS[size], Report(name="training_overhead")
    for framework in FRAMEWORKS:
        fits: list[Found] = []
        for _ in range(plan.processes):
            # Spawned: TensorFlow and PyTorch do not share a process well, and neither likes to be forked.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                fits += pool.submit(measure_framework, framework, plan).result()
        _add(framework, fits, plan, report)
    report.notes.append(NOTE)
    return report


def beside(blocks: list[float]) -> tuple[list[float], list[float]]:
    """Each block with the tracker, and the mean of the two beside it without."""
    tracked = range(WARM_UP_BLOCKS, len(blocks) - 1, 2)
    return [blocks[b] for b in tracked], [(blocks[b - 1] + blocks[b + 1]) / 2 for b in tracked]


def _add(framework: str, fits: list[Found], plan: Plan, report: Report) -> None:
    kinds: dict[tuple[str, str], list[Found]] = {}
    for fit in fits:
        kinds.setdefault((fit.model, fit.variant), []).append(fit)
    rows = []
    for (model, variant), alike in kinds.items():
        pairs = [beside(fit.wall) for fit in alike]
        wall = Ratio.mean([_ratio(*pair) for pair in pairs])
        process = Ratio.mean([_ratio(*beside(fit.process)) for fit in alike])
        more = [statistics.median(a - b for a, b in zip(*pair, strict=True)) for pair in pairs]
        rows.append(
            (
                f"{model}, {variant}",
                str(round(statistics.median(fit.batch for fit in alike))),
                milliseconds(statistics.median(seconds for _, plain in pairs for seconds in plain)),
                f"{statistics.fmean(more) * 1e6:+,.0f}",
                f"{wall:.4f}",
                f"{process:.4f}",
                f"{statistics.median(fit.around for fit in alike) * 1e3:+,.0f}",
            )
        )
        what = f"{framework}, {model}, {variant}: step with tracker / without any callback"
        report.targets.append(Target(what, wall, "at most", 1.01))
    headings = ("network, tracker", "batch", "plain step ms", "more µs", "wall", "process", "once a fit ms")
    title = (
        f"{framework}: {plan.processes} fits a row, each in a process of its own, with {plan.blocks} blocks of "
        f"{plan.steps} steps with the tracker, 1 thread"
    )
    report.tables.append(Table(title, headings, rows))


def _ratio(tracked: list[float], plain: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(tracked, plain, strict=True))


if __name__ == "__main__":
    main(measure, __doc__ or "")
