"""What the Profile page fetches besides its callbacks: slices of the timeline, and traces as files."""

from __future__ import annotations

import math
from urllib.parse import quote

import orjson
from flask import Flask, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from ..db.errors import StoreError, TracksideError, UsageError
from ..db.records import RunInfo
from ..runs.traces.exporting import merged_traces, tensorboard_folder
from .comparison import Comparison, load
from .profile_reader import NO_TRACE, ProfileReader
from .source import StoreSource
from .tensorboard import TensorBoardLinks, folder_name

MOST_CHARACTERS = 80


def add_profile_routes(server: Flask, source: StoreSource, reader: ProfileReader, links: TensorBoardLinks) -> None:
    """Add `/profile/timeline`, `/profile/raw`, `/profile/merged` and `/profile/tensorboard`."""

    @server.get("/profile/timeline")
    def timeline() -> Response:
        try:
            run = load(source(), [request.args.get("run", "")]).runs
            if not run:
                raise UsageError("The link names no run that exists: open the Profile page anew.")
            slices = reader.slices(run[0], _whole(request.args.get("step")), _whole(request.args.get("rank")))
        except TracksideError as error:
            return _json({"error": str(error)}, _status(error))
        if slices is None:
            return _json({"busy": True}, 202)
        return _json(slices.window(_number("from", 0.0), _number("to", math.inf)), 200)

    @server.get("/profile/raw")
    def raw() -> Response:
        try:
            run = _chosen(source, request.args.get("run", "")).runs[0]
            trace = reader.trace(run, _whole(request.args.get("rank")))
            content = source().artifact_bytes(trace.id)
        except TracksideError as error:
            return Response(str(error) + "\n", _status(error), mimetype="text/plain")
        return _file(content, trace.name or f"trace-{run.id}", trace.media_type or "application/octet-stream")

    @server.get("/profile/merged")
    def merged() -> Response:
        try:
            comparison = _chosen(source, request.args.get("runs", ""))
            content = merged_traces(source(), _named(comparison))
        except TracksideError as error:
            return Response(str(error) + "\n", _status(error), mimetype="text/plain")
        names = "-".join(comparison.labels.values())
        return _file(content, f"{names[:MOST_CHARACTERS]}.trace.json.gz", "application/gzip")

    @server.get("/profile/tensorboard")
    def tensorboard() -> AnyResponse:
        try:
            if links.folder is None:
                raise UsageError(
                    "Start the dashboard with --tensorboard: only then can it give TensorBoard the traces."
                )
            comparison = _chosen(source, request.args.get("runs", ""))
            named = [(run, f"{folder_name(run)}-profile") for run, _ in _named(comparison)]
            written = tensorboard_folder(source(), named, links.folder)
        except TracksideError as error:
            return Response(str(error) + "\n", _status(error), mimetype="text/plain")
        return redirect(links.profile_url(written[0]))


def _named(comparison: Comparison) -> list[tuple[RunInfo, str]]:
    """The runs that have a trace, with their labels.

    Raises:
        UsageError: if none has.
    """
    if not comparison.traced:
        raise UsageError(NO_TRACE)
    return [(run, comparison.labels[run.id]) for run in comparison.runs if run.id in comparison.traced]


def _chosen(source: StoreSource, references: str) -> Comparison:
    comparison = load(source(), [one for one in references.split(",") if one])
    if not comparison.runs:
        raise UsageError("The link names no run that exists: open the Profile page anew.")
    return comparison


def _status(error: TracksideError) -> int:
    return 503 if isinstance(error, StoreError) else 400


def _json(value: object, status: int) -> Response:
    return Response(orjson.dumps(value), status, mimetype="application/json")


def _file(content: bytes, name: str, media_type: str) -> Response:
    response = Response(content, content_type=media_type)
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name)
    response.headers["Content-Disposition"] = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    return response


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _number(name: str, default: float) -> float:
    try:
        value = float(request.args.get(name, ""))
    except ValueError:
        return default
    return value if math.isfinite(value) else default
