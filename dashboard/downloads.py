"""Downloads of the figures as the page shows them: the same views, drawn for print or written as CSV."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any
from urllib.parse import parse_qs

from flask import Flask, Response, request

from ..db.errors import RunNotFoundError, TracksideError, UsageError
from ..db.store import Store
from ..runs.splits import panels
from ..runs.views import difference_view, step_times_view
from .comparison import (
    Comparison,
    chosen_difference,
    chosen_pair,
    chosen_starts,
    default_metrics,
    load,
    split_metrics,
)
from .pages.compare_panels import panel_view
from .query import CompareQuery
from .source import StoreSource

MEDIA_TYPES = {
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "png": "image/png",
    "csv": "text/csv; charset=utf-8",
}
REPORT_TYPES = {"html": "text/html; charset=utf-8", "report-pdf": "application/pdf"}


def add_downloads(server: Flask, source: StoreSource) -> None:
    """Add `/download/<format>?figure=…&subject=…` with the query of a Compare page, and `/artifact/<run>/<id>`."""

    @server.get("/download/<kind>")
    def download(kind: str) -> Response:
        try:
            name, content, media_type = download_file(source(), kind, request.query_string.decode())
        except TracksideError as error:
            status = 400 if isinstance(error, UsageError) else 503
            return Response(str(error) + "\n", status, mimetype="text/plain")
        response = Response(content, content_type=media_type)
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    @server.get("/artifact/<run_id>/<int:artifact_id>")
    def artifact(run_id: str, artifact_id: int) -> Response:
        try:
            info = next((one for one in source().artifacts(run_id) if one.id == artifact_id), None)
            if info is None:
                raise UsageError(f"The run has no file {artifact_id}: open its page anew.")
            if info.path is not None:  # a store from elsewhere may name any file of this machine
                raise UsageError(f"{info.name} was too large for the store: it lies where the run was trained.")
            content = source().artifact_bytes(artifact_id)
        except TracksideError as error:
            status = 404 if isinstance(error, UsageError | RunNotFoundError) else 503
            return Response(str(error) + "\n", status, mimetype="text/plain")
        # Whatever a program attached is a file to keep, never a page to show.
        response = Response(content, content_type="application/octet-stream")
        name = re.sub(r"[^\w.+-]+", "_", info.name, flags=re.ASCII).strip("._") or f"artifact-{artifact_id}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name[:120]}"'
        return response


def download_file(store: Store, kind: str, search: str) -> tuple[str, bytes, str]:
    """File name, bytes and media type of what a download link asks for.

    Args:
        store: where the runs are.
        kind: "pdf", "svg", "png", "csv"; "html" or "report-pdf" for a report of all.
        search: the Compare page's query with `figure` ("curves", "difference", "step-times" or "all") and, for
            curves, `subject`: the metric.

    Raises:
        UsageError: if the format, the figure or the runs are unknown.
    """
    from .export import render  # Matplotlib takes a second to load: not before someone downloads

    known = {**MEDIA_TYPES, **REPORT_TYPES}
    if kind not in known:
        raise UsageError(f"There is no download format {kind!r}: use one of {', '.join(known)}.")
    query = CompareQuery.parse(search)
    comparison = load(store, query.runs)
    if not comparison.runs:
        raise UsageError("The link names no run that exists: open the Compare page and download from there.")

    if kind in REPORT_TYPES:
        from .report import report

        format = kind.removeprefix("report-")
        written = report(
            store,
            comparison.runs,
            format=format,
            figures=_report_figures(store, comparison, query),
            axis=query.axis,
            smoothing=query.smoothing,
            log_y=query.log_y,
            base=query.base if query.base in comparison.ids else None,
            target=query.target,
            starts=chosen_starts(query, comparison),
            splits=query.splits,
        )
        return f"report.{format}", written, REPORT_TYPES[kind]

    def drawn(view: Any) -> bytes:
        return render(view, kind, runs=comparison.runs, log_y=query.log_y)

    asked = parse_qs(search)
    figure, subject = asked.get("figure", ["curves"])[-1], asked.get("subject", [""])[-1]
    if figure != "all":
        view = _view(store, comparison, query, figure, subject)
        return f"{_file_name(figure, subject)}.{kind}", drawn(view), MEDIA_TYPES[kind]
    views = {_file_name(name, metric): view for name, metric, view in _all_views(store, comparison, query)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, view in views.items():
            # A fixed date: the same view must give the same bytes.
            archive.writestr(zipfile.ZipInfo(f"{name}.{kind}", (1980, 1, 1, 0, 0, 0)), drawn(view))
    return f"trackside-{kind}.zip", packed.getvalue(), "application/zip"


def _report_figures(store: Store, comparison: Comparison, query: CompareQuery) -> list[str] | None:
    """The panels that were chosen, and the step times; None for the usual figures where none was."""
    if query.metrics is None:
        return None
    training, _ = split_metrics(store, comparison)
    chosen = [name for name in query.metrics if name in training]
    chosen = panels(chosen) if query.splits else chosen
    return [*chosen, *(["step-time"] if "step/seconds" in training else [])]


def _view(store: Store, comparison: Comparison, query: CompareQuery, figure: str, subject: str) -> Any:
    if figure == "curves":
        view = panel_view(store, comparison, query, subject)
        if not view.curves:
            raise UsageError(f"None of these runs logged {subject!r}: choose a metric that the Compare page shows.")
        return view
    if figure == "step-times":
        return step_times_view(store, comparison.runs)
    pair = chosen_pair(query, comparison)
    if figure == "difference" and pair is not None:
        metric = chosen_difference(query, split_metrics(store, comparison)[0])
        if metric is not None:
            return difference_view(store, *pair, metric, axis=query.axis, starts=chosen_starts(query, comparison))
    raise UsageError(f"There is no figure {figure!r} of these runs: use curves, difference, step-times or all.")


def _all_views(store: Store, comparison: Comparison, query: CompareQuery) -> list[tuple[str, str, Any]]:
    training, system = split_metrics(store, comparison)
    metrics = [name for name in query.metrics if name in training] if query.metrics else default_metrics(training)
    metrics = panels(metrics) if query.splits else metrics
    wanted = [("curves", metric) for metric in [*metrics, *system]] + [("step-times", "")]
    if chosen_pair(query, comparison) and training:
        wanted.append(("difference", ""))
    return [(figure, subject, _view(store, comparison, query, figure, subject)) for figure, subject in wanted]


def _file_name(figure: str, subject: str) -> str:
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in subject)
    return f"{figure}-{plain}" if plain else figure
