"""Broken trainings of one framework, one after the other, in a process of their own.

python -m trackside.workloads.broken.side FRAMEWORK CASE...

For each case that ends, however it does, a line of JSON with its run goes to standard output. Everything else that is
printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..lifeline import hold_on
from .cases import CASES, Case

PROJECT = "broken"


def _torch(case: Case) -> tuple[Any, Callable[[Any], None]]:
    from ...trackers.lightning import LightningTracker
    from . import torch_broken

    tracker = LightningTracker(name=f"{case.name}-torch", project=PROJECT, system=False, debug=case.debug)
    return tracker, getattr(torch_broken, case.name)


def _keras(case: Case) -> tuple[Any, Callable[[Any], None]]:
    from ...trackers.keras import KerasTracker
    from . import keras_broken

    tracker = KerasTracker(name=f"{case.name}-tensorflow", project=PROJECT, system=False, debug=case.debug)
    return tracker, lambda tracker: getattr(keras_broken, case.name)(tracker, {"jit_compile": False})


SIDES = {"torch": _torch, "tensorflow": _keras}


def main() -> None:
    """Train the cases that are named; what they raise is what they are for."""
    hold_on()
    warnings.filterwarnings("ignore")
    framework, *names = sys.argv[1:]
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a framework, or a worker process of its, may print
    by_name = {case.name: case for case in CASES}
    for name in names:
        tracker, train = SIDES[framework](by_name[name])
        try:
            train(tracker)
        except Exception as error:  # noqa: BLE001 - the case's own failure; the tracker has recorded it
            print(f"{name}: {type(error).__name__}", file=sys.stderr)
        print(json.dumps({"ended": name, "run": tracker.run_id}), file=reports, flush=True)


if __name__ == "__main__":
    main()
