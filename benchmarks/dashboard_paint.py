"""How long until the first curves are on the screen: Compare with ten runs, against TensorBoard with the same ten.

Both servers run beside each other and have read their data before the clock starts. Each visit is a fresh profile of
headless Chromium, whose cache is empty: what a person waits for on the first visit. The clock starts with the
navigation and stops at the first frame in which a chart has a curve of each run.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import Ratio, Report, Size, Table, Target, alternating, main, scratch

METRICS = ("train/loss", "train/accuracy")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: visits to each, runs, and points of every series."""

    visits: int
    runs: int
    points: int


PLANS = {
    "full": Plan(visits=10, runs=10, points=2_000),
    "quick": Plan(visits=3, runs=10, points=2_000),
    "smoke": Plan(visits=1, runs=2, points=50),
}
PATIENCE_SECONDS = 120.0

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # as root it runs only without
    "--disable-background-networking",
    "--disable-component-update",
    # Without a graphics card WebGL is emulated, slowly. TensorBoard then draws SVG instead, as we do; that is faster
    # here, and shows from outside when a line is there.
    "--disable-gpu",
    "--disable-3d-apis",
]

# Whether some chart shows a line for each of so many runs. A line not drawn yet has no path, or an empty one.
OURS_DRAWN = """runs => [...document.querySelectorAll('.js-plotly-plot')].some(chart =>
    [...chart.querySelectorAll('.scatterlayer path.js-line')]
        .filter(line => (line.getAttribute('d') || '').length > 20).length >= runs)"""
_THEIRS_DRAWN = """runs => [...document.querySelectorAll('line-chart')].some(chart =>
    [...chart.querySelectorAll('svg path')]
        .filter(line => (line.getAttribute('d') || '').length > 20 && line.style.display !== 'none').length >= runs)"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page to visit and how to tell that it is drawn."""

    name: str
    url: str
    drawn: str


def values(run: int, step: int) -> dict[str, float]:
    """The point of every series at a step: ten decays that differ."""
    ripple = 0.1 * math.sin(step / (7 + run))
    loss = 2.3 * math.exp(-step / (300 + 40 * run)) * (1 + ripple) + 0.05
    return {"train/loss": loss, "train/accuracy": 1 / (1 + loss)}


def write_ours(folder: Path, plan: Plan) -> tuple[str, list[str]]:
    """The store's URL and the ids of the runs in it."""
    from trackside import start_run

    url = f"sqlite:///{folder / 'trackside.db'}"
    ids = []
    for number in range(plan.runs):
        with start_run(name=f"run-{number}", store=url, config={"seed": number}) as run:
            for step in range(plan.points):
                run.log(values(number, step), step=step)
        ids.append(run.id)
    return url, ids


def write_theirs(folder: Path, plan: Plan) -> Path:
    """The log directory with an event file a run."""
    from torch.utils.tensorboard import SummaryWriter

    for number in range(plan.runs):
        writer = SummaryWriter(str(folder / "events" / f"run-{number}"))
        for step in range(plan.points):
            for name, value in values(number, step).items():
                writer.add_scalar(name, value, step)
        writer.close()
    return folder / "events"


# ---- Servers ---------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(command: list[str], folder: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """Run a server until the end of the block.

    Raises:
        RuntimeError: it ended by itself, or was not ready in time; the message holds what it said.
    """
    said = folder / f"{Path(command[-1]).name[:20]}.{time.monotonic_ns()}.log"
    with said.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command[:4])} … is not there:\n{said.read_text()[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answer(url: str) -> Any:
    """What a server says: parsed JSON, the text, or None if it does not answer yet."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            body = response.read().decode()
    except (urllib.error.URLError, OSError):
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body


@contextmanager
def both_pages(folder: Path, plan: Plan) -> Iterator[tuple[Page, Page]]:
    """Ours and TensorBoard's, each from a server that knows its runs."""
    url, ids = write_ours(folder, plan)
    events = write_theirs(folder, plan)
    with ExitStack() as stack:
        port = free_port()
        program = f"from trackside.dashboard.serve import serve; serve({url!r}, port={port})"
        address = f"http://127.0.0.1:{port}"
        stack.enter_context(
            server([sys.executable, "-P", "-c", program], folder, lambda: answer(f"{address}/") is not None)
        )
        ours = Page("trackside Compare", f"{address}/compare?runs={','.join(ids)}", OURS_DRAWN)

        port = free_port()
        board = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tensorboard.main", "--host", "127.0.0.1", "--port", str(port)]
        stack.enter_context(
            server(
                [*command, "--logdir", str(events)],
                folder,
                lambda: len(answer(f"{board}/data/runs") or ()) >= plan.runs,
            )
        )
        yield ours, Page("TensorBoard Time Series", f"{board}/#timeseries", _THEIRS_DRAWN)


# ---- Browser ---------------------------------------------------------------------------------------------------------


def find_chromium(bundled: str) -> str:
    """Path of the browser: $CHROMIUM, one on the path, or Playwright's own download.

    Raises:
        RuntimeError: there is none.
    """
    named = os.environ.get("CHROMIUM")
    for path in (named, *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")), bundled):
        if path and Path(path).exists():
            return path
    raise RuntimeError("No Chromium: install it, or set CHROMIUM to its path.")


def visit(chromium: Any, page: Page, runs: int, screenshot: Path | None = None) -> tuple[float, float]:
    """Seconds from navigation to the first complete chart, and megabytes that came over the wire until then."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    try:
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE_SECONDS * 1000)
        received: list[float] = []
        session = context.new_cdp_session(tab)
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
        tab.goto(page.url, wait_until="commit")
        drawn = tab.wait_for_function(f"runs => ({page.drawn})(runs) && performance.now()", arg=runs, polling="raf")
        seconds = float(drawn.json_value()) / 1000
        if screenshot is not None:
            tab.screenshot(path=screenshot)
        return seconds, sum(received) / 1e6
    finally:
        context.close()


def measure(size: Size) -> Report:
    """Visit both in turn."""
    from playwright.sync_api import sync_playwright

    plan = PLANS[size]
    seconds: dict[str, list[float]] = {}
    megabytes: dict[str, list[float]] = {}
    with scratch() as folder, both_pages(folder, plan) as pages, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(playwright.chromium.executable_path),
            args=CHROMIUM_ARGUMENTS,
        )
        try:
            for number, page in alternating(pages, plan.visits + 1):
                found = visit(chromium, page, plan.runs)
                if number or size == "smoke":  # the first visit warms up the server
                    seconds.setdefault(page.name, []).append(found[0])
                    megabytes.setdefault(page.name, []).append(found[1])
        finally:
            chromium.close()
    ours, theirs = (page.name for page in pages)
    rows = [
        (
            name,
            f"{statistics.median(times):.2f}",
            f"{min(times):.2f}",
            f"{max(times):.2f}",
            f"{statistics.median(megabytes[name]):.1f}",
        )
        for name, times in seconds.items()
    ]
    title = (
        f"{plan.runs} runs × {plan.points:,} points × {len(METRICS)} metrics, {plan.visits} visits each, alternating"
    )
    headings = ("page", "median s", "min s", "max s", "MB received")
    return Report(
        name="dashboard_paint",
        tables=[Table(title, headings, rows)],
        targets=[Target(f"{ours} / {theirs}", Ratio.of(seconds[ours], seconds[theirs]), "at most", 1)],
    )


if __name__ == "__main__":
    main(measure, __doc__ or "")
