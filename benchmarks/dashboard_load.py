"""The dashboard under load: many runs, long series, many watchers.

First paints are ratios of two pages of our own that take turns in headless Chromium, each visit with an empty cache:
Runs with a thousand runs against an empty store; Compare with two long series against ten short ones. Requests are
those that the page itself sent, caught in the browser and sent again without it: what is timed is the answer alone,
over a kept-alive connection on the same machine. Sorting and filtering Runs happens in the browser; what the server is
asked for is the rows that changed, every two seconds, so that is timed: while nothing does, and with a run that gets a
point before every question.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from dashboard_paint import (
    CHROMIUM_ARGUMENTS,
    OURS_DRAWN,
    PATIENCE_SECONDS,
    Page,
    answer,
    find_chromium,
    free_port,
    server,
    visit,
)
from report import Ratio, Report, Size, Table, Target, alternating, main, milliseconds, percentile, scratch

from trackside.db.ingest import Commit
from trackside.db.store import Store, open_store
from trackside.runs.tail import SeriesTail

CALLBACKS = "/_dash-update-component"
ROWS = "runs-grid.rowTransaction"
TICK = '-tick.n_intervals"]'
PANELS = '"type":"panel"},"property":"figure"'
LIVE_RUNS = 10
BATCH_POINTS = 16_384
POLL_SECONDS = 2.0  # as often as the pages ask
START = 1_800_000_000_000_000  # microseconds since the epoch of every series' first point

# The empty store's page is there with its snippets, the other with the rows that fill the window.
_RUNS_DRAWN = "rows => document.querySelectorAll('.ag-row [col-id=name]').length >= rows"
_EMPTY_DRAWN = "_ => document.querySelector('.empty pre') !== null"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        visits: of each page.
        runs: in the large store, each with `metrics` series.
        metrics: series a run.
        short: points of each of the ten short series.
        long: points of each of the two long series.
        requests: of each kind that are timed.
        watchers: pages that ask every two seconds.
        seconds: how long they do.
    """

    visits: int
    runs: int
    metrics: int
    short: int
    long: int
    requests: int
    watchers: int
    seconds: float


PLANS = {
    "full": Plan(8, runs=1000, metrics=50, short=2_000, long=1_000_000, requests=200, watchers=50, seconds=60),
    "quick": Plan(3, runs=1000, metrics=50, short=2_000, long=1_000_000, requests=40, watchers=50, seconds=15),
    "smoke": Plan(1, runs=3, metrics=4, short=50, long=200, requests=2, watchers=2, seconds=3),
}


# ---- Stores ----------------------------------------------------------------------------------------------------------


class Writer:
    """Puts points into a run the way a journal enters the store, without a journal."""

    def __init__(self, store: Store, name: str, metrics: list[str]) -> None:
        self.name = name
        self._store = store
        self._tails = [SeriesTail.new(metric, None, "batch") for metric in metrics]
        self._position = self._step = 0

    def write(self, count: int, *, end: bool = False) -> None:
        """Commit the next `count` points of every series; with `end` the run is then finished."""
        now = datetime.now(UTC)
        commit = Commit(
            run_id=self.name,
            run_created={"name": self.name, "project": "load", "state": "running", "created_at": now},
            journal_id=f"{self.name}-0", rank=0, host="here", process_id=1,
            position_before=self._position, position_after=self._position + 1,
            last_step=self._step + count - 1, heartbeat_seconds=600.0,
            run_changes={"state": "finished", "ended_at": now} if end else {},
        )  # fmt: skip
        steps = np.arange(self._step, self._step + count, dtype=np.int64)
        ripple = np.random.default_rng(self._position).standard_normal(count)
        values = (2.3 * np.exp(-steps / 1e5) + 0.1 * ripple).astype(np.float32).astype(np.float64)
        for tail in self._tails:
            change, _ = tail.extend(steps, START + 10_000 * steps, values)
            commit.series.append(change)
        self._store.commit(commit)
        self._position += 1
        self._step += count


def fill(store: Store, name: str, metrics: list[str], points: int) -> str:
    """Write a finished run; its id."""
    writer = Writer(store, name, metrics)
    for start in range(0, points, BATCH_POINTS):
        count = min(BATCH_POINTS, points - start)
        writer.write(count, end=start + count == points)
    return name


