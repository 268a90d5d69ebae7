"""Values that take their time to arrive, in order and complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from trackside.trackers import deferred  # noqa: E402
from trackside.trackers.deferred import DeferredValues, LateShipment, to_array  # noqa: E402

pytestmark = pytest.mark.framework


class Afar(torch.Tensor):  # type: ignore[misc, name-defined]
    """A CPU tensor that says it lies on a device, as there is none in most machines that run these tests."""

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    __torch_function__ = torch._C._disabled_torch_function_impl


def afar(value: float, dtype: Any = torch.float32) -> Any:
    return torch.tensor(value, dtype=dtype).as_subclass(Afar)


class Device:
    """Ships tensors, and lets them arrive when told to."""

    def __init__(self) -> None:
        self.shipments: list[Any] = []
        self.arrived = 0

    def __call__(self, tensors: Sequence[Any]) -> Any:
        device, number = self, len(self.shipments)

        class Shipment(LateShipment):
            def ready(self) -> bool:
                return number < device.arrived

        self.shipments.append(Shipment([tensor.as_subclass(torch.Tensor) for tensor in tensors]))
        return self.shipments[-1]


def take(values: DeferredValues, received: list[Any], step: int, **parts: Any) -> None:
    values.add(parts, lambda means: received.append((step, means)))


def test_values_on_the_cpu_are_handed_out_at_once() -> None:
    received: list[Any] = []
    values = DeferredValues()
    take(values, received, 0, a=[torch.tensor(1.5)], b=[1.0, 2.0], c=[torch.tensor(3, dtype=torch.int64)])
    assert received == [(0, {"a": 1.5, "b": 1.5, "c": 3.0})]
    assert len(values) == 0


def test_steps_stay_in_order_and_wait_only_on_flush() -> None:
    received: list[Any] = []
    device = Device()
    values = DeferredValues(ship=device)
    count = deferred.SHIPMENT_STEPS
    for step in range(count):
        take(values, received, step, loss=[afar(step), afar(step + 1)], rate=[0.1])
    take(values, received, count, loss=[7.0])  # at hand, but it must not overtake the others
    values.poll()
    assert received == []
    assert len(device.shipments) == 1
    assert len(values) == count + 1
    device.arrived = 1
    values.poll()
    assert received == [(step, {"loss": step + 0.5, "rate": 0.1}) for step in range(count)]
    values.flush()
    assert received[-1] == (count, {"loss": 7.0})
    assert len(values) == 0


def test_a_slow_training_ships_after_half_a_second() -> None:
    now = [0.0]
    device = Device()
    values = DeferredValues(ship=device, clock=lambda: now[0])
    take(values, [], 0, loss=[afar(1.0)])
    assert device.shipments == []
    now[0] = deferred.SHIPMENT_SECONDS
    take(values, [], 1, loss=[afar(2.0)])
    assert len(device.shipments) == 1


def test_types_survive_the_journey() -> None:
    received: list[Any] = []
    values = DeferredValues(ship=Device())
    exact = 0.1234567890123456
    take(values, received, 0, half=[afar(0.5, torch.bfloat16)], double=[afar(exact, torch.float64)])
    take(values, received, 1, nan=[afar(float("nan"))], infinite=[afar(float("-inf"))])
    values.flush()
    assert received[0] == (0, {"half": 0.5, "double": exact})
    assert received[1][1]["nan"] != received[1][1]["nan"]
    assert received[1][1]["infinite"] == float("-inf")


def test_arrays_share_memory_and_narrow_types_widen() -> None:
    tensor = torch.ones(3, requires_grad=True)
    assert to_array(tensor).dtype == "float32"
    assert to_array(torch.ones(3, dtype=torch.bfloat16)).dtype == "float32"
    assert to_array(torch.ones(3, dtype=torch.bool)).dtype == "bool"
