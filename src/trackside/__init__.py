"""Experiment tracking for side-by-side training runs.

Add one line to training code, compare what the frameworks really did:

    with trackside.start_run(name="baseline", config={"lr": 1e-3}) as run:
        run.log({"train/loss": 0.7}, step=0)

    Trainer(callbacks=[trackside.LightningTracker()])
    model.fit(x, y, callbacks=[trackside.KerasTracker()])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .db.errors import TracksideError as TracksideError
    from .db.store import Store as Store
    from .db.store import open_store as open_store
    from .runs.compare import compare as compare
    from .runs.run import Run as Run
    from .runs.run import start_run as start_run
    from .trackers.keras import KerasTracker as KerasTracker
    from .trackers.lightning import LightningTracker as LightningTracker
    from .trackers.options import DebugOptions as DebugOptions
    from .trackers.options import ProfileSchedule as ProfileSchedule

__version__ = "0.1.0"

# Loaded on first use: `import trackside` must cost a training script next to nothing, and must not import a
# framework that the script does not use.
_HOMES = {
    "DebugOptions": ".trackers.options",
    "KerasTracker": ".trackers.keras",
    "LightningTracker": ".trackers.lightning",
    "ProfileSchedule": ".trackers.options",
    "Run": ".runs.run",
    "Store": ".db.store",
    "TracksideError": ".db.errors",
    "compare": ".runs.compare",
    "open_store": ".db.store",
    "start_run": ".runs.run",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
