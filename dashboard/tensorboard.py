"""TensorBoard beside the dashboard: where a run's event files are shown, and a child process that shows them."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlencode, urlsplit

from ..db.errors import StoreError, UsageError
from ..db.records import RunInfo
from .source import StoreSource

RESCAN_SECONDS = 5.0


class TensorBoardLinks:
    """Links from runs to a TensorBoard; none where there is no TensorBoard.

    Args:
        base_url: address of the TensorBoard, http or https; None for no links.
        folder: the folder it watches, where that is ours: traces are laid out in there for its Profile tab.

    Raises:
        UsageError: if the address is no http or https URL.
    """

    def __init__(self, base_url: str | None = None, folder: Path | None = None) -> None:
        if base_url is not None and urlsplit(base_url).scheme not in ("http", "https"):
            raise UsageError(f"The TensorBoard address {base_url!r} must begin with http:// or https://.")
        self.base_url = base_url.rstrip("/") if base_url else None
        self.folder = folder if self.base_url else None

    def url(self, run: RunInfo) -> str | None:
        """Where TensorBoard shows this run; None where it wrote no event files or there is no TensorBoard."""
        if self.base_url is None or not run.log_directory:
            return None
        return f"{self.base_url}/?{urlencode({'runFilter': folder_name(run)})}#timeseries"

    def profile_url(self, trace: Path) -> str:
        """Where the Profile tab shows a trace: `<run>/plugins/profile/<time>/<host>.xplane.pb` in `folder`."""
        run, moment = trace.parents[3].name, trace.parent.name
        query = {"tool": "trace_viewer@", "run": f"{run}/{moment}", "host": trace.name.removesuffix(".xplane.pb")}
        return f"{self.base_url}/?{urlencode(query)}#profile"


def folder_name(run: RunInfo) -> str:
    """What a run is called in TensorBoard: its name in plain characters and the beginning of its id."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in run.name)[:60].strip("-")
    return f"{plain or 'run'}-{hashlib.blake2b(run.id.encode(), digest_size=4).hexdigest()}"


class TensorBoardChild:
    """A TensorBoard process for the log directories of all runs of a store, on this machine only.

    TensorBoard watches one folder. Here it is one of our own with a link to each run's log directory, so runs that
    start later appear without a restart.

    Args:
        source: the store.
        port: where to listen; None takes a free port.

    Raises:
        UsageError: from `start`, if TensorBoard is not installed.
    """

    def __init__(self, source: StoreSource, port: int | None = None) -> None:
        self.source = source
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = Event()
        self._scanner: Thread | None = None

    @property
    def folder(self) -> Path | None:
        """The folder that it watches, while it runs."""
        return self._folder

    def start(self) -> None:
        """Start the process and begin to follow the store's runs."""
        if find_spec("tensorboard") is None:
            raise UsageError("TensorBoard is not installed: pip install 'trackside[tensorboard]'.")
        self._folder = Path(tempfile.mkdtemp(prefix="trackside-tensorboard-"))
        self.link_runs()
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(self._folder), "--port", str(self.port)]
        # --load_fast=false: the Rust reader does not see folders that are linked in later.
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--load_fast", "false", "--reload_multifile", "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._scanner = Thread(target=self._follow, name="trackside-tensorboard", daemon=True)
        self._scanner.start()

    def link_runs(self) -> None:
        """Link the log directories that exist by now into the folder TensorBoard watches."""
        assert self._folder is not None
        for run in self.source().runs():
            link = self._folder / folder_name(run)
            if run.log_directory and not link.is_symlink() and Path(run.log_directory).is_dir():
                link.symlink_to(Path(run.log_directory).absolute(), target_is_directory=True)

    def stop(self) -> None:
        """End the process and remove the folder of links; the log directories stay."""
        self._stopping.set()
        if self._scanner is not None:
            self._scanner.join()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _follow(self) -> None:
        while not self._stopping.wait(RESCAN_SECONDS):
            try:
                self.link_runs()
            except StoreError:
                continue  # the page says so; the next round tries again


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
