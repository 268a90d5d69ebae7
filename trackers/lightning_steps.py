"""Turns Lightning's batches into records of optimizer updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DistributedSampler

from ..runs.metric_names import metric_key
from . import torch_model
from .deferred import DeferredValues
from .fingerprints import DataFingerprint
from .lightning_settings import samples_per_epoch
from .lightning_usual import UsualStep
from .session import TrackerSession, epochs_done
from .torch_batches import BatchDigests, batch_size


class StepRecorder:
    """Gathers what belongs to one optimizer update, from one batch or several, and logs it in one record.

    This is the careful way, which takes everything as it comes. A step that is like the one before goes the short way
    through `UsualStep`, which gives the same record.

    Args:
        session: the started run.
        trainer: Lightning's trainer, about to train.
        module: the model.
    """

    def __init__(self, session: TrackerSession, trainer: Any, module: Any) -> None:
        self._session = session
        self._values = DeferredValues()
        self._world_size = int(trainer.world_size)
        self._manual = not module.automatic_optimization
        self._norm_wanted = session.options.gradient_norm or session.options.probes is not None
        self._updates = int(trainer.global_step)
        self._results = trainer.fit_loop.epoch_loop._results
        self._expected_batch_size = getattr(trainer.train_dataloader, "batch_size", None)
        self._losses: list[Tensor | float] = []
        self._metrics: dict[str, list[Tensor | float]] = {}
        self._optimizer: dict[str, Tensor | float] = {}
        self._stale: dict[str, Any] = {}
        self._keys: dict[str, str] = {}
        self._rate_keys: dict[int, tuple[Any, str, tuple[str, ...]]] = {}
        self._usual: UsualStep | None = None
        self._batch_keys: set[str] = set()
        self._ended: tuple[int, float | None, int] | None = None
        self._train_data = self._fingerprint("data/batches", "samples_per_epoch")
        self._val_data = self._fingerprint("evaluation", "samples")
        self._val_samples: int | None = 0
        # Of the processes of a job one describes the data: another's would take the place of what it said.
        if session.logs_loss and (samples := samples_per_epoch(trainer)) is not None:
            self._train_data.count(samples)
        if self._manual:
            session.notice(
                "Optimization is manual: a step is one batch, since how batches and updates of the optimizers belong "
                "together is the model's own affair."
            )

    def _fingerprint(self, name: str, samples_key: str) -> BatchDigests:
        run = self._session.run
        data = DataFingerprint(
            lambda value: run.fingerprint(name, value), samples_key=samples_key, guard=self._session.guard
        )
        return BatchDigests(data)

    def begin_epoch(self, trainer: Any) -> None:
        """An epoch of training begins."""
        self.log_epoch_means(trainer)
        if self._usual is not None:
            self._usual.begin_epoch()
        self._session.clock.resume()

    def begin_batch(self, batch: Any) -> None:
        """A training batch has arrived."""
        clock = self._session.clock
        if self._train_data.wanted and self._session.logs_loss:
            clock.pause()
            self._train_data.add(batch)
            clock.resume()
        clock.begin_batch()

    def before_update(self, trainer: Any, optimizer: Any) -> None:
        """An optimizer is about to step: its gradients are complete and its learning rate is the one used."""
        prefix = self._read_rates(trainer, optimizer)
        if self._norm_wanted:
            with self._session.guard("compute the gradient norm"):
                norm = torch_model.gradient_norm(optimizer)
                if norm is not None:
                    self._optimizer[f"{prefix}/gradient_norm"] = norm

    def _read_rates(self, trainer: Any, optimizer: Any) -> str:
        """Take down the rate of each parameter group; returns what the optimizer's keys begin with."""
        groups = optimizer.param_groups
        known, prefix, keys = self._rate_keys.get(id(optimizer), (None, "", ()))
        if known is not optimizer or len(keys) != len(groups):
            every = trainer.optimizers
            index = next((i for i, other in enumerate(every) if other is optimizer), 0)
            prefix = "optimizer" if len(every) == 1 else f"optimizer{index}"
            numbers = ("", *(f"_group{number}" for number in range(1, len(groups))))
            keys = tuple(f"{prefix}/learning_rate{number}" for number in numbers)
            self._rate_keys[id(optimizer)] = optimizer, prefix, keys
        for key, group in zip(keys, groups, strict=True):
            rate = group["lr"]
            if type(rate) is not float:
                rate = rate.detach().clone() if isinstance(rate, Tensor) else float(rate)
            self._optimizer[key] = rate
        return prefix

    def end_batch(self, trainer: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        """A training batch was worked through, and perhaps completed an update."""
        usual = self._usual
        if usual is not None and usual.log(outputs, batch, batch_index, self._optimizer, self._updates):
            self._updates += 1
            self._optimizer = {}
            return
        self._usual = None
        session = self._session
        samples = self._count(batch)
        session.clock.end_batch(samples)
        session.samples += samples
        self._gather(trainer, outputs)
        updates = trainer.global_step
        if updates != self._updates or self._manual:
            step = trainer.fit_loop.total_batch_idx if self._manual else updates - 1
            self._updates = updates
            self._end_update(trainer, step, batch_index)
        self._values.poll()

    def _count(self, batch: Any) -> int:
        samples = batch_size(batch, self._expected_batch_size)
        if samples is None:
            self._session.notice(
                "The number of samples in a batch could not be told from its form, so samples seen and samples per "
                "second are missing; give the batch a batch_size attribute."
            )
        return (samples or 0) * self._world_size

    def _gather(self, trainer: Any, outputs: Any) -> None:
        if isinstance(outputs, Mapping) and isinstance(loss := outputs.get("loss"), Tensor) and loss.numel() == 1:
            # Lightning divides the loss of each of the batches that make an update by their number.
            scale = 1 if self._manual else trainer.accumulate_grad_batches
            if loss.is_cpu:
                self._losses.append(loss.item() * scale)
            else:
                # Automatic optimization hands out a detached copy; in manual optimization the tensor is the model's.
                self._losses.append(loss.detach() * scale if scale > 1 or self._manual else loss)
        for name, metric in self._logged():
            self._metrics.setdefault(name, []).append(metric)

    def _logged(self) -> list[tuple[str, Tensor | float]]:
        """Return what `self.log` received for this batch.

        The public accessors would reduce and convert, and wait for the device.
        """
        found: list[tuple[str, Tensor | float]] = []
        for name, item in self._results.items():
            meta = item.meta
            value = item._forward_cache
            if meta.on_step and not item.has_reset and isinstance(value, Tensor) and value is not self._stale.get(name):
                self._stale[name] = value
                if value.numel() == 1 and meta.fx != "on_train_batch_end":
                    found.append((self._key(meta.name), value.item() if value.is_cpu else value))
        return found

    def _key(self, name: str) -> str:
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = metric_key(name, "train")
        return key

    def _end_update(self, trainer: Any, step: int, batch_index: int) -> None:
        session = self._session
        time = session.clock.end_step()
        epoch = epochs_done(trainer.current_epoch, batch_index, trainer.num_training_batches)
        session.reached(step, epoch)
        losses, metrics, optimizer = self._losses, self._metrics, self._optimizer
        self._losses, self._metrics, self._optimizer = [], {}, {}
        if not session.due(step):
            return
        parts: dict[str, list[Tensor | float]] = {}
        if session.logs_loss:
            if losses:
                metrics["train/loss"] = losses
            elif "train/loss" not in metrics:
                session.notice(
                    "training_step gave no loss, so train/loss is missing: return it, or log it with self.log."
                )
            if not optimizer:
                for known in trainer.optimizers:
                    self._read_rates(trainer, known)
                optimizer, self._optimizer = self._optimizer, {}
            if "train/loss" in metrics:
                parts["train/loss"] = metrics.pop("train/loss")
            parts.update(metrics)
            self._batch_keys.update(parts)
            parts.update({key: [value] for key, value in optimizer.items()})
        samples = session.samples
        self._values.add(parts, lambda means: session.log_step(step, means, time, epoch=epoch, samples=samples))
        if not time.first and time.samples and session.logs_loss and losses and optimizer and not len(self._values):
            self._learn(trainer, (*parts, *time.metrics()), tuple(optimizer))

    def _learn(self, trainer: Any, names: tuple[str, ...], optimizer: tuple[str, ...]) -> None:
        """Prepare the short way for steps that log the same as this one, if it was a step of the usual kind."""
        session = self._session
        if self._manual or session.options.log_every != 1 or session.event_files or trainer.global_step <= 0:
            return
        metrics = []
        for item in self._results.values():
            # Also where this step logged nothing under it: the next may, and then the names below differ.
            each_step = item.meta.on_step and item.meta.fx != "on_train_batch_end"
            metrics.append(self._key(item.meta.name) if each_step else "")
        usual = UsualStep(
            session,
            trainer,
            results=self._results,
            metrics=metrics,
            optimizer=optimizer,
            stale=self._stale,
            world_size=self._world_size,
        )
        if usual.names == names:  # not where two were logged under one key, or a rate was changed in between
            self._usual = usual

    def end_epoch(self) -> None:
        """An epoch of training has ended; its means can be read once Lightning has reduced them."""
        self._ended = (self._session.step, self._session.epoch, self._session.samples)
        self._session.clock.pause()
        self._train_data.poll()
        self._values.flush()

    def log_epoch_means(self, trainer: Any) -> None:
        """Log the metrics that the last epoch had only as means (`on_step=False`)."""
        if self._ended is None or not self._session.logs_loss:
            return
        (step, epoch, samples), self._ended = self._ended, None
        parts = {}
        reduced = trainer.callback_metrics
        for item in self._results.values():
            value = reduced.get(item.meta.name)
            key = self._key(item.meta.name)
            if item.meta.on_epoch and key not in self._batch_keys and isinstance(value, Tensor) and value.numel() == 1:
                parts[key] = [value]
        self._log_means(parts, step, epoch, samples)

    def begin_validation(self) -> None:
        """Validation begins between two training batches."""
        self._session.clock.pause()

    def validation_batch(self, batch: Any) -> None:
        """A validation batch has arrived."""
        if self._val_samples is None or not self._session.logs_loss:
            return
        if self._val_data.wanted:
            self._val_data.add(batch)
        self._val_samples += self._count(batch) // self._world_size

    def end_validation(self, trainer: Any, loop: Any, split: str) -> None:
        """Validation has ended: log its means at the last update, and let the clock go on."""
        session = self._session
        if session.logs_loss:
            if self._val_samples:
                self._val_data.poll()
                # Without Lightning's sampler every process validates on all of the data.
                shares = self._world_size if shared_out(loop) else 1
                self._val_data.count(self._val_samples * shares)
                self._val_data.close()
            self._val_samples = None
            self._log_means(evaluation_means(trainer, loop, split), session.step, session.epoch, session.samples)
        self._values.poll()
        session.clock.resume()

    def _log_means(
        self, parts: Mapping[str, list[Tensor | float]], step: int, epoch: float | None, samples: int
    ) -> None:
        if parts:
            session = self._session
            self._values.add(parts, lambda means: session.log_epoch(step, means, epoch=epoch, samples=samples))
            if len(self._values):
                self._usual = None  # what waits for a device comes first

    def close(self) -> None:
        """Log what is left, waiting for the device."""
        self._train_data.close()
        self._val_data.close()
        self._values.flush()


def evaluation_means(trainer: Any, loop: Any, split: str) -> dict[str, list[Tensor | float]]:
    """Return the reduced metrics of an evaluation loop that has just ended, by key.

    Lightning keeps all metrics in one dictionary; which of them the loop logged is known to the loop.
    """
    parts: dict[str, list[Tensor | float]] = {}
    reduced = trainer.callback_metrics
    for item in loop._results.values():
        name, _ = loop._results._forked_name(item, False)
        value = reduced.get(name)
        if isinstance(value, Tensor) and value.numel() == 1:
            parts[metric_key(name, split)] = [value.detach()]
    return parts


def shared_out(loop: Any) -> bool:
    """Return whether each process evaluates a share of the data; otherwise each evaluates all of it."""
    loaders = getattr(getattr(loop, "_combined_loader", None), "flattened", None) or []
    return any(isinstance(getattr(loader, "sampler", None), DistributedSampler) for loader in loaders)
