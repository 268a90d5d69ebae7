"""One side of the gate, in a process of its own: probe the network, then train.

python -m trackside.workloads.gate_side PACKAGE FRAMEWORK OUTPUT.npz [settings of the training script]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .registry import load_workload
from .settings import Settings, parse_settings
from .workload import Workload


def probe(workload: Workload, framework: str, settings: Settings) -> dict[str, NDArray[Any]]:
    """What the network computes for the first batch; a script with a `probe(settings)` of its own knows better."""
    script = import_module(workload.script(framework))
    if hasattr(script, "probe"):
        return dict(script.probe(settings))
    problem = import_module(f"{workload.package}.problem").load(settings)
    problem = replace(problem, weights={**problem.weights, **problem.probe_weights})
    if framework == "torch":
        from . import torch_training

        torch_training.prepare_process(settings)
        prepare = getattr(script, "PREPARE", lambda inputs: inputs)
        return torch_training.probe(script.build(problem, settings), problem, settings, prepare)
    from . import keras_training

    keras_training.prepare_process(settings)
    model = script.build(problem, settings)
    return dict(keras_training.probe(model, script.pairings(model), problem, settings))


def main() -> None:
    """Probe, write what was found, then train as the training script would."""
    package, framework, output, *arguments = sys.argv[1:]
    workload = load_workload(package)
    settings = parse_settings(workload, framework, arguments=arguments)
    np.savez(output, allow_pickle=False, **probe(workload, framework, settings))
    import_module(workload.script(framework)).train(settings)


if __name__ == "__main__":
    main()
