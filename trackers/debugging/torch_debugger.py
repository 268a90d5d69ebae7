"""All that watches a PyTorch training for going wrong, behind one object that a tracker's hooks call."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...runs.debugging.records import DebugRecord
from ...runs.debugging.source import source_at
from ..options import DebugOptions
from ..session import TrackerSession
from .layer_health import LayerHealth
from .torch_layers import LayerProbes
from .torch_watch import TorchWatch

KEPT_STEPS = 100
"""More than a loss is ever read late."""


class TorchDebugger:
    """The watch that is always on, and the measuring of layers where it was asked for.

    Args:
        session: the run; only a process that logs losses debugs.
        trainer: Lightning's trainer.
        module: the model.
        options: what was asked for; None for the watch alone.
    """

    def __init__(self, session: TrackerSession, trainer: Any, module: nn.Module, options: DebugOptions | None) -> None:
        self._session = session
        self._trainer = trainer
        self._module = module
        self._health = LayerHealth()
        self._watch = TorchWatch(session, trainer, module, options)
        self._probes: LayerProbes | None = None
        self._bad_outputs: dict[int, str] = {}
        if options is not None:
            if any(hasattr(p, "full_tensor") for p in module.parameters()):
                session.notice("The layers are not measured: their weights are sharded over processes.")
            else:
                self._probes = LayerProbes(session, module, options, self._saw_layers)
                self._watch.measured = self._measured
        session.saw_loss = self._saw_loss

    @property
    def step(self) -> int | None:
        """The update that a batch is being worked on for; None between batches."""
        return self._watch.step if self._watch.batch_index is not None else None

    def known(self) -> dict[str, Any]:
        """The fields of a record that tell of this moment."""
        return self._watch.known()

    def begin_batch(self, batch: Any, batch_index: int) -> None:
        """A batch has arrived."""
        # A step that takes things out of its dictionary would leave none to look at.
        self._watch.batch = dict(batch) if type(batch) is dict else batch
        self._watch.batch_index = batch_index
        if self._probes is not None:
            self._probes.begin_batch(self._watch.step)

    def before_backward(self, loss: Any) -> None:
        """A loss is about to be differentiated."""
        if self._probes is not None and self._module.automatic_optimization:
            self._probes.before_backward()
        self._watch.before_backward(loss)

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to update, before clipping."""
        total = None if self._probes is None else self._probes.before_update(optimizer)
        self._watch.before_update(optimizer, total.item() if isinstance(total, Tensor) and total.is_cpu else None)

    def end_batch(self) -> None:
        """The batch was worked through, and logged."""
        if self._probes is not None:
            made = not self._module.automatic_optimization or self._trainer.global_step > self._probes.step
            self._probes.end_batch(made, self._session.epoch, self._session.samples)
        self._watch.end_batch()

    def close(self) -> None:
        """Take everything off the model and record what is left, waiting for the device."""
        if self._probes is not None:
            self._probes.close()

    def _measured(self) -> dict[str, Any] | None:
        path = None if self._probes is None else self._probes.first_bad_output()
        return None if path is None else self._fields(path)

    def _saw_loss(self, step: int, loss: float) -> None:
        if self._probes is not None and step not in self._watch.alarmed:
            self._probes.flush()
            path = self._probes.first_bad_output() if step == self._probes.step else self._bad_outputs.get(step)
            if path is not None:
                self._watch.saw_layer(step, "activation", self._fields(path))
        self._watch.saw_loss(step, loss)

    def _saw_layers(self, step: int, layers: dict[str, dict[str, float]]) -> None:
        bad = [path for path, values in layers.items() if not math.isfinite(values.get("activation_norm", 0.0))]
        torn = [path for path, values in layers.items() if not math.isfinite(values.get("gradient_norm", 0.0))]
        if bad:  # harmless where it is masked later: the loss will tell
            self._bad_outputs = {step: bad[0]} | dict(list(self._bad_outputs.items())[:KEPT_STEPS])
        if torn and self._watch.alarms_at_gradients:
            if bad:
                self._watch.saw_layer(step, "activation", self._fields(bad[0]))
            else:
                self._watch.saw_layer(step, "gradient", self._fields(torn[-1]))  # the backward pass came to it first
        for finding in self._health.see(layers):
            fields = {**self._session.history.known(), **self._fields(finding.layer), "message": finding.sentence}
            record = DebugRecord(quantity=finding.quantity, how="watch", exact=True, **fields)
            self._session.run.event(finding.kind, finding.sentence, step=step, detail=record.to_json())

    def _fields(self, path: str) -> dict[str, Any]:
        layer = None if self._probes is None else self._probes.layers.get(path)
        line = None if self._probes is None else self._probes.lines.get(path)
        return {
            "layer": path,
            "layer_class": None if layer is None else type(layer).__name__,
            "source": None if line is None else source_at(*line),
        }
