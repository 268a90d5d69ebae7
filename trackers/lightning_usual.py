"""The short way through a step like the one before it: everything that stays the same is looked up once.

Between two hooks the caches belong to the training, and what a hook costs is the loading of the code and objects it
touches, not its arithmetic. The careful way (`lightning_steps.py`) walks through Lightning's properties and several of
our own objects, 90 µs between steps of 9 ms on 2 cores; this one reads the values and appends them, about 30.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .session import TrackerSession
from .step_clock import TIMES


class UsualStep:
    """Logs a batch that makes an update by itself and logs what the last one did, from tensors on the CPU.

    The careful way makes one once it has logged such a step. Whatever is otherwise with a batch, `log` finds before it
    has changed anything, and leaves the batch to the careful way.

    Args:
        session: the run; every step is logged, and to nothing else.
        trainer: Lightning's trainer.
        results: what `self.log` writes to.
        metrics: of each entry there, in order, its key; "" for those that are not logged each step.
        optimizer: keys of what is read before an update, in order.
        stale: the last value of each entry; kept as the careful way does.
        world_size: processes, each with a batch of its own.
    """

    def __init__(
        self,
        session: TrackerSession,
        trainer: Any,
        *,
        results: Mapping[str, Any],
        metrics: Sequence[str],
        optimizer: Sequence[str],
        stale: dict[str, Any],
        world_size: int,
    ) -> None:
        self._session = session
        self._end_step = session.clock.end_batch_and_step
        self._trainer = trainer
        self._progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        self._results = results
        self._known = len(results)
        self._stale = stale
        # A loss that was returned goes before one that was logged.
        self._entries = tuple(
            (name, item, key != "train/loss") for (name, item), key in zip(results.items(), metrics, strict=True) if key
        )
        self._optimizer = tuple(optimizer)
        self.begin_epoch()
        self._world_size = world_size
        self.names = ("train/loss", *(key for key in metrics if key not in ("", "train/loss")), *optimizer, *TIMES)
        self._log_row = session.run.rows(self.names)

    def begin_epoch(self) -> None:
        """Another epoch begins."""
        batches = self._trainer.num_training_batches
        self._epoch = int(self._trainer.current_epoch)
        self._batches = batches if batches and batches != float("inf") else 0  # 0: whole epochs are counted

    def log(
        self, outputs: Any, batch: Any, batch_index: int, optimizer: Mapping[str, Tensor | float], step: int
    ) -> bool:
        """Log the step if it is a usual one.

        Args:
            outputs: what `training_step` gave.
            batch: what the loader gave.
            batch_index: the batch within the epoch, counted from 0.
            optimizer: what was read before the update.
            step: the update that this batch makes if it makes one, counted from 0.

        Returns:
            Whether it was; if not, nothing has been changed.
        """
        if (
            self._progress.completed != step + 1
            or self._trainer.accumulate_grad_batches != 1
            or tuple(optimizer) != self._optimizer
            or len(self._results) != self._known
            or type(outputs) is not dict
            or type(batch) not in (list, tuple)
        ):
            return False
        loss: Any = outputs.get("loss")
        if type(loss) is not Tensor or not loss.is_cpu or loss.numel() != 1:
            return False
        values = [loss.item()]
        for name, item, wanted in self._entries:
            value: Any = item._forward_cache
            if type(value) is not Tensor or value is self._stale.get(name) or item.has_reset:
                return False
            if not value.is_cpu or value.numel() != 1:
                return False
            if wanted:
                values.append(value.item())
        read: Any
        for read in optimizer.values():
            if type(read) is float:
                values.append(read)
            elif read.is_cpu:
                values.append(read.item())
            else:
                return False
        samples = -1
        tensor: Any
        for tensor in batch:
            if type(tensor) is not Tensor or not tensor.ndim or samples not in (-1, tensor.shape[0]):
                return False
            samples = tensor.shape[0]
        if samples <= 0:
            return False
        samples *= self._world_size
        times = self._end_step(samples)
        if times is None:
            return False
        for name, item, _ in self._entries:
            self._stale[name] = item._forward_cache
        session = self._session
        session.samples += samples
        session.step = step
        epoch = self._epoch + min((batch_index + 1) / self._batches, 1.0) if self._batches else float(self._epoch)
        session.epoch = epoch
        session.history.steps.append((step, values[0], optimizer))
        self._log_row(step, epoch, session.samples, (*values, *times))
        return True
