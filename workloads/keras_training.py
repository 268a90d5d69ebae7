"""What every workload's Keras half has in common: `model.fit` around a compiled model, told by `Settings`.

Import this module before Keras or TensorFlow: both read their environment once, while they are imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
os.environ["KERAS_BACKEND"] = "tensorflow"

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import trackside

from .layout import Layout
from .problem import Arrays, Problem, in_precision, initial_weights, sample_order, with_places
from .settings import Settings, parse_settings
from .workload import Workload

POLICIES = {
    "float32": "float32",
    "float64": "float64",
    "bf16-mixed": "mixed_bfloat16",
    "fp16-mixed": "mixed_float16",
}

Build = Callable[[Problem, Settings], keras.Model]
Pairing = tuple[str, keras.Variable, Layout]
"""PyTorch's name of a tensor, the Keras variable that holds it, and the way between the two layouts."""
Pairings = Callable[[keras.Model], Sequence[Pairing]]


class StopAfter(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends training at a given update with a last validation, wherever in an epoch it falls."""

    def __init__(self, steps: int, done: int = 0) -> None:
        super().__init__()
        self.steps = steps
        self.done = done

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.done += 1
        if self.done >= self.steps:
            self.model.stop_training = True


class MeasureValidation(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds metrics that need all outputs at once, such as an exact area under a curve, to those of a validation.

    A Keras metric sees one batch after another, and those of training as well.

    Args:
        problem: the validation inputs.
        measure: from the model's outputs for them, (validation samples, …), to metrics by name, without `val_`.
    """

    def __init__(self, problem: Problem, measure: Callable[[NDArray[Any]], Mapping[str, float]]) -> None:
        super().__init__()
        self.inputs = problem.validation_inputs
        self.measure = measure
        self.measured: Mapping[str, float] = {}

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        outputs = self.model.predict(_single(self.inputs), batch_size=len(self.inputs[0]), verbose=0)
        self.measured = self.measure(outputs)
        if logs is not None:
            logs.update(self.measured)  # for the callbacks after this one

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in self.measured.items()})  # for the history


def compile_options(settings: Settings) -> dict[str, bool]:
    """Arguments of `model.compile` that choose the execution mode."""
    return {"run_eagerly": settings.mode == "eager", "jit_compile": settings.mode == "xla"}


def load_weights(model: keras.Model, pairings: Sequence[Pairing], problem: Problem, settings: Settings) -> None:
    """Put PyTorch's weights into the variables, in Keras' layout.

    Raises:
        ValueError: a trainable variable has no initial weights, a tensor has no variable, or the shapes differ.
    """
    weights = initial_weights(problem, settings)
    paired = [name for name, _, _ in pairings]
    variables = {variable.path for _, variable, _ in pairings}
    alone = [v.path for v in model.trainable_variables if v.path not in variables]
    unused = sorted(set(weights) - set(paired))
    if alone or unused:
        raise ValueError(f"The weights do not fit: {alone} have none, {unused} are not used.")
    for name, variable, layout in pairings:
        variable.assign(layout.to_keras(weights[name]))


def batches(problem: Problem, settings: Settings, first_epoch: int = 0) -> tf.data.Dataset:
    """All batches of the run from an epoch on, one epoch after another, in the order drawn beforehand."""
    arrays = in_precision((*problem.inputs, *problem.targets), settings.precision)
    tensors = [tf.constant(array) for array in arrays]  # each (samples, …)
    order = sample_order(settings.seed, problem.samples, problem.epochs(settings))
    noise = [tf.constant(array) for array in in_precision(problem.noise(order.size), settings.precision)]
    whole = problem.steps_per_epoch(settings.batch_size) * settings.batch_size
    indices = with_places(order)[first_epoch:, :whole].reshape(-1, settings.batch_size, 2)  # (batches, B, 2)

    def gather(index: tf.Tensor) -> Any:
        taken = [tf.gather(tensor, index[:, 1]) for tensor in noise]
        taken += [tf.gather(tensor, index[:, 0]) for tensor in tensors]
        count = len(noise) + len(problem.inputs)
        return _single(taken[:count]), _single(taken[count:])

    return tf.data.Dataset.from_tensor_slices(indices).map(gather).prefetch(2)


