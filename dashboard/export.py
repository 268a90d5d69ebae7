"""Figures and their data as files for a report: the views that the page shows, drawn for print.

Needs Matplotlib for PDF, SVG and PNG, and nothing of Dash or Plotly.
"""

from __future__ import annotations

import errno
import importlib.util
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from ..db.errors import SeriesNotFoundError, TracksideError, UsageError
from ..db.records import RunInfo
from ..runs.groups import GROUPS, grouped
from ..runs.splits import in_one_panel, joined
from ..runs.starts import FROM_THE_FIRST, Starts, chosen_starts
from ..runs.verdict import chosen_base, target_metric
from ..runs.views import (
    Axis,
    CurvesView,
    curves_view,
    difference_view,
    metric_label,
    metric_names,
    step_times_view,
)
from .figure_data import View, Width, cropped, figure_csv, has_points
from .pgfplots import figure_tex
from .tables import TABLE_FORMATS, make_table, write_table

if TYPE_CHECKING:
    from ..db.store import Store

Format = Literal["pdf", "svg", "png", "csv", "tex"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
WIDTHS: Final[tuple[Width, ...]] = get_args(Width)
LOWEST_DPI, HIGHEST_DPI = 36, 1200


@dataclass(frozen=True, kw_only=True)
class FigureKind:
    """What a figure's name stands for.

    Attributes:
        about: for a list of figures.
        panels: one pattern a panel, of the metrics whose curves it holds; panels without any are left out.
        kind: how it is drawn.
    """

    about: str
    panels: tuple[str, ...]
    kind: Literal["curves", "step-times", "difference"] = "curves"


FIGURES: Final[Mapping[str, FigureKind]] = {
    "loss": FigureKind(about="training loss", panels=(r"train/loss",)),
    "val-loss": FigureKind(about="validation loss", panels=(r"val/loss",)),
    "step-time": FigureKind(
        about="step times: distribution, percentiles, waiting and computing",
        panels=(r"step/seconds",),
        kind="step-times",
    ),
    "throughput": FigureKind(about="samples per second", panels=(r"step/samples_per_second",)),
    "learning-rate": FigureKind(about="learning rate", panels=(r"optimizer\d*/learning_rate(_group\d+)?",)),
    "difference": FigureKind(
        about="training loss of one run minus another's", panels=(r"train/loss",), kind="difference"
    ),
    "gpu": FigureKind(
        about="GPU utilization, memory and power",
        panels=(r"gpu\d+/utilization_percent", r"gpu\d+/memory_bytes", r"gpu\d+/power_watts"),
    ),
    "cpu": FigureKind(about="CPU utilization", panels=(r"cpu/percent",)),
    "memory": FigureKind(
        about="memory of the process and of each GPU",
        panels=(r"process/memory_bytes", r"gpu\d+/memory_bytes"),
    ),
}
"""Figures by name. Any metric's key is the name of a figure too."""


def render(
    view: View,
    format: str,
    *,
    width: str = "single",
    title: str | None = None,
    runs: Sequence[RunInfo] | None = None,
    log_y: bool = False,
    dpi: float = 300,
) -> bytes:
    """A view as the bytes of a file; the same view always gives the same bytes.

    Args:
        view: from `trackside.runs.views`, or several `CurvesView` to stand above each other.
        format: "pdf", "svg", "png", "csv" or "tex" (pgfplots).
        width: "single" (a column of a page, 85 mm), "double" (a page, 178 mm) or "slide" (10 × 5.6 in).
        title: above the figure; papers have a caption instead.
        runs: the runs compared, in the page's order: gives each its colour on the page, and a difference its labels.
        log_y: logarithmic y axis of curves; what is not above zero is left out and counted under the figure.
        dpi: dots per inch of a PNG.

    Raises:
        UsageError: an argument is none of these, or Matplotlib is not installed.
    """
    check_choice("format", format, FORMATS)
    check_choice("width", width, WIDTHS)
    if not LOWEST_DPI <= dpi <= HIGHEST_DPI:
        raise UsageError(f"{dpi:g} dots per inch cannot be drawn: give {LOWEST_DPI} to {HIGHEST_DPI}, such as 300.")
    if format == "csv":
        return figure_csv(view, runs)
    if format == "tex":
        return figure_tex(view, width=cast(Width, width), runs=runs, log_y=log_y)
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            f"Drawing {format.upper()} needs Matplotlib: run pip install 'trackside[export]', or export as csv."
        )
    from .print_figures import VectorFormat, figure_bytes

    return figure_bytes(
        view,
        cast(VectorFormat, format),
        width=cast(Width, width),
        title=title,
        runs=runs,
        log_y=log_y,
        dpi=dpi,
    )


