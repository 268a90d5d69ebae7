"""Which view `trackside export` and `trackside report` take: their options, or the address of a Compare page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..db.errors import UsageError

if TYPE_CHECKING:
    from ..dashboard.query import CompareQuery
    from ..db.store import Store

Shown = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN RUN...", help="Ids, unique beginnings of ids, or names; or the address of a Compare page."
    ),
]
FindOption = Annotated[
    str | None,
    typer.Option(
        "--find", metavar="REGEX", help="Every metric that this regular expression is found in, case ignored."
    ),
]

_OPTIONS = ("axis", "smoothing", "log_y", "base", "target", "group", "splits")


@dataclass(frozen=True, kw_only=True)
class View:
    """What is to be drawn.

    Attributes:
        runs: references.
        figures: names of figures and keys of metrics; None where nothing says which.
        options: arguments of `export` and `report` alike; `starts` as `RUN:STEP`.
    """

    runs: tuple[str, ...]
    figures: tuple[str, ...] | None
    options: dict[str, Any]


def chosen_view(
    context: typer.Context, store: Store, references: Sequence[str], figures: Sequence[str] | None, find: str | None
) -> View:
    """The view that a command asks for. What the command line says goes before what the address says.

    Args:
        context: of the command; tells which of its options were given.
        store: where the runs are.
        references: runs, or one address.
        figures: those named by the command.
        find: the expression that the command gave.

    Raises:
        UsageError: the address names no run, an expression is none or finds nothing, or an option cannot be.
    """
    from ..runs.align import AXES

    query, is_address = _query(references)
    given = {name: context.params[name] for name in _OPTIONS if _was_given(context, name)}
    axis = given.get("axis", query.axis)
    if axis not in AXES:
        raise UsageError(f"There is no axis {axis!r}: use one of {', '.join(AXES)}.")
    query = replace(query, **given, find=query.find if find is None else find)
    named = list(figures or ())
    if query.find:
        named += _found(store, query)
    elif is_address and not named:
        named = _panels(store, query)
    options = {name: getattr(query, name) for name in (*_OPTIONS, "x_range")}
    options["starts"] = tuple(context.params["start"] or (f"{run}:{step}" for run, step in query.starts))
    return View(runs=query.runs, figures=tuple(named) or None, options=options)


def _was_given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _query(references: Sequence[str]) -> tuple[CompareQuery, bool]:
    from ..dashboard.query import CompareQuery

    addresses = [reference for reference in references if "?" in reference and "runs=" in reference]
    if not addresses:
        return CompareQuery(runs=tuple(references)), False
    if len(references) > 1:
        raise UsageError("An address of a Compare page names its runs itself: give it alone, in quotes.")
    query = CompareQuery.parse(addresses[0].partition("?")[2].partition("#")[0])
    if not query.runs:
        raise UsageError("The address names no run: copy it from a Compare page that shows some.")
    return query, True


def _names(store: Store, query: CompareQuery) -> list[str]:
    from ..runs.views import metric_names

    return list(metric_names(store, [store.run(reference) for reference in query.runs]))


def _found(store: Store, query: CompareQuery) -> list[str]:
    try:
        wanted = re.compile(query.find, re.IGNORECASE)
    except re.error as error:
        raise UsageError(
            f"{query.find!r} is no regular expression ({error}): close every bracket, or put \\ before it."
        ) from error
    logged = _names(store, query)
    found = [name for name in logged if wanted.search(name)]
    if not found:
        raise UsageError(f"No metric of these runs matches {query.find!r}: they logged {', '.join(logged[:8])}.")
    return found


def _panels(store: Store, query: CompareQuery) -> list[str]:
    """The panels that the page shows where it finds nothing: those chosen, or its own choice."""
    from ..dashboard.comparison import default_metrics, is_system
    from ..runs.splits import panels

    training = [name for name in _names(store, query) if not is_system(name)]
    chosen = [name for name in query.metrics if name in training] if query.metrics else None
    metrics = chosen or default_metrics(training)
    return panels(metrics) if query.splits else metrics