def training(store: Store, asker: Asker, body: str, plan: Plan) -> Iterator[float]:
    """Seconds of each request for the rows while one run gets a point before every one of them."""
    writer = Writer(store, "training", ["train/loss", "val/loss", "step/seconds"])
    for _ in range(plan.requests):
        writer.write(1)
        yield asker.seconds(body)


@contextmanager
def live(store: Store) -> Iterator[list[str]]:
    """Ids of runs that get ten points a second each until the end of the block.

    Raises:
        Exception: whatever stopped the writing.
    """
    writers = [Writer(store, f"live-{number}", ["train/loss", "step/seconds"]) for number in range(LIVE_RUNS)]
    for writer in writers:
        writer.write(1_000)
    over = threading.Event()

    def keep_writing() -> None:
        while not over.wait(1.0):
            for writer in writers:
                writer.write(10)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(keep_writing)
        try:
            yield [writer.name for writer in writers]
        finally:
            over.set()
        writing.result()


# ---- Requests --------------------------------------------------------------------------------------------------------


class Asker:
    """One connection to a dashboard."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)

    def seconds(self, body: str) -> float:
        """How long the answer to a callback's request took.

        Raises:
            RuntimeError: the server refused.
        """
        began = time.perf_counter()
        self._connection.request("POST", CALLBACKS, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        said = response.read()
        taken = time.perf_counter() - began
        if response.status not in (200, 204):
            raise RuntimeError(f"The dashboard answered {response.status}: {said[:300]!r}")
        return taken


def caught(chromium: Any, url: str, output: str, cause: str) -> str:
    """Body of the request that a page sends by itself for `output` when `cause` changes."""
    tab = chromium.new_page(viewport={"width": 1280, "height": 900})
    try:
        with tab.expect_request(
            lambda sent: CALLBACKS in sent.url and output in sent.post_data and cause in sent.post_data,
            timeout=PATIENCE_SECONDS * 1000,
        ) as found:
            tab.goto(url)
        return str(found.value.post_data)
    finally:
        tab.close()


def zooms(body: str, points: int, count: int) -> Iterator[str]:
    """The request of one zoom, for ranges that were not asked for yet: halves and tenths of the series in turn."""
    for number in range(count):
        request = json.loads(body)
        width = points // (2, 10)[number % 2]
        first = (number * 7919) % (points - width)
        for given in request["inputs"]:
            if given.get("property") == "search":
                given["value"] = given["value"].split("&x=")[0] + f"&x={first}.0,{first + width}.0"
        yield json.dumps(request)


def watch(address: str, bodies: list[str], plan: Plan) -> list[float]:
    """Seconds of each request while so many watchers ask, spread over the pause between two questions."""
    until = time.monotonic() + plan.seconds

    def watcher(number: int) -> list[float]:
        time.sleep(POLL_SECONDS * number / plan.watchers)
        asker, taken = Asker(address), []
        while time.monotonic() < until:
            taken.append(asker.seconds(bodies[number % len(bodies)]))
            time.sleep(max(0.0, POLL_SECONDS - taken[-1]))
        return taken

    with ThreadPoolExecutor(plan.watchers) as pool:
        return [seconds for found in pool.map(watcher, range(plan.watchers)) for seconds in found]


# ---- The report ------------------------------------------------------------------------------------------------------


@contextmanager
def dashboard(folder: Path, name: str) -> Iterator[tuple[Store, str]]:
    """A store to fill, and the address of the dashboard that shows it."""
    url, port = f"sqlite:///{folder / name}.db", free_port()
    address = f"http://127.0.0.1:{port}"
    program = f"from trackside.dashboard.serve import serve; serve({url!r}, port={port})"
    store = open_store(url)
    try:
        with server([sys.executable, "-P", "-c", program], folder, lambda: answer(f"{address}/") is not None):
            yield store, address
    finally:
        store.close()


def answered(what: str, seconds: list[float], bound: float) -> tuple[tuple[str, ...], Target]:
    """Table row and target of so many requests; the range is from their median to their 99th percentile."""
    middle, high, highest = (percentile(seconds, rank) for rank in (50, 95, 99))
    row = (what, f"{len(seconds):,}", *map(milliseconds, (middle, high, highest)))
    ratio = Ratio(high / bound, middle / bound, highest / bound)
    return row, Target(f"{what}: 95th percentile / {bound * 1e3:,.0f} ms", ratio, "at most", 1)


def paints(chromium: Any, pages: tuple[Page, Page], counts: dict[str, int], visits: int) -> dict[str, list[float]]:
    """Seconds to first paint of each visit but the first, which warms up the server."""
    seconds: dict[str, list[float]] = {page.name: [] for page in pages}
    for number, page in alternating(pages, visits + 1):
        taken, _ = visit(chromium, page, counts[page.name])
        if number:
            seconds[page.name].append(taken)
    return seconds


def measure(size: Size) -> Report:
    """Fill the stores, then paint, ask and watch."""
    from playwright.sync_api import sync_playwright

    plan = PLANS[size]
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        many, many_address = stack.enter_context(dashboard(folder, "many"))
        _, empty_address = stack.enter_context(dashboard(folder, "empty"))
        curves, curves_address = stack.enter_context(dashboard(folder, "curves"))
        watched, watched_address = stack.enter_context(dashboard(folder, "watched"))
        metrics = ["train/loss", "val/loss", "step/seconds", *(f"train/metric_{n}" for n in range(3, plan.metrics))]
        for number in range(plan.runs):
            fill(many, f"run-{number}", metrics, 20)
        short = [fill(curves, f"short-{number}", ["train/loss"], plan.short) for number in range(10)]
        long = [fill(curves, f"long-{number}", ["train/loss"], plan.long) for number in range(2)]

        full = Page(f"Runs, {plan.runs:,} runs", f"{many_address}/", _RUNS_DRAWN)
        empty = Page("Runs, empty store", f"{empty_address}/", _EMPTY_DRAWN)
        longs = Page(f"Compare, 2 × {plan.long:,}", f"{curves_address}/compare?runs={','.join(long)}", OURS_DRAWN)
        shorts = Page(f"Compare, 10 × {plan.short:,}", f"{curves_address}/compare?runs={','.join(short)}", OURS_DRAWN)
        counts = {full.name: min(10, plan.runs), empty.name: 0, longs.name: 2, shorts.name: 10}

        playwright = stack.enter_context(sync_playwright())
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(playwright.chromium.executable_path), args=CHROMIUM_ARGUMENTS
        )
        stack.callback(chromium.close)
        painted, targets = [], []
        for pages in ((full, empty), (longs, shorts)):
            seconds = paints(chromium, pages, counts, plan.visits)
            painted += [
                (name, *(f"{of(taken):.2f}" for of in (statistics.median, min, max))) for name, taken in seconds.items()
            ]
            ratio = Ratio.of(*seconds.values())
            targets.append(Target(" / ".join(seconds), ratio, "at most", 1.5))

        tick = caught(chromium, full.url, ROWS, TICK)
        asker = Asker(many_address)
        found = [answered(f"rows of {plan.runs:,} runs", [asker.seconds(tick) for _ in range(plan.requests)], 0.1)]
        found.append(
            answered(f"rows of {plan.runs:,} runs, one training", list(training(many, asker, tick, plan)), 0.1)
        )
        zoom = caught(chromium, longs.url, PANELS, "begun.data")
        asker = Asker(curves_address)
        taken = [asker.seconds(body) for body in zooms(zoom, plan.long, plan.requests)]
        found.append(answered(f"zoom of 2 × {plan.long:,} points", taken, 0.1))
        with live(watched) as ids:
            bodies = [
                caught(chromium, f"{watched_address}/", ROWS, TICK),
                caught(chromium, f"{watched_address}/compare?runs={','.join(ids)}", PANELS, TICK),
            ]
            found.append(answered(f"{plan.watchers} watchers of live runs", watch(watched_address, bodies, plan), 1.0))
    return Report(
        name="dashboard_load",
        tables=[
            Table(
                f"First paint, {plan.visits} visits each, alternating", ("page", "median s", "min s", "max s"), painted
            ),
            Table("Answers", ("request", "requests", "median ms", "p95 ms", "p99 ms"), [row for row, _ in found]),
        ],
        targets=[*targets, *(target for _, target in found)],
        notes=["For answers the ratio is the 95th percentile's, and the brackets reach from the median to the 99th."],
    )


if __name__ == "__main__":
    main(measure, __doc__ or "")