def figure_view(
    store: Store,
    runs: Sequence[RunInfo],
    figure: str,
    *,
    axis: Axis = "step",
    x_range: tuple[float, float] | None = None,
    smoothing: float = 0.0,
    group: str | None = None,
    starts: Starts = FROM_THE_FIRST,
    target: float | None = None,
    splits: bool = False,
) -> View:
    """The view of a figure by its name.

    Args:
        store: where the runs are.
        runs: to show.
        figure: one of `FIGURES`, or a metric's key.
        axis: what x is, where x is an axis of runs.
        x_range: show only this part.
        smoothing: of curves, 0 (none) to below 1.
        group: of curves, one of `GROUPS`: a mean with its interval for runs that differ only in that.
        starts: of curves and differences: where runs begin that do not begin with their first step, by run id.
        target: a line across the panel of the loss that runs are timed to.
        splits: of curves: training and validation of a quantity in one panel.

    Raises:
        UsageError: there is no such figure or metric, none of the runs has it, or nothing of it can be shown.
    """
    logged = metric_names(store, runs)
    kind = FIGURES.get(figure)
    if kind is not None and kind.kind == "difference" and len(runs) != 2:
        raise UsageError(
            f"A difference is one run minus another, and {len(runs)} {'was' if len(runs) == 1 else 'were'} given: "
            "name exactly two."
        )
    found = [] if kind is None else [[name for name in logged if re.fullmatch(panel, name)] for panel in kind.panels]
    panels = [metrics for metrics in found if metrics]
    if not panels and figure in logged:
        kind, panels = None, [[figure]]
    if not panels:
        raise _not_logged(figure, kind, logged)

    view: View
    if kind is not None and kind.kind == "step-times":
        view = step_times_view(store, runs)
        reason = "no step is left after the warm-up: export a run that trained longer"
    elif kind is not None and kind.kind == "difference":
        difference = difference_view(store, runs[0], runs[1], panels[0][0], axis=axis, starts=starts)
        view = cropped(difference, x_range)
        reason = difference.reason if not len(difference.x) else "the range holds no point: choose another"
    else:
        timed = None if target is None else target_metric(store, runs)

        def panel(metrics: Sequence[str]) -> CurvesView:
            view = _panel(
                store, runs, metrics, axis=axis, x_range=x_range, smoothing=smoothing, group=group, starts=starts
            )
            return replace(view, target=target if timed in metrics else None)

        views = tuple(
            joined([panel([one]) for one in in_one_panel(metrics[0], logged)])
            if splits and len(metrics) == 1
            else panel(metrics)
            for metrics in panels
        )
        view = views[0] if len(views) == 1 else views
        where = "" if x_range is None else f" in the range {x_range[0]:g} to {x_range[1]:g}"
        reason = f"no point has a known {axis}{where}: choose another axis or range"
    if not has_points(view):
        raise UsageError(f"There is nothing to draw for {figure!r}: {reason.rstrip('.')}.")
    return view


