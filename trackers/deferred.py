"""Reads values that live on an accelerator without making anyone wait for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .fingerprints import Array

# A shipment costs a stack, a copy and an event, some 30 µs of the training thread: sixteen steps share one, but a
# slow training should not look asleep either.
SHIPMENT_STEPS = 16
SHIPMENT_SECONDS = 0.5

Parts = Mapping[str, Sequence[Tensor | float]]
Done = Callable[[dict[str, float]], None]


class Shipment(Protocol):
    """Tensors on their way to the host."""

    def ready(self) -> bool:
        """Whether they have arrived; never waits."""

    def wait(self) -> list[Tensor]:
        """Return them on the CPU, waiting if they have not arrived."""


class CudaShipment:
    """Copies into pinned memory behind the work already queued, with an event to tell when they are through."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        device = tensors[0].device
        with torch.cuda.device(device):
            self._host = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
            for host, tensor in zip(self._host, tensors, strict=True):
                host.copy_(tensor.detach(), non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(device))

    def ready(self) -> bool:
        return bool(self._event.query())

    def wait(self) -> list[Tensor]:
        self._event.synchronize()
        return self._host


class LateShipment:
    """Keeps references and copies when asked to wait: for accelerators without events, and for the CPU."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = [tensor.detach() for tensor in tensors]

    def ready(self) -> bool:
        return all(tensor.device.type == "cpu" for tensor in self._tensors)

    def wait(self) -> list[Tensor]:
        return [tensor.cpu() for tensor in self._tensors]


def ship(tensors: Sequence[Tensor]) -> Shipment:
    """Send tensors of one device to the host by the quietest way that the device has."""
    return CudaShipment(tensors) if tensors[0].device.type == "cuda" else LateShipment(tensors)


def to_array(tensor: Tensor) -> Array:
    """Return a CPU tensor as a NumPy array, sharing memory where NumPy knows the type (bfloat16 becomes float32)."""
    tensor = tensor.detach()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    array: Array = tensor.resolve_neg().resolve_conj().numpy()
    return array


class DeferredValues:
    """Hands out the scalars of each step, in order, once they can be read without waiting for the device.

    On the CPU that is at once. On an accelerator the scalars of some steps are copied together behind the work
    already queued; `poll` hands out what has arrived, and only `flush` waits.

    Args:
        ship: sends tensors of one device to the host.
        clock: returns seconds.
    """

    def __init__(
        self, ship: Callable[[Sequence[Tensor]], Shipment] = ship, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ship = ship
        self._clock = clock
        self._waiting: list[tuple[Parts, Done]] = []
        self._waiting_since = 0.0
        self._travelling: deque[tuple[list[tuple[Parts, Done]], list[Shipment], list[list[int]]]] = deque()

    def __len__(self) -> int:
        """How many steps have not been handed out."""
        return len(self._waiting) + sum(len(steps) for steps, _, _ in self._travelling)

    def add(self, parts: Parts, done: Done) -> None:
        """Take the scalars of one step.

        Args:
            parts: for each key the values of the batches that made the step; their mean is what is handed out.
                Tensors must hold one element and must not be written to afterwards.
            done: receives the means as floats.
        """
        at_hand = not any(_remote(part) for values in parts.values() for part in values)
        if at_hand and not self._waiting and not self._travelling:
            done({key: _mean([float(part) for part in values]) for key, values in parts.items()})
            return
        if not self._waiting:
            self._waiting_since = self._clock()
        self._waiting.append((parts, done))
        if len(self._waiting) >= SHIPMENT_STEPS or self._clock() - self._waiting_since >= SHIPMENT_SECONDS:
            self._send()

    def poll(self) -> None:
        """Hand out what has arrived."""
        while self._travelling and all(shipment.ready() for shipment in self._travelling[0][1]):
            self._unpack()

    def flush(self) -> None:
        """Hand out everything, waiting for the device."""
        self._send()
        while self._travelling:
            self._unpack()

    def _send(self) -> None:
        if not self._waiting:
            return
        steps, self._waiting = self._waiting, []
        by_device: dict[torch.device, list[tuple[int, Tensor]]] = {}
        tensors = (part for parts, _ in steps for values in parts.values() for part in values if _remote(part))
        for place, tensor in enumerate(tensors):
            assert isinstance(tensor, Tensor)
            by_device.setdefault(tensor.device, []).append((place, tensor.detach().reshape(())))
        shipments = []
        for placed in by_device.values():
            # float64 holds every narrower type; some devices have none, and then float32 holds all that they have.
            wide = torch.float64 if any(t.dtype == torch.float64 for _, t in placed) else torch.float32
            shipments.append(self._ship([torch.stack([tensor.to(wide) for _, tensor in placed])]))
        places = [[place for place, _ in placed] for placed in by_device.values()]
        self._travelling.append((steps, shipments, places))

    def _unpack(self) -> None:
        steps, shipments, places = self._travelling.popleft()
        read: dict[int, float] = {}
        for shipment, indices in zip(shipments, places, strict=True):
            read.update(zip(indices, shipment.wait()[0].tolist(), strict=True))
        place = 0
        for parts, done in steps:
            means = {}
            for key, values in parts.items():
                numbers = []
                for part in values:
                    if _remote(part):
                        numbers.append(read[place])
                        place += 1
                    else:
                        numbers.append(float(part))
                means[key] = _mean(numbers)
            done(means)


def _remote(part: Tensor | float) -> bool:
    return isinstance(part, Tensor) and not part.is_cpu


def _mean(numbers: list[float]) -> float:
    return numbers[0] if len(numbers) == 1 else sum(numbers) / len(numbers)
