"""The watch that is always on: is the loss finite, are the gradients? And if not, the search for where it began.

On the CPU the answer is there before the update, with weights and batch as they were: the step is computed once more
on a stand-in, under the eyes of `FirstBad`. On an accelerator nobody waits for the loss; it is read some steps later,
and the search can only begin with the next step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...runs.debugging.failure import first_line
from ...runs.debugging.records import DebugRecord, Quantity
from .. import torch_model
from ..deferred import to_array
from ..fingerprints import batch_digest
from ..options import DebugOptions
from ..session import TrackerSession
from ..torch_batches import batch_tensors
from .torch_frames import layer_path
from .torch_replay import replay, replayable
from .torch_search import Origin, count_bad, is_bad

# A gradient that is not finite makes those before it so: one of the first layers' tells of all. To add its elements up
# takes some 10 µs; where the gradients of two branches never meet, the weights tell one step later.
FIRST_PARAMETERS = 12
LARGEST_WATCHED = 65_536
SHORT = 64  # up to so many elements, Python adds them up sooner than an operator is called
MOST_ALARMS = 5

# Whoever has no gradient by then is not merely waiting for its turn.
FROZEN_UPDATES = 3
MOST_FROZEN = 5


class TorchWatch:
    """Sees that a loss or gradient is not finite, and records where that began.

    Args:
        session: the run; only a process that logs losses watches.
        trainer: Lightning's trainer.
        module: the model.
        options: what was asked for beyond the watch.

    Attributes:
        batch, batch_index: the batch being worked on; None between batches.
        alarmed: steps that something was recorded of.
        measured: returns the fields of a record that tell the first layer whose output is not finite in this step,
            where layers are measured; None otherwise.
    """

    def __init__(self, session: TrackerSession, trainer: Any, module: nn.Module, options: DebugOptions | None) -> None:
        self._session = session
        self._trainer = trainer
        self._module = module
        self._options = options or DebugOptions()
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._watched = _watched_parameter(module)
        self._short = self._watched is not None and self._watched.ndim == 1 and len(self._watched) <= SHORT
        self._alarms = 0
        self._bad_before = False
        self._found = False  # in this step, before its update
        self._armed = 0
        self._updates_ahead = FROZEN_UPDATES
        self.alarmed: set[int] = set()
        self.measured: Callable[[], dict[str, Any] | None] = lambda: None
        self.batch: Any = None
        self.batch_index: int | None = None

    @property
    def alarms_at_gradients(self) -> bool:
        """Whether a gradient that is not finite is an alarm; with loss scaling it is how the scale is found."""
        return self._scaler is None

    # What the hooks call

    def before_backward(self, loss: Any) -> None:
        """A loss is about to be differentiated; weights and batch are those it was computed from."""
        if type(loss) is not Tensor or not (loss.is_cpu or self._armed or self._options.anomaly) or loss.numel() != 1:
            return
        value = loss.item()
        if math.isfinite(value):
            self._bad_before = False
        elif self._scaler is None or loss.dtype != torch.float16:  # scaled up it may well overflow
            self._alarm("loss", value)

    def before_update(self, optimizer: torch.optim.Optimizer, total: float | None = None) -> None:
        """The gradients are complete, before clipping and update.

        Args:
            optimizer: about to update.
            total: the norm over all gradients, if somebody has computed and read it.
        """
        if self._updates_ahead and self._module.automatic_optimization:
            self._updates_ahead -= 1
            if not self._updates_ahead:
                self._look_for_frozen()
        if not self.alarms_at_gradients or self._found:
            return
        parameters: list[Tensor] = []
        if total is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
        elif self._watched is not None:
            gradient = self._watched.grad
            if gradient is not None and (gradient.is_cpu or self._armed or self._options.anomaly):
                total = sum(gradient.tolist()) if self._short else gradient.sum().item()
                parameters = [self._watched]
        if total is None or math.isfinite(total):
            return
        if any(is_bad(p.grad) for p in parameters if p.grad is not None):  # and not merely too large to be added up
            self._alarm("gradient", total)

    def end_batch(self) -> None:
        """The batch was worked through."""
        self.batch = self.batch_index = None
        self._found = False
        if self._armed:
            self._armed -= 1

    def saw_loss(self, step: int, loss: float) -> None:
        """A loss has been read, on an accelerator some steps late.

        Args:
            step: the update it belongs to, counted from 0.
            loss: its value.
        """
        if math.isfinite(loss) or self._bad_before or not self._counted(step):
            return
        self._armed = self._options.search_steps
        sentence = (
            "The loss is read late where it lies on an accelerator, when the weights had been updated with it: layer, "
            "operator and line are unknown. DebugOptions(anomaly=True) looks before each update, and waits for it."
        )
        self._record(step, DebugRecord(**self._known(step, "loss", loss), quantity="loss", cannot=(sentence,)))

    def saw_layer(self, step: int, quantity: Quantity, found: dict[str, Any]) -> None:
        """What was measured of a layer has been read, and is not finite; on an accelerator that is news.

        Args:
            step: the update, counted from 0.
            quantity: activation or gradient.
            found: fields of the record that tell which layer.
        """
        if self._bad_before or not self._counted(step):
            return
        self._armed = self._options.search_steps
        sentence = (
            "The layer is the first whose values were not finite; the operator in it is unknown, since they are read "
            "late. DebugOptions(anomaly=True) looks before each update, and waits for the accelerator."
        )
        known = self._session.history.known()
        self._record(
            step, DebugRecord(**{**known, **found}, quantity=quantity, how="search", exact=True, cannot=(sentence,))
        )

    def known(self) -> dict[str, Any]:
        """The fields of a record that tell of this moment."""
        fields = self._session.history.known()
        if self.batch_index is not None:
            fields["batch_index"] = self.batch_index
            with self._session.guard("fingerprint the batch"):
                fields["batch_fingerprint"] = _digest(self.batch)
        return fields

    @property
    def step(self) -> int:
        """The update being made, counted from 0."""
        automatic = self._module.automatic_optimization
        return int(self._trainer.global_step if automatic else self._trainer.fit_loop.total_batch_idx)

    # What happens then

    def _counted(self, step: int) -> bool:
        """Take note of an alarm; returns whether it is to be recorded."""
        self._bad_before = True
        if self._alarms >= MOST_ALARMS or step in self.alarmed:
            return False
        self._alarms += 1
        self.alarmed.add(step)
        return True

    def _look_for_frozen(self) -> None:
        """Record layers that were to train and have not been given a gradient."""
        trained = torch_model.trained_ids(self._trainer.optimizers) or set()
        own = [(name, p) for name, p in self._module.named_parameters() if p.requires_grad]
        if not any(id(p) in trained and p.grad is not None for _, p in own):
            return  # the optimizer holds copies of its own, or there is no loss at all
        frozen: dict[str, str] = {}
        for name, parameter in own:
            if id(parameter) not in trained:
                frozen.setdefault(name.rpartition(".")[0], "no optimizer was given it")
            elif parameter.grad is None:
                frozen.setdefault(name.rpartition(".")[0], f"no gradient reached it in {FROZEN_UPDATES} updates")
        step = self.step
        for path, why in list(frozen.items())[:MOST_FROZEN]:
            layer = self._module.get_submodule(path)
            sentence = f"{path or 'The model'} does not train: {why}."
            record = DebugRecord(
                quantity="gradient",
                layer=path,
                layer_class=type(layer).__name__,
                message=sentence,
                exact=True,
                cannot=("A gradient that does not come leaves no line of code.",),
                **self._session.history.known(),
            )
            self._session.run.event("frozen_layer", sentence, step=step, detail=record.to_json())

    def _alarm(self, quantity: Quantity, value: float) -> None:
        again, self._found = self._bad_before, True
        step = self.step
        if again or not self._counted(step):
            return
        fields = {**self._known(step, quantity, value), "quantity": quantity}
        if self._options.search_steps:
            with self._session.guard("search for the first value that is not finite"):
                fields |= self._search(quantity)
        self._record(step, DebugRecord(**fields))

    def _known(self, step: int, quantity: Quantity, value: float) -> dict[str, Any]:
        fields = self.known()
        if quantity == "loss" and (not fields["last_losses"] or fields["last_losses"][-1][0] != step):
            fields["last_losses"] = (*fields["last_losses"], (step, value))
        if (rate := self._rate()) is not None:
            fields["learning_rate"] = rate
        return fields

    def _rate(self) -> float | None:
        groups = [group for optimizer in self._trainer.optimizers for group in optimizer.param_groups]
        rate = groups[0].get("lr") if groups else None
        return None if rate is None or (isinstance(rate, Tensor) and not rate.is_cpu) else float(rate)

    def _search(self, quantity: Quantity) -> dict[str, Any]:
        """The fields of the record that say where it began."""
        for tensor in batch_tensors(self.batch):
            if is_bad(tensor):
                counts = count_bad(tensor)
                return {
                    "how": "search", "exact": True, "quantity": None, "counts": counts,
                    "message": "The batch itself holds values that are not finite: look at the data.",
                }  # fmt: skip
        for name, parameter in self._module.named_parameters():
            if is_bad(parameter):
                owner = name.rpartition(".")[0]
                return {
                    "how": "search", "exact": True, "quantity": "weight", "counts": count_bad(parameter),
                    "layer": owner, "layer_class": type(self._module.get_submodule(owner)).__name__,
                    "message": f"The weights {name} were not finite before this step: an update had made them so.",
                }  # fmt: skip
        obstacle = replayable(self._module, int(self._trainer.world_size))
        if obstacle is None and self.batch_index is not None:
            try:
                origin = replay(
                    self._trainer, self._module, self.batch, self.batch_index, backward=quantity == "gradient"
                )
            except Exception as error:  # noqa: BLE001 - it is the user's code that runs again
                obstacle = f"Computing the step once more failed ({type(error).__name__}: {first_line(error)[:200]})."
            else:
                if origin is not None:
                    return self._fields(origin)
                obstacle = "Computed once more the step gave finite values: chance decided, as in a dropout."
        found: dict[str, Any] = {"cannot": (obstacle or "The batch is not at hand.",), "how": "search"}
        if quantity == "gradient":
            return {**found, **self._worst_gradient()}
        measured = self.measured()
        return found if measured is None else {**found, **measured, "quantity": "activation", "exact": True}

    def _fields(self, origin: Origin) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "how": "search", "exact": True, "operator": origin.operator, "source": origin.source,
            "counts": origin.counts, "inputs": origin.inputs, "outputs": origin.outputs,
        }  # fmt: skip
        place = origin.place
        if place is not None:
            fields |= {"layer": place.layer, "layer_class": place.layer_class}
            loss_layer = place.layer_class.endswith("Loss") or (place.layer == "" and place.function != "forward")
            if not origin.backward and not loss_layer:
                fields["quantity"] = "activation"
            if place.inputs and not origin.backward:
                fields["inputs"] = place.inputs
        return fields

    def _worst_gradient(self) -> dict[str, Any]:
        """The last layer with a bad gradient: the backward pass came to it first."""
        bad = [(n, p.grad) for n, p in self._module.named_parameters() if p.grad is not None and is_bad(p.grad)]
        if not bad:
            return {}
        name, gradient = bad[-1]
        owner = self._module.get_submodule(name.rpartition(".")[0])
        path = layer_path(owner, self._module)
        return {"layer": path, "layer_class": type(owner).__name__, "counts": count_bad(gradient)}

    def _record(self, step: int, record: DebugRecord) -> None:
        where = f" in {record.layer} ({record.layer_class})" if record.layer else ""
        what = {"loss": "The loss", "gradient": "A gradient", "activation": "An output", "weight": "A weight"}
        subject = what.get(record.quantity or "", "A value")
        sentence = record.message or f"{subject}{where} is not finite at step {step}."
        detail = {**record.to_json(), "message": sentence}
        self._session.run.event("non_finite", sentence, step=step, detail=detail)


def _watched_parameter(module: nn.Module) -> Tensor | None:
    """The smallest parameter of the first ones that train."""
    made = [p for p in module.parameters() if not isinstance(p, nn.parameter.UninitializedParameter)]
    trained = [p for p in made if p.requires_grad and p.layout == torch.strided and not hasattr(p, "full_tensor")]
    small = [p for p in trained[:FIRST_PARAMETERS] if 0 < p.numel() <= LARGEST_WATCHED]
    return min(small, key=lambda p: p.numel(), default=None)


def _digest(batch: Any) -> str | None:
    tensors = [tensor for tensor in batch_tensors(batch) if tensor.layout == torch.strided]
    if not tensors or any(tensor.is_complex() for tensor in tensors):
        return None
    return batch_digest([to_array(tensor.cpu()) for tensor in tensors])
