"""What every workload's Keras half has in common: `model.fit` around a compiled model, told by `Settings`.

Import this module before Keras or TensorFlow: both read their environment once, while they are imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
os.environ["KERAS_BACKEND"] = "tensorflow"

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import trackside

from .keras_callbacks import Checkpoint, StopAfter
from .keras_callbacks import MeasureValidation as MeasureValidation  # for the workloads
from .keras_data import batches, single, validation
from .layout import Layout
from .problem import Arrays, Problem, in_precision, initial_weights
from .settings import Settings, parse_settings
from .workload import Workload

POLICIES = {
    "float32": "float32",
    "float64": "float64",
    "bf16-mixed": "mixed_bfloat16",
    "fp16-mixed": "mixed_float16",
}

Build = Callable[[Problem, Settings], keras.Model]
Pairing = tuple[str | tuple[str, ...], keras.Variable, Layout]
"""PyTorch's name of a tensor, the Keras variable that holds it, and the way between the two layouts.

Several names where one variable holds several tensors of one shape: the layout is then that of the tensors stacked.
"""
Pairings = Callable[[keras.Model], Sequence[Pairing]]


def compile_options(settings: Settings) -> dict[str, bool]:
    """Arguments of `model.compile` that choose the execution mode."""
    return {"run_eagerly": settings.mode == "eager", "jit_compile": settings.mode == "xla"}


def load_weights(model: keras.Model, pairings: Sequence[Pairing], problem: Problem, settings: Settings) -> None:
    """Put PyTorch's weights into the variables, in Keras' layout.

    Raises:
        ValueError: a trainable variable has no initial weights, a tensor has no variable, or the shapes differ.
    """
    weights = initial_weights(problem, settings)
    paired = [name for names, _, _ in pairings for name in _several(names)]
    variables = {variable.path for _, variable, _ in pairings}
    alone = [v.path for v in model.trainable_variables if v.path not in variables]
    unused = sorted(set(weights) - set(paired))
    if alone or unused:
        raise ValueError(f"The weights do not fit: {alone} have none, {unused} are not used.")
    for names, variable, layout in pairings:
        given = [weights[name] for name in _several(names)]
        variable.assign(layout.to_keras(given[0] if len(given) == 1 else np.stack(given)))


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


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
        checkpoint = None if settings.checkpoints is None else Checkpoint(settings.checkpoints)
        first_epoch = checkpoint.restore(model) if checkpoint is not None and settings.resume else 0
    steps_per_epoch = problem.steps_per_epoch(settings.batch_size)
    recorder = tracker(workload, problem, settings)
    history = model.fit(
        batches(problem, settings, first_epoch),
        epochs=problem.epochs(settings),
        initial_epoch=first_epoch,
        steps_per_epoch=steps_per_epoch,
        **validation(problem, settings, validation_batch_size or len(problem.validation_inputs[0])),
        callbacks=[
            *callbacks,
            recorder,
            StopAfter(settings.steps, first_epoch * steps_per_epoch, recorder),
            *([] if checkpoint is None else [checkpoint]),
        ],
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
        profile=settings.schedule,
        debug=settings.debug,
        resume=settings.resume and settings.name is not None,
    )


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
    inputs, targets = (single(in_precision(arrays, settings.precision)) for arrays in problem.first_batch(settings))
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=True)
        loss = model.compute_loss(x=inputs, y=tf.nest.map_structure(tf.constant, targets), y_pred=outputs)
    variables = [variable.value for _, variable, _ in pairings]
    gradients = tape.gradient(loss, variables)
    found: dict[str, Arrays | NDArray[Any]] = {"outputs": np.asarray(outputs), "loss": np.asarray(loss)}
    for (names, _, layout), gradient in zip(pairings, gradients, strict=True):
        array = layout.to_torch(np.asarray(tf.convert_to_tensor(gradient)))
        tensors = [array] if isinstance(names, str) else array
        found.update({f"gradient/{name}": tensor for name, tensor in zip(_several(names), tensors, strict=True)})
    return found


def run_script(workload: Workload, description: str | None, train: Callable[[Settings], dict[str, float]]) -> None:
    """Train as the command line says and print the last validation."""
    metrics = train(parse_settings(workload, "tensorflow", description))
    print(*(f"{name} {value:.4f}" for name, value in metrics.items()))
