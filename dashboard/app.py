"""The dashboard as an application: shell, routing, and what every response has in common."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, set_props
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from flask import Flask, Response, request
from flask_compress import Compress

from ..db.errors import StoreError, TracksideError
from .badges import icon
from .debug_query import DebugQuery
from .downloads import add_downloads
from .keys import help_button, help_dialog
from .pages import claims, compare, debug, profile, run, runs, runs_trash, saved_views, system
from .profile_query import ProfileQuery
from .profile_reader import ProfileReader
from .profile_routes import add_profile_routes
from .query import CompareQuery, RunQuery
from .run_table import RunTable
from .scripts import page_scripts
from .security import check_binding, protect
from .source import StoreSource
from .tensorboard import TensorBoardLinks

YEAR_SECONDS = 31_536_000
STATIC = ("/assets/", "/_dash-component-suites/")
VOLATILE = "volatile"
RETRY_MILLISECONDS = 3000

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" type="image/svg+xml" href="/assets/favicon.svg">
<script src="/assets/scheme.js"></script>
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def create_app(
    store_url: str | None = None,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    tensorboard_url: str | None = None,
    tensorboard_folder: Path | None = None,
) -> Dash:
    """Build the dashboard of one store. Nothing is global: several apps can live in one process.

    Args:
        store_url: where runs live, as `open_store` takes it. The store is opened at the first request.
        host: address the app will be served on; decides which Host headers are answered.
        token: what visitors must show; required when `host` is not a loopback address.
        tensorboard_url: address of a TensorBoard to link runs to.
        tensorboard_folder: the folder it watches, where that is ours to write to.

    Raises:
        UsageError: if other machines could reach it without a token, or an address is malformed.
    """
    check_binding(host, token)
    source = StoreSource(store_url)
    reader = ProfileReader(source)
    table = RunTable(source)
    links = TensorBoardLinks(tensorboard_url, tensorboard_folder)
    server = Flask("trackside.dashboard", static_folder=None)
    app = Dash(
        "trackside.dashboard",
        server=server,
        title="trackside",
        update_title=None,  # keeps the title still during updates
        index_string=INDEX,
        use_pages=False,
        suppress_callback_exceptions=True,  # a page's components exist only while it is shown
        assets_ignore=r"^scheme\.js$",
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        on_error=_say_error,
        enable_mcp=False,
    )
    app.interpolate_index = page_scripts(app.interpolate_index, lambda: request.path, lambda: table.has_rows)
    app.layout = _shell(links)
    _route(app, source, table, reader, links)
    runs.register(app, table)
    saved_views.register(app, source)
    compare.register(app, source, links)
    run.register(app, source, links)
    profile.register(app, source, reader, links)
    debug.register(app, source, links)
    system.register(app, source, links)
    claims.register(app, source)
    add_downloads(server, source)
    add_profile_routes(server, source, reader, links)
    _compress(server)
    _cache(server)
    protect(server, host=host, token=token, script_hashes=list(app.csp_hashes()))
    server.extensions["trackside_source"] = source
    return app


def _shell(links: TensorBoardLinks) -> Component:
    """What stays while pages come and go."""
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="page-key"),
            dcc.Store(id="recovered", data=0),  # counts how often the store came back
            dcc.Interval(id="banner-tick", interval=RETRY_MILLISECONDS, disabled=True),
            html.A("Skip to content", href="#page", className="skip-link"),
            html.Header(
                [
                    dcc.Link([html.Img(src="/assets/favicon.svg", alt=""), "trackside"], href="/", className="brand"),
                    html.Nav(
                        [
                            dcc.Link("Runs", href="/", id="nav-runs"),
                            dcc.Link("Claims", href="/claims", id="nav-claims"),
                            html.A("TensorBoard", href=links.base_url, target="_blank", rel="noreferrer")
                            if links.base_url
                            else None,
                        ],
                        **{"aria-label": "Pages"},
                    ),
                    help_button(),
                    dmc.ColorSchemeToggle(
                        lightIcon=icon("sun"),
                        darkIcon=icon("moon"),
                        variant="subtle",
                        color="gray",
                        size="lg",
                        **{"aria-label": "Switch between light and dark"},
                    ),
                ],
                className="top",
            ),
            html.Div(id="banner", className="banner", role="alert"),
            html.Main(id="page", className="page", tabIndex=-1),
            help_dialog(),
        ],
        defaultColorScheme="auto",
        theme={"primaryColor": "blue", "defaultRadius": "md", "fontFamily": "inherit"},
    )


def _route(app: Dash, source: StoreSource, table: RunTable, reader: ProfileReader, links: TensorBoardLinks) -> None:
    @app.callback(
        Output("page", "children"),
        Output("page-key", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        State("page-key", "data"),
    )
    def show(pathname: str, search: str | None, shown: list[Any] | None) -> tuple[Component, list[Any]]:
        path = (pathname or "/").rstrip("/") or "/"
        # Only the runs, and the rank of them, make another page; a control that moved is for that page's own callbacks.
        key = [path, _shown_runs(path, search)]
        if key == shown:
            raise PreventUpdate
        set_props("banner", {"children": ""})  # what was said about the page before
        try:
            if path in ("/", "/runs") and runs_trash.is_trash(search or ""):
                return runs_trash.layout(source), key
            if path in ("/", "/runs"):
                return runs.layout(table, search or ""), key
            if path == "/compare":
                return compare.layout(source, links, search or ""), key
            if path == "/run":
                return run.layout(source, links, search or ""), key
            if path == "/profile":
                return profile.layout(source, reader, links, search or ""), key
            if path == "/debug":
                return debug.layout(source, links, search or ""), key
            if path == "/system":
                return system.layout(source, links, search or ""), key
            if path == "/claims":
                return claims.layout(source, search or ""), key
        except StoreError as error:
            return _broken(str(error)), ["broken"]
        except TracksideError as error:
            return _notice("This page cannot be shown", str(error)), key
        return _notice("No such page", f"There is nothing at {path}."), key

    @app.callback(
        Output("page-key", "data", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Input("retry-tick", "n_intervals"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def retry(_: int, search: str | None) -> tuple[None, str]:
        source().runs(state="running")  # raises while the store is away, and the page stays as it is
        return None, _toggled(search or "")

    @app.callback(
        Output("banner", "children"),
        Output("banner-tick", "disabled"),
        Output("recovered", "data"),
        Input("banner-tick", "n_intervals"),
        State("recovered", "data"),
        prevent_initial_call=True,
    )
    def store_is_back(_: int, times: int) -> tuple[str, bool, int]:
        source().runs(state="running")  # raises while the store is away, which keeps the banner and the clock
        return "", True, times + 1


def _shown_runs(path: str, search: str | None) -> list[str] | None:
    """What makes another page of an address: its runs, where the page is about runs; all of it, where it lists them."""
    if path in ("/", "/runs"):
        return [search or ""]  # what its controls change is written to the address behind Dash's back
    if path in ("/compare", "/system"):
        return list(CompareQuery.parse(search).runs)
    if path == "/profile":
        profile_query = ProfileQuery.parse(search)
        return [*profile_query.runs, f"rank {profile_query.rank}"]
    if path == "/debug":
        return list(DebugQuery.parse(search).runs)
    return [RunQuery.parse(search).run] if path == "/run" else None


def _toggled(search: str) -> str:
    """The same query written differently, so that the router looks at it again."""
    return search.removesuffix("&") if search.endswith("&") else (search or "?") + "&"


def _broken(sentence: str) -> Component:
    return html.Div(
        [
            dcc.Interval(id="retry-tick", interval=RETRY_MILLISECONDS),
            html.H1("The store cannot be read"),
            html.P(sentence, role="alert"),
            html.P("This page tries again every few seconds.", className="soft"),
        ],
        className="empty",
    )


def _notice(title: str, sentence: str) -> Component:
    return html.Div(
        [
            html.H1(title),
            html.P(sentence, className="soft", role="status"),
            dcc.Link("All runs", href="/", className="button primary"),
        ],
        className="empty",
    )


def _say_error(error: Exception) -> None:
    """A callback failed: one sentence above the page where it is ours to say, the log where it is a defect."""
    if isinstance(error, StoreError):
        set_props("banner", {"children": str(error)})
        set_props("banner-tick", {"disabled": False})
        return
    if isinstance(error, TracksideError):
        set_props("banner", {"children": str(error)})
        return
    logging.getLogger("trackside.dashboard").error("A callback failed", exc_info=error)
    set_props("banner", {"children": "Something went wrong while drawing this page; the server's log has the details."})


class StaticCache:
    """Compressed bytes of the files that never change; Flask-Compress asks it before compressing."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """The compressed body kept under this key."""
        return self._bodies.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Keep the body of a file; what callbacks answer is never the same twice."""
        if not key.endswith(VOLATILE):
            self._bodies[key] = value


def _compress(server: Flask) -> None:
    """Compress responses, those of files once only: compressing Dash's scripts takes longer than sending them."""
    server.config.update(
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_BR_LEVEL=5,
        COMPRESS_LEVEL=5,
        COMPRESS_MIN_SIZE=1000,
        COMPRESS_STREAMS=False,
        COMPRESS_CACHE_BACKEND=StaticCache,
        COMPRESS_CACHE_KEY=lambda asked: asked.full_path if asked.path.startswith(STATIC) else VOLATILE,
    )
    Compress(server)


def _cache(server: Flask) -> None:
    @server.after_request
    def keep(response: Response) -> Response:
        if not request.path.startswith(STATIC):
            response.headers["Cache-Control"] = "no-store"
        elif request.args.get("m") or request.path.startswith(STATIC[1]):  # Dash puts the file's time into the URL
            response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
        if request.path.startswith(STATIC[0]) and response.status_code == 200:
            # A file is streamed otherwise, and streams are compressed anew each time.
            file: Any = response.response
            response.direct_passthrough = False
            response.get_data()
            file.close()
        return response