def _panel(
    store: Store,
    runs: Sequence[RunInfo],
    metrics: Sequence[str],
    *,
    axis: Axis,
    x_range: tuple[float, float] | None,
    smoothing: float,
    group: str | None,
    starts: Starts,
) -> CurvesView:
    """Curves of one metric, or of the same quantity of several GPUs or optimizers under labels that say which."""
    views = [
        curves_view(store, runs, metric, axis=axis, x_range=x_range, smoothing=smoothing, starts=starts)
        for metric in metrics
    ]
    if group is not None:
        views = [grouped(view, runs, group) for view in views]
    if len(views) == 1:
        return views[0]
    curves = tuple(
        replace(curve, label=f"{curve.label}, {_which(curve.metric)}") for view in views for curve in view.curves
    )
    ranges = [view.x_range for view in views if view.x_range is not None]
    unit = views[0].unit if len({view.unit for view in views}) == 1 else None
    return replace(
        views[0],
        curves=curves,
        unit=unit,
        y_label=metric_label(re.sub(r"\d+/", "/", metrics[0]), unit),
        x_range=(min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None,
        missing=tuple(entry for view in views for entry in view.missing),
    )


def _which(metric: str) -> str:
    gpu = re.match(r"gpu(\d+)/", metric)
    return f"GPU {gpu[1]}" if gpu else metric.removeprefix("optimizer/")


def _not_logged(figure: str, kind: FigureKind | None, logged: Sequence[str]) -> UsageError:
    if kind is not None:
        cure = (
            f"choose a metric they logged, such as {', '.join(logged[:5])}" if logged else "choose runs that logged it"
        )
        return SeriesNotFoundError(f"None of the runs has what {figure!r} shows ({kind.about}): {cure}.")
    close = get_close_matches(figure, [*FIGURES, *logged], n=3) or logged[:3]
    return SeriesNotFoundError(
        f"There is no figure {figure!r} and none of the runs logged a metric of that name: choose one of "
        f"{', '.join(FIGURES)}, or a metric's name{' such as ' + ', '.join(close) if close else ''}."
    )


def export(
    store: Store,
    references: Sequence[str],
    *,
    figures: Sequence[str] = ("loss", "step-time"),
    formats: Sequence[str] = ("pdf",),
    directory: str | os.PathLike[str],
    axis: Axis = "step",
    smoothing: float = 0.0,
    log_y: bool = False,
    x_range: tuple[float, float] | None = None,
    width: str = "single",
    dpi: float = 300,
    tables: Sequence[str] = (),
    base: str | None = None,
    target: float | None = None,
    group: str | None = None,
    starts: Sequence[str] = (),
    splits: bool = False,
) -> list[Path]:
    """Write figures and tables of some runs, each in each format, as `loss.pdf`, `loss.csv`, `verdict.tex`.

    Everything is drawn before the first file is written, and a file is either the old one or the new one, never
    a part.

    Args:
        store: where the runs are.
        references: ids, unique beginnings of ids, or names; all of them share each figure.
        figures: names of `FIGURES` or keys of metrics.
        formats: of figures "pdf", "svg", "png", "csv" or "tex", of tables "md", "tex", "csv" or "html"; each is
            written in those that it has.
        directory: made if it is not there.
        axis: what x is.
        smoothing: 0 (none) to below 1.
        log_y: logarithmic y axis of curves.
        x_range: show only this part of x.
        width: "single", "double" or "slide".
        dpi: dots per inch of PNGs.
        tables: names of `TABLES`.
        base: of a verdict: the run that ratios are taken to.
        target: the loss that runs are timed to: of a verdict, and a line across the panel of that loss.
        group: of curves, one of `GROUPS`: runs that differ only in that are drawn as their mean with its 95 % interval.
        starts: `RUN:STEP` of runs that do not begin with their first step.
        splits: of curves: training and validation of a quantity in one panel.

    Returns:
        The files written, in the order of `figures` and `tables` and, for each, of `formats`.

    Raises:
        UsageError: a run, figure, metric, format or option is not there, or the directory cannot be written.
        TracksideError: the files cannot be written for another reason, such as a full disk.
    """
    if not references or not (figures or tables) or not formats:
        empty = "run" if not references else "format" if figures or tables else "figure"
        raise UsageError(f"There is no {empty} to export: name at least one.")
    _check_formats(formats, figures, tables)
    if group is not None:
        check_choice("group", group, GROUPS)
    if x_range is not None and not (all(map(math.isfinite, x_range)) and x_range[0] < x_range[1]):
        raise UsageError(f"The range {x_range} is empty: give two finite numbers, the smaller first.")
    runs = list({run.id: run for run in map(store.run, references)}.values())
    begun = chosen_starts(store, runs, starts)
    contents: dict[str, bytes] = {}
    for figure in dict.fromkeys(figures):
        view = figure_view(
            store,
            runs,
            figure,
            axis=axis,
            x_range=x_range,
            smoothing=smoothing,
            group=group,
            starts=begun,
            target=target,
            splits=splits,
        )
        stem = _free_stem(_stem(figure), contents)
        for format in dict.fromkeys(formats):
            if format in FORMATS:
                contents[f"{stem}.{format}"] = render(view, format, width=width, runs=runs, log_y=log_y, dpi=dpi)
    base_id = chosen_base(store, runs, base, "exported")
    for name in dict.fromkeys(tables):
        table = make_table(store, runs, name, base=base_id, target=target, starts=begun)
        stem = _free_stem(name, contents)
        for format in dict.fromkeys(formats):
            if format in TABLE_FORMATS:
                contents[f"{stem}.{format}"] = write_table(table, format)
    return _write_all(Path(directory), contents)


def _check_formats(formats: Sequence[str], figures: Sequence[str], tables: Sequence[str]) -> None:
    """Each format must be one of what is exported, and each of that must have a format.

    Raises:
        UsageError: if not.
    """
    known = [*(FORMATS if figures else ()), *(TABLE_FORMATS if tables else ())]
    for format in formats:
        check_choice("format", format, list(dict.fromkeys(known)))
    for what, possible in (("figure", FORMATS), ("table", TABLE_FORMATS)):
        if (figures if what == "figure" else tables) and not set(formats) & set(possible):
            raise UsageError(f"A {what} is none of {', '.join(formats)}: add one of {', '.join(possible)}.")


def _stem(figure: str) -> str:
    """A file name that any system takes: letters, digits, dot, dash and underscore."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", figure).strip(".-")
    return plain[:80] or "figure"


def _free_stem(stem: str, taken: Mapping[str, bytes]) -> str:
    # Compared without case: on some systems Loss.pdf and loss.pdf are one file.
    stems = {name.rpartition(".")[0].lower() for name in taken}
    number, free = 1, stem
    while free.lower() in stems:
        number += 1
        free = f"{stem}-{number}"
    return free


def write_file(path: Path, content: bytes) -> Path:
    """Write one file, which is then either the old one or the new one, never a part; its folder is made.

    Raises:
        UsageError: if it cannot be written there.
        TracksideError: if there is no room.
    """
    return _write_all(path.parent, {path.name: content})[0]


def _write_all(directory: Path, contents: Mapping[str, bytes]) -> list[Path]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [_write(directory / name, content) for name, content in contents.items()]
    except OSError as error:
        problem = f"The figures cannot be written to {directory} ({error.strerror})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise TracksideError(f"{problem}: make room there, or choose another directory.") from error
        raise UsageError(f"{problem}: choose another directory.") from error


def _write(path: Path, content: bytes) -> Path:
    """Write beside the file and move over it: whoever reads it meanwhile sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_choice(what: str, given: str, choices: Sequence[str]) -> None:
    """Raise UsageError, with the choices, for what is none of them."""
    if given not in choices:
        raise UsageError(f"There is no {what} {given!r}: choose one of {', '.join(choices)}.")
