"""Serving the dashboard: what `trackside dashboard` runs."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack

from waitress.server import create_server

from ..db.errors import UsageError
from .app import create_app
from .recovery import Recovery
from .security import check_binding
from .source import StoreSource
from .tensorboard import TensorBoardChild

THREADS = 8  # a page asks for several sections at once, and several people may look


def serve(
    store_url: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8050,
    token: str | None = None,
    tensorboard: bool = False,
    tensorboard_url: str | None = None,
) -> None:
    """Serve the dashboard until interrupted, and bring in what dead processes left while it runs.

    Args:
        store_url: where runs live; None for `TRACKSIDE_STORE` or the default.
        host: address to listen on. Any but a loopback address needs a token.
        port: where to listen.
        token: what visitors must show; None for `TRACKSIDE_TOKEN`, or none at all.
        tensorboard: start a TensorBoard beside it for the runs' log directories.
        tensorboard_url: address of a TensorBoard that is already there.

    Raises:
        UsageError: if the address is taken or not this machine's, or would be open to others without a token.
    """
    token = token or os.environ.get("TRACKSIDE_TOKEN") or None
    check_binding(host, token)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a short queue at page load is no news
    folder = None
    with ExitStack() as stack:
        if tensorboard and tensorboard_url is None:
            runs = StoreSource(store_url)
            stack.callback(runs.close)
            child = TensorBoardChild(runs)
            stack.callback(child.stop)
            child.start()
            tensorboard_url, folder = child.url, child.folder
            print(f"TensorBoard at {child.url}", flush=True)
        app = create_app(store_url, host=host, token=token, tensorboard_url=tensorboard_url, tensorboard_folder=folder)
        source = app.server.extensions["trackside_source"]
        stack.callback(source.close)
        try:
            server = create_server(
                app.server, host=host, port=port, threads=THREADS, ident=None, clear_untrusted_proxy_headers=True
            )
        except (OSError, ValueError) as error:
            raise UsageError(
                f"The dashboard cannot listen on {host}:{port} ({error}): choose another with --port or --host."
            ) from error
        recovery = Recovery(source)
        stack.callback(recovery.stop)
        recovery.start()
        shown = f"[{host}]" if ":" in host else host
        query = "/?token=…" if token else "/"
        print(f"Dashboard at http://{shown}:{port}{query} (Ctrl-C ends it)", flush=True)
        try:
            server.run()
        except KeyboardInterrupt:
            pass
        finally:
            server.close()
