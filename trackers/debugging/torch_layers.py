"""Measures each layer at each update: what comes out of it, what gradient it gets, how far its weights move.

Everything is computed where the tensors are, and read when it has arrived. The hooks are on the model only while a
batch is worked through; what copies or pickles the model even then gets hooks that do nothing and need no trackside.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ...runs.debugging.source import own_place, stack_frames
from ..deferred import Shipment, ship
from ..options import DebugOptions
from ..session import TrackerSession
from .torch_frames import layer_path

PERCENTILES = (5.0, 25.0, 50.0, 75.0, 95.0)
MOST_SORTED = 100_000

Seen = Callable[[int, dict[str, dict[str, float]]], None]


class LayerProbes:
    """Series of each layer: `layers/<path>/gradient_norm`, `activation_norm`, `zero_fraction` and `update_ratio`.

    A layer is a module without children, or one with parameters of its own. Norms are 2-norms. Where a layer runs
    several times in an update, as when gradients are accumulated, its outputs are taken together.

    Args:
        session: the run.
        module: the model.
        options: how often to measure, and what.
        seen: called with step and values, layers in the order in which they first ran, when those have been read.

    Attributes:
        step: the update that is being measured; -1 between updates.
        layers: path to layer.
        lines: file, line and function of the user's code that each layer was called from.
    """

    def __init__(self, session: TrackerSession, module: nn.Module, options: DebugOptions, seen: Seen) -> None:
        self._session = session
        self._every = options.every
        self._percentiles = options.histograms
        self._seen = seen
        self.layers = dict(_layers(module))
        self._owner = {
            id(p): path
            for path, layer in self.layers.items()
            for p in layer.parameters(recurse=False)
            if p.requires_grad
        }
        self.lines: dict[str, tuple[str, int, str] | None] = {}
        compiled = _compiled(module)
        self._hooks = {path: _Hook(self, path) for path, layer in self.layers.items() if id(layer) not in compiled}
        if len(self._hooks) < len(self.layers):
            session.notice("Outputs of compiled layers are not measured: PyTorch would compile anew for each step.")
        self._handles: list[Any] = []
        self._measuring = False
        self.step = -1
        self._outputs: dict[str, tuple[Tensor, Tensor, int]] = {}
        self._gradients: dict[tuple[str, str], Tensor] = {}
        self._weights: dict[int, tuple[str, Tensor, Tensor]] = {}
        self._described: set[str] = set()
        self._travelling: deque[tuple[int, list[tuple[str, str]], Shipment, float | None, int]] = deque()

    def begin_batch(self, step: int) -> None:
        """A batch arrived that belongs to this update."""
        if step != self.step:
            self.step = step
            self._outputs, self._gradients, self._weights = {}, {}, {}
        if step % self._every == 0:
            self._measuring = True
            self._handles = [self.layers[path].register_forward_hook(hook) for path, hook in self._hooks.items()]

    def before_backward(self) -> None:
        """The forward pass is over; what runs again in the backward pass, to save memory, does not count."""
        self._measuring = False

    def before_update(self, optimizer: torch.optim.Optimizer) -> Tensor | None:
        """The gradients are complete, before clipping.

        Returns:
            () the norm over all gradients of this optimizer, on their device; None where nothing is measured now.
        """
        if self.step % self._every:
            return None
        parameters = [
            p
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None and id(p) in self._owner
        ]
        if not parameters:
            return None
        with torch.no_grad():
            norms = _norms([p.grad for p in parameters])
            for path, norm in self._by_layer(parameters, norms):
                self._gradients[path, "gradient_norm"] = norm
            if self._percentiles:
                self._measure_percentiles(parameters)
            for parameter in parameters:
                kept = self._owner[id(parameter)], parameter, parameter.detach().clone()
                self._weights.setdefault(id(parameter), kept)
            return norms.norm()

    def end_batch(self, made: bool, epoch: float | None, samples: int) -> None:
        """The batch was worked through.

        Args:
            made: whether the update was made.
            epoch: epochs done.
            samples: samples seen.
        """
        self.remove()
        if made and self.step % self._every == 0:
            with torch.no_grad():
                self._send(epoch, samples)
            self.step = -1
        self.poll()

    def remove(self) -> None:
        """Take the hooks off."""
        self._measuring = False
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def poll(self) -> None:
        """Log what has arrived."""
        while self._travelling and self._travelling[0][2].ready():
            self._unpack()

    def flush(self) -> None:
        """Log what was measured so far, waiting for the device."""
        while self._travelling:
            self._unpack()

    def close(self) -> None:
        """Take the hooks off and log what is left, waiting for the device."""
        self.remove()
        self.flush()

    def first_bad_output(self) -> str | None:
        """Path of the first layer whose output is not finite in this update, or None. Waits for the device."""
        return next((path for path, (norm, _, _) in self._outputs.items() if not math.isfinite(norm.item())), None)

    def see_output(self, path: str, output: Any) -> None:
        """A layer has run."""
        tensor = (
            output[0] if isinstance(output, tuple | list) and output else output
        )  # a recurrent one gives its state too
        if (
            not self._measuring
            or not isinstance(tensor, Tensor)
            or not tensor.is_floating_point()
            or not tensor.numel()
        ):
            return
        if path not in self.lines:
            self.lines[path] = own_place(stack_frames())
        with torch.no_grad(), torch.autocast(tensor.device.type, enabled=False):
            values = tensor.detach()
            narrow = values.dtype in (torch.float16, torch.bfloat16)
            norm = torch.linalg.vector_norm(values, dtype=torch.float32 if narrow else None)
            zeros = values.numel() - values.count_nonzero()
            before = self._outputs.get(path)
            if before is not None:
                norm, zeros = torch.hypot(norm, before[0]), zeros + before[1]
            self._outputs[path] = norm, zeros, values.numel() + (before[2] if before is not None else 0)

    def _measure_percentiles(self, parameters: Sequence[Tensor]) -> None:
        together: dict[str, list[Tensor]] = {}
        for parameter in parameters:
            gradient = parameter.grad.detach().float().flatten()
            # Evenly spaced elements of a large one; sorting them all would take longer than the step.
            stride = max(1, gradient.numel() // MOST_SORTED)
            together.setdefault(self._owner[id(parameter)], []).append(gradient[::stride])
        for path, gradients in together.items():
            found = torch.cat(gradients).quantile(torch.tensor(PERCENTILES, device=gradients[0].device) / 100)
            for percentile, value in zip(PERCENTILES, found.unbind(), strict=True):
                self._gradients[path, f"gradient_p{percentile:02.0f}"] = value

    def _by_layer(self, parameters: Sequence[Tensor], norms: Tensor) -> Iterable[tuple[str, Tensor]]:
        """Yield each layer with the 2-norm over its parameters, given theirs."""
        places: dict[str, int] = {}
        index = [places.setdefault(self._owner[id(p)], len(places)) for p in parameters]
        squares = torch.zeros(len(places), dtype=norms.dtype, device=norms.device)
        squares.index_add_(0, torch.tensor(index).to(norms.device, non_blocking=True), norms.square())
        return zip(places, squares.sqrt().unbind(), strict=True)

    def _send(self, epoch: float | None, samples: int) -> None:
        names: list[tuple[str, str]] = []
        values: list[Tensor] = []
        for path, (norm, zeros, size) in self._outputs.items():
            names += [(path, "activation_norm"), (path, "zero_fraction")]
            values += [norm, zeros / size]
        names += self._gradients
        values += self._gradients.values()
        if self._weights:
            _, parameters, before = zip(*self._weights.values(), strict=True)
            moved = _norms(torch._foreach_sub([p.detach() for p in parameters], list(before)))
            was = dict(self._by_layer(parameters, _norms(before)))
            for path, norm in self._by_layer(parameters, moved):
                names.append((path, "update_ratio"))
                values.append(norm / was[path])
        self._weights = {}
        if values:
            wide = torch.float32 if values[0].device.type == "mps" else torch.float64
            vector = torch.stack([value.to(wide) for value in values])
            self._travelling.append((self.step, names, ship([vector]), epoch, samples))

    def _unpack(self) -> None:
        step, names, shipment, epoch, samples = self._travelling.popleft()
        read = shipment.wait()[0].tolist()
        layers: dict[str, dict[str, float]] = {}
        record = {}
        for (path, statistic), value in zip(names, read, strict=True):
            layers.setdefault(path, {})[statistic] = value
            key = f"layers/{path}/{statistic}"
            record[key] = value
            if key not in self._described:
                self._described.add(key)
                self._session.run.describe(key, reduction="batch")
        self._session.run.log(record, step=step, epoch=epoch, samples=samples)
        self._seen(step, layers)


class _Hook:
    """A forward hook; whoever copies or pickles it gets one that does nothing, from Python's own library."""

    def __init__(self, probes: LayerProbes, path: str) -> None:
        self._probes = probes
        self._path = path

    def __call__(self, layer: nn.Module, given: Any, output: Any) -> None:
        probes = self._probes
        try:
            probes.see_output(self._path, output)
        except Exception as error:  # noqa: BLE001 - a hook of ours inside the user's forward pass
            probes._session.guard.report("measure a layer", error)

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")  # takes anything and returns None