def _single(parts: Sequence[Any]) -> Any:
    """What Keras expects: the thing itself where there is one, a tuple of several."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def prepare_process(settings: Settings) -> None:
    """Threads, devices, precision, random numbers, and float32 that means float32, as in the other framework."""
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)  # or it takes all of the memory at once
    if settings.devices > 1 and not gpus:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * settings.devices)
    keras.config.set_floatx("float64" if settings.precision == "float64" else "float32")
    keras.config.set_dtype_policy(POLICIES[settings.precision])
    keras.utils.set_random_seed(settings.seed)


def _strategy(settings: Settings) -> tf.distribute.Strategy | None:
    if settings.devices == 1:
        return None
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy(
        [device.name for device in devices[: settings.devices]],
        # NCCL, the default, needs GPUs.
        cross_device_ops=None if devices[0].device_type == "GPU" else tf.distribute.ReductionToOneDevice(),
    )


def fit(
    workload: Workload,
    problem: Problem,
    settings: Settings,
    build: Build,
    pairings: Pairings,
    *,
    make_batches: Callable[[Problem, Settings, int], tf.data.Dataset] = batches,
    validation_batch_size: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, float]:
    """Train once as told, record the run, and return the last validation.

    Args:
        workload: what is trained.
        problem: data and start.
        settings: how.
        build: makes the compiled model; `compile_options` gives the arguments for the execution mode.
        pairings: which variable holds which of the initial weights.
        make_batches: makes the training data from an epoch on.
        validation_batch_size: all of the validation data at once by default.
        callbacks: further callbacks, before the tracker.

    Returns:
        `val/loss` and the workload's metrics after the last update.
    """
    prepare_process(settings)
    strategy = _strategy(settings)
    scope: AbstractContextManager[Any] = nullcontext() if strategy is None else strategy.scope()
    with scope:
        model = build(problem, settings)
        load_weights(model, pairings(model), problem, settings)
    first_epoch = _epochs_done(settings)
    steps_per_epoch = problem.steps_per_epoch(settings.batch_size)
    following: list[keras.callbacks.Callback] = [StopAfter(settings.steps, first_epoch * steps_per_epoch)]
    if settings.checkpoints is not None:
        # First: it restores what an earlier process left before anybody counts epochs.
        callbacks = (keras.callbacks.BackupAndRestore(settings.checkpoints, delete_checkpoint=False), *callbacks)
    validation = in_precision((*problem.validation_inputs, *problem.validation_targets), settings.precision)
    count = len(problem.validation_inputs)  # of noise too, which is like any other input here
    inputs, targets = validation[:count], validation[count:]
    history = model.fit(
        make_batches(problem, settings, first_epoch),
        epochs=problem.epochs(settings),
        steps_per_epoch=steps_per_epoch,
        validation_data=(_single(inputs), _single(targets)),
        validation_batch_size=validation_batch_size or len(inputs[0]),
        callbacks=[*callbacks, tracker(workload, problem, settings), *following],
        shuffle=False,
        verbose=0,
    )
    names = {name: name.replace("/", "_") for name in ("val/loss", *workload.metrics)}
    return {name: history.history[key][-1] for name, key in names.items() if key in history.history}


def tracker(workload: Workload, problem: Problem, settings: Settings) -> trackside.KerasTracker:
    """The callback that records the run."""
    return trackside.KerasTracker(
        name=settings.name,
        project=settings.project or workload.name,
        group=settings.group,
        tags=settings.tags,
        workload=workload.name,
        config=problem.full_config(settings),
        store=settings.store,
        tensorboard=settings.tensorboard,
        resume=settings.resume and settings.name is not None,
    )


def _epochs_done(settings: Settings) -> int:
    """How many epochs the state in `checkpoints` has behind it: the data must go on from there."""
    if settings.checkpoints is None:
        return 0
    path = Path(settings.checkpoints) / "training_metadata.json"
    if not settings.resume:
        path.unlink(missing_ok=True)  # without it BackupAndRestore finds nothing to restore
        return 0
    return int(json.loads(path.read_text())["epoch"]) + 1 if path.is_file() else 0


def probe(model: keras.Model, pairings: Sequence[Pairing], problem: Problem, settings: Settings) -> Mapping[str, Any]:
    """What the network computes from its initial weights for the first batch.

    Args:
        model: a compiled model.
        pairings: which variable holds which of the initial weights.
        problem: data and start.
        settings: precision, seed and batch size count.

    Returns:
        `outputs`: of the model in training mode; `loss`: (); `gradient/<PyTorch's name>`: of each trainable tensor, in
        PyTorch's layout.
    """
    load_weights(model, pairings, problem, settings)
    inputs, targets = (_single(in_precision(arrays, settings.precision)) for arrays in problem.first_batch(settings))
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=True)
        loss = model.compute_loss(x=inputs, y=tf.nest.map_structure(tf.constant, targets), y_pred=outputs)
    variables = [variable.value for _, variable, _ in pairings]
    gradients = tape.gradient(loss, variables)
    found: dict[str, Arrays | NDArray[Any]] = {"outputs": np.asarray(outputs), "loss": np.asarray(loss)}
    for (name, _, layout), gradient in zip(pairings, gradients, strict=True):
        found[f"gradient/{name}"] = layout.to_torch(np.asarray(tf.convert_to_tensor(gradient)))
    return found


def run_script(workload: Workload, description: str | None, train: Callable[[Settings], dict[str, float]]) -> None:
    """Train as the command line says and print the last validation."""
    metrics = train(parse_settings(workload, "tensorflow", description))
    print(*(f"{name} {value:.4f}" for name, value in metrics.items()))
