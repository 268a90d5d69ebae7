"""Verdicts on what no training is needed for: the scripts' source, control flow, and broken trainings.

One function a claim, its thresholds beside it: from the evidence to the claim's parts and the rows that show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .claim_evidence import DEFAULT_MODES, Evidence
from .claim_judging import (
    CONTRADICTED,
    FRAMEWORKS,
    NOT_MEASURABLE,
    NOT_MEASURED,
    SUPPORTED,
    UNDECIDED,
    Judged,
    Part,
    Row,
    Verdict,
    listed,
    probe_errors,
    probe_lists,
    probe_results,
)

LINES_TIE = 0.10
"""Two people who write the same program differ by more than this in its length."""


def language(evidence: Evidence) -> Judged:
    """1. Lengths of the same scripts, and of what adds a feature; whether a syntax is intuitive cannot be measured."""
    rows, totals = [], dict.fromkeys(FRAMEWORKS, 0)
    for one in listed(evidence.record.measured.get("sources")):
        framework = str(one.get("framework"))
        if framework not in totals or not isinstance(one.get("lines"), int):
            continue
        totals[framework] += one["lines"]
        for quantity in ("lines", "imports", "names"):
            words = {"lines": "logical lines", "imports": "names imported", "names": "framework names used"}[quantity]
            rows.append(
                Row(label=f"{one.get('workload')}, {FRAMEWORKS[framework]}", quantity=words, value=one[quantity])
            )
    intuitive = Part(
        statement="PyTorch's syntax is more intuitive",
        verdict=NOT_MEASURABLE,
        reason="What is intuitive depends on who reads it; a machine can count, not judge.",
    )
    features, feature_rows = _features(evidence)
    rows += feature_rows
    if not all(totals.values()):
        return [
            intuitive,
            Part(statement="Keras narrows the gap", verdict=NOT_MEASURED, reason="Nothing counted."),
            *features,
        ], rows
    ratio = totals["tensorflow"] / totals["torch"]
    narrows = Part(
        statement="Keras narrows the gap: the same workloads take no more than a tenth more lines than in PyTorch",
        verdict=SUPPORTED if ratio <= 1 + LINES_TIE else CONTRADICTED,
        reason=f"{totals['tensorflow']} logical lines in Keras, {totals['torch']} in PyTorch Lightning "
        f"({ratio:.2f} times), over all workloads.",
    )
    return [intuitive, narrows, *features], rows


def _features(evidence: Evidence) -> tuple[list[Part], list[Row]]:
    """What each feature takes to add: statements of its own, and arguments within others."""
    statement = "Keras narrows the gap: to add a feature takes no more than in PyTorch"
    pieces: dict[str, dict[str, int]] = {}
    rows = []
    for one in listed(evidence.record.measured.get("features")):
        framework, lines, arguments = str(one.get("framework")), one.get("lines"), one.get("arguments")
        if framework not in FRAMEWORKS or not isinstance(lines, int) or not isinstance(arguments, int):
            continue
        feature = str(one.get("feature"))
        pieces.setdefault(feature, {})[framework] = lines + arguments
        label, note = f"{feature}, {FRAMEWORKS[framework]}", str(one.get("note") or "")
        rows.append(Row(label=label, quantity="logical lines to add it", value=lines, note=note))
        rows.append(Row(label=label, quantity="arguments to add it", value=arguments))
    both = {name: found for name, found in pieces.items() if len(found) == len(FRAMEWORKS)}
    if not both:
        return [], rows  # a record of before they were counted
    more = [name for name, found in both.items() if found["tensorflow"] > found["torch"]]
    less = [name for name, found in both.items() if found["tensorflow"] < found["torch"]]
    verdict = SUPPORTED if not more else CONTRADICTED if 2 * len(more) >= len(both) else UNDECIDED
    reason = (
        f"Of {len(both)} features {len(more)} take more lines and arguments in Keras ({', '.join(more) or 'none'}), "
        f"{len(less)} fewer ({', '.join(less) or 'none'})."
    )
    return [Part(statement=statement, verdict=verdict, reason=reason)], rows


def dynamic(evidence: Evidence) -> Judged:
    """2. A loop whose length depends on the data, and a Python number changed between two steps, in every mode."""
    results = probe_results(evidence, ("control_flow_torch", "control_flow_keras"))
    rows = [row for one in results for row in _flow_rows(one)] + probe_errors(evidence)
    statements = (
        "A dynamic graph allows changes at run time",
        "A static graph cannot follow control flow that depends on the data",
        "A static graph does not notice a Python number changed between two steps",
    )
    if not results:
        return [Part(statement=one, verdict=NOT_MEASURED, reason="Nothing was measured.") for one in statements], rows
    eager = [one for one in results if one.get("mode") == "eager"]
    static = [one for one in results if one.get("mode") != "eager"]
    dynamic_ones = [one for one in eager if one.get("form") == "as written"]
    allowed = [one for one in dynamic_ones if one.get("correct") and one.get("change_seen")]
    # A compiler that leaves the graph at every test has not put the loop into one.
    followed = [one for one in static if one.get("correct") and not one.get("graph_breaks")]
    written = [one for one in followed if one.get("form") == "as written"]
    asked = [one for one in static if "change_seen" in one]
    blind = {str(one.get("framework")) for one in asked if not one["change_seen"]}
    seeing = {str(one.get("framework")) for one in asked if one["change_seen"]}
    return [
        Part(
            statement=statements[0],
            verdict=_all_or_none(len(allowed), len(dynamic_ones)),
            reason=f"{len(allowed)} of {len(dynamic_ones)} eager modes train the loop as written and notice it.",
        ),
        Part(
            statement=statements[1],
            verdict=(CONTRADICTED if followed else SUPPORTED) if static else UNDECIDED,
            reason=f"Right results from {_modes(followed)}"
            + (" as written." if written else ", after the loop had been decorated or rewritten for it.")
            if followed
            else "No static mode trained it without leaving the graph.",
        ),
        Part(
            statement=statements[2],
            verdict=UNDECIDED if not asked or (blind and seeing) else SUPPORTED if blind else CONTRADICTED,
            reason=_noticing(blind, seeing),
        ),
    ], rows


def _noticing(blind: set[str], seeing: set[str]) -> str:
    said = [
        *([f"{_frameworks(blind)}: the old number goes on being used, without a word"] if blind else []),
        *([f"{_frameworks(seeing)}: noticed, and compiled anew"] if seeing else []),
    ]
    return "; ".join(said) + "." if said else "It was not tried."


def _frameworks(names: Iterable[str]) -> str:
    return " and ".join(FRAMEWORKS.get(name, name) for name in sorted(names))


def _modes(results: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(f"{FRAMEWORKS.get(str(one.get('framework')))} {one.get('mode')}" for one in results)
    return ", ".join(names)


def _flow_rows(one: Mapping[str, Any]) -> list[Row]:
    label = f"{FRAMEWORKS.get(str(one.get('framework')))} {one.get('mode')}, loop {one.get('form')}"
    if not one.get("ran"):
        return [Row(label=label, quantity="trains", value="no", note=str(one.get("error", "")))]
    words = "yes" if one.get("correct") else "yes, with wrong results"
    rows = [Row(label=label, quantity="trains", value=words)]
    if "change_seen" in one:
        rows.append(Row(label=label, quantity="notices a changed number", value="yes" if one["change_seen"] else "no"))
    units = {"first_seconds": "seconds", "step_seconds": "seconds", "traces": None, "graph_breaks": None}
    names = {"first_seconds": "first step", "step_seconds": "median step", "graph_breaks": "graph breaks"}
    rows += [
        Row(label=label, quantity=names.get(key, key), value=one[key], unit=unit)
        for key, unit in units.items()
        if isinstance(one.get(key), int | float)
    ]
    return rows


def debugging(evidence: Evidence) -> Judged:
    """3. The gallery of broken trainings: who says something, when, and what had to be switched on."""
    results = probe_results(evidence, ("broken_torch", "broken_keras"))
    rows = [_broken_row(one) for one in results] + _switch_rows(evidence) + probe_errors(evidence)
    statements = ("PyTorch's errors surface at once", "TensorFlow needs tf.debugging, set up beforehand")
    usual = [one for one in results if one.get("mode") == DEFAULT_MODES.get(str(one.get("framework")))]
    silent = {name: _silent(usual, name, switched=False) for name in FRAMEWORKS}
    if any(one is None for one in silent.values()):
        return [Part(statement=one, verdict=NOT_MEASURED, reason="Nothing was measured.") for one in statements], rows
    torch, tensorflow = silent["torch"] or frozenset(), silent["tensorflow"] or frozenset()
    cured = tensorflow - (_silent(usual, "tensorflow", switched=True) or frozenset())
    late = [one for one in usual if one.get("framework") == "torch" and not one.get("switch") and _late(one)]
    if torch or late:
        at_once = CONTRADICTED, f"Silent without anomaly detection: {_cases(torch)}." if torch else "Some came late."
    else:
        at_once = SUPPORTED, "Every fault raised at the update it was made in, with nothing switched on."
    only = cured - torch
    if only:
        needs = SUPPORTED, f"{_cases(only)}: TensorFlow says it only with tf.debugging, PyTorch by itself."
    elif tensorflow <= torch:
        same = "the same cases" if tensorflow == torch else "no more cases"
        needs = CONTRADICTED, f"Without a switch TensorFlow is silent in {same} than PyTorch ({_cases(tensorflow)})."
        needs = needs[0], needs[1].replace("the same cases than", "the same cases as")
    else:
        needs = UNDECIDED, f"Silent in {_cases(tensorflow - torch)}, with the switch too."
    return [
        Part(statement=statements[0], verdict=at_once[0], reason=at_once[1]),
        Part(statement=statements[1], verdict=needs[0], reason=needs[1]),
    ], rows


def _silent(results: Sequence[Mapping[str, Any]], framework: str, *, switched: bool) -> frozenset[str] | None:
    """Cases in which nothing was raised although the training was spoilt; None where nothing was measured."""
    own = [one for one in results if one.get("framework") == framework and bool(one.get("switch")) is switched]
    if not own:
        return None
    return frozenset(str(one["case"]) for one in own if one.get("raised_at") is None and not one.get("harmless"))


def _late(one: Mapping[str, Any]) -> bool:
    raised, fault = one.get("raised_at"), one.get("fault_at")
    return isinstance(raised, int) and isinstance(fault, int) and raised > fault


def _cases(cases: Iterable[str]) -> str:
    return ", ".join(sorted(cases)) or "none"


def _broken_row(one: Mapping[str, Any]) -> Row:
    label = f"{FRAMEWORKS.get(str(one.get('framework')))} {one.get('mode')}, {one.get('what') or one.get('case')}"
    switch = f", with {one['switch']}" if one.get("switch") else ""
    if one.get("raised_at") is not None:
        named = [word for key, word in NAMED.items() if one.get(key)]
        value = f"raised at update {one['raised_at']}, naming {', '.join(named) or 'none of layer, operator and line'}"
    elif one.get("harmless"):
        value = "went on, unharmed"
    else:
        value = f"silent; not finite from update {one.get('bad_from')}"
    return Row(label=label + switch, quantity="outcome", value=value, note=str(one.get("error") or ""))


NAMED = {"names_layer": "the layer", "names_operator": "the operator", "names_line": "the line"}


def _switch_rows(evidence: Evidence) -> list[Row]:
    rows = []
    for one in probe_lists(evidence, ("broken_torch", "broken_keras"), "costs"):
        plain, switched = one.get("plain"), one.get("switched")
        if isinstance(plain, float) and isinstance(switched, float) and plain > 0:
            label = f"{FRAMEWORKS.get(str(one.get('framework')))} {one.get('mode')}, healthy training"
            rows.append(Row(label=label, quantity="step time with the switch : without", value=switched / plain))
    return rows


def _all_or_none(count: int, total: int) -> Verdict:
    if not total:
        return UNDECIDED
    return SUPPORTED if count == total else CONTRADICTED
