"""How many GPUs a training would find, without importing a framework."""

from __future__ import annotations

from ..trackers.gpu import Gpus


def count_gpus() -> int:
    """NVIDIA GPUs that a child process may use; 0 where there are none, or nvidia-ml-py is not installed."""
    gpus = Gpus.open()
    if gpus is None:
        return 0
    try:
        return len(gpus.gpus)
    finally:
        gpus.close()