def _layers(module: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    for name, layer in module.named_modules():
        if not name or isinstance(layer, nn.modules.loss._Loss) or type(layer).__module__.startswith("torchmetrics"):
            continue
        own = any(True for _ in layer.parameters(recurse=False))
        if own or not any(True for _ in layer.children()):
            yield layer_path(layer, module) or name, layer


def _compiled(module: nn.Module) -> set[int]:
    """Ids of the modules that run as part of something compiled."""
    if getattr(module, "_compiler_ctx", None) is not None:  # Lightning unwraps a compiled module and keeps this
        return {id(layer) for layer in module.modules()}
    parts = [
        part
        for part in module.modules()
        if type(part).__name__ == "OptimizedModule" or getattr(part, "_compiled_call_impl", None) is not None
    ]
    return {id(layer) for part in parts for layer in part.modules()}


def _norms(tensors: Iterable[Tensor]) -> Tensor:
    """(n,) the 2-norm of each of n tensors, in double precision where the device has it."""
    dense = [t.coalesce().values() if t.is_sparse else t for t in tensors]
    norms = torch.stack(
        [norm.reshape(()).float() if norm.dtype in _NARROW else norm for norm in torch._foreach_norm(dense)]
    )
    return norms if norms.device.type == "mps" else norms.double()


_NARROW = (torch.float16, torch.bfloat16)
