"""What a Lightning training is, for the parity card: arithmetic, initial weights, and what the first step shows."""

from __future__ import annotations

from typing import Any

from . import lightning_settings, torch_graph, torch_model
from .fingerprints import weights_fingerprint
from .guard import Guard
from .session import TrackerSession
from .torch_batches import batch_tensors

# Reading weights one by one takes about 4 s for this many on one core; larger models start without it.
LARGEST_FINGERPRINT = 1_000_000_000


class TrainingDescription:
    """Records what a fit computes: before it begins, and once more after its first step has shown what it does.

    Args:
        module: the model, about to be fitted.
        guard: takes what goes wrong.
    """

    def __init__(self, module: Any, guard: Guard) -> None:
        self._guard = guard
        self._session: TrackerSession | None = None
        self._seen: dict[str, Any] = {"loss": torch_model.describe_loss(module)}
        self._before_step: tuple[tuple[Any, ...], list[tuple[int, ...]]] | None = None
        self._gradients: torch_model.GradientWatch | None = None
        self._step_seen = False

    @property
    def looks(self) -> bool:
        """Whether there is more to find out: False soon after the first step, and then nothing need be called."""
        return not self._step_seen or self._gradients is not None

    def begin(self, session: TrackerSession, trainer: Any, module: Any) -> None:
        """Training is about to begin: describe the model and its settings, as far as they are known by now."""
        self._session = session
        with self._guard("describe the model"):
            session.update(model=torch_model.describe_model(module))
        with self._guard("read the settings"):
            session.update(config=lightning_settings.settings(trainer, module))
        with self._guard("count the steps ahead"):
            session.update(total_steps=lightning_settings.total_steps(trainer))
        self._record_arithmetic(trainer, module)
        manual = not module.automatic_optimization
        self._gradients = torch_model.GradientWatch(trainer.optimizers) if manual else None
        if trainer.global_step == 0:
            self._record_weights(session, trainer, module)

    def begin_batch(self, module: Any, batch: Any) -> None:
        """A batch has arrived."""
        if not self._step_seen and self._before_step is None:
            shapes = [tuple(tensor.shape) for tensor in batch_tensors(batch)]
            self._before_step = torch_graph.random_state(module.device), shapes

    def before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        """A loss was computed; of the first, its graph says what led to it."""
        if self._step_seen:
            return
        self._step_seen = True
        if self._session is None:
            return
        with self._guard("look at the loss function"):
            batches = 1 if not module.automatic_optimization else trainer.accumulate_grad_batches
            kept = self._seen.get("loss")
            if kept is not None and "label_smoothing" not in kept and torch_graph.is_sum(loss):
                kept = None  # the loss layer is not all there is; smoothing is a sum by itself
            self._seen["loss"] = torch_graph.loss_of_graph(loss, batches) or kept
        with self._guard("look at the first step"):
            state, shapes = self._before_step or (None, [])
            if state is not None:
                self._seen["random"] = torch_graph.random_state(module.device) != state
            self._seen |= torch_graph.describe_operations(loss, shapes)
        self._before_step = None
        self._record_arithmetic(trainer, module)

    def after_backward(self) -> None:
        """Gradients were computed."""
        if self._gradients is not None:
            self._gradients.after_backward()

    def before_update(self, trainer: Any, module: Any, optimizer: Any) -> None:
        """An optimizer is about to step."""
        if self._gradients is not None:
            self._gradients.before_update(optimizer)
            if self._gradients.untouched is not None:
                self._record_arithmetic(trainer, module)
                self._gradients = None  # nothing more to find out

    def _record_arithmetic(self, trainer: Any, module: Any) -> None:
        with self._guard("describe the arithmetic"):
            if self._session is not None:
                unclipped = None if self._gradients is None else self._gradients.untouched
                seen = {**self._seen, "unclipped": unclipped}
                self._session.run.fingerprint("arithmetic", lightning_settings.arithmetic(trainer, module, seen))

    def _record_weights(self, session: TrackerSession, trainer: Any, module: Any) -> None:
        trained = torch_model.trained_ids(trainer.optimizers)
        if torch_model.trainable_count(module, trained) > LARGEST_FINGERPRINT:
            session.notice("The initial weights were not fingerprinted: the model is too large for it.")
            return
        small = torch_model.parameter_count(module) <= LARGEST_FINGERPRINT  # not the few trained ones of a huge one
        try:
            weights = weights_fingerprint(
                torch_model.trainable_arrays(module, trained),
                torch_model.frozen_arrays(module, trained) if small else (),
            )
        except ValueError as error:
            session.notice(f"The initial weights were not fingerprinted: {error}.")
            return
        session.run.fingerprint("init/weights", weights)
