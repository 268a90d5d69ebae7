"""What a legend says of runs: not their names, which are long and say little, but the settings in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..db.records import RunInfo
from .labels import differing_keys, flatten, framework_name, run_labels, short

MOST_SETTINGS: Final = 3  # in one entry
MOST_DIFFERENCES: Final = 6  # of runs that differ in more, a few settings would give a wrong picture

Setting = Mapping[str, str]
"""What each run has of one setting, as it is written, by run id."""

_PROPERTIES: Final[Sequence[Callable[[RunInfo], str | None]]] = (
    framework_name,
    lambda run: run.mode,
    lambda run: run.precision,
    lambda run: run.device,
)


def legend_labels(runs: Sequence[RunInfo]) -> dict[str, str]:
    """A short, distinct entry for each run: `lr=0.1`, `TensorFlow, xla`, `batch_size=64, lr=0.1`.

    All settings in which the runs differ, where that are three or fewer; else as few of them as tell the runs apart.
    The labels of `labels.run_labels` where the frameworks are enough, where nothing differs, where three settings do
    not tell the runs apart, and where runs that have names of their own differ in more than six.

    Returns:
        By run id, in the order of `runs`.
    """
    distinct = list({run.id: run for run in runs}.values())
    names = run_labels(distinct)
    frameworks = {framework_name(run) for run in distinct}
    if len(distinct) < 2 or len(frameworks) == len(distinct):
        return names
    found = differences(distinct)
    named = len({run.name for run in distinct}) == len(distinct)
    if not found or (named and len(found) > MOST_DIFFERENCES):
        return names
    labels = _joined(found if len(found) <= MOST_SETTINGS else _telling(found, len(distinct)), distinct)
    return labels if len(set(labels.values())) == len(distinct) else names


def differences(runs: Sequence[RunInfo]) -> list[Setting]:
    """Settings that not all of the runs have alike: framework, mode, precision, device, then the configuration."""
    found: list[Setting] = []
    for read in _PROPERTIES:
        values = {run.id: read(run) for run in runs}
        known = {run_id: value for run_id, value in values.items() if value is not None}
        if len(known) == len(runs) and len(set(known.values())) > 1:
            found.append(known)
    configs = {run.id: flatten(run.config) for run in runs}
    keys = differing_keys(runs)
    if len({run.framework for run in runs}) > 1:
        # The frameworks describe their optimizers each in its own words: what only one of them says is no difference.
        keys = [key for key in keys if all(key in config for config in configs.values())]
    ends = [key.rpartition(".")[2] for key in keys]
    for key, end in zip(keys, ends, strict=True):
        name = end if ends.count(end) == 1 else key
        found.append(
            {
                run_id: f"{name}={short(config[key])}" if key in config else f"no {name}"
                for run_id, config in configs.items()
            }
        )
    return found


def _telling(found: Sequence[Setting], count: int) -> list[Setting]:
    """A few settings that together tell most runs apart, in the order in which they stand."""
    chosen: list[int] = []
    for _ in range(MOST_SETTINGS):

        def apart(place: int) -> int:
            together = [found[one] for one in (*chosen, place)]
            return len({tuple(setting[run_id] for setting in together) for run_id in found[0]})

        best = max((place for place in range(len(found)) if place not in chosen), key=apart)
        number = apart(best)
        chosen.append(best)
        if number == count:
            break
    return [found[place] for place in sorted(chosen)]


def _joined(settings: Sequence[Setting], runs: Sequence[RunInfo]) -> dict[str, str]:
    return {run.id: ", ".join(setting[run.id] for setting in settings) for run in runs}
